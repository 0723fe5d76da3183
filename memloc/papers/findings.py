"""What a store says about a paper, in sentences: one for each of its sections, from the judgements alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from memloc.analysis.settings import Scope, Setting, differing
from memloc.config import canonical_json
from memloc.papers.judgement import Judgement
from memloc.papers.paper import Paper, Section


@dataclass(frozen=True)
class Finding:
    """What a section says of one setting. label: the words that tell the setting from the section's others."""

    section: Section
    label: str
    sentence: str


def findings(judgements: Sequence[Judgement], paper: Paper) -> list[Finding]:
    """In the paper's order. Of a section, the setting that is nearest to the paper's comes first."""
    return [finding for section in paper.sections for finding in _of_section(judgements, section)]


def first_of_each(several: Sequence[Finding]) -> list[Finding]:
    """The first finding of each section."""
    return list({finding.section.name: finding for finding in reversed(several)}.values())[::-1]


def _of_section(judgements: Sequence[Judgement], section: Section) -> list[Finding]:
    """Numbers of several stages belong together if their settings are the same: fields of trainings, and options."""
    ids = {claim.id for claim in section.claims}
    settings: dict[str, Setting] = {}
    numbers: dict[str, dict[str, dict[str, Judgement]]] = {}
    for j in judgements:
        if j.claim_id in ids and j.setting is not None and j.interval is not None and not j.suffix:
            key = canonical_json([j.setting.config, j.setting.variant, j.setting.data])
            settings.setdefault(key, j.setting)
            numbers.setdefault(key, {}).setdefault(j.claim_id, {})[j.part] = j
    said = {key: sentence for key in settings if (sentence := section.sentence(numbers[key]))}
    order = sorted(said, key=lambda key: _distance(settings[key]))
    labels = _numbered(differing([settings[key] for key in order]))
    return [Finding(section, label, said[key]) for key, label in zip(order, labels, strict=True)]


def _distance(setting: Setting) -> tuple[Any, ...]:
    """A key that sorts settings by their distance from the paper's: drawn noise comes before given labels, the usual rate
    before smaller ones.
    """
    data, network, noise, written = setting.place
    given = bool(setting.scope.labels)
    return given, len(setting.deviations), data, network, abs(noise - Scope.noise), noise, written


def _numbered(labels: Sequence[str]) -> list[str]:
    """The labels. Equal ones, such as those of files that have one name in several folders, get a number."""
    counted = {label: count(1) for label in labels}
    more = [f"setting {next(counted[label])}" if labels.count(label) > 1 else "" for label in labels]
    return [", ".join(word for word in (label, one) if word) for label, one in zip(labels, more, strict=True)]
