"""`memloc data check` of images of one's own."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from memloc.data import Raw, load
from memloc.data.arrays import Origin
from memloc.data.contact_sheet import COLUMNS, MARGIN, NAME, contact_sheet, drawn
from memloc.data.overview import overview
from memloc.errors import UsageError
from memloc.models.architectures import resolved
from tests.commands.test_query import run
from tests.data.pictures import classes, encoded, pixels, write
from tests.data.registrations import forgotten


@pytest.fixture
def cli(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    load.cache_clear()

    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        code, out, err = run(capfd, monkeypatch, "data", "check", *arguments)
        return code, out.splitlines(), err.splitlines()

    return call


def test_what_is_in_a_folder(cli: Any, tmp_path: Path) -> None:
    made = classes(tmp_path / "pets", n=15)
    write(tmp_path / "pets/dog/again.png", encoded(made["cat/3.png"]))
    write(tmp_path / "pets/dog/white.png", encoded(np.full((12, 16, 3), 255, np.uint8)))
    code, out, err = cli("folder:pets", "test=0", "-o", "sheet.png")
    assert (code, err) == (0, [])
    assert out[0] == f"folder:{tmp_path}/pets"
    assert out[1:4] == [
        "  images: 32 for training, 0 for testing; 12×16 pixels, RGB",
        "  classes: 2 (cat 15, dog 17)",
        "  duplicates: 1 of the training images repeat an earlier one, 1 of these under another label; 0 of the test images "
        "are training images too",
    ]
    assert "  odd: the same pixels, unlike labels: cat/3.png = dog/again.png" in out
    assert "  odd: 1 image of one single colour: dog/white.png" in out
    assert out[-1] == "  contact sheet: sheet.png"
    with Image.open(tmp_path / "sheet.png") as sheet:
        size = sheet.size
    assert size == (NAME + COLUMNS * (64 + MARGIN) + MARGIN, 2 * (48 + MARGIN) + MARGIN)


def test_a_terminal_shows_names_and_does_not_do_what_they_say(cli: Any, tmp_path: Path) -> None:
    classes(tmp_path / "pets", ("\x1b[31mred", "blue"))
    code, out, _ = cli("folder:pets")
    assert code == 0
    assert "\\x1b[31mred 4" in out[2]
    assert not any("\x1b" in line for line in out)


def test_for_machines(cli: Any, tmp_path: Path) -> None:
    classes(tmp_path / "pets", n=10)
    code, out, _ = cli("folder:pets", "image=[8, 9]", "digits", "--json")
    named, own = json.loads("\n".join(out))
    assert (code, named["dataset"], own["dataset"]) == (0, "digits", f"folder:{tmp_path}/pets")
    assert (own["shape"], own["n_train"], own["n_test"], own["classes"]) == ([3, 8, 9], 16, 4, {"cat": 8, "dog": 8})
    assert own["oddities"] == ["fewer than 10 training examples: cat (8), dog (8)"]


def test_broken_images(cli: Any, tmp_path: Path) -> None:
    classes(tmp_path / "pets")
    write(tmp_path / "pets/cat/x.png", b"x")
    code, out, err = cli("folder:pets")
    assert (code, out) == (2, [])
    assert err == [
        f"memloc: {tmp_path}/pets: 1 of 11 images cannot be read: cat/x.png is no image that Pillow reads; mend or remove "
        "them; skip_broken=true (in a file skip_broken: true) leaves them out"
    ]
    code, out, err = cli("folder:pets", "--skip-broken")
    assert (code, err) == (0, [])
    assert any(line.endswith("1 image left out: cat/x.png is no image that Pillow reads") for line in out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["folder:pets", "labels=x"], "labels: folder:DIR has no such field; valid: test, image, skip_broken"),
        (["folder:pets", "image=0x9"], "image: '0x9' is not valid; valid: [height, width] from 1 to 4096 pixels, such as"),
        (["folder:pets", "test=2"], "test: 2 is not valid; valid: a number >= 0 and < 1"),
        (["npz:none.npz"], "none.npz: no such file"),
        (["npz:none.npz", "--skip-broken"], "skip_broken: npz:FILE has no such field"),
        (["npz:none.npz", "dataset=digits"], "dataset: npz:FILE has no such field; valid: test, labels"),
        (["folder:"], "'folder:' is not valid; valid: folder:DIR"),
        (["folder:pets"], "pets: no such folder"),
        (["folder:~nobody-here/x"], "'folder:~nobody-here/x': Could not determine home"),
    ],
)
def test_refused(cli: Any, arguments: list[str], message: str) -> None:
    code, out, err = cli(*arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert message in err[0]


def test_a_sheet_that_cannot_be_written(cli: Any, tmp_path: Path) -> None:
    classes(tmp_path / "pets")
    code, _, err = cli("folder:pets", "-o", "nowhere/sheet.png")
    assert (code, err) == (2, [f"memloc: -o {tmp_path}/nowhere/sheet.png: cannot be written: No such file or directory"])


def example(**changed: Any) -> Raw:
    x = np.stack([pixels(k, 8, 8, 1).transpose(2, 0, 1) for k in range(30)])
    y = np.arange(30) % 2
    values = {"x_train": x, "y_train": y, "x_test": x[:3], "y_test": y[:3], "classes": 2, "identity": "i", **changed}
    return Raw(**values)


def test_overview() -> None:
    x = example().x_train.copy()
    x[[7, 9]] = x[1]
    x[4] = x[1]
    x[20] = 9
    true = example().y_train.copy()
    true[[0, 2, 3]] = [1, 1, -1]
    about = overview(example(x_train=x, y_true=true, origin=Origin(("cat", "dog"), tuple("abcdefghijklmnopqrstuvwxyz1234"))))
    assert (about.duplicates, about.contradictions, about.leaked) == (3, 1, 3)
    assert about.oddities == [
        "the same pixels: b = e = h = …", "the same pixels, unlike labels: b = e = h = …", "1 image of one single colour: u",
    ]  # fmt: skip
    assert (about.given_wrong, about.confused) == (3, [("dog", "cat", 2)])
    uneven = overview(example(y_train=np.arange(30) // 29))
    assert "fewer than 10 training examples: 1 (1)" in uneven.oddities


def test_contact_sheet() -> None:
    """Every thumbnail is an image of its row's class, magnified; wrong labels alone have a frame."""
    true = example().y_train.copy()
    true[::5] ^= 1
    raw = example(y_true=true)
    content = contact_sheet(raw)
    assert content == contact_sheet(raw)
    sheet = np.asarray(Image.open(io.BytesIO(content)))
    for label in range(2):
        shown = drawn(raw, label)
        assert len(set(shown)) == COLUMNS
        assert set(raw.y_train[shown]) == {label}
        for column, k in enumerate(shown):
            top, left = MARGIN + label * (64 + MARGIN), NAME + column * (64 + MARGIN)
            assert (sheet[top + 4 : top + 64 : 8, left + 4 : left + 64 : 8, 0] == raw.x_train[k, 0]).all()
            assert (tuple(sheet[top - 1, left + 30]) == (208, 32, 32)) == (k % 5 == 0)


def test_what_a_message_says_to_write_is_taken(cli: Any, tmp_path: Path) -> None:
    """Word for word: what stands before the bracket."""
    classes(tmp_path / "pets")
    write(tmp_path / "pets/cat/x.png", b"x")
    write(tmp_path / "pets/dog/large.png", encoded(np.zeros((20, 20, 3), np.uint8)))
    say: list[str] = []
    for _ in range(2):
        _, _, (line,) = cli("folder:pets", *say)
        say.append(line.rpartition("; ")[2].partition(" (in a file")[0])
    assert say == ["skip_broken=true", "image=32x32"]
    code, out, err = cli("folder:pets", *say)
    assert (code, err) == (0, [])
    assert "32×32 pixels" in out[1]


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("pets", "folder:pets"),
        ("some.npz", "npz:some.npz"),
        ("rows.csv", "csv:rows.csv"),
        ("data/train.parquet", "parquet:data/train.parquet"),
        ("data", "parquet:data"),
        ("saved", "hf:saved"),
    ],
)
def test_a_bare_path_is_answered_with_what_names_it(cli: Any, tmp_path: Path, path: str, right: str) -> None:
    classes(tmp_path / "pets")
    for name in ("data/train.parquet", "saved/state.json"):
        write(tmp_path / name, b"")
    code, _, (line,) = cli(path)
    assert (code, line.endswith(f" (write {right})")) == (2, True), line
    with pytest.raises(UsageError, match=re.escape(f"(write {right})")):
        resolved(dataset=path, model="resnet9")


def test_a_data_set_that_a_file_registers(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nimport memloc\n"
        "items = [(np.full((8, 8), 9 * k, np.uint8), k % 2) for k in range(20)]\n"
        "memloc.register_dataset('of_a_plugin', items)\n"
    )
    with forgotten():
        code, out, err = cli("of_a_plugin", "test=0", "--plugins", "mine.py")
    assert (code, err, out[0]) == (0, [], "of_a_plugin")
    assert out[1].startswith("  images: 20 for training, 0 for testing; 8×8 pixels, grey")
    code, _, (line,) = cli("of_a_plugin", "--plugins", "lost.py")
    assert (code, line) == (2, f"memloc: --plugins: {tmp_path}/lost.py: no such file")
