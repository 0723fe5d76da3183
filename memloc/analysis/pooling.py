"""Which trainings and analyses of a store are of one setting.

Trainings that differ in anything but their seeds are never pooled, nor are analyses that measure something else (`variant`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memloc.analysis.settings import ATYPICAL, SEEDS, Setting
from memloc.config import canonical_json
from memloc.stages import STAGES
from memloc.stages.base import Stage


@dataclass(frozen=True)
class Origin:
    """data: the identity of a training's data. version: of the code of training."""

    data: str
    version: int


@dataclass(frozen=True)
class Measurement:
    """What is measured. atypical: S_n is by C-score, not by label. at: where gradients are taken."""

    stage: str
    atypical: bool = False
    at: str = "trajectory"

    def is_of(self, analysis: Mapping[str, Any], training: Mapping[str, Any]) -> bool:
        """Is it what an analysis measures, on the network itself, without masks, after the last epoch?"""
        config = analysis["config"]
        if analysis["stage"] != self.stage or config.get("mask_mode") is not None:
            return False
        by_score = (config.get("memorized") or "labels") != "labels"
        at = config.get("at") or "checkpoint"
        last = config.get("epoch", training["epochs"]) == training["epochs"]
        return by_score == self.atypical and (self.stage != "gradients" or at == self.at) and last


def settings(
    trials: Mapping[str, Mapping[str, Any]],
    analyses: Sequence[Mapping[str, Any]],
    measured: Measurement,
    *,
    dropout: Sequence[str] = ("none",),
    without: Sequence[str] = (),
    origins: Mapping[str, Origin] | None = None,
) -> list[Setting]:
    """The settings that have complete analyses of what is measured, the same ones in the same order for the same store.

    Args:
        trials: {trial: the training's configuration}.
        analyses: rows analysis, trial, stage, config (a mapping), version (of the stage, None if unknown), variant (further
            differences, such as what it reads).
        dropout: the kinds of dropout that the trainings may have.
        without: training fields that may differ within a setting; who asks looks at them.
        origins: {trial: what tells trainings of one configuration apart}. Those on other data are another setting. Of those
            by several versions of training the newest counts, so that a seed counts once.
    """
    groups: dict[str, tuple[dict[str, Any], dict[str, Any], str, dict[str, Mapping[str, Any]]]] = {}
    keys: dict[str, str] = {}  # canonical JSON takes long, and most trainings have the same
    for analysis in analyses:
        config = trials.get(analysis["trial"]) if analysis["stage"] == measured.stage else None
        if config is None or config["dropout"] not in dropout or not measured.is_of(analysis, config):
            continue
        aside = (*SEEDS, *without, *(("given_sha256",) if "{seed" in str(config.get("given_from")) else ()))
        shared = {k: v for k, v in config.items() if k not in aside and v is not None}
        variant = {**variant_of(measured.stage, analysis["config"], config["epochs"]), **analysis["variant"]}
        data = origins[analysis["trial"]].data if origins else ""
        if (written := repr((shared, variant, data))) not in keys:
            keys[written] = canonical_json([shared, variant, data])
        chosen = groups.setdefault(keys[written], (shared, variant, data, {}))[-1]
        known = chosen.get(analysis["trial"])
        if known is None or _larger(analysis, known):
            chosen[analysis["trial"]] = analysis
    kept = [groups[key] for key in sorted(groups)]
    made = []
    for shared, variant, data, chosen in kept:
        counted = _newest(chosen, trials, origins) if origins else chosen
        made.append(Setting(shared, variant, {t: a["analysis"] for t, a in counted.items()}, data))
    return made


def _newest(
    chosen: Mapping[str, Mapping[str, Any]], trials: Mapping[str, Mapping[str, Any]], origins: Mapping[str, Origin]
) -> Mapping[str, Mapping[str, Any]]:
    """Of the trainings with the same configuration those of the newest version."""
    if len({origins[t].version for t in chosen}) == 1:
        return chosen
    best: dict[str, int] = {}
    for t in chosen:
        best[repr(trials[t])] = max(best.get(repr(trials[t]), 0), origins[t].version)
    return {t: a for t, a in chosen.items() if origins[t].version == best[repr(trials[t])]}


def variant_of(stage: str, config: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """The options of an analysis that are not the usual ones, on a training of so many epochs. Each question states itself
    what is memorized.
    """
    kind = STAGES.get(stage, Stage)
    known, aside = {**ATYPICAL, **kind.usual_on(epochs)}, (*kind.extent, "memorized")
    options = {kind.renamed.get(k, k): v for k, v in config.items() if k not in aside and v is not None}
    return {k: v for k, v in options.items() if v != known.get(k)}


def _larger(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Does `one` look at more than `other`, or do the analyses that it reads? If not, is it of a newer version, or else the
    first by id?
    """
    sizes = [[_looked_at(*of) for of in ((a["stage"], a["config"]), *a.get("read", ()))] for a in (one, other)]
    if sizes[0] != sizes[1]:
        return sizes[0] > sizes[1]
    versions = [a.get("version") or 0 for a in (one, other)]
    return versions[0] > versions[1] if versions[0] != versions[1] else bool(one["analysis"] < other["analysis"])


def _looked_at(stage: str, config: Mapping[str, Any]) -> tuple[int, ...]:
    return STAGES.get(stage, Stage).looked_at(config)
