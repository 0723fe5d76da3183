"""`memloc claims`: the paper's claims, judged on a store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from memloc.commands import options, terminal
from memloc.commands.answers import answer
from memloc.commands.prose import terminal_width, wrapped

if TYPE_CHECKING:
    from memloc.papers.judgement import Judgement
    from memloc.papers.paper import Paper

EXAMPLES = options.examples(
    "memloc claims                         the paper's numbers, on a whole store",
    "memloc claims demo                    on one sweep",
    "memloc claims --json > claims.json",
)
LONG = 18  # columns of an id; a row then fits into a pipe's 100, with the longest verdict and interval
INDENT = 6  # columns before a row
HEADER = ("", "paper", "ours [95 %]", "verdict", "trainings")


def claims(
    sweep: str = options.SWEEP,
    store: str = options.STORE,
    as_json: bool = options.JSON,
    paper: str = options.PAPER,
) -> None:
    """Judge the paper's claims on what was run: its number, ours with a 95 % interval, and whether the claim holds."""
    from memloc.analysis.diverged import diverged_in_words
    from memloc.analysis.observations import Observations
    from memloc.analysis.resolvable import reading_resolvable
    from memloc.analysis.stopped import stopped_in_words
    from memloc.papers import registry
    from memloc.papers.judging import judgements as of_paper
    from memloc.store.opening import existing

    judged = registry.paper(paper)
    judgements, *ended = reading_resolvable(
        existing(store),
        lambda reader: (
            of_paper(Observations(reader), judged),
            stopped_in_words(reader.seen.commits),
            diverged_in_words(reader),
        ),
        sweep,
    )
    if as_json:
        answer(json.dumps([as_row(j) for j in judgements], indent=1, allow_nan=False))
    else:
        last = [line for sentence in ended if sentence for line in ("", *wrapped(sentence))]
        print(terminal.plain("\n".join([render(judgements, judged, store), *last])))


def as_row(judgement: Judgement) -> dict[str, object]:
    """A judgement as `claims --json` prints it."""
    names = ("id", "paper_id", "where", "claim", "paper", "ours", "lo", "hi", "verdict", "leans")
    reason = ": ".join(text for text in (judgement.on, judgement.reason) if text)
    return {**{name: getattr(judgement, name) for name in names}, "reason": reason, "sql": judgement.sql}


def render(judgements: Sequence[Judgement], paper: Paper, at: str | None = None) -> str:
    """The settings, the numbers judged in them by section, then the numbers not run with the commands for them."""
    titles = {claim.id: f"{section.name} ({section.where})" for section in paper.sections for claim in section.claims}
    run = [j for j in judgements if j.verdict != "not_run"]
    letters = {on: _letter(k) for k, on in enumerate(dict.fromkeys(j.on for j in run))}
    lines = [_tally(judgements)]
    for on, letter in letters.items():
        lines += wrapped(f"{letter}  {on}", "  ", "     ")
    for title, members in groupby(run, lambda j: titles[j.claim_id]):
        numbers = list(members)
        rows = {j.id: _row(j, letters) for j in numbers}
        widths = [max(len(row[i]) for row in [HEADER, *rows.values()]) for i in range(len(HEADER))]
        widths[0] = max(0, min(widths[0], LONG, terminal_width() - INDENT - sum(2 + width for width in widths[1:])))
        lines += ["", title, _aligned(HEADER, widths)]
        for _, own in groupby(numbers, lambda j: j.claim_id):
            lines += _claim(list(own), rows, widths)
    missing = [j for j in judgements if j.verdict == "not_run"]
    return "\n".join([*lines, *(_missing(missing, at) if missing else [])])


def _tally(judgements: Sequence[Judgement]) -> str:
    from memloc.papers.judgement import WORDS

    counts = Counter(j.verdict for j in judgements)
    return ", ".join(f"{words}: {counts[verdict]}" for verdict, words in WORDS.items() if counts[verdict])


def _letter(k: int) -> str:
    """a, b, … z, aa, ab, …"""
    return (_letter(k // 26 - 1) if k >= 26 else "") + chr(ord("a") + k % 26)


def _claim(judgements: Sequence[Judgement], rows: Mapping[str, Sequence[str]], widths: Sequence[int]) -> list[str]:
    """The claim, then a row per number, with the reason if it does not hold."""
    first = judgements[0]
    lines = wrapped(f"{first.claim_id}  {first.where}: {first.claim}", "  ", "      ")
    for j in judgements:
        lines.append(_aligned(rows[j.id], widths))
        if j.verdict != "holds":
            lines += wrapped(j.reason, "        ", "        ")
    return lines


def _row(j: Judgement, letters: Mapping[str, str]) -> list[str]:
    return [j.id, _number(j.paper), _ours(j), j.verdict_in_words, f"{letters[j.on]}, n = {j.seeds}"]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """A row as a line. A long id has a line of its own."""
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    if len(row[0]) > widths[0]:
        cells[0] = f"{row[0]}\n{'':{INDENT + widths[0]}}"
    return " " * INDENT + "  ".join(cells).rstrip()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _ours(j: Judgement) -> str:
    """`0.722 [0.583, 0.861]`, or the estimate alone."""
    if j.ours is None:
        return ""
    interval = "" if j.lo is None or j.hi is None else f" [{j.lo:z.3f}, {j.hi:z.3f}]"
    return f"{j.ours:z.3f}{interval}"


def _missing(missing: Sequence[Judgement], at: str | None) -> list[str]:
    """How many numbers of each claim, by the block of the shipped sweep that would run them."""
    from memloc.invocation import at_store, program

    by_block: dict[str, list[str]] = {}
    for j in missing:
        commands = (j.command or "").split(" && ")
        block = " && ".join(" ".join(c.split()[:5]) for c in commands)  # memloc sweep NAME --only block=…
        by_block.setdefault(block, []).append(j.claim_id)
    lines = ["", "Not run"]
    for block, claims in by_block.items():
        counts = ", ".join(f"{claim} ({n})" if n > 1 else claim for claim, n in Counter(claims).items())
        typed = [c.replace("memloc", program(), 1) + at_store(at) for c in block.split(" && ") if c]
        lines += [*wrapped(counts, "  ", "  "), *(f"      {c}" for c in typed or ["no shipped sweep has their trainings"])]
    return lines
