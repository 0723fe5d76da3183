"""How a launch ends: what is said of failures and of an order to stop, on which stream, and with which code."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memloc import commands
from memloc.analysis.trial_states import open_failures
from memloc.commands import status as status_command
from memloc.counts import counted
from memloc.interruption import ORDERS
from memloc.run import attempts
from memloc.run.worker import Worker
from memloc.store import Store, layout, records
from tests.conftest import TINY
from tests.run.test_plan import plan_of

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`memloc sweep tiny.yaml ARGUMENTS` in this process: (exit code, standard output, standard error)."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    where = ("--store", str(tmp_path / "store"), "--data-dir", str(tmp_path), "--executor", "inline")

    def call(*arguments: str, name: str = "tiny") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["memloc", "sweep", str(tmp_path / f"{name}.yaml"), *where, *arguments])
        with pytest.raises(SystemExit) as ended:
            commands.main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def fail(monkeypatch: pytest.MonkeyPatch, stage: str = "rewind") -> None:
    """Every part of a stage fails with an error of two lines."""
    real = attempts.run_parts

    def run_parts(worker: Worker, trial: Any, items: Any) -> Any:
        if items[0][0].stage == stage:
            raise ValueError("no luck\nand no hint")
        return real(worker, trial, items)

    monkeypatch.setattr(attempts, "run_parts", run_parts)


def test_a_failure_of_a_trial_whose_work_is_all_done_is_cleared(run: Run, tmp_path: Path) -> None:
    """Such as one of its coordinator after the last part. Nothing would ever try it again."""
    assert run("--only", "block=tied")[0] == 0
    store = Store(str(tmp_path / "store"))
    trial = next(c.trial for c in store.snapshot().trainings().values())
    records.record_failure(store.files, records.Failure(trial, trial, "coordinator", "Traceback\nlost", "lost"))
    assert set(open_failures(store, store.snapshot())) == {trial}
    assert run("--only", "block=tied")[0] == 0
    assert open_failures(store, store.snapshot()) == {}


@pytest.mark.parametrize("as_json", [False, True])
def test_failures_are_told_in_the_words_of_status(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], as_json: bool
) -> None:
    fail(monkeypatch)
    code, out, err = run(*(["--json"] if as_json else []))
    assert code == 1
    trial = plan_of(tmp_path).trials[0].id
    assert err.count(f"memloc: failed: rewind of trial {trial}: ValueError: no luck\n") == 3
    assert f"memloc: 3 parts failed; tracebacks: memloc status tiny --store {tmp_path}/store\n" in err.replace(
        f"python {sys.argv[0]}", "memloc"
    )
    (log,) = [line.removeprefix("memloc: log ") for line in err.splitlines() if line.startswith("memloc: log ")]
    assert "no luck" in Path(log).read_text()
    if as_json:
        status = json.loads(out)
        assert status["counts"] == {"done": 1, "running": 0, "pending": 0, "failed": 1}
        assert [f["error"] for f in status["failures"]] == ["ValueError: no luck"] * 3
    else:
        assert "1 of 2 trials done in" in err  # as status counts them
        assert f"{trial[:8]} dropout=none: ended, 3 parts failed" in err
        assert "Next:" not in out
    status_command.status("tiny", f"{tmp_path}/store", False, False)
    assert f"failed: rewind of trial {trial} on " in capfd.readouterr().out


@pytest.mark.parametrize("as_json", [False, True])
def test_an_order_to_stop_is_told_with_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    before = [signal.getsignal(number) for number in ORDERS]
    real = attempts.run_training

    def run_training(worker: Worker, work: Any, on_epoch: Any, should_stop: Any) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(worker, work, on_epoch, should_stop)

    monkeypatch.setattr(attempts, "run_training", run_training)
    code, _, err = run(*(["--json"] if as_json else []))
    assert code == 130
    assert "memloc: interrupted; everything committed is kept. To go on: " in err
    assert "memloc: log " in err
    assert as_json or "(press Ctrl-C again to stop at once)" in err
    assert [signal.getsignal(number) for number in ORDERS] == before


def test_next_steps_name_the_record_if_the_name_has_two(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "claims tiny --store" in run()[1]
    (tmp_path / "tiny.yaml").write_text(TINY.replace("evaluate: {}", "evaluate: {epoch: 1}"))
    record = {path.stem for path in (tmp_path / "store/sweeps/tiny").iterdir()}
    code, out, _ = run()
    (new,) = {path.stem for path in (tmp_path / "store/sweeps/tiny").iterdir()} - record
    assert code == 0
    assert f"claims tiny@{new} --store" in out
    (tmp_path / "tiny.yaml").write_text(TINY.replace("evaluate: {}", "evaluate: {epoch: 0}"))
    fail(monkeypatch, "evaluate")
    code, _, err = run()
    assert code == 1
    (newest,) = {path.stem for path in (tmp_path / "store/sweeps/tiny").iterdir()} - record - {new}
    assert f"status tiny@{newest} --store" in err


def test_a_log_that_cannot_be_opened_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long name of a sweep is cut in the log's name. A log that cannot be opened leaves nothing."""
    long = "ü" * 120
    (tmp_path / f"{long}.yaml").write_text(TINY)
    code, _, err = run("--only", "block=tied", name=long)
    assert code == 0, err
    monkeypatch.setattr("memloc.commands.logs.name", lambda sweep, run: "x" * 300)
    code, _, err = run()
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("memloc: log ")
    assert "cannot be written: File name too long; set MEMLOC_LOGS" in line
    assert Store(f"{tmp_path}/store").files.listing(layout.HEARTBEATS) == {}
    assert [path.name for path in (tmp_path / "store" / "sweeps").iterdir()] == [long]


def test_counts_with_their_nouns() -> None:
    assert [counted(n, "part") for n in (0, 1, 2, 1200)] == ["0 parts", "1 part", "2 parts", "1,200 parts"]
    assert [counted(n, "analysis") for n in (1, 2)] == ["1 analysis", "2 analyses"]
