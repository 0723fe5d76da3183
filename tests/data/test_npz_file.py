"""A user's own npz: what is taken, and what is refused with one line."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memloc.data import Raw, declared
from memloc.data.sources.npz_file import NpzFile
from memloc.errors import UsageError

Arrays = dict[str, Any]


def arrays(channels: int | None = None, n: int = 12) -> Arrays:
    rng = np.random.default_rng(0)
    shape = (n, 16, 12) if channels is None else (n, 16, 12, channels)
    x = rng.integers(0, 256, shape, dtype=np.uint8)
    y = np.arange(n) % 3
    return {"x_train": x, "y_train": y, "x_test": x[:5], "y_test": y[:5]}


def saved(folder: Path, values: Arrays) -> Path:
    path = folder / "mine.npz"
    np.savez(path, **values)
    return path


def read(path: Path, **fields: Any) -> Raw:
    return NpzFile(dataset=f"npz:{path}", **fields).load(path.parent)


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_round_trip(tmp_path: Path, channels: int | None) -> None:
    values = arrays(channels)
    raw = read(saved(tmp_path, values))
    assert raw.x_train.shape == (12, channels or 1, 16, 12)
    images = values["x_train"] if channels else values["x_train"][..., None]
    assert (raw.x_train.transpose(0, 2, 3, 1) == images).all()
    assert (raw.y_train == values["y_train"]).all()
    assert raw.classes == 3
    assert raw.origin.notes == raw.origin.class_names == ()


def test_identity_is_of_the_content_not_of_the_path(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    a, b = read(saved(tmp_path, arrays())), read(saved(tmp_path / "other", arrays()))
    changed = arrays()
    changed["x_test"] = changed["x_test"] + 1
    assert a.identity == b.identity != read(saved(tmp_path, changed)).identity


@pytest.mark.parametrize("shape", [(12, 3, 5, 3), (12, 1, 7, 4), (12, 2, 5, 16), (12, 16, 3, 1), (12, 3, 20)])
def test_images_that_only_look_a_little_like_channels_first(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Narrow images with channels last, many channels, and grey images of three rows are what they say."""
    images = np.zeros(shape, np.uint8)
    raw = read(saved(tmp_path, {**arrays(), "x_train": images, "x_test": images[:5]}))
    assert raw.x_train.shape == (12, *([1, *shape[1:]] if len(shape) == 3 else [shape[3], *shape[1:3]]))


def changed(name: str, change: Callable[[Any], Any]) -> Callable[[Path], Path]:
    return lambda folder: saved(folder, {**arrays(), name: change(arrays()[name])})


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (self.target, "w")


def missing(folder: Path) -> Path:
    return folder / "nowhere.npz"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "mine.npz")
    return folder / "mine.npz"


def lacking(folder: Path) -> Path:
    return saved(folder, {k: v for k, v in arrays().items() if k != "y_test"})


def disguised(folder: Path) -> Path:
    path = folder / "mine.npz"
    path.write_bytes(pickle.dumps(arrays()))
    return path


def disguised_twice(folder: Path) -> Path:
    path = saved(folder, arrays())
    path.write_bytes(pickle.dumps(Bomb(str(folder / "exploded"))) + path.read_bytes())
    return path


def truncated(folder: Path) -> Path:
    path = saved(folder, arrays())
    path.write_bytes(path.read_bytes()[:-300])
    return path


def objects(folder: Path) -> Path:
    bombs = np.array([Bomb(str(folder / "exploded"))], dtype=object)
    return saved(folder, {**arrays(), "x_train": bombs})


def members(folder: Path, content: bytes) -> Path:
    """A zip with the right names and this instead of the arrays."""
    with zipfile.ZipFile(folder / "mine.npz", "w") as file:
        for name in arrays():
            file.writestr(f"{name}.npy", content)
    return folder / "mine.npz"


def npy_header(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def marked(offset: int, value: int) -> Callable[[Path], Path]:
    """Every entry of the zip's directory with one byte changed."""

    def make(folder: Path) -> Path:
        path = saved(folder, arrays())
        content = bytearray(path.read_bytes())
        for found in re.finditer(rb"PK\x01\x02", bytes(content)):
            content[found.start() + offset] = value
        path.write_bytes(content)
        return path

    return make


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (
        missing,
        ": no such file; npz:FILE needs a file of numpy.savez with x_train, y_train, x_test, y_test; FILE is "
        "relative to the sweep file, on the command line to the current folder (--data-dir and MEMLOC_DATA say where",
    ),
    "folder": (lambda folder: folder, ": is a folder; npz:FILE needs a file of numpy.savez with x_train, "),
    "pipe": (pipe, ": is no regular file; npz:FILE needs"),
    "lacks an array": (lacking, "lacks y_test; it holds x_train, y_train, x_test"),
    "pickle in disguise": (disguised, "is not an npz file"),
    "pickle with a zip behind it": (disguised_twice, "holds Python objects (a pickle); nothing is unpickled"),
    "object array": (objects, "x_train: holds Python objects (a pickle); nothing is unpickled"),
    "truncated": (truncated, "is not an npz file"),
    "pickles for arrays": (
        lambda folder: members(folder, pickle.dumps([1])),
        "x_train: is not an array; nothing is unpickled",
    ),
    "text for arrays": (lambda folder: members(folder, b"hello"), "x_train: is not an array"),
    "a header without the bytes": (lambda folder: members(folder, npy_header("(9, 16, 16)")), "2,304 bytes, and has 0"),
    "a header of 90 TiB": (
        lambda folder: members(folder, npy_header(f"({10**14},)")),
        "x_train: is broken: ValueError: decl",
    ),
    "no arrays": (lambda folder: saved(folder, {}), "lacks x_train, y_train; it holds nothing"),
    "encrypted": (marked(8, 1), "x_train: is broken: RuntimeError: File 'x_train.npy' is encrypted"),
    "unknown compression": (marked(10, 99), "x_train: is broken: "),
    "name too long": (lambda folder: folder / ("x" * 300), "cannot be read: File name too long"),
    "one number for images": (
        lambda folder: saved(folder, {**arrays(), "x_train": np.uint8(1)}),
        "x_train: images have shape ()",
    ),
    "one number for labels": (changed("y_train", lambda y: y[0]), "y_train: labels have shape (); must be (12,)"),
    "test labels of another type": (
        changed("y_test", lambda y: y.astype(str)),
        "y_test: labels are text (0), those for training whole numbers (0); must be of one kind",
    ),
    "validation images without labels": (
        lambda folder: saved(
            folder, {**{k: v for k, v in arrays().items() if "test" not in k}, "x_val": np.zeros((3, 16, 12))}
        ),
        "lacks y_val; it holds x_train, y_train, x_val",
    ),
    "many other members": (
        lambda folder: saved(folder, {f"p{k}": np.zeros(1) for k in range(3000)}),
        "lacks x_train, y_train; it holds p0, p1, p2, p3, p4, p5, p6, p7, p8, p9 and 2,990 more",
    ),
    "labels of complex numbers": (changed("y_train", lambda y: y * 1j), "y_train: labels are complex128; must be whole"),
    "labels beyond int64": (
        changed("y_train", lambda y: y.astype(np.uint64) + np.uint64(2**63)),
        "y_train: labels are beyond 64 bits; must be whole numbers or text",
    ),
    "NaN images": (changed("x_test", lambda x: x * np.nan), "x_test: images are float64 with NaN; must be uint8"),
    "flat images": (changed("x_train", lambda x: x.reshape(12, -1)), "x_train: images have shape (12, 192); must be N×H×W"),
    "channels first": (
        changed("x_train", lambda x: np.zeros((12, 3, 16, 16), np.uint8)),
        "x_train: images have shape (12, 3, 16, 16), which looks like N×C×H×W; must be N×H×W×C: x.transpose(0, 2, 3, 1)",
    ),
    "one channel first": (
        changed("x_test", lambda x: np.zeros((12, 1, 16, 8), np.uint8)),
        "x_test: images have shape (12, 1",
    ),
    "four channels first": (changed("x_train", lambda x: np.zeros((12, 4, 9, 5), np.uint8)), "x.transpose(0, 2, 3, 1)"),
    "too many channels": (
        changed("x_train", lambda x: np.zeros((12, 2, 16, 17), np.uint8)),
        "images have shape (12, 2, 16, 17); must be N×H×W×C with at most 16 channels last",
    ),
    "images between the grey levels": (
        changed("x_train", lambda x: (x / 300).astype(np.float32)),
        "images are float32 between the 256 grey levels; must be uint8, 0..255: (255 * x).round().astype('uint8')",
    ),
    "images between the whole numbers": (
        changed("x_train", lambda x: x / 1.5),
        "images are float64 between the 256 grey levels; must be uint8, 0..255: x.round().astype('uint8')",
    ),
    "negative pixels": (changed("x_train", lambda x: x - 0.5), "images are float64 from -0.5 to 254.5; must be 0..255, or"),
    "sixteen bits": (
        changed("x_train", lambda x: x.astype(np.uint16) * 256),
        "images are uint16, 0..65280; must be uint8, 0..255: (x // 257).astype('uint8')",
    ),
    "complex pixels": (changed("x_train", lambda x: x * 1j), "images are complex128; must be uint8"),
    "empty images": (changed("x_test", lambda x: x[:, :0]), "x_test: images have shape (5, 0, 12)"),
    "other size": (
        changed("x_test", lambda x: x[:, :8]),
        ": test images are 1×8×12 (channels×height×width), training images 1×16×12",
    ),
    "too few labels": (changed("y_train", lambda y: y[:-1]), "y_train: labels have shape (11,); must be (12,)"),
    "labels that are no whole numbers": (
        changed("y_train", lambda y: y * 0.5),
        "y_train: label 0.5 of example 1 is no whole number; must be whole numbers or text",
    ),
    "NaN labels": (changed("y_train", lambda y: y * np.nan), "y_train: label nan of example 0 is no whole number"),
    "several labels of an image": (
        changed("y_train", lambda y: np.ones((12, 3), dtype=int)),
        "y_train: labels have shape (12, 3); must be (12,), one per image",
    ),
    "an image without label": (
        changed("y_train", lambda y: np.array([*"abcabcabcab", " "])),
        "y_train: example 11 has no label; give it one, or leave it out of the data",
    ),
    "labels that are no text": (
        changed("y_train", lambda y: np.array([b"a", b"\xff"] * 6)),
        "y_train: the label of example 1 is not UTF-8: b'\\xff'",
    ),
    "one class": (changed("y_train", lambda y: y * 0), ": the training labels have 1 class (0); needs at least 2"),
    "unknown test label": (
        changed("y_test", lambda y: y + 2),
        "y_test: label 3 of example 1 is of a class without training examples; they have 0, 1, 2",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_with_one_line(tmp_path: Path, name: str) -> None:
    make, message = BAD[name]
    path = make(tmp_path)
    with pytest.raises(UsageError) as caught:
        read(path)
    assert all("\n" not in problem and str(path) in problem for problem in caught.value.problems)
    assert message in caught.value.problems[0]
    assert not (tmp_path / "exploded").exists()


def test_all_that_is_wrong_at_once(tmp_path: Path) -> None:
    values = {**arrays(), "x_train": arrays()["x_train"] / 1.5, "y_test": arrays()["y_test"] / 9}
    with pytest.raises(UsageError) as caught:
        read(saved(tmp_path, values))
    assert [p.split(":")[1] for p in caught.value.problems] == ["x_train", "y_test"]


def test_no_damaged_byte_of_a_compressed_file_is_more_than_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, **arrays())
    whole, before = path.read_bytes(), read(path).identity
    refused = harmless = 0
    for place in range(0, len(whole), 41):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            found = read(path).identity
        except UsageError as error:
            refused += "\n" not in str(error)
        else:
            assert found == before  # a byte without meaning, such as a time
            harmless += 1
    assert refused > 50
    assert refused + harmless == len(range(0, len(whole), 41))


def declaring(path: Path, header: str, values: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """An npz whose x_train has this header and these values."""
    saved(path.parent, arrays())
    text = header.encode().ljust(117) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + values
    with zipfile.ZipFile(path.parent / "mine.npz") as whole, zipfile.ZipFile(path, "w", compression) as made:
        for name in whole.namelist():
            made.writestr(name, content if name == "x_train.npy" else whole.read(name))
    return path


@pytest.mark.parametrize("shape", [(10**6, 10**4, 10**4), (13, 16, 12), (11, 16, 12), (-12, -16, 12), (2**62, 2**62)])
def test_a_header_that_declares_another_size(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """It is refused before numpy makes room for it: then it would be a MemoryError."""
    header = str({"descr": "|u1", "fortran_order": False, "shape": shape})
    path = declaring(tmp_path / "bomb.npz", header, bytes(12 * 16 * 12))
    with pytest.raises(UsageError, match=r"bomb.npz:x_train: is broken: ValueError: declares uint8 .*, and has 2,304$"):
        read(path)


def test_what_unpacks_to_more_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zip bomb: it is small as a file. A file of this size on a machine with enough memory is taken."""
    images = np.zeros((1000, 32, 32), np.uint8)
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, x_train=images, y_train=np.arange(1000) % 2, x_test=images[:2], y_test=[0, 1])
    assert path.stat().st_size < 20_000
    assert read(path).x_train.shape == (1000, 1, 32, 32)
    monkeypatch.setattr(declared, "total_memory", lambda: 1_000_000)
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(UsageError, match=r"unpacked it has 1,0\d\d,\d\d\d bytes, and this machine's memory 1,000,000$"):
        read(path)


def test_an_empty_test_set_does_not_say_what_the_pixels_are(tmp_path: Path) -> None:
    values = arrays() | {"x_test": np.zeros((0, 16, 12), np.float32), "y_test": np.zeros(0, np.int64)}
    values["x_train"] = (values["x_train"] > 100).astype(np.float32)
    assert np.unique(read(saved(tmp_path, values)).x_train).tolist() == [0, 255]


@pytest.mark.parametrize("form", [lambda y: y[:, None], lambda y: np.eye(3)[y]])
@pytest.mark.parametrize("name", ["y_train", "y_true"])
def test_labels_of_every_form_without_a_test_set(tmp_path: Path, form: Callable[[Any], Any], name: str) -> None:
    values = {key: value for key, value in arrays().items() if key.endswith("train")}
    plain = read(saved(tmp_path, values | {name: values["y_train"]}))
    assert read(saved(tmp_path, values | {name: form(values["y_train"])})).identity == plain.identity


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"noisy": np.zeros(11, bool)}, r"noisy: bool \(11,\); must be 12 booleans"),
        ({"noisy": np.zeros((12, 2), bool)}, r"noisy: bool \(12, 2\); must be 12 booleans"),
        ({"noisy": np.True_}, r"noisy: bool \(\); must be 12 booleans"),
        ({"y_true": np.zeros(11, int)}, r"y_true: labels have shape \(11,\); must be \(12,\), one per image"),
        ({"y_true": np.array(1)}, r"y_true: labels have shape \(\); must be \(12,\)"),
    ],
)
def test_true_labels_of_another_length_are_refused(tmp_path: Path, more: Arrays, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(saved(tmp_path, arrays() | more))


def test_validation_images_are_the_test_set_if_there_is_none(tmp_path: Path) -> None:
    values = {name.replace("test", "val"): value for name, value in arrays().items()}
    raw = read(saved(tmp_path, values))
    assert raw.identity == read(saved(tmp_path, arrays())).identity
    assert raw.origin.notes == (f"{tmp_path}/mine.npz: the validation images are the test set",)
    both = read(saved(tmp_path, arrays() | {"x_val": values["x_val"]}))  # labels that nobody reads may be missing
    assert both.origin.notes == (f"{tmp_path}/mine.npz: the validation images are left out",)


def test_noisy_may_be_a_column(tmp_path: Path) -> None:
    wrong = np.arange(12) < 3
    raw = read(saved(tmp_path, arrays() | {"noisy": wrong[:, None]}))
    assert raw.y_true is not None
    assert (raw.y_true < 0).tolist() == wrong.tolist()


def test_training_images_of_zeros_and_ones_beside_test_images_up_to_255(tmp_path: Path) -> None:
    values = arrays()
    values |= {"x_train": np.round(values["x_train"] / 255), "x_test": values["x_test"] * 1.0}
    with pytest.raises(UsageError, match=r"x_train from 0 to 1 and x_test from 0 to 255; both must be 0..1, or both 0..255"):
        read(saved(tmp_path, values))


def test_a_class_that_only_hidden_true_labels_have_is_part_of_the_identity(tmp_path: Path) -> None:
    """The network has an output for it."""
    values = arrays()
    two = {**values, "y_train": values["y_train"] % 2, "y_test": values["y_test"] % 2}
    raw = read(saved(tmp_path, two))
    hidden = read(saved(tmp_path, {**two, "y_true": values["y_train"]}), truth="hidden")
    assert (raw.classes, hidden.classes) == (2, 3)
    assert (raw.y_train == hidden.y_train).all()
    assert raw.identity != hidden.identity
    same = read(saved(tmp_path, {**two, "y_true": 1 - two["y_train"]}), truth="hidden")
    assert raw.identity == same.identity
