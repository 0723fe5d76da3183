"""The version of the stage that an analysis is of, and the warning that a store has results of two."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import memloc
from memloc.analysis.observations import Observations
from memloc.analysis.reader import Reader, known_tables, visible
from memloc.analysis.reading import read_table
from memloc.commands.store import ls
from memloc.config import fingerprint
from memloc.errors import MemlocWarning
from memloc.stages import STAGES
from memloc.store import Commit, Store

A, C = "a" * 16, "c" * 16
CONFIG = {"epochs": [0, 1], "factor": 2.0}
CODE = "e" * 64


def train(store: Store, trial: str = A, version: int = 2) -> None:
    labels = {"labels": {"trial": [trial], "label": [0], "name": ["cat"]}}
    store.publish(Commit(trial, trial, None, "train", {"version": version}, 0, 1, {}), labels, known_tables())


def analyse(store: Store, version: int | list[Any], reads: tuple[str, ...] = (), stage: str = "rewind") -> str:
    """Commits the one part of an analysis whose id is of this version; a list has hashes of the user's files too."""
    said = {"trial": A, "stage": stage, "config": CONFIG, "reads": list(reads)}
    analysis = fingerprint({**said, "version": version})
    where = {"plugins": {"plugin.py": CODE}} if isinstance(version, list) else {}
    commit = Commit(fingerprint([analysis]), A, analysis, stage, {}, 0, 1, CONFIG, reads=reads, where=where)
    numbers = {name: [0.5] for name in ("clean_acc", "noisy_acc", "clean_loss", "noisy_loss", "test_acc")}
    row = {"analysis": [analysis], "trial": [A], "layer": ["conv1"], "epoch": [0], **numbers}
    store.publish(commit, {"rewind": row}, known_tables())
    return analysis


def versions(store: Store) -> dict[str, int | None]:
    rows = read_table(store, "analyses")
    return dict(zip(rows["analysis"].to_pylist(), rows["version"].to_pylist(), strict=True))


def test_the_id_tells_the_version(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    train(store)
    first = analyse(store, 1)
    expected = {first: 1, analyse(store, 2): 2, analyse(store, 7, reads=(first,)): 7, analyse(store, [3, CODE]): 3}
    strange = analyse(store, 1000)
    assert versions(store) == {**expected, strange: None}


def test_what_memloc_has_computed_is_of_its_own_versions(tiny: Path) -> None:
    rows = memloc.open_store(tiny).pandas("analyses")
    assert set(zip(rows["stage"], rows["version"], strict=True)) == {(s, STAGES[s].version) for s in rows["stage"]}


def warned(action: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    assert {w.category for w in caught} <= {MemlocWarning}
    return [text for w in caught if "several versions" in (text := str(w.message))]


TWO = "stage rewind has results of several versions: 1 (1 analysis) and 2 (2 analyses)"


def test_two_versions_are_said_once_where_their_rows_are_read(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    train(store)
    first = analyse(store, 1)
    assert warned(lambda: memloc.open_store(tmp_path).pandas("rewind")) == []
    analyse(store, 2)
    analyse(store, 2, reads=(first,))
    opened = memloc.open_store(tmp_path)
    assert warned(lambda: opened.sql("SELECT trial FROM trials")) == []  # nothing of that stage is read
    (said,) = warned(lambda: opened.sql("SELECT avg(noisy_acc) FROM rewind"))
    assert said.startswith(f"store {tmp_path}: {TWO}. Each version computes other numbers")
    assert "column version of table analyses" in said
    assert "NAME@sha8" in said
    assert warned(lambda: [opened.pandas("rewind"), opened.claims()]) == []
    for read in (lambda: memloc.open_store(tmp_path).table("rewind"), lambda: ls(str(tmp_path), True)):
        (said,) = warned(read)
        assert TWO in said


def test_claims_say_it(tiny: Path, tmp_path: Path) -> None:
    """They read rows past the tables of SQL."""
    store = Store(str(shutil.copytree(tiny, tmp_path / "store")))
    version = STAGES["evaluate"].version
    commit = next(c for c in store.snapshot().commits.values() if c.stage == "evaluate")
    said = {"trial": commit.trial, "stage": "evaluate", "config": commit.config, "reads": []}
    newer = fingerprint({**said, "version": version + 1})
    rows = {t: read_table(store, t).to_pydict() for t in ("evaluation", "predictions")}
    kept = {t: [k for k, a in enumerate(r["analysis"]) if a == commit.analysis] for t, r in rows.items()}
    again = {t: {n: [v[k] for k in kept[t]] for n, v in r.items()} for t, r in rows.items()}
    again = {t: {**r, "analysis": [newer] * len(r["analysis"])} for t, r in again.items()}
    store.publish(replace(commit, id=fingerprint([newer]), analysis=newer, files=()), again, known_tables())
    (text,) = warned(lambda: memloc.open_store(store.uri).claims())
    assert f"stage evaluate has results of several versions: {version} (2 analyses) and {version + 1} (1 analysis)" in text
    opened = Store(store.uri)
    whole = Observations(Reader(opened, visible(opened, opened.snapshot(), None, False)))

    def read() -> list[Any]:
        """The store, and one of its trainings, as the page does it for the examples."""
        part = whole.of_trials({commit.trial})
        return [whole.analyses, part.analyses, part.frame("SELECT * FROM evaluation")]

    assert warned(read) == [text]  # of the store, and not of the one training again, with other counts


def test_two_versions_of_training_are_said_too(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    train(store)
    train(store, C, version=3)
    (said,) = warned(lambda: memloc.open_store(tmp_path).pandas("labels"))
    assert "training has results of several versions: 2 (1 training) and 3 (1 training)" in said
    assert "column version of table trials tells them apart" in said
    assert warned(lambda: memloc.open_store(tmp_path).pandas("rewind")) == []
