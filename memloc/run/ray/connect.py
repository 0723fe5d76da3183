"""The connection to Ray: starts one on this machine or attaches to a cluster, and ends it."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray._private.ray_constants
import ray._private.utils
import ray._private.worker

from memloc.errors import RayLostError, UsageError, error_line
from memloc.run.capacity import usable_cpus
from memloc.run.machine import machine
from memloc.run.placement import NOSET, Resources

log = logging.getLogger("memloc")
# Ray puts sockets below its folder, as FOLDER/session_2026-11-28_13-16-33_123456_4194304/sockets/plasma_store; the path
# of a socket has at most 107 bytes.
LONGEST_FOLDER = 107 - len("/session_2026-11-28_13-16-33_123456_4194304/sockets/plasma_store")
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", f"/run/user/{os.getuid()}")
LATE_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Connection:
    """A connection to Ray. scratch: a folder for Tune's files. remove_files: removes it and what Ray leaves on the disk."""

    scratch: str
    remove_files: Callable[[], None]


@contextmanager
def connected(resources: Resources, run: str) -> Iterator[Connection]:
    """A connection to Ray. A Ray that was started here ends with it.

    Raises:
        RayLostError: Ray does not come up here. UsageError: the cluster cannot be used.
    """
    with ExitStack() as ends:
        files = ends.enter_context(ExitStack())
        scratch = _temporary(files, None)
        folder = _folder(files) if resources.address == "local" else None
        ends.callback(ray.shutdown)  # before the folder is removed that it writes to
        with _signals_kept():
            _messages_to_log()
            if resources.address == "local":
                _start(resources, run, folder)
            else:
                _attach(resources.address, run)
        node = ray._private.worker._global_node
        if resources.address == "local" and node is not None:  # its logs are of no use without it
            files.callback(shutil.rmtree, node.get_session_dir_path(), ignore_errors=True)
        yield Connection(str(scratch), files.close)


def _start(resources: Resources, run: str, folder: str | None) -> None:
    here = machine()
    # A token of its own, which only this user's processes can read. ~/.ray/auth_token would need a home to write to, and
    # RAY_AUTH_TOKEN_PATH names the token of some cluster; it counts for nothing if RAY_AUTH_TOKEN is set.
    if not os.environ.get("RAY_AUTH_TOKEN", "").strip():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    if here.rocm and "ROCR_VISIBLE_DEVICES" in os.environ:
        # Ray refuses SLURM's variable. Those that it leaves are numbered from 0 by the variable that Ray knows.
        os.environ.setdefault("HIP_VISIBLE_DEVICES", ",".join(map(str, range(here.gpus))))
    cpus = usable_cpus() if resources.cpus is None else resources.cpus
    # Those that torch sees: Ray would also count GPUs that a torch without CUDA cannot use.
    gpus = here.gpus if resources.gpus is None else resources.gpus
    try:
        # address="local", since a stale record of an earlier cluster would make a plain init() hang.
        with _on_loopback():
            ray.init(address="local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False,
                     _temp_dir=folder, **_quiet(run))  # fmt: skip
    except Exception as error:  # if one of its processes ends meanwhile, Ray raises just that
        why = error_line(error, with_type=False)
        raise RayLostError(f"Ray cannot be started on this machine ({why}); --executor inline works without it") from error


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Meanwhile Ray starts as on a laptop, where no other machine may join: its servers listen on 127.0.0.1 alone.

    Without it they listen on every interface, also with node_ip_address="127.0.0.1", which Ray takes for the machine's own
    address. Ray reads the variable when it is imported, so its constant is set too. The processes inherit the variable.
    """
    constants: Any = ray._private.ray_constants
    name, before = constants.ENABLE_RAY_CLUSTERS_ENV_VAR, constants.ENABLE_RAY_CLUSTER
    value = os.environ.get(name)
    os.environ[name], constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value


def _attach(address: str, run: str) -> None:
    try:
        ray.init(address=address, runtime_env={"env_vars": NOSET}, **_quiet(run))
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UsageError(f"--address {address}: the cluster cannot be used ({error_line(error, with_type=False)})") from None
    try:
        token = Path.home() / ".ray" / "auth_token"
        if token.exists():
            token.chmod(0o600)  # whoever reads it can run code there; `ray get-auth-token` writes it readable for everybody
    except (OSError, RuntimeError):
        pass  # there is no home, or this user cannot change it


def _messages_to_log() -> None:
    """What Ray reports goes to the log: raylets' news of processes that died, and Tune's tracebacks of lost coordinators.

    Ray would print the former on standard output, and the latter on standard error.
    """
    ray._private.worker.print_to_stdstream = _log_message
    reports = logging.getLogger("ray")
    reports.handlers.clear()
    reports.propagate = True  # to the launch's log


def _log_message(message: dict[str, Any], ignore_prefix: bool) -> None:
    for line in message.get("lines", ()):
        log.info("(%s) %s", message.get("pid", "ray"), line)


def _quiet(run: str) -> dict[str, Any]:
    return {"log_to_driver": False, "logging_level": "ERROR", "namespace": f"memloc-{run}"}


def _folder(ends: ExitStack) -> str | None:
    """The folder of Ray's session: None for Ray's own default, else a short name of a folder of this run.

    A batch system's TMPDIR is often too long for sockets, and Ray takes only ASCII and no relative one. Ray's files still
    lie there; only the name is short.
    """
    named = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    usual = os.path.abspath(named)
    writable = _is_writable(usual)
    if writable and usual.isascii() and os.path.isabs(named) and len(named) + len("/ray") <= LONGEST_FOLDER:
        return None
    folder = _temporary(ends, usual if writable else None)
    for short in SHORT_FOLDERS:
        link = Path(short, f"memloc-{secrets.token_hex(4)}")
        try:
            link.symlink_to(folder)
        except OSError:
            continue
        ends.callback(link.unlink, missing_ok=True)
        return str(link)
    raise UsageError(f"Ray needs a short folder for its sockets; none of these can be written: {', '.join(SHORT_FOLDERS)}")


def _temporary(ends: ExitStack, parent: str | None) -> Path:
    """A folder that is removed at the end; raises UsageError if no temporary folder can be written."""
    try:
        folder = tempfile.mkdtemp(prefix="memloc-", dir=parent)
    except OSError as error:
        raise UsageError(f"no folder for temporary files can be written ({error.strerror}); set TMPDIR to one") from None
    ends.callback(shutil.rmtree, os.path.abspath(folder), ignore_errors=True)
    return Path(folder).absolute()  # under TMPDIR=. it is relative


def _is_writable(folder: str) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@contextmanager
def _without_sigterm_setter() -> Iterator[None]:
    """Meanwhile Ray cannot set its handler of SIGTERM."""
    utils: Any = ray._private.utils
    setter = getattr(utils, "set_sigterm_handler", None)
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        if setter is None:
            del utils.set_sigterm_handler
        else:
            utils.set_sigterm_handler = setter


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keeps the handlers of signals, while Ray would take over SIGTERM and end the process at once.

    The signals are blocked meanwhile, and the processes that Ray starts inherit that. So they live on when a batch system
    signals all processes of a job: they are needed until what is running is committed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in LATE_SIGNALS}
    signal.pthread_sigmask(signal.SIG_BLOCK, LATE_SIGNALS)
    try:
        with _without_sigterm_setter():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, LATE_SIGNALS)
