"""A sweep on Ray where a batch system or a container gives less than a desktop: long paths, no home, signals to all."""

from __future__ import annotations

import os
import signal
import stat
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from memloc.commands import logs
from memloc.errors import UsageError
from memloc.run.ray import connect
from tests.run.programs import SMALL, memloc, on_terminal, started
from tests.waiting import LONG, wait_until

NOWHERE = "/proc/nowhere"  # no folder can be made there, not even by root


INLINE = ("sweep", str(SMALL), "epochs=2000", "rewind.epochs=[0]", "--executor", "inline", "--store")


def test_the_order_to_stop_one_process(tmp_path: Path) -> None:
    with started(tmp_path, *INLINE, str(tmp_path / "store")) as process:
        wait_until(lambda: list((tmp_path / "store").glob("checkpoints/*/epoch-0001*")))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=LONG)
        assert process.returncode == 130, err
    assert (
        err.count("interrupted: finishing the epochs and parts that are running (press Ctrl-C again to stop at once)") == 1
    )
    assert "To go on: python -m memloc sweep" in err
    assert "Traceback" not in out + err


def test_a_terminal_that_is_closed(tmp_path: Path) -> None:
    """The kernel sends SIGHUP, and whatever is printed from then on fails."""
    with on_terminal(tmp_path, *INLINE, str(tmp_path / "store")) as (process, person):
        wait_until(lambda: list((tmp_path / "store").glob("checkpoints/*/epoch-0001*")))
        person.close()
        assert process.wait(LONG) == 130
    (log,) = (tmp_path / "logs").glob("*.log")
    assert "interrupted: finishing the epochs and parts" in log.read_text()


# --- logs


@pytest.fixture
def no_logs(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("MEMLOC_LOGS", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_where_the_logs_go(tmp_path: Path, no_logs: pytest.MonkeyPatch) -> None:
    no_logs.setenv("HOME", str(tmp_path))
    assert logs.folder() == tmp_path / ".local" / "state" / "memloc"
    no_logs.setenv("XDG_STATE_HOME", "relative")  # invalid by its specification
    assert logs.folder() == tmp_path / ".local" / "state" / "memloc"
    no_logs.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert logs.folder() == tmp_path / "state" / "memloc"
    no_logs.setenv("MEMLOC_LOGS", "~/here")
    assert logs.folder() == tmp_path / "here"
    assert logs.folder().is_dir()


@pytest.mark.parametrize("home", [NOWHERE, "file"])
def test_without_a_home_the_logs_are_temporary(tmp_path: Path, no_logs: pytest.MonkeyPatch, home: str) -> None:
    (tmp_path / "file").touch()
    no_logs.setattr("tempfile.tempdir", str(tmp_path))
    no_logs.setenv("HOME", str(tmp_path / home))
    folder = logs.folder()
    assert (folder.parent, folder.name[:12]) == (tmp_path, "memloc-logs-")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_named_folder_for_logs_must_be_one(tmp_path: Path, no_logs: pytest.MonkeyPatch) -> None:
    for named in (NOWHERE, str(tmp_path / "file"), str(tmp_path / "file" / "below"), "~nobody-at-all/logs", "\0"):
        (tmp_path / "file").touch()
        if "\0" not in named:
            no_logs.setenv("MEMLOC_LOGS", named)
            with pytest.raises(UsageError, match=r"^MEMLOC_LOGS .*: cannot be written: "):
                logs.folder()


# --- the folder for Ray's sockets


def test_a_usual_temporary_folder_is_rays_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    for usual in ("/tmp", None):
        monkeypatch.setenv("TMPDIR", usual) if usual else monkeypatch.delenv("TMPDIR")
        with connect.ExitStack() as ends:
            assert connect._folder(ends) is None


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
@pytest.mark.parametrize("folder", ["x" * 60, "ü", ".", "relative"])
def test_one_that_ray_cannot_use_gets_a_short_name_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str
) -> None:
    """It is too long, it is not ASCII, or it is relative. The working directory may change meanwhile."""
    with TemporaryDirectory(dir="/tmp") as short_enough:
        here = tmp_path if len(folder) == 60 else Path(short_enough)
        usual = here / folder
        usual.mkdir(exist_ok=True)
        monkeypatch.chdir(here)
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        monkeypatch.setenv(name, folder if folder in (".", "relative") else str(usual))
        with connect.ExitStack() as ends:
            link = Path(connect._folder(ends) or "")
            monkeypatch.chdir("/")
            assert len(str(link)) <= connect.LONGEST_FOLDER
            assert str(link).isascii()
            assert link.resolve().parent == usual
            assert link.is_dir()
        assert not link.is_symlink()
        assert list(usual.iterdir()) == []


@pytest.mark.parametrize("usual", [NOWHERE, "relative"])
def test_one_that_cannot_be_written_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, usual: str) -> None:
    monkeypatch.setenv("RAY_TMPDIR", usual)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with connect.ExitStack() as ends:
        assert Path(connect._folder(ends) or "").resolve().parent == tmp_path


def test_no_short_folder_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 60)))
    monkeypatch.setattr(connect, "SHORT_FOLDERS", (NOWHERE, "/sys"))
    none = r"Ray needs a short folder .* none of these can be written: /proc/nowhere, /sys"
    with connect.ExitStack() as ends, pytest.raises(UsageError, match=none):
        connect._folder(ends)


def test_the_longest_folder_leaves_room_for_rays_longest_socket() -> None:
    from ray._private.utils import validate_socket_filepath

    session = f"session_{time.strftime('%Y-%m-%d_%H-%M-%S')}_123456_4194304/sockets/plasma_store"
    validate_socket_filepath(os.path.join("/" + "x" * (connect.LONGEST_FOLDER - 1), session))
    with pytest.raises(OSError, match="AF_UNIX"):
        validate_socket_filepath(os.path.join("/" + "x" * connect.LONGEST_FOLDER, session))


def test_the_dry_run_and_the_run_say_the_same_number_of_cpus(tmp_path: Path) -> None:
    """In a process that may use one CPU of many."""
    arguments = ("sweep", str(SMALL), "--only", "block=tied", "--store", str(tmp_path / "store"))
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})  # of this thread, and of the process that it starts
    try:
        dry = memloc(tmp_path, *arguments, "--dry-run")
        with started(tmp_path, *arguments) as process:
            assert process.stderr is not None
            first = process.stderr.readline()
    finally:
        os.sched_setaffinity(0, allowed)
    assert "on 1 worker (" in dry.out
    assert "to do on 1 CPU;" in first
