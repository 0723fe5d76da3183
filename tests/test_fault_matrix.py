"""The fault matrix itself (`tests/faults/`): what counts as run, what it says at its end, and when a fault comes."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memloc.store import layout
from tests.faults import __main__ as matrix
from tests.faults import case as cases
from tests.faults import damage
from tests.faults.case import Case, Result
from tests.faults.scenarios import SCENARIOS, Scenario

Run = Callable[..., tuple[int, list[tuple[str, int]]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`python -m tests.faults OUT ARGUMENTS` with code of this hash: (exit code, the cases that it has run)."""
    ran: list[tuple[str, int]] = []

    def outcome(name: str, number: int, case: Case, whole: str, scenario: object) -> Result:
        ran.append((name, number))
        return Result(name, number, {"kill": 1}, 2, [-9, 0], 1.0, 0, 0, 0, 0, "lost" if name == "bad" else "")

    @contextmanager
    def server() -> Iterator[str]:
        yield ""

    monkeypatch.setattr(matrix, "s3_server", server)
    monkeypatch.setattr(matrix, "outcome", outcome)
    monkeypatch.setattr(matrix, "REPORT", tmp_path / "page.md")
    monkeypatch.setattr(matrix.cards, "hide", lambda: None)
    monkeypatch.setattr(matrix, "undisturbed", lambda out, code: "")

    @contextmanager
    def beside(options: Any, minutes: float) -> Iterator[None]:
        yield
        with (tmp_path / "out" / "results.jsonl").open("a") as file:  # as the other process does
            file.write(json.dumps(asdict(Result("waits", 0, {"gone": 1}, 1, [0], 1.0, 0, 0, 0, 0, "", 0, "c0de"))) + "\n")

    monkeypatch.setattr(matrix, "beside", beside)

    def call(*arguments: str, code: str = "c0de", names: str = "one two") -> tuple[int, list[tuple[str, int]]]:
        ran.clear()
        monkeypatch.setattr(matrix, "code", lambda: code)
        monkeypatch.setattr(
            matrix, "SCENARIOS", [Scenario(name, lambda _: None, waits=name == "waits") for name in names.split()]
        )
        monkeypatch.setattr(sys, "argv", ["tests.faults", str(tmp_path / "out"), *arguments])
        with pytest.raises(SystemExit) as ended:
            matrix.main()
        return int(ended.value.code or 0), list(ran)

    return call


def test_a_result_counts_for_its_seed_and_its_code(run: Run, tmp_path: Path) -> None:
    every = [("one", 0), ("two", 0)]
    assert run() == (0, every)
    assert run() == (0, [])
    for arguments, code in ((("--seed", "1"), "c0de"), ((), "beef")):
        assert run(*arguments, code=code) == (0, every)
        assert run(*arguments, code=code) == (0, [])
    page = (tmp_path / "page.md").read_text()
    assert "seed 0, memloc's code beef" in page
    assert "| cases | 2 |" in page
    assert "| faults injected | 2 |\n| faults survived (their case ended as an undisturbed run) | 2 |" in page
    assert run(code="c0de", names="one two three") == (0, [("three", 0)])
    assert "| cases | 3 |" in (tmp_path / "page.md").read_text()


def test_what_waits_runs_in_another_process(run: Run, tmp_path: Path) -> None:
    """With results of its own in the same file, so the page has them, and the next launch runs neither."""
    assert run(names="one waits two") == (0, [("one", 0), ("two", 0)])
    assert "| cases | 3 |" in (tmp_path / "page.md").read_text()
    assert run(names="one waits two") == (0, [])


def test_the_other_process_runs_what_waits_alone(run: Run, tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):  # it ends without an exit code of its own
        run("--waiting", names="one waits two")
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["waits"]
    assert not (tmp_path / "page.md").exists()


def test_every_kind_of_file_is_damaged() -> None:
    """The kinds are those of the store's layout. The scenario fails unless it meets files of all of its kinds."""
    assert {*layout.KINDS, layout.QUARANTINED, layout.TEMPORARY_FILE} == damage.KINDS
    between = [scenario for scenario in SCENARIOS if scenario.run is damage.damaged]
    assert {scenario.ray for scenario in between} == {"", "local"}
    in_one_process = sum(scenario.times for scenario in between if not scenario.ray)
    assert in_one_process >= len(damage.WAYS)  # case by case another way for each kind


def test_a_page_keeps_its_date_if_nothing_runs(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix.time, "strftime", lambda form: "2001-02-03")
    assert run()[0] == 0
    monkeypatch.undo()
    assert "Last run: 2001-02-03, " in (tmp_path / "page.md").read_text()


@pytest.mark.filterwarnings("error")
def test_results_of_before_count_for_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    old = '{"name": "one", "number": 0, "faults": {}, "launches": 1, "codes": [0], "seconds": 1, "lost": 0, "doubled": 0, '
    (tmp_path / "out" / "results.jsonl").write_text(old + '"changed": 0, "hands": 0, "problem": ""}\n')
    assert run() == (0, [("one", 0), ("two", 0)])


def test_the_exit_code_says_what_was_not_run(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`make test-all` must not call that done."""
    assert run("--minutes", "0") == (3, [])
    assert "not finished: 2 cases have not run with this code and seed" in capsys.readouterr().out
    assert run("--only", "one") == (0, [("one", 0)])  # all that was asked for
    assert run("--minutes", "0") == (3, [])
    assert run() == (0, [("two", 0)])
    assert run(names="one two bad") == (1, [("bad", 0)])
    assert "| faults survived (their case ended as an undisturbed run) | 2 |" in (tmp_path / "page.md").read_text()
    assert run("--minutes", "0", names="one two bad three") == (1, [])


def test_every_kill_comes_at_a_moment_of_its_own_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of earlier launches are there from the beginning. They are no work of this one."""
    case = Case(tmp_path, "", str(tmp_path / "store"), "", random.Random(3))
    made: list[int] = []

    def sleep(_: float) -> None:  # the sweep writes a file, and changes one
        folder = tmp_path / "store" / "commits" / "ab"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{len(made)}.json").touch()
        (folder / "0.json").write_text("again")
        made.append(1)

    process: Any = SimpleNamespace(pid=1, poll=lambda: None, communicate=lambda timeout: ("", ""), wait=lambda: -9)

    @contextmanager
    def started(*_: object) -> Iterator[Any]:
        yield process

    monkeypatch.setattr(cases, "started", started)
    monkeypatch.setattr(cases.time, "sleep", sleep)
    waited = []
    for moments in (1, 1, 2):
        with case.launched():
            for _ in range(moments):
                before = len(made)
                assert case.moment(process)
                waited.append(len(made) - before)
    assert all(files > 0 for files in waited), waited
    assert len(set(waited)) > 1
