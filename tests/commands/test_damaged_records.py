"""Sweep records that are damaged: a command that goes through all of them says so in one line, and shows the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from memloc.store import Store, layout, records
from tests.commands.test_query import run

pytestmark = pytest.mark.filterwarnings("default::memloc.errors.MemlocWarning")  # as outside tests


@pytest.mark.parametrize("content", [b"", b"{}", b'[{"trial": '])
@pytest.mark.parametrize("command", [("status",), ("status", "--json"), ("store", "ls"), ("status", "tiny")])
def test_a_damaged_record_is_named(
    tiny: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    content: bytes,
) -> None:
    shutil.copytree(tiny, tmp_path / "store")
    store = Store(str(tmp_path / "store"))
    (first,) = store.files.listing(layout.SWEEPS)
    (record,) = records.read_sweeps(store.files)
    if command == ("status", "tiny"):  # another record of this name is intact
        records.write_sweep(store.files, "tiny", record.trials[:1])
    (tmp_path / "store" / first).write_bytes(content)
    code, out, err = run(capfd, monkeypatch, *command, "--store", store.uri)
    assert code == 0
    assert err == (
        f"memloc: warning: store {store.uri}: left out: 1 damaged sweep record ({first}); "
        "launch the sweep again to write it anew\n"
    )
    assert "no sweeps yet" not in out


def test_the_warning_is_short_where_many_are_damaged(
    tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny, tmp_path / "store")
    store = Store(str(tmp_path / "store"))
    for k in range(6):
        records.write_sweep(store.files, f"other{k}", [])
    paths = [path for path in store.files.listing(layout.SWEEPS) if "other" in path]
    for path in paths:
        (tmp_path / "store" / path).write_bytes(b"{}")
    _, out, err = run(capfd, monkeypatch, "store", "ls", "--store", store.uri)
    assert "left out: 6 damaged sweep records (sweeps/other0/" in err
    assert " and 2 more); launch" in err
    assert "tiny@" in out
    assert len(err.splitlines()) == 1
