"""What needs PyTorch is asked of another process, unless this one has PyTorch. Its errors come back; it ends when told."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import memloc
from memloc.aside import aside
from memloc.errors import DamagedError, UsageError

PROGRAM = """
import json, os, signal, sys, threading, time
from memloc import aside as module
from memloc.aside import aside, aside_until_here
from memloc.errors import UsageError
from tests.test_aside import *

said = {}
said["process"] = aside(os.getpid), aside(os.getpid), os.getpid()
said["torch"] = aside(has_torch), "torch" in sys.modules
for name in ("refused", "broken", "unsendable"):
    try:
        aside(raising, name)
    except Exception as error:
        said[name] = type(error).__name__, str(error), getattr(error, "__notes__", [])
said["after"] = aside(os.getpid)
os.kill(said["after"], signal.SIGINT)
os.kill(said["after"], signal.SIGTERM)
said["after orders"] = aside(os.getpid)
aside(print, "a user's file prints")
said["folder"] = aside(os.getcwd), aside(shadowed)
threads = [threading.Thread(target=lambda k=k: said.setdefault(f"thread {k}", aside(doubled, k))) for k in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
try:
    aside(os._exit, 7)
except RuntimeError as error:
    said["lost"] = str(error)
said["new"] = aside(os.getpid)
signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    aside(time.sleep, 60)
except KeyboardInterrupt:
    said["interrupted"] = aside(doubled, 21)
last = aside(os.getpid)
with aside_until_here():
    pass
try:
    os.kill(last, 0)
except ProcessLookupError:
    said["ended"] = True
said["left"] = aside(os.getpid)  # ends with this process
print(json.dumps(said))
"""


def has_torch() -> bool:
    import torch

    return torch.ones(1).item() == 1


def doubled(number: int) -> int:
    return 2 * number


def shadowed() -> str:
    import colorsys

    return str(colorsys.__file__)


class UnsendableError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("cannot be made again of its text")


def raising(name: str) -> None:
    if name == "refused":
        raise UsageError("a: is wrong", "b: is wrong too")
    if name == "unsendable":
        raise UnsendableError(1, 2)
    raise LookupError("a bug")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("typed")
    (folder / "colorsys.py").write_text("", encoding="utf-8")  # a user's file of the name of a module
    paths = [str(Path(memloc.__file__).parents[1]), *sys.path]
    program = f"import sys; sys.path[:] = {[p for p in paths if p]!r}\n{PROGRAM}"
    # Without the imports of tests that need torch: this file has none.
    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "a user's file prints" in done.stderr  # and not between the lines of the command, which are JSON here
    return json.loads(done.stdout)


def test_one_other_process_has_torch(said: Any) -> None:
    first, second, own = said["process"]
    assert first == second != own
    assert said["torch"] == [True, False]


def test_what_it_raises_comes_back(said: Any) -> None:
    assert said["refused"] == ["UsageError", "a: is wrong\nb: is wrong too", []]
    kind, text, notes = said["broken"]
    assert (kind, text) == ("LookupError", "a bug")
    assert 'raise LookupError("a bug")' in notes[0]
    kind, text, _ = said["unsendable"]
    assert kind == "RuntimeError"
    assert "cannot be made again of its text" in text


def test_errors_with_fields_can_be_sent() -> None:
    """In this process, which has torch: what is called here raises as it is."""
    with pytest.raises(DamagedError, match="gone; do this") as raised:
        aside(_damaged)
    assert raised.value.path == "x"


def _damaged() -> None:
    raise DamagedError("gone", "x", "do this")


def test_it_lives_on_after_errors_and_orders(said: Any) -> None:
    assert said["after"] == said["after orders"] == said["process"][0]


def test_it_imports_from_where_this_process_does(said: Any) -> None:
    folder, file = said["folder"]
    assert not file.startswith(folder)


def test_threads_get_their_own_answers(said: Any) -> None:
    assert [said[f"thread {k}"] for k in range(8)] == [2 * k for k in range(8)]


def test_a_lost_one_is_told_of_and_replaced(said: Any) -> None:
    assert said["lost"] == "the process that asks PyTorch for the plan ended with exit code 7"
    assert said["new"] != said["after"]


def test_an_order_to_stop_ends_a_call(said: Any) -> None:
    """And the answer that would have come is not taken for that to the next call."""
    assert said["interrupted"] == 42


def test_it_ends_when_told_and_with_its_process(said: Any) -> None:
    assert said["ended"] is True
    left = Path(f"/proc/{said['left']}/cmdline")
    for _ in range(600):
        if not left.exists() or not left.read_bytes():
            return
        time.sleep(0.1)
    raise AssertionError("it lives on")
