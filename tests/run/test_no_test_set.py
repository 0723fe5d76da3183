"""Without test images every stage runs, what is about them is NULL, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from memloc.analysis.reading import read_table
from memloc.data import load
from memloc.store import Store
from tests.conftest import run_inline

SWEEP = """
defaults: {dataset: "npz:FILE", model: resnet9, width: 0.0625, epochs: 1, batch_size: 25, noise: 0.1, test: TEST}
blocks:
  plain:
    stages:
      {gradients: {}, rewind: {epochs: [0]}, retrain: {epochs: 1}, evaluate: {}, second_split: {}, detection: {},
       flips: {clean: 3, noisy: 3, max_neurons: 2, repeats: 1}}
  tied:
    set: {dropout: example_tied, p_gen: 0.4, p_mem: 0.1}
    stages: {evaluate: {}}
"""
OF_TEST = ("test_acc", "test_se")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    """{"none": without test images, "some": with ten}: the same training images."""
    folder = tmp_path_factory.mktemp("no-test")
    raw = load("digits")
    x, y = raw.x_train[:50, 0], raw.y_train[:50]
    np.savez(folder / "none.npz", x_train=x, y_train=y)
    np.savez(folder / "some.npz", x_train=x, y_train=y, x_test=raw.x_test[:10, 0], y_test=raw.y_test[:10])
    made = {}
    for name, test in (("none", "0"), ("some", "null")):
        made[name] = Store(str(folder / name))
        run_inline(folder, SWEEP.replace("FILE", f"{name}.npz").replace("TEST", test), made[name], name)
    return made


@pytest.mark.parametrize(
    "table", ["epochs", "examples", "gradients", "rewind", "retrain", "evaluation", "second_split", "flips"]
)
def test_what_is_not_about_test_images_is_the_same(stores: dict[str, Store], table: str) -> None:
    none, some = (read_table(stores[name], table, None, False).to_pandas() for name in ("none", "some"))
    assert len(none) == len(some) > 0
    for column in none.columns.intersection(OF_TEST):
        assert none[column].isna().all()
        assert some[column].notna().any()
    # One retraining and the order of trials depend on ids, which differ: rows are compared as a multiset.
    kept = [c for c in none.columns if c not in (*OF_TEST, "trial", "analysis", "seconds")]
    assert sorted(map(repr, none[kept].to_dict("records"))) == sorted(map(repr, some[kept].to_dict("records")))
