"""A small store that most figures and tables have data in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memloc.analysis.reading import reading
from memloc.data.directory import data_dir as directory
from memloc.papers.registry import paper
from memloc.report.content import Report, gather
from memloc.store import Store
from tests.conftest import run_inline, shared
from tests.run.programs import command, environment, python

EVERYTHING = """
about: Every figure and table, in seconds.
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 120, noise: 0.1, epochs: 10, batch_size: 32}
blocks:
  main:
    axes: {seed: [0, 1, 2]}
    stages:
      gradients: [{epochs: [1, 3, 4, 5, 6, 10]}, {at: checkpoint, epochs: [0, 5, 10]}]
      rewind: {epochs: [0, 5, 10]}
      evaluate: {}
  retraining:
    axes: {seed: [0, 1]}
    stages: {retrain: {epochs: 2}}
  flips:
    axes: {seed: [0, 1, 2]}
    stages: {flips: {clean: 12, noisy: 8, repeats: 2, max_neurons: 20}, detection: {}}
  noise_curve:
    axes: {noise: [0.05, 0.5, 0.9], seed: [0, 1]}
    stages: {gradients: {epochs: [1, 5, 10]}}
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
        arguments = command("report", "-o", str(folder / "report.html"), "--store", str(everything))[1:]
        done = python(environment(folder), *arguments)
        assert (done.code, done.err, done.out) == (0, "", f"report: {folder / 'report.html'}\n")
        assert [p.name for p in folder.iterdir()] == ["report.html"]

    return shared(tmp_path_factory, "page", make) / "report.html"


@pytest.fixture(scope="session")
def report(everything: Path) -> Report:
    """All that the store has."""
    return reading(Store(str(everything)), lambda reader: gather(reader, paper(), None, directory(None)))


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Chromium, once for all tests of pages that run in this process."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium on this machine")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield found
        found.close()
