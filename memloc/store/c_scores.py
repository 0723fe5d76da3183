"""Table c_scores, computed from all held-out trainings of one kind (science.md, Atypical examples).

C-score (Jiang et al., 2021): the mean over ratios of the share of trainings without an example that are right about it.
Memorization (Feldman and Zhang, 2020): P(right | trained on) − P(right | held out) among those of ratio 0.7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from memloc.config import canonical_json, fingerprint
from memloc.data.cuts import cuts_needed
from memloc.store import schemas
from memloc.store.commits import Commit, read_entry
from memloc.store.files import Files

STAGE = "held_out"
MEMORIZATION_RATIO, MEMORIZATION_RUNS = 0.7, 20
TOGETHER = 32  # files of rows in memory

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass
class ScoreSet:
    """The held-out trainings that differ only in ratio, cut and the seed that comes with the cut.

    config: the fields that they share, with the seed of cut 0, and `held_out`: the settings of the stage. data: identity of
    the data set. runs: the stage's commits that are there, by (ratio, cut). needed: {ratio: cuts}.
    """

    id: str
    config: Mapping[str, Any]
    data: str
    needed: Mapping[float, int]
    runs: dict[tuple[float, int], Commit] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Is there a run of every ratio and cut that is needed?"""
        return all((ratio, cut) in self.runs for ratio, cuts in self.needed.items() for cut in range(cuts))


@dataclass(frozen=True)
class Scores:
    """Arrays [n] in order of `example`. memorization: NaN without enough runs. n_in, n_out: numbers of runs of ratio 0.7."""

    example: Ints
    c_score: Floats
    memorization: Floats
    n_in: Ints
    n_out: Ints


def score_sets(commits: Sequence[Commit]) -> list[ScoreSet]:
    """The sets among these commits, in order of their ids, complete or not."""
    trainings = {c.trial: c for c in commits if c.analysis is None}
    sets: dict[str, ScoreSet] = {}
    for commit in sorted((c for c in commits if c.stage == STAGE and c.trial in trainings), key=lambda c: c.id):
        training = trainings[commit.trial]
        own = dict(training.config)
        ratio, cut, dataset = float(own.pop("ratio")), int(own.pop("cut")), own.pop("dataset")
        shared = {**own, "seed": own.get("seed", 0) - cut, STAGE: dict(commit.config)}
        data = str(training.part["data"])
        key = fingerprint({"data": data, "version": training.part["version"], "config": shared})
        if key not in sets:
            n, least = commit.files[0].rows, int(commit.config["min_held_out"])
            needed = {float(r): cuts_needed(n, float(r), least) for r in commit.config["ratios"]}
            sets[key] = ScoreSet(key, {"dataset": dataset, **shared}, data, needed)
        sets[key].runs.setdefault((ratio, cut), commit)
    return [sets[key] for key in sorted(sets)]


def scores(files: Files, score_set: ScoreSet) -> Scores:
    """The scores of a complete set; the same bits whatever the order in which it was computed.

    Raises:
        StoreError: where a file is not what was committed.
    """
    wanted = [(ratio, score_set.runs[ratio, cut]) for ratio, cuts in sorted(score_set.needed.items()) for cut in range(cuts)]
    columns = ["example", "held_in", "correct"]

    def rows_of(run: tuple[float, Commit]) -> pa.Table:
        return schemas.decode(read_entry(files, run[1].files[0])).select(columns)

    n = wanted[0][1].files[0].rows
    # [right, runs] × [held out, held in], by ratio: whole numbers, so that no order matters.
    counts = {ratio: np.zeros((2, 2, n), dtype=np.int64) for ratio in score_set.needed}
    for start in range(0, len(wanted), TOGETHER):  # an object store would read all files ahead
        batch = wanted[start : start + TOGETHER]
        for (ratio, _), rows in zip(batch, files.map(rows_of, batch), strict=True):
            example: Ints = rows["example"].to_numpy()
            held_in, correct = rows["held_in"].to_numpy(), rows["correct"].to_numpy()
            for side, members in enumerate((~held_in, held_in)):
                counts[ratio][0, side] += members & correct
                counts[ratio][1, side] += members
    accuracies = [counts[ratio][0, 0] / counts[ratio][1, 0] for ratio in sorted(counts)]
    none = np.zeros((2, 2, n), dtype=np.int64)
    at = next((c for ratio, c in counts.items() if abs(ratio - MEMORIZATION_RATIO) < 1e-9), none)
    n_out, n_in = at[1]
    enough = np.minimum(n_in, n_out) >= MEMORIZATION_RUNS
    share = at[0] / np.maximum(at[1], 1)
    memorization = np.where(enough, share[1] - share[0], np.nan)
    return Scores(example, sum(accuracies) / len(accuracies), memorization, n_in, n_out)


def table(files: Files, commits: Sequence[Commit]) -> pa.Table:
    """Table c_scores: the complete sets among the commits."""
    schema = schemas.OWN["c_scores"]
    pieces = [_rows(one, scores(files, one)) for one in score_sets(commits) if one.complete]
    return pa.concat_tables([schema.empty_table(), *(pa.table(p, schema=schema) for p in pieces)])


def _rows(score_set: ScoreSet, scores: Scores) -> dict[str, Any]:
    n = len(scores.example)
    own = {name: score_set.config.get(name) for name in ("dataset", "model", "noise", "seed", "data_seed")}
    same = {"scores": score_set.id, **own, "config": canonical_json(score_set.config)}
    return {
        **{name: pa.array([value] * n, schemas.OWN["c_scores"].field(name).type) for name, value in same.items()},
        "example": scores.example,
        "c_score": scores.c_score,
        "memorization": pa.array(scores.memorization, from_pandas=True),  # NaN as NULL
        "n_in": scores.n_in,
        "n_out": scores.n_out,
    }
