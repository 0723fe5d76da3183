"""An order to stop, at any moment of any command, ends it with a line that says what there is to know, and with code 130."""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import memloc
from memloc import commands
from memloc.__main__ import main
from memloc.commands.progress import Progress
from memloc.interruption import ORDERS
from memloc.run import attempts
from memloc.run.events import Outcome
from memloc.run.executor import execute
from memloc.run.worker import Worker
from memloc.store import Store
from memloc.version import VERSION
from tests.conftest import TINY
from tests.run.test_plan import plan_of
from tests.waiting import LONG

Run = Callable[..., tuple[int, str, list[str]]]
KEPT = "memloc: interrupted; everything committed is kept. To go on: "
IMPORTING = """
import os, signal, sys
class Order:
    def find_spec(self, name, *rest):
        if name == "typer":
            os.kill(os.getpid(), int(sys.argv[1]))
sys.meta_path.insert(0, Order())
from memloc.__main__ import main
main()
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`memloc ARGUMENTS --store …` in this process: (exit code, standard output, lines of standard error)."""
    (tmp_path / "tiny.yaml").write_text(TINY)

    def call(*arguments: str) -> tuple[int, str, list[str]]:
        before = [signal.getsignal(number) for number in ORDERS]
        monkeypatch.setattr(sys, "argv", ["memloc", *arguments, "--store", str(tmp_path / "store")])
        with pytest.raises(SystemExit) as ended:
            main()
        assert [signal.getsignal(number) for number in ORDERS] == before
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err.splitlines()

    return call


def ordering(number: int, times: int = 1, result: Any = None) -> Callable[..., Any]:
    """A function that sends this process an order to stop."""

    def order(*arguments: Any, **named: Any) -> Any:
        for _ in range(times):
            os.kill(os.getpid(), number)
        return result

    return order


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_the_program_is_imported(number: int) -> None:
    arguments = [sys.executable, "-c", IMPORTING, str(int(number))]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=LONG, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "memloc: interrupted\n")


def test_the_package_imports_nothing_before_the_program_begins() -> None:
    """`python -m memloc` runs it first, when Ctrl-C still is a traceback of Python's."""
    body = ast.parse(Path(memloc.__file__).read_text()).body
    imported = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [node.module for node in imported if isinstance(node, ast.ImportFrom)] == ["__future__"]
    assert len(imported) == 1
    assert memloc.TYPE_CHECKING is False
    assert memloc.__version__ == VERSION


@pytest.mark.parametrize("number", ORDERS)
def test_while_the_command_line_is_parsed_and_while_a_store_is_read(
    run: Run, monkeypatch: pytest.MonkeyPatch, tiny: Path, tmp_path: Path, number: int
) -> None:
    shutil.copytree(tiny, tmp_path / "store")
    for where in ("memloc.commands.Program.parse_args", "memloc.analysis.sweep_status.sweep_status"):
        with monkeypatch.context() as patch:
            patch.setattr(where, ordering(number))
            assert run("status") == (130, "", ["memloc: interrupted"]), where


@pytest.mark.parametrize("number", ORDERS)
def test_while_a_sweep_is_planned_and_while_it_is_summed_up(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    sweep = ("sweep", str(tmp_path / "tiny.yaml"), "--only", "block=tied", "--executor", "inline")
    with monkeypatch.context() as patch:
        patch.setattr("memloc.run.planner.build_plan", ordering(number))
        assert run(*sweep, "--dry-run") == (130, "", ["memloc: interrupted"])
        code, out, err = run(*sweep)
        assert (code, out) == (130, "")
        assert [line.startswith(KEPT) for line in err] == [True]
        assert not (tmp_path / "store").exists()
    monkeypatch.setattr("memloc.run.executor.execute", lambda *arguments: Outcome())
    monkeypatch.setattr("memloc.commands.summary.summary", ordering(number))
    code, out, err = run(*sweep)
    assert (code, out) == (130, "")
    assert err[-1].startswith(KEPT)
    assert "finishing" not in "".join(err)


def test_a_second_order_ends_at_once_and_says_how_to_go_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(attempts, "run_training", ordering(signal.SIGINT, times=2))
    code, out, err = run("sweep", str(tmp_path / "tiny.yaml"), "--executor", "inline")
    assert (code, out) == (130, "")
    assert sum("press Ctrl-C again to stop at once" in line for line in err) == 1
    assert err[-1].startswith(f"{KEPT}memloc sweep {tmp_path / 'tiny.yaml'} --executor inline --store ")


def disguised(*arguments: Any, **named: Any) -> Any:
    """Two orders come to foreign code, such as an extension module while it is imported. It raises an error of its own."""
    with contextlib.suppress(KeyboardInterrupt):
        ordering(signal.SIGINT, times=2)()
    raise ImportError("Encountered an error while initializing the extension.")


@pytest.mark.parametrize("where", ["run.attempts.run_training", "run.attempts.run_parts", "commands.summary.summary"])
def test_an_order_that_foreign_code_hides(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str) -> None:
    monkeypatch.setattr(f"memloc.{where}", disguised)
    code, out, err = run("sweep", str(tmp_path / "tiny.yaml"), "--executor", "inline")
    assert (code, out) == (130, "")
    assert err[-1].startswith(KEPT)
    assert not any("ImportError" in line for line in err)
    assert not list((tmp_path / "store").glob("failures/**/*.json"))


def test_a_store_that_is_removed_does_not_hide_how_the_launch_ended(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = attempts.run_training

    def run_training(worker: Worker, work: Any, on_epoch: Any, should_stop: Any) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        ended = real(worker, work, on_epoch, should_stop)
        shutil.rmtree(tmp_path / "store")
        return ended

    monkeypatch.setattr(attempts, "run_training", run_training)
    for more in ((), ("--json",)):
        code, out, err = run("sweep", str(tmp_path / "tiny.yaml"), "--executor", "inline", *more)
        assert (code, out) == (130, "")
        last = next(k for k, line in enumerate(err) if line.startswith(KEPT))
        assert err[last + 1].startswith("memloc: log ")
        assert [line.startswith("memloc: there is no summary: tiny") for line in err[last + 2 :]] == [True]


def test_a_store_that_is_removed_at_the_end(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All the work is done, and nothing can be shown: that is no success."""
    real = commands.launch._run

    def removed(*arguments: Any) -> Any:
        outcome = real(*arguments)
        shutil.rmtree(tmp_path / "store")
        return outcome

    monkeypatch.setattr("memloc.commands.launch._run", removed)
    code, out, err = run("sweep", str(tmp_path / "tiny.yaml"), "--only", "block=tied", "--executor", "inline")
    assert (code, out) == (2, "")
    assert err[-1].startswith("memloc: there is no summary: tiny")


class Starting:
    """An executor during whose start an order comes. It must not be asked for anything after that."""

    def __init__(self, order: Callable[[], None]) -> None:
        self.order = order

    def __enter__(self) -> Starting:
        self.order()
        return self

    def __exit__(self, *ended: object) -> None:
        pass


def test_while_the_executor_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from memloc.run.pending import pending

    store = Store(str(tmp_path / "store"))
    works = pending(plan_of(tmp_path, TINY), store, store.snapshot(), "all")
    progress, orders = Progress(works, {}), []

    def order() -> None:
        orders.append(True)
        progress.stopping()

    executor: Any = Starting(order)
    outcome = execute(works, executor, lambda works, capacity: pytest.fail("priced"), [progress], lambda: bool(orders))
    assert outcome.interrupted
    assert capsys.readouterr().err == ("interrupted: stopping; nothing has begun yet (press Ctrl-C again to stop at once)\n")
    assert progress._head() == "stopping"


@pytest.mark.parametrize("ordered", [False, True])
def test_an_order_while_the_launch_waits_for_a_compaction(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ordered: bool
) -> None:
    """All is computed, so the launch has succeeded. It compacts nothing after an order."""
    compacted: list[object] = []
    monkeypatch.setattr("memloc.commands.launch.after_sweep", compacted.append)
    if ordered:
        monkeypatch.setattr("memloc.commands.upkeep.Upkeep.__exit__", ordering(signal.SIGTERM))
    code, _, err = run("sweep", str(tmp_path / "tiny.yaml"), "--executor", "inline")
    assert code == 0, err
    assert len(compacted) == (not ordered)
