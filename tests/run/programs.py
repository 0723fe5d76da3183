"""Running memloc as a user would, in processes of its own, and comparing what stores hold."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import termios
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pyarrow as pa
from pexpect.fdpexpect import fdspawn

import memloc as memloc_package
from memloc import own_code
from memloc.analysis.reader import known_tables
from memloc.commands import main
from memloc.interruption import ORDERS
from memloc.store import Store, tables
from tests.data.registrations import forgotten
from tests.run.prepared import Program, launch
from tests.waiting import LONG

SMALL = Path(__file__).with_name("small.yaml")
CTRL_C = "\x03"  # as it is typed on a terminal
CLOCK_COLUMNS = ("seconds",)  # measured times; two runs of one part may differ only in these columns


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "memloc", *arguments]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Logs under `home`; no store or cluster of the surroundings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MEMLOC_", "PYTEST_", "COLUMNS", "LINES"))}
    return {**kept, "MEMLOC_DATA": str(home / "data"), "MEMLOC_LOGS": str(home / "logs"), "PYTHONUNBUFFERED": "1", **more}


def memloc(home: Path, *arguments: str, **more: str) -> Finished:
    """Runs `memloc ARGUMENTS` to its end: in this process where it needs none of its own, which saves importing torch."""
    if "inline" in arguments or "--dry-run" in arguments or arguments[0] != "sweep":
        return _here(environment(home, **more), *arguments)
    with started(home, *arguments, **more) as process:
        out, err = process.communicate(LONG)
    return Finished(process.wait(), out, err)


def _here(environ: dict[str, str], *arguments: str) -> Finished:
    """As a process of its own would: with this environment, its own streams, and no trace left in this one."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    handlers = {number: signal.getsignal(number) for number in ORDERS}
    argv = [str(Path(memloc_package.__file__).with_name("__main__.py")), *arguments]
    with ExitStack() as ends:
        ends.enter_context(mock.patch.dict(os.environ, environ, clear=True))
        ends.enter_context(mock.patch.object(sys, "argv", argv))
        ends.enter_context(mock.patch.object(sys, "stdout", out))
        ends.enter_context(mock.patch.object(sys, "stderr", err))
        ends.enter_context(warnings.catch_warnings())
        ends.enter_context(forgotten())  # a plugin may register a data set
        ends.callback(own_code._executed.cache_clear)
        warnings.simplefilter("default")
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    texts = [stream.buffer.getvalue().decode("utf-8") for stream in (out, err)]  # type: ignore[attr-defined]
    return Finished(int(code), *texts)


def python(environ: Mapping[str, str], *arguments: str) -> Finished:
    """Runs `python ARGUMENTS` to its end."""
    process = launch(arguments, environ)
    try:
        out, err = process.communicate(LONG)
    finally:
        process.close()
    return Finished(process.wait(), out, err)


@contextmanager
def started(home: Path, *arguments: str, **more: str) -> Iterator[Program]:
    """`memloc ARGUMENTS` in a process group of its own; whatever of it is left at the end is killed."""
    process = launch(command(*arguments)[1:], environment(home, **more))
    try:
        yield process
    finally:
        kill_tree(process)
        process.close()


@contextmanager
def on_terminal(home: Path, *arguments: str, width: int = 80) -> Iterator[tuple[Program, fdspawn]]:
    """`memloc ARGUMENTS` on a terminal of 30 lines: (its process, what sees and types there)."""
    outside, inside = os.openpty()
    termios.tcsetwinsize(inside, (30, width))
    try:
        process = launch(command(*arguments)[1:], environment(home, TERM="xterm"), [inside] * 3, terminal=True)
    finally:
        os.close(inside)
    person = fdspawn(outside, encoding="utf-8", timeout=LONG)
    try:
        yield process, person
    finally:
        kill_tree(process)
        if not person.closed:
            person.close()


def kill_tree(process: Program | subprocess.Popen[Any]) -> None:
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait(LONG)


def descendants(process: Program | subprocess.Popen[Any], name: str) -> list[psutil.Process]:
    """The processes below `process` whose title contains `name` (Ray titles its workers ray::CLASS.method)."""
    return named_below(process.pid, name)


def named_below(pid: int, name: str) -> list[psutil.Process]:
    """The descendants of a process whose command line contains `name`."""
    named = []
    try:
        for child in psutil.Process(pid).children(recursive=True):
            try:
                if name in " ".join(child.cmdline()):
                    named.append(child)
            except psutil.Error:
                continue
    except psutil.NoSuchProcess:
        pass
    return named


def interrupt(process: Program) -> None:
    """Ctrl-C as a terminal sends it: to the whole process group."""
    os.killpg(process.pid, signal.SIGINT)


def terminate_all(process: Program) -> None:
    """SIGTERM as `timeout` and batch systems send it: to every process that the program has started, and to itself."""
    for member in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        try:
            member.terminate()
        except psutil.NoSuchProcess:
            continue


def contents(uri: str | Path) -> dict[str, pa.Table]:
    """{table: its rows without clock readings} of everything complete in a store."""
    store = Store(str(uri))
    commits = store.snapshot().shown(partial=False)
    found = {name: tables.read(store.files, commits, name, known_tables()) for name in known_tables()}
    return {name: t.drop_columns([c for c in CLOCK_COLUMNS if c in t.column_names]) for name, t in found.items()}


def encoded(table: pa.Table) -> bytes:
    """The rows as bytes: equal only if every bit of every value is."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in table.combine_chunks().to_batches():
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def assert_same(one: str | Path, other: str | Path) -> None:
    """Byte-equal tables and byte-equal checkpoints."""
    a, b = contents(one), contents(other)
    for name in a:
        assert a[name].num_rows == b[name].num_rows, name
        assert encoded(a[name]) == encoded(b[name]), name
    weights = [{p.name + p.parent.name: p.read_bytes() for p in Path(s).glob("checkpoints/*/epoch-*")} for s in (one, other)]
    assert weights[0] == weights[1]


def trainings(home: Path) -> list[tuple[float, float]]:
    """(begin, end) of every training that the newest log under `home` tells of, in seconds."""
    log = max((home / "logs").glob("*.log"), key=lambda p: p.stat().st_mtime).read_text()
    found = []
    for stamp, seconds in re.findall(r"^(\S+ \S+) memloc INFO Event\(kind='trained'.*?seconds=([\d.]+)", log, re.MULTILINE):
        end = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").timestamp()
        found.append((end - float(seconds), end))
    return found


def most_at_once(intervals: list[tuple[float, float]], slack: float = 0.6) -> int:
    """The largest number of intervals that overlap; ends are noticed late, by up to `slack` seconds."""
    return max(sum(a <= t < b - slack for a, b in intervals) for t, _ in intervals)
