"""What counts as pruned, as lost and as damaged; checkpoints are removed on a full disk too, which makes room on it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from memloc.errors import DamagedError, StorageError, UsageError
from memloc.store import Files, Store, checkpoints, layout, records
from memloc.store import local as on_disk
from memloc.store.commit_form import CheckpointEntry

TRIAL = "a" * 16


@pytest.fixture
def entries(tmp_path: Path) -> list[CheckpointEntry]:
    """The checkpoints of a training of four epochs, which lie in the store."""
    made = []
    for epoch in range(5):
        content = bytes([epoch]) * 1000
        Files(str(tmp_path)).put(layout.checkpoint(TRIAL, epoch), content)
        made.append(checkpoints.entry(TRIAL, epoch, content))
    return made


def refusing(monkeypatch: pytest.MonkeyPatch, files: Files, code: int, while_there: str) -> list[list[int]]:
    """The disk takes no file while there is this one. Returns the epochs that were there at each try to write."""
    real, tries = on_disk.write, list[list[int]]()

    def write(root: str, path: str, data: bytes) -> None:
        tries.append(epochs_in(files))
        if files.size(while_there) is not None:
            raise OSError(code, os.strerror(code))
        real(root, path, data)

    monkeypatch.setattr(on_disk, "write", write)
    return tries


def epochs_in(files: Files) -> list[int]:
    return [epoch for epoch in range(5) if files.size(layout.checkpoint(TRIAL, epoch)) is not None]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: list[CheckpointEntry], code: int) -> None:
    files = Files(str(tmp_path))
    tries = refusing(monkeypatch, files, code, layout.checkpoint(TRIAL, 1))
    checkpoints.prune(files, TRIAL, entries, {2, 4})
    assert tries == [[0, 1, 2, 3, 4], [1, 2, 3, 4], [2, 3, 4]]  # what is cheap to train again goes first
    assert epochs_in(files) == [2, 4]
    assert checkpoints.read_pruned(files, TRIAL) == {0, 1, 3}


def test_a_full_disk_on_which_that_is_not_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: list[CheckpointEntry]
) -> None:
    files = Files(str(tmp_path))
    refusing(monkeypatch, files, errno.ENOSPC, layout.checkpoint(TRIAL, 4))
    with pytest.raises(StorageError, match="No space left"):
        checkpoints.prune(files, TRIAL, entries, {2, 4})
    assert epochs_in(files) == [2, 4]  # never one that stays


def test_another_fault_removes_nothing_without_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: list[CheckpointEntry]
) -> None:
    files = Files(str(tmp_path))
    refusing(monkeypatch, files, errno.EIO, layout.checkpoint(TRIAL, 1))
    with pytest.raises(StorageError, match="cannot be written"):
        checkpoints.prune(files, TRIAL, entries, {2, 4})
    assert epochs_in(files) == [0, 1, 2, 3, 4]


def test_an_import_does_not_take_what_was_lost_for_pruned(tmp_path: Path, entries: list[CheckpointEntry]) -> None:
    files = Files(str(tmp_path))
    checkpoints.prune(files, TRIAL, entries, {2, 3, 4})
    files.delete(layout.checkpoint(TRIAL, 3))  # lost
    files.put(layout.checkpoint(TRIAL, 0), bytes(1000))  # from the bundle
    checkpoints.note_absent(files, TRIAL, entries, there=True)
    assert checkpoints.read_pruned(files, TRIAL) == {1}
    checkpoints.note_absent(files, TRIAL, entries, there=False)
    assert checkpoints.read_pruned(files, TRIAL) == {1, 3}


def test_what_is_not_set_aside_is_not_said_to_be(tmp_path: Path) -> None:
    """A training's checkpoint belongs to no data of its commit: the training is not computed again from its begin."""
    damage = DamagedError("store x: a checkpoint is missing", layout.checkpoint(TRIAL, 1), checkpoints.REPLAYED)
    assert Store(str(tmp_path)).set_aside(damage) == f"{damage.problem}; {checkpoints.REPLAYED}"


def test_a_record_of_a_later_version_is_not_called_damaged(tmp_path: Path) -> None:
    files, content = Files(str(tmp_path)), b'{"trials": []}'
    files.put(layout.sweep("later", content), content)
    with pytest.raises(UsageError, match="is none that this version of memloc can read; update memloc"):
        records.read_sweep(files, "later")
    files.put(layout.sweep("torn", content), b"")
    with pytest.raises(UsageError, match="is damaged"):
        records.read_sweep(files, "torn")
