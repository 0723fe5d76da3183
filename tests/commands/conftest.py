"""A store of trainings that memorized, for what is said of memorization."""

from __future__ import annotations

import pytest

import memloc
from memloc.api import OpenStore
from memloc.store import Store
from tests.conftest import TINY, run_inline, shared


@pytest.fixture(scope="session")
def memorizing(tmp_path_factory: pytest.TempPathFactory) -> OpenStore:
    """Three trainings that memorize a hundred digits, ten of them mislabeled; one is example-tied. Only to be read."""
    head = TINY[: TINY.index("blocks:")].replace("epochs: 2, batch_size: 32", "epochs: 26, batch_size: 16")
    head = head.replace("width: 0.0625", "width: 0.125")
    stages = """blocks:
  standard:
    axes: {seed: [0, 1]}
    stages:
      gradients: {epochs: [1, 5, 26]}
      rewind: {epochs: [0, 2, 26]}
      retrain: {epochs: 2}
      flips: {clean: 20, noisy: 10, repeats: 2, post_eval: all}
      evaluate: {}
      detection: {}
  tied:
    set: {dropout: example_tied, p_gen: 0.4, p_mem: 0.1}
    stages: {evaluate: {}}
"""
    folder = shared(tmp_path_factory, "memorizing", lambda f: run_inline(f, head + stages, Store(str(f / "store"))))
    return memloc.open_store(str(folder / "store"))
