"""A small store that every figure and table has data in."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memloc.analysis.reader import Reader, known_tables, visible
from memloc.config import canonical_json
from memloc.papers.maini2023 import Judgement, judge
from memloc.report.charts import Exhibit
from memloc.report.exhibits import exhibits
from memloc.report.source import Source
from memloc.store import Commit, Store, schemas
from memloc.store.commits import publish, publish_tables, read_entry
from tests.conftest import run_inline, shared
from tests.run.programs import command, environment

EVERYTHING = """
about: Every figure and table, in seconds.
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 120, noise: 0.1, epochs: 10, batch_size: 32}
blocks:
  main:
    axes: {seed: [0, 1, 2]}
    stages: {gradients: {epochs: [0, 1, 3, 4, 5, 10]}, rewind: {epochs: [0, 5, 10]}, evaluate: {}}
  retraining:
    axes: {seed: [0, 1]}
    stages: {retrain: {epochs: 2}}
  flips:
    axes: {seed: [0, 1, 2]}
    stages: {flips: {clean: 12, noisy: 8, repeats: 2, max_neurons: 20}, detection: {}}
  noise_curve:
    axes: {noise: [0.05, 0.5, 0.9], seed: [0, 1]}
    stages: {gradients: {epochs: [0, 5, 10]}}
  tied:
    axes: {p_gen: [0.2, 0.3], p_mem: [0.1, 0.2], seed: [0, 1]}
    set: {dropout: example_tied}
    stages: {evaluate: {}}
  baselines:
    axes: {dropout: [standard, sparse]}
    set: {keep: 0.4}
    stages: {evaluate: {}}
"""


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of the sweep `tiny`. Only to be read."""
    return shared(tmp_path_factory, "report", lambda f: run_inline(f, EVERYTHING, Store(str(f / "store")))) / "store"


@pytest.fixture(scope="session")
def page_file(everything: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, as `memloc report` writes it in a process with hashes of its own. Only to be read."""

    def make(folder: Path) -> None:
        arguments = command("report", "-o", str(folder / "report.html"), "--store", str(everything))
        done = subprocess.run(
            arguments, env=environment(folder, PYTHONHASHSEED="7"), capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr, done.stdout) == (0, "", f"report: {folder / 'report.html'}\n")
        assert [p.name for p in folder.iterdir()] == ["report.html"]

    return shared(tmp_path_factory, "page", make) / "report.html"


def source_of(store: Store) -> Source:
    """All that the store has."""
    return Source(Reader(store, visible(store, store.snapshot(), None, False)))


@pytest.fixture(scope="session")
def source(everything: Path) -> Source:
    return source_of(Store(str(everything)))


@pytest.fixture(scope="session")
def judged(source: Source) -> Sequence[Judgement]:
    return judge(source.reader.store)


@pytest.fixture(scope="session")
def drawn(source: Source) -> Sequence[Exhibit]:
    """Every exhibit of the store."""
    return exhibits(source)


def altered(store: Path, folder: Path, change: Callable[[Commit], Mapping[str, Any] | None]) -> Source:
    """The trainings and analyses of a store in another one; `change` gives some another configuration."""
    old, new = Store(str(store)), Store(str(folder / "altered"))
    for commit in old.snapshot().commits.values():
        tables = {f.table: schemas.decode(read_entry(old.files, f)).to_pydict() for f in commit.files}
        config = change(commit)
        if config is not None and "trials" in tables:
            tables["trials"] |= {"config": [canonical_json(config)]} | {k: [config[k]] for k in ("dataset", "noise")}
        files = publish_tables(new.files, commit.id, tables, known_tables())
        publish(new.files, replace(commit, files=files, config=commit.config if config is None else config))
    return source_of(new)
