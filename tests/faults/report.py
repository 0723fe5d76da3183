"""docs/reliability.md from the results of the fault matrix."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.faults.case import Result

HEAD = """# What faults have cost

Written by `make test-faults` (`tests/faults/`). Each case runs the sweep `tests/run/small.yaml` (three trainings, every
stage among their analyses) while faults are injected. If the sweep ends, the same command is typed again. When it says that
all is done, `memloc store verify` hashes the whole store. If it finds damage that nobody has read, the same command is typed
once more. Then every table (but the clock readings in `seconds`) and every checkpoint is compared, bit by bit, with those
of an undisturbed run in one process. [faults.md](faults.md) says what happens at each kind of fault.

"""


def write(path: Path, results: Sequence[Result], left: int) -> None:
    """Writes the page of results with one seed and one code. left: how many cases have not been run yet."""
    kinds: Counter[str] = Counter()
    for result in results:
        kinds.update(result.faults)
    total = kinds.total()
    idle = sum(not r.faults for r in results)
    survived = sum(sum(r.faults.values()) for r in results if not _is_bad(r))
    summary = [
        ("faults injected", total),
        ("faults survived (their case ended as an undisturbed run)", survived),
        ("cases", len(results)),
        *([("cases that have not been run yet", left)] if left else []),
        *([("cases in which no fault came, since their sweeps were over before", idle)] if idle else []),
        ("cases that ended as an undisturbed run", sum(not _is_bad(r) for r in results)),
        ("rows lost", sum(r.lost for r in results)),
        ("rows doubled", sum(r.doubled for r in results)),
        ("tables or checkpoints that differ", sum(r.changed for r in results)),
        ("human hands needed", sum(r.hands for r in results)),
    ]
    last = max(results, key=lambda result: result.ended)
    where = f"Python {platform.python_version()}, {psutil.cpu_count()} cores"
    when = f"{last.ended}, {where}, seed {last.seed}, memloc's code {last.code}"
    by_name: dict[str, list[Result]] = {}
    for result in results:
        by_name.setdefault(result.name, []).append(result)
    lines = [HEAD, f"Last run: {when}.\n\n", _table(("", "number"), summary)]
    lines += [
        "\n## The faults\n\n",
        _table(("fault", "injected"), sorted(kinds.items(), key=lambda item: (-item[1], item[0]))),
    ]
    rows = [
        (
            name,
            len(group),
            sum(sum(r.faults.values()) for r in group),
            f"{min(r.launches for r in group)} to {max(r.launches for r in group)}",
            ", ".join(map(str, sorted({code for r in group for code in r.codes}))),
            "yes" if not any(map(_is_bad, group)) else "**no**",
        )
        for name, group in by_name.items()
    ]
    head = ("scenario", "cases", "faults", "launches of a case", "exit codes", "equal to an undisturbed run")
    lines += ["\n## The scenarios\n\n", _table(head, rows)]
    path.write_text("".join(lines))


def _is_bad(result: Result) -> bool:
    return bool(result.problem or result.lost or result.doubled or result.changed)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
