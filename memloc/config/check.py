"""Checking one value at a time, so that every error of a file is reported at once, each at its own line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from memloc.config.hints import describe, hint
from memloc.config.types import Asked, Config
from memloc.errors import nearest


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
        return describe(self._types[name])

    def check(self, name: str, value: Any) -> tuple[Any, str | None]:
        """(the value as the field takes it, None), or (None, what is wrong: the bad value and the valid ones)."""
        if name not in self._adapters:
            self._adapters[name] = TypeAdapter(self._types[name], config=Config.model_config)
        try:
            return self._adapters[name].validate_python(value), None
        except ValidationError as error:
            return None, f"{_as_written(value)} is not valid{_reason(error, self._types[name], value)}"


def _as_written(value: Any) -> str:
    """A value as a sweep file has it."""
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else repr(value)


def _reason(error: ValidationError, annotation: Any, value: Any) -> str:
    first = error.errors()[0]
    if first["type"] == "value_error":
        reason = str(first["ctx"]["error"])
        return f"; {reason}" if "valid:" in reason else f": {reason}"
    return f"; valid: {describe(annotation)}{hint(annotation, value)}"


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
