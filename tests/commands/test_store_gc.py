"""`memloc store gc`: says what it takes away, and how much, before it does."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from memloc.commands.store_gc import age
from memloc.errors import UsageError
from memloc.store import Store, layout
from tests.commands.test_query import run


def test_it_says_what_and_how_much_and_then_removes_it(
    tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(shutil.copytree(tiny, tmp_path / "store")))
    for k in (1, 2):
        store.files.put(layout.temporary(), bytes(500 * k))
    sizes = {p: size for p, size in store.files.listing("").items() if layout.is_resume_state(p)}
    states = sum(sizes.values())
    assert run(capfd, monkeypatch, "store", "gc", "--store", store.uri) == (
        *(0, f"{store.uri}: nothing to remove that is older than 7d\n", ""),
    )
    then = time.time() - 3 * 3600
    for path in store.files.listing(""):
        os.utime(Path(store.uri, path), (then, then))
    gc = ("store", "gc", "--store", store.uri, "--older-than", "2h")
    code, out, err = run(capfd, monkeypatch, *gc, "--dry-run")
    kinds = (
        f"resume states of finished trainings +2  {states / 1000:.0f} KB\ntemporary files of interrupted writes +2  1.5 KB"
    )
    head = f"{re.escape(store.uri)}: {(states + 1500) / 1000:.0f} KB that nothing needs, older than 2h\n"
    assert re.fullmatch(f"{head}what .*\n---.*\n{kinds}\n--dry-run: nothing was removed\n", out), out
    assert (code, err, len(store.files.listing("tmp"))) == (0, "", 2)
    as_json = json.loads(run(capfd, monkeypatch, *gc, "--dry-run", "--json")[1])
    assert as_json["kinds"]["resume states of finished trainings"] == {"number": 2, "bytes": states}
    assert as_json["removed"] == {"number": 0, "bytes": 0}
    code, out, err = run(capfd, monkeypatch, *gc)
    assert (code, out.splitlines()[-1]) == (0, f"removed {(states + 1500) / 1000:.0f} KB")
    assert store.files.listing("tmp") == {}
    assert not [p for p in store.files.listing("") if layout.is_resume_state(p)]


def test_ages() -> None:
    assert [age("x", text) for text in ("90m", "1.5h", "7d", "2w")] == [5400.0, 5400.0, 604800.0, 1209600.0]


@pytest.mark.parametrize("text", ["", "7", "d", "7 days", "-7d", "1e3d", "7D", "inf", "0.5h", "0d", "59m"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(UsageError, match=r"--older-than '.*': valid: "):
        age("--older-than", text)


@pytest.mark.filterwarnings("default::memloc.errors.MemlocWarning")  # as outside tests
@pytest.mark.parametrize(("names", "named"), [("a", "sweeps/a/00000000.json"), ("ab", "sweeps/a/00000000.json and 1 more")])
def test_records_that_cannot_be_read_are_named(
    tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, names: str, named: str
) -> None:
    store = Store(str(shutil.copytree(tiny, tmp_path / "store")))
    for name in names:
        store.files.put(f"sweeps/{name}/00000000.json", b"{")
    code, _, err = run(capfd, monkeypatch, "store", "gc", "--store", store.uri)
    assert code == 0
    assert f"the record of a sweep cannot be read: {named}; so all resume states stay" in err
