"""The downloaded data sets: known without their files, verified and read with them."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from memloc import data
from memloc.data import describe, load
from memloc.errors import UsageError
from tests.data import small
from tests.data.small import SIZES, TRUE, contents, truth, write


@pytest.fixture(autouse=True)
def fresh() -> None:
    load.cache_clear()


@pytest.mark.parametrize(
    ("name", "shape", "n_train", "n_test"),
    [
        ("cifar10", (3, 32, 32), 50_000, 10_000),
        ("mnist", (1, 28, 28), 60_000, 10_000),
        ("fashion_mnist", (1, 28, 28), 60_000, 10_000),
        ("svhn", (3, 32, 32), 73_257, 26_032),
    ],
)
def test_described_without_files(name: str, shape: tuple[int, int, int], n_train: int, n_test: int) -> None:
    found = describe(name, Path("/nowhere"))
    assert (found.shape, found.n_train, found.n_test, found.classes) == (shape, n_train, n_test, 10)
    assert found == describe(name)


def test_identities_are_pinned() -> None:
    """Another identity makes every trial of the data set start over: it must be meant."""
    found = {name: describe(name).identity.removeprefix(f"{name}:")[:16] for name in TRUE}
    assert found == {
        "cifar10": "ca622e62015c47eb",
        "mnist": "a8439a3a50b5a6e2",
        "fashion_mnist": "a4db9b9efc869db5",
        "svhn": "c2078a2ebad2f85a",
    }


def test_every_file_is_downloaded_by_something() -> None:
    for dataset in TRUE.values():
        paths = [file.path for file in dataset.files]
        assert paths == [path for download in dataset.downloads() for path in download.files] == list(dataset.md5s())
        pins = [*dataset.md5s().values(), *(download.md5 for download in dataset.downloads())]
        assert all(len(pin) == 32 and set(pin) <= set("0123456789abcdef") for pin in pins)
        for download in dataset.downloads():
            assert download.urls
            assert all(url.startswith("http") and url.endswith("/" + Path(download.path).name) for url in download.urls)


def test_the_addresses_are_torchvisions() -> None:
    """Of one data set by hand; the others come the same way."""
    (archive,) = TRUE["cifar10"].downloads()
    assert (archive.path, archive.md5) == ("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a")
    assert archive.urls == ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",)
    first = TRUE["mnist"].downloads()[0]
    assert (first.path, first.md5) == ("MNIST/raw/train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873")
    assert first.urls[0] == "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz"


@pytest.mark.parametrize("name", TRUE)
def test_loaded_as_written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.SOURCES, name, small.small(name))
    write(name, tmp_path)
    raw = load(name, tmp_path)
    for found, written in zip((raw.x_train, raw.y_train, raw.x_test, raw.y_test), truth(name), strict=True):
        assert found.dtype == written.dtype
        assert (found == written).all()
    assert raw.description == describe(name)
    assert (len(raw.y_train), len(raw.y_test)) == SIZES[name]
    assert raw.identity != TRUE[name].description.identity


@pytest.mark.parametrize("name", TRUE)
def test_the_default_directory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.SOURCES, name, small.small(name))
    monkeypatch.setenv("MEMLOC_DATA", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        load(name)
    names = ", ".join(map(str, TRUE[name].files))
    assert str(caught.value) == f"{name}: not in {tmp_path}; memloc data fetch {name} downloads it, or put {names} there"
    write(name, tmp_path)
    assert (load(name).y_train == truth(name)[1]).all()


def test_plain_or_compressed_by_whomever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.SOURCES, "mnist", small.small("mnist"))
    for level, (path, content) in enumerate(contents("mnist").items()):
        packed = gzip.compress(content, compresslevel=level + 1, mtime=level)
        write("mnist", tmp_path, {path: content} if level == 1 else {f"{path}.gz": packed})
    assert (load("mnist", tmp_path).x_train == truth("mnist")[0]).all()
    # Of two forms, the whole one counts.
    write("mnist", tmp_path, {TRUE["mnist"].files[0].path: b"damaged"})
    load.cache_clear()
    assert (load("mnist", tmp_path).x_train == truth("mnist")[0]).all()


@pytest.mark.parametrize("name", TRUE)
def test_partly_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.SOURCES, name, small.small(name))
    write(name, tmp_path)
    last, total = TRUE[name].files[-1], len(TRUE[name].files)
    (tmp_path / last.path).unlink()
    with pytest.raises(UsageError) as caught:
        load(name, tmp_path)
    assert str(caught.value) == (
        f"{name}: only {total - 1} of {total} files are in {tmp_path}; memloc data fetch {name} --data-dir {tmp_path} "
        f"downloads it, or put {last} there"
    )


@pytest.mark.parametrize("name", TRUE)
@pytest.mark.parametrize("damage", ["changed", "short", "empty", "folder", "pipe"])
def test_damaged(name: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.SOURCES, name, small.small(name))
    write(name, tmp_path)
    path = tmp_path / TRUE[name].files[1].path
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes({"changed": content[:-1] + b"?", "short": content[:-1], "empty": b""}[damage])
    with pytest.raises(UsageError) as caught:
        load(name, tmp_path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}: is ")
    if damage == "folder":  # which a fetch must not remove
        assert problem == f"{path}: is a folder where a file of {name} belongs; move it away"
    else:
        assert problem.endswith(f"; memloc data fetch {name} --data-dir {tmp_path} replaces it")
    if damage == "short":
        assert f"(MD5 {hashlib.md5(content[:-1]).hexdigest()}, must be {hashlib.md5(content).hexdigest()})" in problem


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (b"not gzip at all", "is not a gzip file"),
        (gzip.compress(b"x" * 999, mtime=0)[:-9], "is damaged: EOFError"),
        (b"", "MD5 d41d8"),
    ],
)
def test_damaged_gzip(packed: bytes, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.SOURCES, "mnist", small.small("mnist"))
    files = contents("mnist")
    path = next(iter(files))
    write("mnist", tmp_path, {**{p: c for p, c in files.items() if p != path}, f"{path}.gz": packed})
    with pytest.raises(UsageError, match=why) as caught:
        load("mnist", tmp_path)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("name", ["cifar10", "mnist", "svhn"])
def test_files_of_another_size_than_the_data_set(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read is held against the description, also where the checksums are right."""
    monkeypatch.setitem(data.SOURCES, name, dataclasses.replace(small.small(name), n_train=99))
    write(name, tmp_path)
    with pytest.raises(UsageError, match=rf"{name} in .*: x_train is uint8 .*; must be uint8 \(99, "):
        load(name, tmp_path)


def test_labels_are_held_against_the_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.SOURCES, "svhn", dataclasses.replace(small.small("svhn"), classes=8))
    write("svhn", tmp_path)
    with pytest.raises(UsageError, match=r"label 8 of example 8 of y_train is out of range; must be 0\.\.7"):
        load("svhn", tmp_path)


def test_what_is_missing_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        data.require(["mnist", "digits", "svhn", "mnist"], tmp_path)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["mnist", "svhn"]
    data.require(["digits"], tmp_path)
    assert np.asarray(load("digits").x_train).dtype == np.uint8
