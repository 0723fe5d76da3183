"""Processes that are killed, or told to end, or of which there are two."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from tests.faults.case import Case

ORDERED = 130  # the exit code after an order to stop


def killed(case: Case) -> None:
    """kill -9 of the driver at random moments, launch after launch."""
    for _ in range(3):
        with case.launched() as process:
            if case.moment(process) and case.kill(process):
                case.faults["kill -9 of the driver"] += 1


def ended_by(number: int, name: str) -> Callable[[Case], None]:
    """An order to stop by a signal, at a random moment."""

    def run(case: Case) -> None:
        for _ in range(2):
            with case.launched() as process:
                if case.moment(process) and case.kill(process, number=number):
                    case.faults[name] += 1
            assert case.codes[-1] in (0, ORDERED), f"{name}: exit code {case.codes[-1]}"

    return run


def twice(case: Case) -> None:
    """Ctrl-C, and again before the drain is over."""
    with case.launched() as process:
        if case.moment(process):
            first = case.kill(process, number=signal.SIGINT)
            time.sleep(case.draws.uniform(0.02, 1.0))
            if first and process.poll() is None and case.kill(process, number=signal.SIGINT):
                case.faults["Ctrl-C twice"] += 1
    # Python itself ends by the signal if it comes while the interpreter is being closed.
    assert case.codes[-1] in (0, ORDERED, -signal.SIGINT), f"exit code {case.codes[-1]}"


def process_of_ray(title: str, name: str, times: int) -> Callable[[Case], None]:
    """kill -9 of processes of Ray whose title has these words."""

    def run(case: Case) -> None:
        with case.launched() as process:
            for _ in range(times):
                if case.wait(process, lambda: case.kill(process, title)):
                    case.faults[f"kill -9 of {name}"] += 1
                    case.rest(process, case.draws.uniform(1, 5))

    return run


def server_of_ray(title: str, name: str) -> Callable[[Case], None]:
    """kill -9 of a process without which Ray cannot work: while it starts, and then at a random moment of the work."""

    def run(case: Case) -> None:
        with case.launched() as process:
            if case.wait(process, lambda: case.kill(process, title)):
                case.faults[f"kill -9 of {name}, while Ray starts"] += 1
        with case.launched() as process:
            if case.moment(process) and case.kill(process, title):
                case.faults[f"kill -9 of {name}"] += 1

    return run


def two_drivers(case: Case) -> None:
    """Two launches at once; one of them is killed."""
    with case.launched() as one, case.launched() as other:
        case.faults["two drivers"] += 1
        if case.moment(one) and case.kill(one):
            case.faults["kill -9 of one of two drivers"] += 1
        del other
