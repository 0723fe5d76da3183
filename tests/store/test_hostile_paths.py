"""Whoever can write a file into a store cannot make memloc read, move or remove what is not the store's."""

from __future__ import annotations

import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from memloc.analysis.reader import known_tables
from memloc.analysis.reading import read_table
from memloc.errors import MemlocWarning, StoreError
from memloc.store import Commit, Store, checkpoints, heartbeats, layout, records, schemas
from memloc.store.commit_form import CheckpointEntry, FileEntry
from memloc.store.state_form import ResumeState
from memloc.store.verify import verify
from tests.store.writing import ROWS, commit_of, rows_of, with_training

TRIAL, OTHER, PART = "e" * 16, "d" * 16, "0" * 16
VICTIM = "../victim/x.txt"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of one complete analysis. Beside it is a folder of somebody else's."""
    store = Store(str(tmp_path / "store"))
    whole = replace(commit_of(0, 0, 1.0), trial=OTHER, of=1)
    store.publish(whole, rows_of(0, 0), known_tables())
    with_training(store, OTHER)
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "x.txt").write_bytes(predictions())
    return Store(store.uri)


def predictions() -> bytes:
    """A data file that a reader would take."""
    return schemas.encode("predictions", rows_of(1, 1)["predictions"], known_tables()["predictions"])[0]


def put(store: Store, commit: Commit, content: bytes | None = None) -> str:
    content = commit.encode() if content is None else content
    path = layout.commit(commit.id, content)
    store.files.put(path, content)
    return path


def others(store: Store) -> dict[str, bytes]:
    """Everything beside the store."""
    beside = Path(store.uri).parent / "victim"
    return {str(path.relative_to(beside)): path.read_bytes() for path in beside.rglob("*") if path.is_file()}


def file_at(path: str, content: bytes, **changes: Any) -> FileEntry:
    entry = FileEntry("predictions", path, ROWS, len(content), layout.sha256(content))
    return replace(entry, **changes)


def hostile_commits() -> dict[str, Commit]:
    """Each lists or is something whose place the layout would not give."""
    content = predictions()
    odd = Commit("1" * 16, TRIAL, "2" * 16, "evaluate", {}, 0, 1, {})
    training = Commit(TRIAL, TRIAL, None, "train", {"data": "d", "version": 1}, 0, 1, {"dataset": "digits"})
    right = layout.data("predictions", odd.id, content)
    checkpoint = CheckpointEntry(0, layout.checkpoint(TRIAL, 0), 3, "0" * 64)
    return {
        "a file outside": replace(odd, files=(file_at(VICTIM, content),)),
        "an absolute path": replace(odd, files=(file_at("/etc/passwd", content, size=1),)),
        "a way round": replace(odd, files=(file_at(right.replace("data/", "data/../data/"), content),)),
        "a table outside": replace(odd, files=(file_at(VICTIM, content, table="../../victim"),)),
        "a file of another part": replace(odd, files=(file_at(layout.data("predictions", PART, content), content),)),
        "a file by another hash": replace(odd, files=(file_at(right, content, sha256="0" * 64),)),
        "a checkpoint outside": replace(training, checkpoints=(replace(checkpoint, path=VICTIM),)),
        "a checkpoint of another epoch": replace(training, checkpoints=(replace(checkpoint, epoch=1),)),
        "a checkpoint of an analysis": replace(odd, checkpoints=(checkpoint,)),
        "a trial outside": replace(odd, trial="../../victim"),
        "an analysis outside": replace(odd, analysis="../../victim"),
        "a training of another trial": replace(training, id="3" * 16),
        "a part beyond the last": replace(odd, nth=1),
    }


@pytest.mark.parametrize("name", hostile_commits())
def test_a_commit_lists_only_what_the_layout_gives(store: Store, name: str) -> None:
    before, path = others(store), put(store, hostile_commits()[name])
    with pytest.warns(MemlocWarning, match=f"left out: {path} is no commit "):
        assert set(store.snapshot().commits) == {PART, OTHER}
    assert read_table(store, "predictions").num_rows == ROWS
    assert store.commit(hostile_commits()[name].id) is None
    with pytest.warns(MemlocWarning, match=f"{path} is no commit .*; what it lists is not checked"):
        assert verify(store.files)[0] == []
    assert others(store) == before
    assert store.files.size(path) is not None


def test_a_commit_under_another_name(store: Store) -> None:
    content = replace(commit_of(0, 0, 1.0), of=1).encode()
    path = layout.commit("4" * 16, content)
    store.files.put(path, content)
    with pytest.warns(MemlocWarning, match=f"{path} is no commit of this store: it has the id {PART}"):
        assert set(store.snapshot().commits) == {PART, OTHER}


def test_parts_that_disagree_are_not_parts_of_one_analysis(store: Store) -> None:
    """A commit that calls itself part of an analysis and says something else of it changes no row of it."""
    stranger = replace(commit_of(0, 0, 1.0), id="5" * 16, of=1, config={"another": 1})
    store.publish(stranger, rows_of(7, 7), known_tables())
    assert read_table(store, "predictions")["predicted"].to_pylist() == [0] * ROWS


# --- states to go on from


def state(entries: list[CheckpointEntry]) -> ResumeState:
    tensors = {"w": torch.zeros(2)}
    return ResumeState(1, tensors, tensors, [{"epoch": 1}], entries, "here")


def test_a_state_lists_only_checkpoints_of_its_training(store: Store) -> None:
    content = checkpoints.encode({"w": torch.ones(2)})
    entry = checkpoints.entry(TRIAL, 1, content)
    store.files.put(entry.path, content)
    (Path(store.uri).parent / "victim" / "w").write_bytes(content)
    path = checkpoints.save_resume(store.files, TRIAL, state([entry]), [])
    assert checkpoints.load_resume(store.files, TRIAL, (), "here") is not None
    store.files.delete(path)
    checkpoints.save_resume(store.files, TRIAL, state([replace(entry, path="../victim/w")]), [])
    with pytest.warns(MemlocWarning, match=r"resume-0001-.* is no state of a training .*victim/w"):
        assert checkpoints.load_resume(store.files, TRIAL, (), "here") is None


@pytest.mark.parametrize("made", ["text", "no pickle", "no entries", "an empty list", "a tensor", "compressed"])
def test_what_is_no_state_is_passed_over(store: Store, tmp_path: Path, made: str) -> None:
    content = checkpoints.encode({"w": torch.ones(2)})
    entry = checkpoints.entry(TRIAL, 1, content)
    store.files.put(entry.path, content)
    kinds: dict[str, Callable[[Path], bytes]] = {
        "text": lambda path: b"hello",
        "no pickle": no_pickle,
        "no entries": no_entries,
        "an empty list": lambda path: no_entries(path, entries=[]),
        "a tensor": a_tensor,
        "compressed": compressed,
    }
    odd = kinds[made](tmp_path / "odd")
    path = layout.resume_state(TRIAL, 1, "here", odd)
    store.files.put(path, odd)
    with pytest.warns(MemlocWarning, match=f"left out: {path} is no state of a training"):
        assert checkpoints.load_resume(store.files, TRIAL, (), "here") is None


def sparse(store: Store, path: str, size: int = 15 << 40) -> None:
    """A file of 15 TB that takes no room."""
    there = Path(store.uri) / path
    there.parent.mkdir(parents=True, exist_ok=True)
    there.touch()
    os.truncate(there, size)


def test_a_state_larger_than_the_memory_is_passed_over(store: Store) -> None:
    content = checkpoints.encode({"w": torch.ones(2)})
    entry = checkpoints.entry(TRIAL, 1, content)
    store.files.put(entry.path, content)
    checkpoints.save_resume(store.files, TRIAL, state([entry]), [])
    store.files.put(layout.checkpoint(TRIAL, 2), content)
    huge = layout.resume_state(TRIAL, 2, "here", b"")
    sparse(store, huge)
    with pytest.warns(MemlocWarning, match=f"left out: {huge} is no state of a training .*has {15 << 40} bytes"):
        found = checkpoints.load_resume(store.files, TRIAL, (), "here")
    assert found is not None
    assert found[0].epoch == 1


@pytest.mark.parametrize(
    "path", ["sweeps/x/aaaaaaaa.json", f"commits/aa/{'a' * 16}-aaaaaaaa.json", "manifests/000009-aaaaaaaa.json"]
)
def test_verify_reads_no_huge_file(store: Store, path: str) -> None:
    """It is named and left where it is, since nobody knows whether its hash is right."""
    sparse(store, path)
    words = f"{path} has {15 << 40} bytes; .* at most are read; (it|what it lists) is not checked"
    with pytest.warns(MemlocWarning, match=words):
        assert verify(store.files)[0] == []
    assert store.files.size(path) == 15 << 40


def test_a_huge_file_in_the_place_of_a_record(store: Store) -> None:
    trials = [{"trial": TRIAL, "config": {}, "blocks": [], "analyses": []}]
    name, _, sha = records.write_sweep(store.files, "mine", trials).partition("@")
    path = layout.sweep_named(name, sha)
    content = store.files.get(path)
    sparse(store, path)
    records.write_sweep(store.files, "mine", trials)
    assert store.files.get(path) == content


def test_a_commit_of_a_huge_file(store: Store) -> None:
    """Its size is as committed, so nobody would notice before all of it is read."""
    odd = Commit("1" * 16, TRIAL, "2" * 16, "evaluate", {}, 0, 1, {})
    right = layout.data_named("predictions", odd.id, "0" * 64)
    path = put(store, replace(odd, files=(FileEntry("predictions", right, ROWS, 15 << 40, "0" * 64),)))
    with_training(store, TRIAL)
    sparse(store, right)
    with pytest.raises(StoreError, match=f"{right} was committed with {15 << 40} bytes; .* at most are read"):
        read_table(store, "predictions")
    assert [broken.path for broken in verify(store.files)[0]] == [right]
    assert store.files.size(path) is None
    assert read_table(store, "predictions").num_rows == ROWS


def no_pickle(path: Path) -> bytes:
    torch.save({"epoch": os.getcwd}, path)  # a function: not among the types that may be unpickled
    return path.read_bytes()


def no_entries(path: Path, **more: object) -> bytes:
    extra = json.dumps({"numerics": "here", "rows": [], **more})
    torch.save({"epoch": 1, "momentum": {}, "dynamics": {}, "extra": extra}, path)
    return path.read_bytes()


def a_tensor(path: Path) -> bytes:
    torch.save(torch.ones(2), path)
    return path.read_bytes()


def compressed(path: Path) -> bytes:
    """A few kilobytes that would be many in memory."""
    torch.save({"w": torch.zeros(1 << 18)}, path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(f"{path}.small", "w", zipfile.ZIP_DEFLATED) as small:
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    return Path(f"{path}.small").read_bytes()


# --- other people's files in our folders


def test_files_of_other_forms_stay(store: Store) -> None:
    others = [f"failures/{TRIAL}-notes.txt", f"checkpoints/{TRIAL}/resume-notes.txt", "heartbeats/run/notes.txt"]
    for path in others:
        store.files.put(path, b"mine")
    records.clear_failures(store.files, {TRIAL})
    assert checkpoints.resume_states(store.files, TRIAL) == []
    checkpoints.prune_states(store.files, TRIAL)
    heartbeats.clear(store.files, "run")
    assert all(store.files.get(path) == b"mine" for path in others)


@pytest.mark.parametrize("content", ['[["a"]]', "{}", "[-1]", "nothing", "[" * 400])
def test_what_is_no_list_of_pruned_epochs(store: Store, content: str) -> None:
    store.files.put(layout.pruned(TRIAL), content.encode())
    with pytest.warns(MemlocWarning, match=r"pruned.json is no list of epochs"):
        assert checkpoints.read_pruned(store.files, TRIAL) == set()


def test_a_list_of_pruned_epochs_that_was_changed(store: Store) -> None:
    """A flipped bit may leave a list of other epochs. These would never be trained again."""
    content = b"[1, 3]"
    store.files.put(layout.pruned(TRIAL, content), content)
    assert checkpoints.read_pruned(store.files, TRIAL) == {1, 3}
    store.files.put(layout.pruned(TRIAL, content), b"[1, 2]")
    with pytest.warns(MemlocWarning, match=r"is no list of epochs \(its content does not match its name\)"):
        assert checkpoints.read_pruned(store.files, TRIAL) == set()


# --- symbolic links


def link(store: Store, path: str, target: Path) -> None:
    there = Path(store.uri) / path
    there.parent.mkdir(parents=True, exist_ok=True)
    there.symlink_to(target)


@pytest.mark.parametrize("path", ["commits/ab", "commits", "sweeps/mine", "checkpoints", "failures", "heartbeats"])
def test_a_link_to_a_folder_is_not_followed(store: Store, path: str) -> None:
    """Otherwise verify would move what lies behind it: its content does not match its name."""
    victim = Path(store.uri).parent / "victim"
    for name in (f"{'ab' * 8}-00000000.json", "00000000.json", f"{TRIAL}/pruned.json"):
        (victim / name).parent.mkdir(exist_ok=True)
        (victim / name).write_bytes(b"precious")
    before = others(store)
    shutil.rmtree(Path(store.uri) / path, ignore_errors=True)
    link(store, path, victim)
    with pytest.warns(MemlocWarning, match=f"left out: {path} is a symbolic link"):
        assert not [p for p in store.files.listing(path.split("/")[0]) if p.startswith(path)]
    assert verify(store.files)[0] == []  # without a word: the link has been named
    assert others(store) == before


def test_no_checkpoint_is_removed_behind_a_link(store: Store) -> None:
    (Path(store.uri).parent / "victim" / "epoch-0000.safetensors").write_bytes(b"precious")
    link(store, layout.checkpoints(TRIAL), Path(store.uri).parent / "victim")
    before = others(store)
    entry = CheckpointEntry(0, layout.checkpoint(TRIAL, 0), 8, layout.sha256(b"precious"))
    assert store.files.find(entry.path) is None
    store.files.delete(entry.path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MemlocWarning)
        with pytest.raises(StoreError, match=f"checkpoints/{TRIAL} is a symbolic link"):
            checkpoints.prune(store.files, TRIAL, [entry], [])
    assert others(store) == before


def test_a_link_in_the_place_of_a_file_is_not_followed(store: Store) -> None:
    """Even if what it leads to has the committed hash: the file is missing, and verify moves the link at most."""
    commit = store.commit(PART)
    assert commit is not None
    path = next(f.path for f in commit.files if f.table == "predictions")
    victim = Path(store.uri).parent / "victim" / "x.txt"
    victim.write_bytes(store.files.get(path))
    store.files.delete(path)
    link(store, path, victim)
    with pytest.raises(StoreError, match=f"{path} is missing"):
        read_table(store, "predictions")
    assert [f.path for f in verify(store.files)[0]] == [path]
    assert victim.is_file()
    assert not victim.is_symlink()


@pytest.mark.parametrize("folder", ["tmp", "quarantine"])
def test_nothing_is_written_through_a_link(store: Store, folder: str) -> None:
    shutil.rmtree(Path(store.uri) / folder, ignore_errors=True)
    link(store, folder, Path(store.uri).parent / "victim")
    before = others(store)
    with pytest.raises(StoreError, match=f"{folder} is a symbolic link"):
        store.files.put("quarantine/a", b"mine")
    assert store.files.find("tmp/x.txt") is None
    with pytest.raises(StoreError, match=r"quarantine is a symbolic link") if folder == "quarantine" else nullcontext():
        store.quarantine(store.snapshot().paths[PART])
    assert others(store) == before


def test_the_store_itself_may_be_a_link(store: Store) -> None:
    """Its owner has named it."""
    elsewhere = Path(store.uri).parent / "link"
    elsewhere.symlink_to(store.uri)
    assert read_table(Store(str(elsewhere)), "predictions").num_rows == ROWS
