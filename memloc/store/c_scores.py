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
from memloc.errors import error_line
from memloc.store import layout, schemas
from memloc.store.commit_form import Commit
from memloc.store.entries import damaged
from memloc.store.files import Files
from memloc.store.generation_rows import read_rows
from memloc.store.index_columns import PlacedEntry
from memloc.store.local import OnOdd
from memloc.store.shown import Shown

STAGE = "held_out"
MEMORIZATION_RATIO, MEMORIZATION_RUNS = 0.7, 20
TOGETHER = 32  # files of rows in memory
READ = {"example": pa.int64(), "held_in": pa.bool_(), "correct": pa.bool_()}

OF_SET = ("dataset", "model", "noise", "seed", "data_seed")  # columns that say which set it is

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


def score_sets(commits: Sequence[Commit], on_odd: OnOdd = lambda problems: None) -> list[ScoreSet]:
    """The sets among these commits, in order of their ids, complete or not.

    on_odd: called with {commit: why} of those that call themselves held-out trainings and cannot be any.
    """
    shown = Shown.of(commits)
    held_out = list(shown.at(np.array([stage == STAGE for stage in shown.said("stage")], dtype=bool)))
    trainings = {c.trial: c for c in shown.of_trials({c.trial for c in held_out}).trainings()}
    sets: dict[str, ScoreSet] = {}
    odd: dict[str, str] = {}
    for commit in sorted((c for c in held_out if c.trial in trainings), key=lambda c: c.id):
        try:
            run, score_set = _run_of(commit, trainings[commit.trial])
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            odd[f"{layout.commit_folder(commit.id)}/{commit.id}"] = f"is no held-out training ({error_line(error)})"
            continue
        sets.setdefault(score_set.id, score_set).runs.setdefault(run, commit)
    if odd:
        on_odd(odd)
    return [sets[key] for key in sorted(sets)]


def _run_of(commit: Commit, training: Commit) -> tuple[tuple[float, int], ScoreSet]:
    """((ratio, cut) of a held-out training, the set that it belongs to); an error of many types where it is none."""
    own = dict(training.config)
    ratio, cut, dataset = float(own.pop("ratio")), int(own.pop("cut")), own.pop("dataset")
    shared = {**own, "seed": own.get("seed", 0) - cut, STAGE: dict(commit.config)}
    data = str(training.part["data"])
    key = fingerprint({"data": data, "version": training.part["version"], "config": shared})
    n, least = commit.files[0].rows, int(commit.config["min_held_out"])
    ratios = [float(r) for r in commit.config["ratios"]]
    if not (n > 2 and least > 0 and ratios and all(0 < r < 1 for r in ratios)):
        raise ValueError(f"ratios {ratios} of {n} examples, each held out {least} times")
    score_set = ScoreSet(key, {"dataset": dataset, **shared}, data, {r: cuts_needed(n, r, least) for r in ratios})
    for name in OF_SET:
        pa.array([score_set.config.get(name)], schemas.OWN["c_scores"].field(name).type)
    return (ratio, cut), score_set


def scores(files: Files, score_set: ScoreSet) -> Scores:
    """The scores of a complete set; the same bits whatever the order in which it was computed.

    Raises:
        StoreError: where a file is not what was committed.
    """
    wanted = [(ratio, score_set.runs[ratio, cut]) for ratio, cuts in sorted(score_set.needed.items()) for cut in range(cuts)]

    def rows_of(run: tuple[float, Commit]) -> pa.Table:
        entry = run[1].files[0]
        path = entry.within.path if isinstance(entry, PlacedEntry) else entry.path
        rows = read_rows(files, entry, run[1].id)
        if any(name not in rows.column_names or rows[name].type != kind for name, kind in READ.items()):
            raise damaged(files, path, f"has other columns than {', '.join(READ)}")
        if any(rows[name].null_count for name in READ):
            raise damaged(files, path, "lacks a value")
        if rows.num_rows != wanted[0][1].files[0].rows:
            raise damaged(files, path, f"has {rows.num_rows} rows, and other held-out trainings have others")
        return rows.select(list(READ))

    n = rows_of(wanted[0]).num_rows
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
    pieces = [_rows(one, scores(files, one)) for one in score_sets(commits, files.on_odd) if one.complete]
    return pa.concat_tables([schema.empty_table(), *(pa.table(p, schema=schema) for p in pieces)])


def _rows(score_set: ScoreSet, scores: Scores) -> dict[str, Any]:
    n = len(scores.example)
    own = {name: score_set.config.get(name) for name in OF_SET}
    same = {"scores": score_set.id, **own, "config": canonical_json(score_set.config)}
    return {
        **{name: pa.array([value] * n, schemas.OWN["c_scores"].field(name).type) for name, value in same.items()},
        "example": scores.example,
        "c_score": scores.c_score,
        "memorization": pa.array(scores.memorization, from_pandas=True),  # NaN as NULL
        "n_in": scores.n_in,
        "n_out": scores.n_out,
    }
