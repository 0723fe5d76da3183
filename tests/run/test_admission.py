"""Who may ask for how many tasks, step by step."""

from __future__ import annotations

from memloc.run.admission import SILENT_SECONDS, Admission, Report


def test_twice_what_runs_at_once_among_all() -> None:
    admission = Admission()
    assert admission.report("a", Report(queued=10, fitting=2), 0) == 4
    assert admission.report("a", Report(asked=4, queued=6, fitting=2), 1) == 0
    assert admission.report("b", Report(queued=3, fitting=2), 1) == 0
    assert admission.report("a", Report(asked=3, queued=6, fitting=2), 2) == 1
    assert admission.report("a", Report(asked=2, queued=0, fitting=2), 3) == 0
    assert admission.report("b", Report(queued=3, fitting=2), 4) == 2  # a has nothing more to ask for


def test_who_came_first_is_served_first() -> None:
    admission = Admission()
    admission.report("a", Report(asked=2, queued=1, fitting=2), 0)
    assert admission.report("b", Report(queued=9, fitting=2), 0) == 1
    admission.report("a", Report(asked=2, queued=9, fitting=2), 1)  # its second wave
    assert admission.report("b", Report(queued=9, fitting=2), 1) == 0


def test_the_place_in_line_is_that_of_the_beginning_fan_out() -> None:
    """A long training that began before a short one does not come first when it ends after it."""
    admission = Admission()
    for trial in ("long", "short"):
        admission.report(trial, Report(trainer_waits=True, fans_out=False, fitting=2), 0)
        admission.report(trial, Report(fans_out=False, fitting=2), 1)
    assert admission.report("short", Report(asked=2, queued=2, fitting=2), 2) == 2
    admission.report("long", Report(queued=9, fitting=2), 3)
    assert admission.report("short", Report(asked=2, queued=1, fitting=2), 4) == 1  # also with its second wave
    assert admission.report("long", Report(queued=9, fitting=2), 4) == 1


def test_what_is_granted_counts_before_the_next_report() -> None:
    admission = Admission()
    admission.report("b", Report(queued=0, fitting=2), 0)
    assert admission.report("a", Report(queued=9, fitting=2), 0) == 4
    assert admission.report("b", Report(queued=10, fitting=2), 0) == 0


def test_no_task_while_a_trainer_waits_that_holds_more() -> None:
    admission = Admission()
    assert admission.report("train", Report(trainer_waits=True, fans_out=False, larger=True, fitting=4), 0) == 0
    assert admission.report("tasks", Report(larger=True, queued=9, fitting=4), 0) == 0
    admission.report("train", Report(larger=True, fitting=4), 1)  # it has its place
    assert admission.report("tasks", Report(larger=True, queued=9, fitting=4), 1) == 8


def test_what_runs_is_followed_while_a_trainer_of_the_same_size_waits() -> None:
    """It gets the next place; its process may be starting there already, and the other slots must not fall idle."""
    admission = Admission()
    admission.report("train", Report(trainer_waits=True, fans_out=False, fitting=4), 0)
    assert admission.report("tasks", Report(asked=3, queued=9, fitting=4), 0) == 1


def test_tasks_of_different_sizes_share_the_room() -> None:
    admission = Admission()
    admission.report("large", Report(asked=2, queued=0, fitting=2), 0)
    assert admission.report("small", Report(queued=99, fitting=8), 0) == 8


def test_who_left_or_fell_silent_holds_nobody_up() -> None:
    admission = Admission()
    admission.report("train", Report(trainer_waits=True, fans_out=False, larger=True), 0)
    assert admission.report("a", Report(queued=1), 1) == 0
    assert admission.report("a", Report(queued=1), 2 + SILENT_SECONDS) == 1
    admission.report("train", Report(trainer_waits=True, fans_out=False, larger=True), 3 + SILENT_SECONDS)
    admission.leave("train")
    assert admission.report("a", Report(queued=1), 4 + SILENT_SECONDS) == 1
