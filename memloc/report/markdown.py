"""The report as Markdown, for a README, a wiki or an issue: what was run, the findings, the scorecard and the tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memloc.papers.exhibits import Shown
from memloc.papers.paper import Section
from memloc.report import tables
from memloc.report.content import Report

ESCAPED = str.maketrans({c: f"\\{c}" for c in "\\|*_`<>[]"} | {"\n": " "})


def document(report: Report) -> bytes:
    """UTF-8. Figures are not in it."""
    lines = [f"# {words(report.paper.title)}", "", " ".join(map(words, report.ran)), ""]
    lines += [f"- {words(finding.sentence)}" for finding in report.findings]
    for section, several in report.sections:
        written = [*_judged(report, section), *(line for shown in several for line in _tables(shown))]
        lines += ["", f"## {words(f'{section.name} ({section.where})')}", *written] if written else []
    return "\n".join([*lines, ""]).encode()


def words(text: str) -> str:
    """Plain text on one line, escaped."""
    return text.translate(ESCAPED)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table. A row that has fewer cells ends with empty ones."""
    lines = [head, ["---"] * len(head), *([*row, *[""] * (len(head) - len(row))] for row in rows)]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _judged(report: Report, section: Section) -> Iterator[str]:
    """The scorecard of a section: a row for each claim, with its numbers below."""
    rows: list[list[str]] = []
    for claim in section.claims:
        own = tables.scorecard([j for j in report.judgements if j.claim_id == claim.id]).rows
        if own:
            rows += [[f"**{claim.id}** {words(f'{claim.text} ({claim.where})')}"]]
            rows += [[f"`{id}`", *map(words, cells)] for id, *cells in own]
    if rows:
        yield from ["", *table(tables.scorecard([]).head, rows)]


def _tables(shown: Shown) -> Iterator[str]:
    for one in shown.tables:
        title = f"{shown.exhibit.name}: {one.title}" if one.title else shown.exhibit.name
        yield from ["", f"**{words(title)}.** {words(shown.setting)}".strip(), ""]
        yield from table([*map(words, one.head)], [[*map(words, row)] for row in one.rows])
