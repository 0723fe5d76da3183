"""The scorecard as the page and the exports show it."""

from __future__ import annotations

from collections.abc import Sequence

from memloc.analysis.claims import Judgement
from memloc.report.charts import Table

VERDICTS = {"holds": "holds", "does_not_hold": "does not hold", "not_testable": "not testable", "not_run": "not run"}
SIGNS = {"holds": "✓", "does_not_hold": "✗", "not_testable": "?", "not_run": "○"}

# By the first letter of a claim's id (science.md, The paper's numbers).
FAMILIES = {
    "G": "Gradients",
    "L": "Layers",
    "W": "Layers",
    "R": "Layers",
    "F": "Neurons",
    "D": "Detection",
    "E": "Example-tied dropout",
    "A": "Atypical examples",
}


def tally(judgements: Sequence[Judgement]) -> list[tuple[str, int]]:
    return [(verdict, sum(j.verdict == verdict for j in judgements)) for verdict in VERDICTS]


def families(judgements: Sequence[Judgement]) -> list[tuple[str, list[Judgement], list[Judgement]]]:
    """(family, what was judged, what was not run), in the paper's order."""
    found = []
    for name in dict.fromkeys(FAMILIES.values()):
        mine = [j for j in judgements if FAMILIES[j.id[0]] == name]
        run = [j for j in mine if j.verdict != "not_run"]
        if mine:
            found.append((name, run, [j for j in mine if j.verdict == "not_run"]))
    return found


def number(value: float | None) -> str:
    """Three significant digits; – where there is none."""
    if value is None:
        return "–"
    digits = f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return digits.replace("-", "−")


def table(judgements: Sequence[Judgement]) -> Table:
    """Everything that was judged, a row each."""
    rows = []
    for j in judgements:
        if j.verdict != "not_run":
            interval = "" if j.lo is None or j.hi is None else f" [{number(j.lo)}, {number(j.hi)}]"
            rows.append([j.id, j.claim, number(j.paper), number(j.ours) + interval, VERDICTS[j.verdict]])
    return Table("Scorecard", ["id", "claim", "paper", "ours", "verdict"], rows)
