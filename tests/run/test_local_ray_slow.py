"""More starts of a Ray on this machine. What guards the same in `make test`: docs/testing.md."""

from __future__ import annotations

import signal
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from tests.run.programs import SMALL, assert_same, contents, descendants, interrupt, memloc, started
from tests.run.test_ray import order_and_drain
from tests.waiting import LONG, wait_until

pytestmark = pytest.mark.slow


def test_an_order_as_a_terminal_sends_it_and_the_same_command_goes_on(tmp_path: Path, small_store: Path) -> None:
    store = tmp_path / "store"
    arguments = ("sweep", str(SMALL), "--cpus", "1", "--store", str(store))
    with started(tmp_path, *arguments) as process:
        wait_until(lambda: list(store.glob("checkpoints/*/epoch-0001*")))
        order_and_drain(process, interrupt, store, small_store)
    done = memloc(tmp_path, *arguments)
    assert done.code == 0, done.err
    assert_same(small_store, store)


def test_an_order_through_the_store_and_the_same_command_goes_on(tmp_path: Path) -> None:
    store, whole = tmp_path / "store", tmp_path / "whole"
    long = ("sweep", str(SMALL), "epochs=150")  # a training must outlast the time between two looks for the order
    assert memloc(tmp_path, *long, "--executor", "inline", "--store", str(whole)).code == 0
    arguments = (*long, "--cpus", "1", "--store", str(store))

    def order(process: object) -> None:
        told = memloc(tmp_path, "stop", "small", "--store", str(store))
        assert (told.code, told.out.count("is told to stop")) == (0, 1), told.err

    with started(tmp_path, *arguments) as process:
        wait_until(lambda: list(store.glob("checkpoints/*/epoch-0001*")))
        _, err = order_and_drain(process, order, store, whole, "stopped by `memloc stop` at .*")
    assert "press Ctrl-C to stop at once" in err
    assert not list(store.glob("stops/*"))
    done = memloc(tmp_path, *arguments)
    assert done.code == 0, done.err
    assert_same(whole, store)


def test_the_order_to_stop_while_ray_is_starting(tmp_path: Path) -> None:
    with (
        TemporaryDirectory(dir="/tmp") as folder,
        started(tmp_path, "sweep", str(SMALL), "--cpus", "1", "--store", str(tmp_path / "store"), TMPDIR=folder) as process,
    ):
        wait_until(lambda: descendants(process, "gcs_server"))
        assert list(Path(folder).glob("ray/session_2*"))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert list(Path(folder).glob("ray/session_2*")) == []  # half a megabyte of logs with every run
    assert "interrupted: stopping; nothing has begun yet (press Ctrl-C again" in err
    assert "starting processes" not in err
    assert "To go on: python -m memloc sweep" in err
    assert "Traceback" not in out + err
    assert contents(tmp_path / "store")["trials"].num_rows == 0


def test_a_process_of_ray_is_killed_while_ray_starts(tmp_path: Path) -> None:
    """A service that begins it again has to know that another start may succeed."""
    with started(tmp_path, "sweep", str(SMALL), "--cpus", "1", "--store", str(tmp_path / "store")) as process:
        wait_until(lambda: descendants(process, "gcs_server"))
        descendants(process, "gcs_server")[0].kill()
        out, err = process.communicate(timeout=LONG)
        assert (process.returncode, out) == (4, ""), err
    assert "Traceback" not in err


@pytest.mark.parametrize(("name", "words"), [("gcs_server", "its GCS has ended"), ("raylet/raylet", "its raylet has ended")])
def test_ray_itself_is_lost(tmp_path: Path, small_store: Path, name: str, words: str) -> None:
    """One line, at once. Ray would hang for a minute and print its logs, on standard output too."""
    store = tmp_path / "store"
    arguments = ("sweep", str(SMALL), "--cpus", "1", "--store", str(store))
    with started(tmp_path, *arguments, "--json") as process:
        wait_until(lambda: list(store.glob("checkpoints/*/epoch-0001*")))
        below = psutil.Process(process.pid).children(recursive=True)
        (victim,) = [child for child in below if name in child.cmdline()[0]]
        victim.kill()
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (4, ""), err
        (line,) = err.splitlines()
        assert line.startswith(f"memloc: Ray has stopped working, since {words}"), err
        _, left = psutil.wait_procs(below, 20)
        assert not left, left
    assert not list(store.glob("heartbeats/*/*.json"))
    done = memloc(tmp_path, *arguments)
    assert done.code == 0, done.err
    assert_same(small_store, store)
