"""Two reads of a trial are equal, and stores and trials travel to other processes."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

import memloc
from memloc.api import OpenStore, Trial
from memloc.run.ids import training_id
from memloc.store import Store
from memloc.store.compaction import compact


def test_a_trial_is_known_by_its_store_and_its_id(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = memloc.open_store(tiny), memloc.open_store(tiny)
    assert one == other
    first, second = one.trials()
    assert first == other.trial(first.id)
    assert first != second
    assert first != first.id
    assert {first, second} == set(other.trials())
    assert one.trials() == other.trials()
    monkeypatch.chdir(tiny.parent)
    assert memloc.open_store(tiny.name).trials() == one.trials()  # the same store by another name
    shutil.copytree(tiny, tmp_path / "copy")
    copied = memloc.open_store(tmp_path / "copy")
    assert copied != one
    assert copied.trial(first.id) != first


@pytest.mark.parametrize("compacted", [False, True])
def test_what_is_pickled_works_in_another_folder(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compacted: bool
) -> None:
    shutil.copytree(tiny, tmp_path / "store")
    if compacted:
        compact(Store(str(tmp_path / "store")).files)
    monkeypatch.chdir(tmp_path)
    store = memloc.open_store("store", data_dir="data")
    trial = store.trials(dropout="none")[0]
    expected = trial.model().state_dict()
    (tmp_path / "elsewhere").mkdir()
    content = pickle.dumps((store, trial))
    monkeypatch.chdir(tmp_path / "elsewhere")
    again: tuple[OpenStore, Trial] = pickle.loads(content)
    assert again == (memloc.open_store(tmp_path / "store"), memloc.open_store(tmp_path / "store").trial(trial.id))
    assert again[0].table("rewind").num_rows == 27
    assert again[1].epochs == (0, 1, 2)
    assert again[1].config == trial.config
    assert again[0]._data_dir == again[1]._folder == os.path.join(tmp_path, "data")
    found = again[1].model().state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert training_id(again[1].config, again[1]._commit.part["data"], again[1]._commit.part["version"]) == trial.id
