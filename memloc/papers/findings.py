"""What a store says about a paper, in sentences: one for each of its sections, from the judgements alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memloc.analysis.settings import Setting, differing
from memloc.papers.judgement import Judgement
from memloc.papers.paper import Paper, Section


@dataclass(frozen=True)
class Finding:
    """What a section says of one setting. label: the words that tell the setting from the section's others."""

    section: Section
    setting: Setting
    label: str
    sentence: str


def findings(judgements: Sequence[Judgement], paper: Paper) -> list[Finding]:
    """In the paper's order. Of a section, the setting that is nearest to the paper's comes first."""
    return [finding for section in paper.sections for finding in _of_section(judgements, section)]


def first_of_each(several: Sequence[Finding]) -> list[Finding]:
    """The first finding of each section."""
    return list({finding.section.name: finding for finding in reversed(several)}.values())[::-1]


def _of_section(judgements: Sequence[Judgement], section: Section) -> list[Finding]:
    """Numbers of several stages belong together if their settings have the same words: the same trainings and options."""
    ids = {claim.id for claim in section.claims}
    settings: dict[str, Setting] = {}
    numbers: dict[str, dict[str, dict[str, Judgement]]] = {}
    for j in judgements:
        if j.claim_id in ids and j.setting is not None and j.interval is not None and not j.suffix:
            key = j.setting.words
            settings.setdefault(key, j.setting)
            numbers.setdefault(key, {}).setdefault(j.claim_id, {})[j.part] = j
    said = {key: sentence for key in settings if (sentence := section.sentence(numbers[key]))}
    order = sorted(said, key=lambda key: (len(settings[key].deviations), *settings[key].place))
    labels = differing([settings[key] for key in order])
    return [Finding(section, settings[key], label, said[key]) for key, label in zip(order, labels, strict=True)]
