"""Checking one value at a time, so that every error of a file is reported at once, each at its own line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, TypeAlias

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from memloc.config.hints import hint, item_type, valid_values
from memloc.config.types import Asked, Config
from memloc.config.written import written
from memloc.errors import nearest

Problem: TypeAlias = tuple[tuple[int, ...], str]  # (position of the bad item in a list, or (); what is wrong)


class Fields(Mapping[str, Any]):
    """{field: the type of what a person may write}, with the checks of names and values."""

    def __init__(self, types: Mapping[str, Any]) -> None:
        self._types = dict(types)
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
        try:
            return self._adapters[name].validate_python(value), []
        except ValidationError as error:
            return None, _problems(error, self._types[name], value)


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
    return Fields({name: asked_type(info) for name, info in cls.model_fields.items()})
