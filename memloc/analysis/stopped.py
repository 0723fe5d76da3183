"""The trainings that `stop` has ended early, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from memloc.config.stop import StopRule
from memloc.counts import counted
from memloc.store import Commit
from memloc.store.commit_form import stopped_at
from memloc.store.shown import Shown


def stopped_at_of(trial: Mapping[str, Any], commits: Mapping[str, Commit]) -> int | None:
    """The epoch at which `stop` has ended a trial's training; None: it has not. trial: as a sweep record holds it."""
    commit = commits.get(trial["trial"]) if trial["config"].get("stop") else None
    return None if commit is None else commit.stopped


def stopped_trainings(trials: Iterable[Mapping[str, Any]], commits: Mapping[str, Commit]) -> list[dict[str, Any]]:
    """[{"trial", "epoch", "rule", "not_run"}] of the trainings that have ended early.

    epoch: after which. rule: why, in words. not_run: the stages of which an analysis was not run for that reason. trials: as
    a sweep record holds them. commits: by part.
    """
    return [
        {
            "trial": trial["trial"],
            "epoch": epoch,
            "rule": str(StopRule.of(trial["config"]["stop"])),
            "not_run": sorted({a["stage"] for a in trial["analyses"] if _not_run(a["parts"], commits)}),
        }
        for trial in trials
        if (epoch := stopped_at_of(trial, commits)) is not None
    ]


def _not_run(parts: Sequence[str], commits: Mapping[str, Commit]) -> bool:
    commit = commits.get(parts[0]) if parts else None
    return commit is not None and commit.stopped is not None


def stopped_in_words(commits: Sequence[Commit]) -> str:
    """`2 of 5 trainings were stopped: noisy accuracy below 0.5 at epoch 20. …`; "" if none was."""
    trainings = Shown.of(commits).trainings()
    rules = [
        str(StopRule.of(config["stop"]))
        for config, where in zip(trainings.said("config"), trainings.said("where"), strict=True)
        if stopped_at(where) is not None
    ]
    if not rules:
        return ""
    were, them = ("was", "it") if len(rules) == 1 else ("were", "them")
    return (
        f"{len(rules)} of {counted(len(trainings), 'training')} {were} stopped: {' or '.join(dict.fromkeys(rules))}. "
        f"Analyses that need later checkpoints were not run for {them}."
    )
