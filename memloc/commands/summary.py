"""The closing words of a sweep: the paper's story as far as it was run, on about a screen, and what to type next."""

from __future__ import annotations

import json
import shlex

from memloc.analysis.findings import Finding, findings
from memloc.commands.words import at_store, interpreter, program
from memloc.store import Store

SHOWN = 3  # settings of one instrument; its query has them all


def summary(store: Store, sweep: str, at: str | None = None) -> str:
    """Each instrument in a line or two, with the query whose rows it was read off.

    at: the store as the user named it, None for the default.
    """
    found = findings(store, sweep)
    if not found:
        return ""
    head = (
        f"{sweep}: what it found, section by section of the paper; means over seeds [95 % intervals; of AUCs, their hull]\n"
    )
    return head + "".join(_in_words(finding, sweep, at) for finding in found)


def _in_words(finding: Finding, sweep: str, at: str | None) -> str:
    lines = []
    if len(finding.lines) == 1:
        ((_, words),) = finding.lines
        lines.append(f"{finding.title}: {words}")
    else:
        lines.append(f"{finding.title}:")
        width = max(len(label) for label, _ in finding.lines[:SHOWN])
        lines += [f"  {label:{width}}  {words}" for label, words in finding.lines[:SHOWN]]
        if len(finding.lines) > SHOWN:
            lines.append(f"  and {len(finding.lines) - SHOWN} more settings")
    lines.append(f"  {command(finding.sql, sweep, at)}")
    return "\n".join(lines) + "\n"


def command(sql: str, sweep: str, at: str | None) -> str:
    """What to type for the table."""
    return f'{program()} query "{sql}" --sweep {sweep}{at_store(at)}'


def next_steps(sweep: str, at: str | None) -> str:
    """What to type next."""
    script = f"import memloc; print(memloc.open_store({json.dumps(at) if at else ''}).trials())"
    return f"Next: {program()} status {sweep}{at_store(at)}\n      {interpreter()} -c {shlex.quote(script)}\n"
