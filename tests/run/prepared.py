"""Programs that start without their imports: one prepared process has them, and every program is a fork of it.

A program has its own process, session, environment, streams, signals and exit code, as if the interpreter had been started
for it. Only the start of the interpreter itself is not repeated, which would cost seconds of importing torch and ray.
`python -m tests.run.prepared LISTENING LEASH` is the prepared process. All processes that run tests share it: it has a fork
for each that connects, which `launch` asks.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

import memloc
from tests.waiting import LONG

ROOT = Path(__file__).parents[2]
LONGEST_ORDER = 1 << 17  # bytes; the environment is part of it


class Program:
    """A program that has been launched; as subprocess.Popen. stdout, stderr: its pipes, unless it was given streams."""

    def __init__(self, prepared: Prepared, pid: int, stdout: IO[str] | None = None, stderr: IO[str] | None = None) -> None:
        self.pid, self.stdout, self.stderr = pid, stdout, stderr
        self.returncode: int | None = None
        self._prepared, self._ended = prepared, os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Its exit code (-N: ended by signal N), or None while it runs."""
        return self.returncode if self.returncode is not None or not self._ends_within(0) else self._end()

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; raises TimeoutExpired where it has not ended in time."""
        if self.returncode is not None:
            return self.returncode
        if not self._ends_within(timeout):
            raise subprocess.TimeoutExpired(f"program {self.pid}", timeout or 0)
        return self._end()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it prints; returns when it has ended."""
        texts = {}

        def read(name: str, pipe: IO[str] | None) -> None:
            texts[name] = pipe.read() if pipe else ""

        readers = [
            threading.Thread(target=read, args=pair, daemon=True) for pair in (("out", self.stdout), ("err", self.stderr))
        ]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():  # a process that it has left behind holds the pipe
                raise subprocess.TimeoutExpired(f"the pipes of program {self.pid}", timeout or 0)
        return texts["out"], texts["err"]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Closes its pipes."""
        for pipe in (self.stdout, self.stderr):
            if pipe:
                pipe.close()

    def _ends_within(self, seconds: float | None) -> bool:
        return bool(select.select([self._ended], [], [], seconds)[0])

    def _end(self) -> int:
        os.close(self._ended)
        self.returncode = os.waitstatus_to_exitcode(self._prepared.ask({"wait": self.pid}))
        return self.returncode


class Prepared:
    """A connection to the prepared process. It is started if there is none, and ends with the process that started it."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        """name: of its socket, which belongs to the first that binds it."""
        self._ends, self._lock = ExitStack(), threading.Lock()
        self._connection = self._ends.enter_context(_seqpacket())
        while self._connection.connect_ex(name):  # there is none, or one that does not listen yet, or one that ends just now
            with _seqpacket() as listening, suppress(OSError):
                listening.bind(name)
                listening.listen()
                self._start(listening, environ)
        atexit.register(self._ends.close)

    def _start(self, listening: socket.socket, environ: Mapping[str, str]) -> None:
        leash, inside = socket.socketpair()
        with inside:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.run.prepared", str(listening.fileno()), str(inside.fileno())],
                env={**environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
                pass_fds=[listening.fileno(), inside.fileno()], stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._ends.callback(process.wait, LONG)
        self._ends.callback(leash.close)

    def ask(self, order: Mapping[str, Any], streams: Sequence[int] = ()) -> int:
        with self._lock:
            socket.send_fds(self._connection, [json.dumps(order).encode()], list(streams))
            return int(self._connection.recv(LONGEST_ORDER))


def _seqpacket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def launch(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    streams: Sequence[int] | None = None,
    terminal: bool = False,
    cwd: Path | None = None,
) -> Program:
    """Python with these arguments: `-m MODULE …` or `-c CODE …`, in a session of its own.

    streams: its standard input, output and error; without them, nothing, and two pipes. terminal: whether the first is the
    terminal of the session.
    """
    order = {
        "arguments": list(arguments), "environ": dict(environ), "terminal": terminal,
        "cwd": str(cwd or os.getcwd()), "cpus": sorted(os.sched_getaffinity(0)),
    }  # fmt: skip
    helper = _of_this_process()
    if streams is not None:
        return Program(helper, helper.ask(order, streams))
    with open(os.devnull, "rb") as nothing:
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        try:
            pid = helper.ask(order, [nothing.fileno(), out_end, err_end])
        finally:
            os.close(out_end)
            os.close(err_end)
    return Program(helper, pid, *(open(end, encoding="utf-8") for end in (out, err)))


@cache
def _of_this_process() -> Prepared:
    dropped = ("RAY_", "MEMLOC_", "PYTEST_", "COLUMNS", "LINES")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(16)
    return Prepared(f"\0memloc-tests-{run}", {**kept, "PYTHONUNBUFFERED": "1"})


# --- the prepared process ---------------------------------------------------------------------------------------------


def serve_all(listening: socket.socket, leash: socket.socket) -> list[str] | None:
    """Has a fork for each process of this user that connects, until `leash` is closed; a fork returns what `serve` does."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for these
    while leash not in select.select([listening, leash], [], [])[0]:
        connection, _ = listening.accept()
        _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        if user == os.getuid() and os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            leash.close()
            return serve(connection)
        connection.close()
    return None


def serve(connection: socket.socket) -> list[str] | None:
    """Answers orders: the pid of a new program, or the status of one that has ended. In a new program its arguments."""
    while True:
        message, streams, *_ = socket.recv_fds(connection, LONGEST_ORDER, 3)
        if not message:
            return None
        order = json.loads(message)
        if "wait" in order:
            answer = os.waitpid(order["wait"], 0)[1]
        elif (answer := os.fork()) == 0:
            connection.close()
            become(order, streams)
            return list(order["arguments"])
        for stream in streams:
            os.close(stream)
        connection.send(str(answer).encode())


def become(order: Mapping[str, Any], streams: Sequence[int]) -> None:
    """Takes on what a new process is given: session, streams, terminal, folder, CPUs, environment, usual signals."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    if order["terminal"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(order["cwd"])
    os.sched_setaffinity(0, order["cpus"])
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update({**SET_BY_IMPORTS, **order["environ"]})
    tempfile.tempdir = None
    encoding = order["environ"].get("PYTHONIOENCODING", "utf-8")
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding)
    sys.stdout = sys.__stdout__ = unbuffered(1, encoding, "strict")
    sys.stderr = sys.__stderr__ = unbuffered(2, encoding, "backslashreplace")


def unbuffered(number: int, encoding: str, errors: str) -> io.TextIOWrapper:
    """A standard stream as Python makes it with PYTHONUNBUFFERED."""
    return io.TextIOWrapper(io.FileIO(number, "w", closefd=False), encoding, errors, write_through=True)


def run(kind: str, program: str, *rest: str) -> None:
    """What `python KIND PROGRAM REST` runs."""
    sys.path[0] = "" if kind == "-c" else os.getcwd()
    sys.orig_argv[:] = [sys.executable, kind, program, *rest]
    if kind == "-m":
        sys.argv = [program, *rest]
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *rest]
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})


def run_and_end(*arguments: str) -> None:
    """Runs, and ends as the interpreter does, but for the release of all that was imported, which takes seconds."""
    code: Any = 0
    try:
        run(*arguments)
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code)


SET_BY_IMPORTS: dict[str, str] = {}

if __name__ == "__main__":
    before = dict(os.environ)
    for module in pkgutil.walk_packages(memloc.__path__, "memloc."):
        if not module.name.endswith(("__main__", ".probe")) and ".report" not in module.name:
            importlib.import_module(module.name)
    for name in ("duckdb", "torch._dynamo"):  # what they import when they need it
        importlib.import_module(name)
    memloc.run.cluster.PATIENCE = LONG  # as in the tests' own processes (tests/conftest.py)
    gc.freeze()  # else every program's collections would copy the memory of all that is imported
    SET_BY_IMPORTS.update({name: value for name, value in os.environ.items() if before.get(name) != value})
    arguments = serve_all(*(socket.socket(fileno=int(number)) for number in sys.argv[1:]))
    if arguments is not None:
        run_and_end(*arguments)
