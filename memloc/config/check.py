"""Checking one value at a time, so that every error of a file is reported at once, each at its own line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import cache
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from memloc.config.hints import hint, item_type, valid_values
from memloc.config.types import Asked, Config, FieldError
from memloc.config.written import written
from memloc.errors import nearest
from memloc.own_code import OwnCode, defining, telling

Problem: TypeAlias = tuple[tuple[int, ...], str]  # (position of the bad item in a list, or (); what is wrong)

C = TypeVar("C", bound=Config)
T = TypeVar("T")


class Fields(Mapping[str, Any]):
    """{field: the type of what a person may write}, with the checks of names and values. code: the user's file with them."""

    def __init__(self, types: Mapping[str, Any], code: OwnCode | None = None) -> None:
        self._types, self._code = dict(types), code
        self._adapters: dict[str, TypeAdapter[Any]] = {}

    def __getitem__(self, name: str) -> Any:
        return self._types[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    def check_name(self, name: str) -> str | None:
        """What is wrong with a field's name, or None."""
        if name in self._types:
            return None
        return f"unknown field{nearest(name, self._types)}; valid: {', '.join(self._types) or 'no field at all'}"

    def valid(self, name: str) -> str:
        """The valid values of a field, in a phrase."""
        return valid_values(self._types[name])

    def check(self, name: str, value: Any) -> tuple[Any, str | None]:
        """(the value as the field takes it, None), or (None, what is wrong: the bad value and the valid ones)."""
        taken, problems = self.check_items(name, value)
        return taken, problems[0][1] if problems else None

    def check_items(self, name: str, value: Any) -> tuple[Any, list[Problem]]:
        """As `check`, but with the problems of all items of a list, each at its position."""
        if name not in self._adapters:
            self._adapters[name] = TypeAdapter(self._types[name], config=Config.model_config)
        validate = self._adapters[name].validate_python
        taken = _validated(self._code, f"field {name}", lambda: validate(value))
        if isinstance(taken, ValidationError):
            return None, _problems(taken, self._types[name], value)
        return taken, []


def _problems(error: ValidationError, annotation: Any, value: Any) -> list[Problem]:
    """Of a list every bad item, each at its position; of anything else the first problem."""
    details, items = error.errors(), item_type(annotation)
    if items is not None and isinstance(value, list):
        bad = {place[0]: detail for detail in details if (place := [at for at in detail["loc"] if isinstance(at, int)])}
        if bad:
            return [((at,), _in_words(detail, items, value[at])) for at, detail in bad.items()]
    return [((), _in_words(details[0], annotation, value))]


def _in_words(detail: ErrorDetails, annotation: Any, value: Any) -> str:
    if detail["type"] == "value_error":
        reason = str(detail["ctx"]["error"])
        return f"{written(value)} is not valid{';' if 'valid:' in reason else ':'} {reason}"
    return f"{written(value)} is not valid; valid: {valid_values(annotation)}{hint(annotation, value)}"


def configured(cls: type[C], values: Mapping[str, Any]) -> C:
    """A stage's configuration of values that have been checked one by one. A user's own class may have more checks.

    Raises:
        FieldError: a check of the class refuses them, or a field without a default has no value. OwnCodeError: a check of
            the user's own fails.
    """
    made = _validated(defining(cls), cls.__name__, lambda: cls(**values))
    if isinstance(made, ValidationError):
        raise _field_error(made, cls, values)
    return made


def _validated(code: OwnCode | None, what: str, validate: Callable[[], T]) -> T | ValidationError:
    """What pydantic gives, or why it refuses. code: the user's file whose own checks may fail."""
    with telling(code, what) if code else nullcontext():
        try:
            return validate()
        except ValidationError as error:
            return error


def _field_error(error: ValidationError, cls: type[Config], values: Mapping[str, Any]) -> FieldError:
    detail = error.errors()[0]
    name = str(detail["loc"][0]) if detail["loc"] else ""
    if name in values:
        return FieldError(name, _in_words(detail, asked_type(cls.model_fields[name]), values[name]))
    if name in cls.model_fields:
        return FieldError(name, f"has no value and no default; valid: {valid_values(asked_type(cls.model_fields[name]))}")
    return FieldError("", str(detail.get("ctx", {}).get("error", detail["msg"])))  # of all fields together


def asked_type(info: FieldInfo) -> Any:
    """The type of what a person may write for a field."""
    metadata: tuple[Any, ...] = tuple(info.metadata)
    asked = next((m.type for m in metadata if isinstance(m, Asked)), None)
    if asked is not None:
        return asked
    return Annotated[info.annotation, *metadata] if metadata else info.annotation


@cache
def fields_of(cls: type[Config]) -> Fields:
    """The fields of a configuration without variants."""
    return Fields({name: asked_type(info) for name, info in cls.model_fields.items()}, defining(cls))
