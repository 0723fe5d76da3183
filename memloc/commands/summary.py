"""The closing summary of a sweep: its findings in the paper's order, on about a screen, and what to type next."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from memloc.analysis.findings import Finding, findings
from memloc.commands.prose import wrapped
from memloc.counts import counted
from memloc.invocation import at_store, program
from memloc.stages.instrument import LEAST_MEMORIZED
from memloc.store import Store

SHOWN = 3  # settings of one instrument; its query has them all
HULL = "For the AUC of several trainings, they hold the lowest and the highest limit."


def summary(store: Store, sweep: str) -> str:
    """Each instrument in a few sentences; "" if the sweep has no complete analysis. Its lines fit the terminal."""
    made = findings(store, sweep)
    if not made:
        return ""
    lines = wrapped(f"{sweep}: means over seeds. The brackets hold 95 % intervals. {HULL}")
    for finding in made:
        lines += _in_sentences(finding)
    return "\n".join([*lines, *_nothing_yet(sweep, made)]) + "\n"


def _in_sentences(finding: Finding) -> list[str]:
    if not finding.lines:
        return []
    lines = wrapped(finding.title)
    for label, sentences in finding.lines[:SHOWN]:
        lines += wrapped(f"{label}: {sentences}" if label else sentences, "  ", "    ")
    if len(finding.lines) > SHOWN:
        lines.append(f"  and {_more(finding.lines)}")
    return lines


def _nothing_yet(sweep: str, made: Sequence[Finding]) -> list[str]:
    """The settings whose networks have not memorized, with their noisy accuracies, once for all instruments."""
    settings: dict[str, dict[str, float]] = {}
    for finding in made:
        for label, by_trial in finding.not_memorized.items():
            settings.setdefault(label, {}).update(by_trial)
    lines = []
    for label, by_trial in list(settings.items())[:SHOWN]:
        accuracies = by_trial.values()
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
    """The queries behind the summary, one per instrument, ready to paste.

    at: the store as the user named it, None for the default.
    """
    return "\n".join(f"# {finding.title}\n{command(finding.sql, sweep, at)}\n" for finding in findings(store, sweep))


def command(sql: str, sweep: str | None, at: str | None) -> str:
    """What to type for the table."""
    return f'{program()} query "{sql}"{f" --sweep {sweep}" if sweep else ""}{at_store(at)}'


def next_steps(sweep: str, at: str | None) -> str:
    """What to type next."""
    store = at_store(at)
    steps = (f"query --examples --sweep {sweep}{store}", f"report {sweep}{store}", f"claims {sweep}{store}")
    return "".join(f"{'Next:' if k == 0 else '     '} {program()} {step}\n" for k, step in enumerate(steps))
