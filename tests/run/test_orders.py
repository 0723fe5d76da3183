"""Orders to stop, wherever in the code they come."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.run.programs import SMALL, memloc, started
from tests.waiting import LONG

IGNORING = """
import os, signal, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
from memloc.interruption import ORDERS, interrupt, on_orders
said = []

def stop():
    if said:
        interrupt()
    said.append(True)

before = [signal.getsignal(number) for number in ORDERS]
with on_orders(stop):
    for number, orders in ((signal.SIGHUP, 0), (signal.SIGTERM, 1)):
        os.kill(os.getpid(), number)
        assert len(said) == orders, number
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        print("at once")
assert [signal.getsignal(number) for number in ORDERS] == before
"""


def test_an_ignored_signal_stays_ignored_and_a_second_order_ends_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", IGNORING], capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "at once\n"


DROPPED = """
import os, signal, sys, weakref
from memloc.interruption import interrupt, kept_orders, on_orders

class Freed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass  # the handler runs here

class Broken:
    def __del__(self):
        raise ValueError("of its own")

signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a job that a script has started in the background
plain = sys.unraisablehook
with on_orders(interrupt), kept_orders():
    Broken()
    try:
        Freed()
        for _ in range(10**8):
            pass
    except KeyboardInterrupt:
        print("at once")
    else:
        print("lost")
assert sys.unraisablehook is plain
"""


def test_an_order_comes_through_while_objects_are_freed() -> None:
    done = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "at once\n"
    assert "of its own" in done.stderr
    assert "KeyboardInterrupt" not in done.stderr


DISGUISED = """
import os, signal
from memloc.interruption import interrupt, on_orders, whole_orders

def foreign(error, order=True):  # as DuckDB, or the import of an extension module
    try:
        if order:
            os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        pass
    raise error

def seen(error, *ends, order=True):
    try:
        with whole_orders(*ends):
            foreign(error, order)
    except BaseException as last:
        return type(last).__name__

print(seen(ValueError(), order=False))
for _ in range(2):  # what came to one program is not that of the next
    with on_orders(interrupt):
        print(seen(ValueError(), order=False), seen(ValueError()), seen(ValueError(), order=False))
    with on_orders(interrupt):
        with on_orders(lambda: None):
            print(seen(ValueError()))
        with on_orders(interrupt):
            print(seen(ValueError(), ValueError, OSError))
        print(seen(ValueError(), order=False))
"""


def test_an_error_that_an_order_has_become_is_that_order() -> None:
    done = subprocess.run([sys.executable, "-c", DISGUISED], capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == "ValueError"
    # Without an order, with one, and whatever follows it. An order that drains ends nothing. Ends of the program stay.
    once = ["ValueError KeyboardInterrupt KeyboardInterrupt", "ValueError", "ValueError", "KeyboardInterrupt"]
    assert rest == once * 2


def test_an_order_during_a_query(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    done = memloc(tmp_path, "sweep", str(SMALL), "--only", "dropout=example_tied", "--executor", "inline", "--store", store)
    assert done.code == 0, done.err
    endless = "SELECT count(*) FROM trials, range(1000000000000) AS r (x) WHERE x * x % 7 = 3"
    with started(tmp_path, "query", endless, "--store", store) as process:
        time.sleep(3)  # in the query by now, or on the way to it
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LONG)
    assert (process.returncode, out, err) == (130, "", "memloc: interrupted\n")
