"""`memloc trials`: the trainings, what tells them apart, how far each is."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import memloc
from memloc import commands
from memloc.config import digest
from memloc.models.architectures import resolved
from memloc.store import Store, heartbeats, layout, records


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """`memloc ARGUMENTS`: (exit code, standard output, standard error)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["memloc", *arguments])
        with pytest.raises(SystemExit) as ended:
            commands.main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def asked(trial: str, **fields: Any) -> dict[str, Any]:
    """A training in a sweep's record, with one analysis of two parts."""
    config = resolved(dataset="digits", model="resnet9", epochs=30, **fields).flat()
    analysis = {
        "analysis": digest(f"{trial}a"),
        "stage": "rewind",
        "config": {},
        "parts": [digest(f"{trial}{n}") for n in "12"],
    }
    return {"trial": trial, "config": config, "blocks": ["a", "b"] if fields["seed"] else ["a"], "analyses": [analysis]}


@pytest.fixture
def store(tiny: Path, tmp_path: Path) -> Store:
    """The finished sweep `tiny`, and beside it `mine`: one running, one failed, one that nobody has begun."""
    store = Store(str(shutil.copytree(tiny, tmp_path / "store")))
    mine = [asked(letter * 16, seed=k, noise=0.1 * (k % 2)) for k, letter in enumerate("abc")]
    records.write_sweep(store.files, "mine", mine)
    heartbeats.write(store.files, "run", "a" * 16, {"stages": ["train"], "epoch": 12})
    records.record_failure(
        store.files, records.Failure("b" * 16, "b" * 16, "train", "Traceback\nValueError: no", "ValueError: no")
    )
    return store


def test_what_tells_them_apart_and_how_far_they_are(store: Store, run: Any) -> None:
    code, out, err = run("trials", "mine", "--store", store.uri)
    assert (code, err) == (0, "")
    table, _, alike = out.partition("\n\n")
    header, _, *rows = table.splitlines()
    assert header.split() == ["trial", "state", "noise", "seed"]
    assert [r.split() for r in rows] == [
        ["aaaaaaaa", *["running", "train,", "epoch", "12", "of", "30"], "0.0", "0"],
        ["bbbbbbbb", "failed", "0.1", "1"],
        ["cccccccc", "pending", "0.0", "2"],
    ]
    assert all(len(line) <= 100 for line in alike.splitlines())
    common = " ".join(alike.splitlines()) + " "
    assert common.startswith("all: dataset=digits ")
    assert "None" not in common
    assert "batch_norm" not in common  # neutral
    assert "seed" not in common.replace("data_seed", "")
    assert " epochs=30 " in common


def test_a_training_that_waits_and_one_that_nobody_works_on(store: Store, run: Any) -> None:
    heartbeats.write(store.files, "run", "a" * 16, {"stages": ["train"], "state": "waiting"})
    store.files.put(layout.checkpoint("c" * 16, 6), b"weights")
    store.files.put(layout.resume_state("c" * 16, 6, "any device", b""), b"")
    rows = run("trials", "mine", "--store", store.uri)[1].splitlines()
    assert "pending, waits for a place" in next(row for row in rows if row.startswith("aaaaaaaa"))
    assert "pending, epoch 6 of 30" in next(row for row in rows if row.startswith("cccccccc"))


def test_for_machines(store: Store, run: Any) -> None:
    code, out, _ = run("trials", "mine", "--store", store.uri, "--json")
    first, second, third = json.loads(out)
    assert code == 0
    assert (first["trial"], first["state"], first["epoch"]) == ("a" * 16, "running", 12)
    assert first["stages"] == [{"stage": "train", "state": "running"}, {"stage": "rewind", "state": "pending"}]
    assert (second["state"], second["epoch"], second["noise"]) == ("failed", None, 0.1)
    assert third["blocks"] == ["a", "b"]
    assert resolved(**{n: v for n, v in third.items() if n in asked("x", seed=0)["config"]}).seed == 2


def test_the_whole_store(store: Store, run: Any) -> None:
    """Every record's trainings, and what is committed without one."""
    listed = json.loads(run("trials", "--store", store.uri, "--json")[1])
    committed = {t.id for t in memloc.open_store(store.uri).trials()}
    assert {t["trial"] for t in listed} == {letter * 16 for letter in "abc"} | committed
    assert {t["trial"] for t in listed if t["state"] == "done"} == committed
    for path in store.files.listing("sweeps/tiny"):
        store.files.delete(path)
    again = json.loads(run("trials", "--store", store.uri, "--json")[1])
    assert {t["trial"]: t["state"] for t in again} == {t["trial"]: t["state"] for t in listed}
    assert [t["blocks"] for t in again if t["trial"] in committed] == [[], []]


@pytest.mark.parametrize(
    ("only", "letters"),
    [
        (["noise=0.1"], "b"),
        (["seed=0,2", "noise=0"], "ac"),
        (["block=b"], "bc"),
        (["block=b", "seed=2"], "c"),
        (["p_gen=null", "seed=0,1"], "ab"),
        (["subset=null,300"], "abc"),
    ],
)
def test_only(store: Store, run: Any, only: list[str], letters: str) -> None:
    options = [word for text in only for word in ("--only", text)]
    listed = json.loads(run("trials", "mine", "--store", store.uri, "--json", *options)[1])
    assert [t["trial"][0] for t in listed] == list(letters)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mine", "--only", "nois=0.1"], "unknown field (did you mean 'noise'?)"),
        (["mine", "--only", "seed=7"], "no trial fits; seed there: 0, 1, 2"),
        (["mine", "--only", "tokens=patch"], "none uses tokens"),
        (["min"], "no such sweep in store"),
    ],
)
def test_what_is_not_there(store: Store, run: Any, arguments: list[str], words: str) -> None:
    code, out, err = run("trials", *arguments, "--store", store.uri)
    assert (code, out) == (2, "")
    assert words in err
