"""`memloc data`, and what a sweep says of data sets that are not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from memloc import data
from memloc.data import load
from memloc.models.architectures import TRAINING
from tests.commands.test_query import run
from tests.data.small import TRUE, serving, small, write
from tests.data.test_fetch import closed_port

SWEEP = """
defaults: {dataset: NAME, model: resnet9, width: 0.0625, epochs: 1, batch_size: 8, noise: 0.1}
blocks: {a: {stages: {evaluate: {}}}}
"""


@pytest.fixture
def cli(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """`memloc ARGUMENTS` with small data sets and an empty data directory: code, lines out, lines of errors."""
    monkeypatch.setenv("MEMLOC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)
    for name in TRUE:
        monkeypatch.setitem(data.SOURCES, name, small(name, [closed_port()]))
    load.cache_clear()

    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        code, out, err = run(capfd, monkeypatch, *arguments)
        return code, out.splitlines(), err.splitlines()

    return call


def test_list(cli: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write("svhn", folder)
    write("cifar10", folder)
    (folder / "cifar-10-batches-py/test_batch").unlink()
    code, out, err = cli("data", "list")
    assert (code, err) == (0, [])
    rows = {line.split()[0]: line.split() for line in out[2:]}
    assert list(rows) == list(data.SOURCES)
    assert rows["digits"][1:] == ["1×16×16", "1437", "360", "10", "bundled", "scikit-learn"]
    assert rows["svhn"][1:] == ["3×32×32", "13", "11", "10", "present", str(folder)]
    assert rows["mnist"][1:] == ["1×28×28", "23", "11", "10", "missing", str(folder / "MNIST/raw")]
    assert rows["cifar10"][5:] == ["partly", "(6", "of", "7", "files)", str(folder / "cifar-10-batches-py")]
    elsewhere = cli("data", "list", "--data-dir", str(tmp_path / "none"))[1]
    assert [line.split()[5] for line in elsewhere[3:]] == ["missing"] * 4
    assert not (tmp_path / "none").exists()


def test_check(cli: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    code, out, _ = cli("data", "check")
    assert (code, out[1:]) == (0, [f"{name}: not in {folder}" for name in TRUE])
    write("svhn", folder)
    code, out, _ = cli("data", "check")
    assert code == 0
    assert out[-2:] == [f"{folder / path}: ok" for path in ("train_32x32.mat", "test_32x32.mat")]
    assert cli("data", "check", "svhn", "digits")[0] == 0
    assert cli("data", "check", "svhn", "mnist")[0] == 1
    (folder / "test_32x32.mat").write_bytes(b"damaged")
    code, out, err = cli("data", "check")
    assert (code, err) == (1, [])
    assert out[-1].startswith(f"{folder / 'test_32x32.mat'}: is damaged or another file (MD5 ")
    assert out[-1].endswith("; memloc data fetch svhn replaces it")
    assert cli("data", "check", "digits")[0] == 0
    (folder / "test_32x32.mat").unlink()
    code, out, _ = cli("data", "check", "svhn")
    assert (code, out[-1]) == (1, f"{folder / 'test_32x32.mat'}: missing; memloc data fetch svhn downloads it")


def test_fetch(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("mnist") as server:
        monkeypatch.setitem(data.SOURCES, "mnist", small("mnist", [server.url]))
        code, out, err = cli("data", "fetch", "mnist", "svhn", "digits", "mnist")
    assert code == 1
    assert out[4] == f"mnist: fetched to {tmp_path / 'data'}"
    assert out[-1] == "digits: bundled, nothing to fetch"
    (problem,) = err
    assert problem.startswith("memloc: svhn: cannot be downloaded (127.0.0.1:")
    assert cli("data", "fetch", "mnist") == (0, [f"mnist: already there, in {tmp_path / 'data'}"], [])
    assert cli("data", "check", "mnist")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch"], "data fetch: name a data set; valid: digits, cifar10, mnist, fashion_mnist, svhn"),
        (
            ["fetch", "cifar"],
            "cifar: no such data set; valid: digits, cifar10, mnist, fashion_mnist, svhn (did you mean 'cifar10'?)",
        ),
        (["check", "npx:x"], f"npx:x: no such data set; valid: {TRAINING.valid('dataset')}"),  # as in a sweep
        (["check", "nosuch"], f"nosuch: no such data set; valid: {TRAINING.valid('dataset')}"),
        (["check", "image=32x32"], "image=32x32: is a field of images of your own; name them too, such as folder:DIR"),
        (["check", "digits", "-o", "x.png"], "-o x.png: a contact sheet is of one source of your own, such as folder:DIR"),
        (["check", "folder:x", "-o", "x.pdf"], "-o x.pdf: a contact sheet is a PNG; name a file that ends in .png"),
        (["fetch", "svhn", "--data-dir", "~nobody-here/x"], "data directory ~nobody-here/x: Could not determine home"),
        (["list", "--data-dir", __file__], f"data directory {__file__}: is a file; name the folder in which data sets lie"),
        (["list", "--data-dir", "~nobody-here/x"], "data directory ~nobody-here/x: Could not determine home"),
        (["fetch", "svhn", "--data-dir", "/proc/nowhere"], "--data-dir /proc/nowhere: cannot be written: "),
        (["fetsh", "svhn"], "No such command"),
    ],
)
def test_bad_arguments(cli: Any, tmp_path: Path, arguments: list[str], message: str) -> None:
    code, out, err = cli("data", *arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith(f"memloc: {message}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", TRUE)
def test_a_dry_run_needs_no_files(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(data.SOURCES, name, TRUE[name])
    (tmp_path / "mine.yaml").write_text(SWEEP.replace("NAME", name))
    code, out, err = cli("sweep", "mine.yaml", "width=1", "--dry-run", "--json")
    assert (code, err) == (0, [])
    (trial,) = json.loads(out[0])["trials"]
    assert trial["dataset"] == name
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_sweep_says_what_is_missing_before_anything_starts(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        SWEEP.replace("NAME", "cifar10").replace("a: {", "a: {axes: {dataset: [cifar10, svhn]}, ")
    )
    code, out, err = cli("sweep", "mine.yaml", "--store", "store")
    folder = tmp_path / "data"
    assert (code, out, len(err)) == (2, [], 2)
    assert err[0].startswith(f"memloc: cifar10: not in {folder}; memloc data fetch cifar10 downloads it, or put cifar-10-")
    assert err[1].startswith(f"memloc: svhn: not in {folder}; ")
    assert not (tmp_path / "store/sweeps").exists()
    assert not folder.exists()
    write("svhn", folder)
    (folder / "train_32x32.mat").write_bytes(b"damaged")
    code, _, err = cli("sweep", "mine.yaml", "--store", "store", "--only", "dataset=svhn")
    assert (code, len(err)) == (2, 1)
    assert err[0].startswith(f"memloc: {folder / 'train_32x32.mat'}: is damaged or another file")


def test_a_sweep_that_has_nothing_to_do_needs_no_files(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SWEEP.replace("NAME", "mnist"))
    write("mnist", tmp_path / "data")
    command = ["sweep", "mine.yaml", "--store", "store", "--executor", "inline"]
    code, out, _ = cli(*command)
    assert code == 0
    shutil.rmtree(tmp_path / "data")
    load.cache_clear()
    code, out, _ = cli(*command)
    assert code == 0
    assert "nothing to do" in out[0]
    assert cli(*command, "--checkpoints", "last")[0] == 0  # there is to prune, but nothing to compute
    code, _, err = cli(*command, "seed=1")
    assert code == 2
    assert err[0].startswith("memloc: mnist: not in ")
    write("mnist", tmp_path / "data")
    assert cli(*command, "seed=1")[0] == 0


def test_for_machines(cli: Any, tmp_path: Path) -> None:
    code, out, _ = cli("data", "list", "--json")
    listed = {row["dataset"]: row for row in json.loads("".join(out))}
    assert code == 0
    assert list(listed) == list(data.SOURCES)
    for name, row in listed.items():
        about = data.describe(name)
        assert (tuple(row["shape"]), row["n_train"], row["n_test"]) == (about.shape, about.n_train, about.n_test)
        assert row["state"] == ("bundled" if name == "digits" else "missing")
    code, out, _ = cli("data", "check", "digits", "mnist", "--json")
    checked = json.loads("".join(out))
    assert code == 1
    assert [(entry["dataset"], entry["ok"]) for entry in checked] == [("digits", True)] + [("mnist", False)] * 4
    assert checked[0]["file"] is None
    assert all(entry["file"] in entry["says"] for entry in checked[1:])
