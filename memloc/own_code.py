"""A Python file of the user's: found, read, hashed, and loaded from its text in any process.

A sweep names it as `nets.py` (a path, relative to the sweep file) or as `package.module` (what Python can import). The hash
of the text is its identity; the path is not. The text travels with what holds it, so a process on another machine needs no
copy of the file. What the file imports does not travel: it must be installed there.

A bug in the user's code is said in one line, with the line of the file; the traceback is in the log.
"""

from __future__ import annotations

import hashlib
import linecache
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from memloc.errors import MemlocError, UsageError, error_line, nearest
from memloc.torch_settings import settings_kept

BROKEN = (Exception, SystemExit)  # what is an error of the user's code: a script may end with sys.exit(main())
MAX_BYTES = 1 << 20  # a larger file is a mistake

log = logging.getLogger("memloc")


class OwnCodeError(MemlocError):
    """The user's own code fails, or gives something that cannot be used."""

    exit_code = 2


@dataclass(frozen=True)
class OwnCode:
    """A Python file by its text. origin: how it was named, a path that ends in .py or a module's dotted name."""

    origin: str
    text: str

    @property
    def sha256(self) -> str:
        """The hash of the text, 64 hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def module(self) -> ModuleType:
        """The module, executed once per process.

        Raises:
            UsageError: it is not Python, or raises an exception when it is executed.
        """
        return _executed(self)

    def function(self, name: str) -> Callable[..., Any]:
        """A function or class of the module.

        Raises:
            UsageError: there is none of this name, or the module cannot be executed.
        """
        names = vars(self.module())
        if name not in names:
            here = _name(self)
            own = [key for key, value in names.items() if callable(value) and getattr(value, "__module__", "") == here]
            there = f"; it has {', '.join(own)}" if own else "; it has none"
            raise UsageError(f"{self.origin}: no function {name}{nearest(name, own)}{there}")
        if not callable(names[name]):
            raise UsageError(f"{self.origin}: {name} is a {type(names[name]).__name__}; valid: a function")
        function: Callable[..., Any] = names[name]
        return function

    def explained(self, error: BaseException) -> str:
        """An exception in one line, with the last line of the file that it passed through; its traceback goes to the log."""
        log.info("%s", "".join(traceback.format_exception(error)))
        what = f"SyntaxError: {error.msg}" if isinstance(error, SyntaxError) else error_line(error)
        return f"{what}{self._where(error)}"

    def _where(self, error: BaseException) -> str:
        if isinstance(error, SyntaxError) and error.filename == self.origin and error.lineno:
            return f" ({Path(self.origin).name}:{error.lineno}: {(error.text or '').strip()})"
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == self.origin]
        return f" ({Path(self.origin).name}:{frames[-1].lineno}: {frames[-1].line})" if frames else ""


@contextmanager
def staying(what: str = "") -> Iterator[None]:
    """In it `sys.exit` of a user's file is an OwnCodeError, for it would end a process that computes other things too.

    What a signal's handler raises in its middle still ends the process. what: which code this is, for the message.
    """
    try:
        yield
    except SystemExit as error:
        code = _leaves(error)
        if code is None:
            raise
        raise OwnCodeError(f"{code.origin}: {what + ' ' if what else ''}raises {code.explained(error)}") from error


def _leaves(error: SystemExit) -> OwnCode | None:
    """The user's file whose code ends the process, by itself or with `exit` and `quit`; None: others do."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if len(frames) > 1 and "_sitebuiltins" in frames[-1].f_code.co_filename:
        frames.pop()
    code = frames[-1].f_globals.get("__own_code__")
    return code if isinstance(code, OwnCode) else None


def told(error: BaseException) -> str | None:
    """What a user's file raises, in a line; None where the exception has passed through no such file."""
    if isinstance(error, SystemExit):
        code = _leaves(error)
    else:
        frames = [frame.f_globals.get("__own_code__") for frame, _ in traceback.walk_tb(error.__traceback__)]
        code = next((found for found in reversed(frames) if isinstance(found, OwnCode)), None)
    return None if code is None else f"{code.origin}: raises {code.explained(error)}"


@contextmanager
def telling(code: OwnCode, what: str) -> Iterator[None]:
    """In it whatever this file raises is an OwnCodeError of a line. what: which code this is, for the message.

    A UsageError, such as that of a table that is not there, is told with the same place. Other errors of memloc's stay as
    they are: they are of the store.
    """
    try:
        yield
    except UsageError as error:
        raise OwnCodeError(*(f"{code.origin}: {what}: {problem}" for problem in error.problems)) from error
    except MemlocError:
        raise
    except BROKEN as error:
        raise OwnCodeError(f"{code.origin}: {what} raises {code.explained(error)}") from error


def is_path(origin: str) -> bool:
    """Is this a file, and not a module's name?"""
    return origin.endswith(".py") or "/" in origin


def absolute(origin: str, folder: Path) -> str:
    """The same file by its absolute path; folder: a relative path is below it. A module's name stays.

    Raises:
        OSError, RuntimeError, ValueError: it can be no path.
    """
    return str((folder / Path(origin).expanduser()).resolve()) if is_path(origin) else origin


def read(origin: str) -> OwnCode:
    """The file of this path, or the source of the module of this name.

    Raises:
        UsageError: there is no such file or module, or it cannot be read.
    """
    path = Path(origin) if is_path(origin) else _source_of(origin)
    try:
        state = path.stat()
        if not path.is_file():
            raise UsageError(f"{origin}: is no regular file; name a Python file (*.py)")
        return _read(origin, path, (state.st_mtime_ns, state.st_size, state.st_ino))
    except FileNotFoundError:
        beside = sorted(other.name for other in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise UsageError(f"{origin}: no such file{nearest(path.name, beside)}") from None
    except OSError as error:
        raise UsageError(f"{origin}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{origin}: is not UTF-8; save the file as UTF-8") from None


@lru_cache(maxsize=64)
def _read(origin: str, path: Path, state: tuple[int, ...]) -> OwnCode:
    """Kept while the file stays as it is: ten thousand trainings name the same."""
    if state[1] > MAX_BYTES:
        raise UsageError(f"{origin}: {state[1]} bytes; a Python file of yours has at most {MAX_BYTES}")
    return OwnCode(origin, path.read_text(encoding="utf-8-sig"))  # as Python does, which skips the mark of some editors


def _source_of(name: str) -> Path:
    try:
        spec = find_spec(name)
    except BROKEN as error:  # the parent package may raise anything
        raise UsageError(f"{name}: no such module: {error_line(error)}; a file of your own ends in .py") from None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise UsageError(f"{name}: no module that Python finds here; install it, or name a file (*.py)")
    return Path(spec.origin)


def defining(cls: type) -> OwnCode | None:
    """The user's file in which a class is defined; None for any other class."""
    code = vars(sys.modules.get(cls.__module__, sys)).get("__own_code__")
    return code if isinstance(code, OwnCode) else None


def _name(code: OwnCode) -> str:
    """The name under which the module is known, unlike that of any installed one."""
    return f"own_{code.sha256[:16]}_{Path(code.origin).stem.rpartition('.')[2]}"


@lru_cache(maxsize=64)
def _executed(code: OwnCode) -> ModuleType:
    module = ModuleType(_name(code))
    module.__file__ = code.origin
    vars(module)["__own_code__"] = code
    if not is_path(code.origin):
        module.__package__ = code.origin.rpartition(".")[0]
    # So that tracebacks show its lines, in processes that have no such file too.
    linecache.cache[code.origin] = len(code.text), None, code.text.splitlines(keepends=True), code.origin
    sys.modules[module.__name__] = module  # dataclasses look themselves up there
    has_torch = "torch" in sys.modules or "torch" in code.text
    try:
        with settings_kept() if has_torch else nullcontext():
            exec(compile(code.text, code.origin, "exec", dont_inherit=True), vars(module))
    except BROKEN as error:
        del sys.modules[module.__name__]
        hint = "; it must be installed, or stand in the same file" if isinstance(error, ImportError) else ""
        what = "is not Python" if isinstance(error, SyntaxError) else "cannot be loaded"
        raise UsageError(f"{code.origin}: {what}: {code.explained(error)}{hint}") from error
    return module
