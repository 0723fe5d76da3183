"""A stage of the user's own: a bug in one of its methods is said in a line, as are parts and rows that cannot be used.

A bug in `run` is none of these: it is recorded with its traceback, as that of any part.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, wraps
from typing import Any

from memloc.config import FieldError
from memloc.errors import MemlocError
from memloc.own_code import BROKEN, OwnCode, OwnCodeError, staying
from memloc.stages.base import Stage, WithNetwork

# What a plan calls. `trainings` gives its results one by one.
PLANNING = (
    "resolve", "completed", "codes", "fits", "misfit", "parts", "epochs", "goes_on_from", "keeps", "passes",
    "trained_share", "shared", "memory", "rows",
)  # fmt: skip
PARTS = "at least one {name: text or whole number}"


def explained(stage: Stage[Any], code: OwnCode) -> None:
    """Makes those methods of a stage that its file defines say what is wrong in a line. They raise OwnCodeError then."""
    if stage.code is not None:  # it has been done
        return
    stage.code = code
    own = [name for name in (*PLANNING, "trainings", "run", "run_together") if _is_own(stage, name)]
    for name in own:
        around = {"trainings": _one_by_one, "run_together": _all_rows, "run": _rows}.get(name, _planned)
        method = getattr(stage, name)
        setattr(stage, name, wraps(method)(partial(around, stage, name, method)))


def _is_own(stage: Stage[Any], name: str) -> bool:
    defining = next(cls for cls in type(stage).__mro__ if name in vars(cls))
    return not defining.__module__.startswith("memloc.")


def _planned(stage: Stage[Any], name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        result = method(*args, **kwargs)
    except (MemlocError, FieldError):
        raise
    except BROKEN as error:
        raise _broken(stage, name, error) from error
    if name == "parts" and not _are_parts(result):
        raise OwnCodeError(f"{_place(stage)}: parts gives {_shown(result)}; valid: {PARTS}")
    return result


def _one_by_one(stage: Stage[Any], name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[Any]:
    try:
        yield from method(*args, **kwargs)
    except (MemlocError, FieldError):
        raise
    except BROKEN as error:
        raise _broken(stage, name, error) from error


def _rows(stage: Stage[Any], name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with staying(f"stage {stage.name}: {name}"):
        return _checked(stage, name, method(*args, **kwargs))


def _all_rows(stage: Stage[Any], name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[Any]:
    with staying(f"stage {stage.name}: {name}"):
        for given in method(*args, **kwargs):
            yield _checked(stage, name, given)


def _checked(stage: Stage[Any], name: str, given: Any) -> Any:
    """What a part gives; raises OwnCodeError unless it is rows of the stage's tables."""
    tables = given.tables if isinstance(given, WithNetwork) else given
    if not isinstance(tables, Mapping) or not all(isinstance(columns, Mapping) for columns in tables.values()):
        raise OwnCodeError(f"{_place(stage)}: {name} gives {_shown(tables)}; valid: {{table: {{column: values}}}}")
    for table, columns in tables.items():
        if table not in stage.tables:
            raise OwnCodeError(f"{_place(stage)}: {name} gives a table {table!r}; its `tables` has {_listed(stage.tables)}")
        wanted = [column for column in stage.tables[table].names if column not in ("analysis", "trial")]
        lacking = [column for column in wanted if column not in columns and column != "seconds"]
        stray = [column for column in columns if column not in wanted]
        if lacking or stray:
            what = f"no column {lacking[0]!r}" if lacking else f"a column {stray[0]!r}"
            raise OwnCodeError(f"{_place(stage)}: {name} gives {what} in table {table}; valid: {_listed(wanted)}")
    return given


def _are_parts(parts: Any) -> bool:
    """A list with at least one mapping, each of names to text or whole numbers, as a commit holds them."""
    if not isinstance(parts, Sequence) or isinstance(parts, str) or not parts:
        return False
    return all(
        isinstance(part, Mapping) and all(isinstance(n, str) and type(v) in (int, str) for n, v in part.items())
        for part in parts
    )


def _broken(stage: Stage[Any], name: str, error: BaseException) -> OwnCodeError:
    said = stage.code.explained(error) if stage.code else str(error)
    parameters = ", ".join(inspect.signature(getattr(Stage, name)).parameters)
    valid = f"; valid: def {name}({parameters})" if isinstance(error, TypeError) and _is_of_the_call(error) else ""
    return OwnCodeError(f"{_place(stage)}: {name} raises {said}{valid}")


def _is_of_the_call(error: BaseException) -> bool:
    """Was the exception raised by the call itself, as where a parameter is missing?"""
    return error.__traceback__ is not None and error.__traceback__.tb_next is None


def _place(stage: Stage[Any]) -> str:
    return f"{stage.code.origin if stage.code else ''}: stage {stage.name}"


def _listed(names: Any) -> str:
    return ", ".join(names)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
