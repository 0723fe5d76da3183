"""A training that diverged beside one that did not: what is said of it, and that its NaN is no number anywhere."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from memloc.analysis.diverged import diverged_in_words
from memloc.analysis.reader import Reader
from memloc.analysis.reading import reading, run_sql
from memloc.analysis.suspects import Judgement, judgements, suspects
from memloc.commands.summary import summary
from memloc.errors import UsageError
from memloc.report.suspects import find
from memloc.run.plan import Plan
from memloc.stages.detection.compute import samples_of
from memloc.stages.detection.scores import SCORES
from memloc.statistics import auc_interval
from memloc.store import Store
from tests.conftest import run_inline
from tests.run.programs import memloc

SWEEP = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 60, noise: 0.0, epochs: 2, batch_size: 16}
blocks:
  b:
    axes: {lr: [0.1, 1.0e+6]}
    stages: {evaluate: {}}
  c:
    set: {noise: 0.2, lr: 1.0e+6}
    stages: {detection: {}, gradients: {}, flips: {clean: 2, noisy: 2, post_eval: 0}}
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    folder = tmp_path_factory.mktemp("diverged")
    return folder, run_inline(folder, SWEEP, Store(str(folder / "store")))


def ids(plan: Plan, lr: float, noise: float = 0.0) -> list[str]:
    return [t.id for t in plan.trials if (t.config.lr, t.config.noise) == (lr, noise)]


def test_it_is_said_where_results_are_read(ran: tuple[Path, Plan]) -> None:
    folder, plan = ran
    store = Store(str(folder / "store"))
    said = reading(store, diverged_in_words, "tiny")
    rows = run_sql(store, "SELECT trial, epoch, loss FROM epochs ORDER BY trial, epoch").to_pylist()
    first: dict[str, int] = {}
    for row in rows:
        if not math.isfinite(row["loss"]):
            first.setdefault(row["trial"], row["epoch"])
    assert sorted(first) == sorted([*ids(plan, 1e6), *ids(plan, 1e6, 0.2)])
    one, other = (f"{trial[:8]} (first in epoch {epoch})" for trial, epoch in first.items())
    assert said.startswith(f"2 of 3 trainings diverged: {one}, {other}. ")
    claims = memloc(folder, "claims", "tiny", "--store", store.uri)
    report = memloc(folder, "report", "tiny", "--store", store.uri, "--format", "md", "-o", str(folder / "r.md"))
    assert (claims.code, claims.err, report.code) == (0, "", 0)
    assert not {"Traceback", "RuntimeWarning"} & set(re.findall(r"\w+", report.err))
    for text in (summary(store, "tiny"), claims.out, (folder / "r.md").read_text()):
        assert "2 of 3 trainings diverged" in " ".join(text.split())


def test_it_ranks_nothing(ran: tuple[Path, Plan]) -> None:
    """Its probabilities are NaN, and the class that is the largest of NaN is 0 for every example."""
    folder, plan = ran
    store, (good,), (bad,) = Store(str(folder / "store")), ids(plan, 0.1), ids(plan, 1e6)

    def judged(reader: Reader, *trials: str) -> list[Judgement]:
        return judgements(reader, trials)

    alone, both = (reading(store, lambda r, t=t: judged(r, *t), "tiny") for t in ((good,), (good, bad)))
    assert len(alone) == len(both) == 1
    assert suspects(both, 10).table.equals(suspects(alone, 10).table)
    configs = {trial.id: trial for trial in plan.trials}
    with pytest.raises(UsageError, match="every training on the labels as given has diverged"):
        find(store, "tiny", {bad: configs[bad].config}, configs[bad].data, folder)


def test_its_scores_have_no_area(ran: tuple[Path, Plan]) -> None:
    rows = run_sql(Store(str(ran[0] / "store")), "SELECT score, auc, ap FROM detection").to_pylist()
    of = {row["score"]: (row["auc"], row["ap"]) for row in rows}
    assert {of[score] for score in ("aum", "loss", "probability", "el2n")} == {(None, None)}


def test_infinite_logits_are_no_score() -> None:
    """They come before NaN: an infinite logit of another class has a margin of minus infinity."""
    examples = {"noisy": [True, False, False], "aum": [1.0, -np.inf, 2.0], "mean_loss": [1.0, np.inf, np.nan]}
    compared = [score for score in SCORES if score.name in ("aum", "loss")]
    (sample,) = samples_of({"examples": examples}, compared)
    assert np.array_equal(sample.scores["aum"], [-1.0, np.nan, -2.0], equal_nan=True)
    assert np.array_equal(sample.scores["loss"], [1.0, np.nan, np.nan], equal_nan=True)
    assert auc_interval(sample.scores["aum"], sample.noisy) is None
