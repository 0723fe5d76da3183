"""Folders that have a store's folder names and are none: nothing reads them, and nothing touches their files."""

from __future__ import annotations

from pathlib import Path

import pytest

import memloc
from memloc.errors import StoreError
from memloc.store import Files, Store, layout, records
from memloc.store.verify import verify
from tests.commands.test_query import run

CLONE = {"sweeps/demo.yaml": "a", "sweeps/mine/notes.json": "{}", "commits/log.txt": "b", "memloc/x.py": "c"}
PROJECT = {"checkpoints/last.pt": "weights", "checkpoints/run-1/epoch-0001.safetensors": "w", "commits/ab/cd.json": "{}"}
READING = {
    "status": ["status"],
    "trials": ["trials"],
    "query": ["query", "SELECT 1"],
    "examples": ["query", "--examples"],
    "claims": ["claims"],
    "report": ["report"],
    "ls": ["store", "ls"],
    "verify": ["store", "verify"],
}


def fill(folder: Path, contents: dict[str, str]) -> None:
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("contents", [CLONE, PROJECT], ids=["clone", "project"])
def test_every_reading_command_refuses(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, contents: dict[str, str]
) -> None:
    fill(tmp_path, contents)
    monkeypatch.chdir(tmp_path)
    for arguments in READING.values():
        code, out, err = run(capfd, monkeypatch, *arguments, "--store", ".")
        assert (code, out, err.count("\n")) == (3, "", 1), arguments
        assert err.startswith("memloc: store .: is a folder without a store in it; ")
    with pytest.raises(StoreError, match="is a folder without a store in it"):
        memloc.open_store(tmp_path)
    assert content(tmp_path) == contents


def test_a_store_among_other_files(store: Store) -> None:
    """Whoever keeps a store in a project's own folder loses none of the project's files."""
    others = {name: text.encode() for name, text in {**CLONE, **PROJECT}.items()}
    for name, data in others.items():
        store.files.put(name, data)
    assert not store.files.is_store()
    records.write_sweep(store.files, "mine", [])
    assert store.files.is_store()
    damaged = "commits/ab/" + "ab" * 8 + "-00000000.json"
    store.files.put(damaged, b"{}")
    assert store.snapshot().broken == [damaged]  # the others are no broken commits
    assert [finding.path for finding in verify(store.files)[0]] == [damaged]
    assert {name: store.files.find(name) for name in others} == others
    assert [r.name for r in records.read_sweeps(store.files)] == ["mine"]


@pytest.mark.parametrize(
    "path",
    [
        layout.sweep("my sweep", b"x"),
        layout.commit("0123456789abcdef", b"x"),
        layout.checkpoint("0123456789abcdef", 7),
        layout.checkpoint("0123456789abcdef", 12345),
        layout.resume_state("0123456789abcdef", 7, "numerics", b"x"),
        layout.pruned("0123456789abcdef"),
    ],
)
def test_what_the_layout_writes_makes_a_store(tmp_path: Path, path: str) -> None:
    assert layout.is_own(path)
    files = Files(str(tmp_path))
    files.put(path + ".old", b"x")
    files.put("deeper/" + path, b"x")
    assert not files.is_store()
    files.put(path, b"x")
    assert files.is_store()


def test_opening_lists_no_whole_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One listing of the names of sweeps, one of the records of a sweep, however many commits there are."""
    records.write_sweep(store.files, "mine", [])
    for n in range(3):
        store.files.put(layout.commit(f"{n:016x}", b"x"), b"x")
    asked: list[str] = []
    genuine = Files._names
    monkeypatch.setattr(Files, "_names", lambda self, folder, kind: asked.append(folder) or genuine(self, folder, kind))
    assert store.files.is_store()
    assert asked == ["sweeps", "sweeps/mine"]
