"""The closing summary of a sweep: what was found, on about a screen, and what to type next."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from memloc.analysis.diverged import diverged_in_words
from memloc.analysis.instruments import Used, instruments, instruments_of
from memloc.analysis.reader import Reader
from memloc.analysis.reading import reading
from memloc.analysis.stopped import stopped_in_words
from memloc.commands.prose import wrapped
from memloc.counts import counted
from memloc.invocation import at_store, program
from memloc.stages.instrument import LEAST_MEMORIZED
from memloc.store import Store

SHOWN = 3  # settings of one section; `memloc claims` has them all


def summary(store: Store, sweep: str) -> str:
    """Each section of the papers whose stages it has, in a few sentences; "" if the sweep has no complete analysis.

    Its lines fit the terminal.

    The numbers are those of `memloc claims`. Of what no section speaks of, such as the accuracy of plain networks or the
    stage of a plugin, its instrument speaks.
    """
    told, used, ended = reading(store, _read, sweep)
    last = [line for sentence in ended for line in wrapped(sentence)]
    if not used:
        return "\n".join([*last, ""]) if last else ""
    lines = wrapped(f"{sweep}: means over seeds. The brackets hold 95 % intervals.")
    for title, sentences in told.items():
        lines += _in_sentences(title, sentences)
    lines += _nothing_yet(sweep, used)
    return "\n".join([*lines, *last]) + "\n"


def _read(reader: Reader) -> tuple[dict[str, list[tuple[str, str]]], list[Used], list[str]]:
    """({title: [(setting, sentences)]}, the instruments, what is said of stopped and of diverged trainings), from one
    snapshot.
    """
    from memloc.analysis.observations import Observations
    from memloc.papers.findings import findings
    from memloc.papers.judging import judgements
    from memloc.papers.registry import names_of, paper

    used = instruments_of(reader)
    told = {one.title: one.lines for one in used if one.lines}
    observations = Observations(reader)
    for each in map(paper, names_of(set(reader.table("analyses")["stage"].to_pylist()))):
        for finding in findings(judgements(observations, each), each):
            title = f"{finding.section.name} ({finding.section.where})"
            told.setdefault(title, []).append((finding.label, finding.sentence))
    return told, used, [said for said in (stopped_in_words(reader.seen.commits), diverged_in_words(reader)) if said]


def _in_sentences(title: str, sentences: Sequence[tuple[str, str]]) -> list[str]:
    lines = wrapped(title)
    for label, text in sentences[:SHOWN]:
        lines += wrapped(f"{label}: {text}" if label else text, "  ", "    ")
    if len(sentences) > SHOWN:
        lines.append(f"  and {_more(sentences)}")
    return lines


def _nothing_yet(sweep: str, used: Sequence[Used]) -> list[str]:
    """The settings whose networks have not memorized, with their noisy accuracies, once for all instruments."""
    settings: dict[str, Mapping[str, float]] = {}
    for one in used:
        for label, by_trial in one.not_memorized.items():
            settings[label] = {**settings.get(label, {}), **by_trial}
    lines = []
    for label, known in list(settings.items())[:SHOWN]:
        accuracies = known.values()
        ends = dict.fromkeys(f"{100 * end:.0f}" for end in (min(accuracies), max(accuracies)))
        lines += wrapped(
            f"{label or sweep}: only {' to '.join(ends)} % of the wrong labels are learned "
            f"({100 * LEAST_MEMORIZED:.0f} % is needed), so there is nothing to localize yet."
        )
    return [*lines, f"and {_more(settings)}"] if len(settings) > SHOWN else lines


def _more(settings: Collection[Any]) -> str:
    """`1 more setting`: how many are not shown."""
    return counted(len(settings) - SHOWN, "more setting")


def examples(store: Store, sweep: str | None, at: str | None) -> str:
    """The query of every instrument, ready to paste.

    at: the store as the user named it, None for the default.
    """
    return "\n".join(f"# {one.title}\n{command(one.sql, sweep, at)}\n" for one in instruments(store, sweep))


def command(sql: str, sweep: str | None, at: str | None) -> str:
    """What to type for the table."""
    return f'{program()} query "{sql}"{f" --sweep {sweep}" if sweep else ""}{at_store(at)}'


def next_steps(sweep: str, at: str | None, stages: Collection[str] = ()) -> str:
    """What to type next. stages: those of the sweep."""
    from memloc.papers.registry import names_of

    store = at_store(at)
    _, *beyond = names_of(stages)
    claims = [f"claims {sweep}{store}", *(f"claims {sweep} --paper {name}{store}" for name in beyond)]
    steps = (f"query --examples --sweep {sweep}{store}", f"report {sweep}{store}", *claims)
    return "".join(f"{'Next:' if k == 0 else '     '} {program()} {step}\n" for k, step in enumerate(steps))
