"""Stages that users extend by objects of their own files, as detection by scores. memloc's own objects are made alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, create_model
from pydantic.fields import FieldInfo

from memloc.config import StageConfig, as_tuple, distinct
from memloc.own_code import OwnCode
from memloc.stages.base import Stage

C = TypeVar("C", bound=StageConfig)


class Extension(Protocol):
    """A frozen dataclass with these fields. code: the user's file that has it; None: it is memloc's own."""

    @property
    def name(self) -> str:
        """What a sweep file names it by."""

    @property
    def code(self) -> OwnCode | None:
        """The user's file."""


def names_of(names: Sequence[str]) -> Any:
    """The type of a field that lists some of these names, or is null."""
    one: Any = Literal.__getitem__(tuple(names))
    each: Any = tuple.__class_getitem__((one, ...))
    return Annotated[each, BeforeValidator(as_tuple), Field(min_length=1), AfterValidator(distinct)] | None


class Extensible(Stage[C]):
    """A stage with objects of one kind, memloc's own first, and then those of users' files.

    takes: the class of the objects. noun: what one is called. listed: the field of the configuration that names some of
    them. built_in: memloc's own. written: the configuration without users' objects.
    """

    takes: ClassVar[type[Any]]
    noun: ClassVar[str]
    listed: ClassVar[str]
    built_in: ClassVar[Sequence[Any]]
    written: ClassVar[type[StageConfig]]
    config: type[StageConfig]

    def __init__(self, own: Sequence[Any] = (), unasked: Sequence[Any] = ()) -> None:
        """own: those of users' files. unasked: those of them that are used though nobody names them."""
        self.objects, self.unasked = (*self.built_in, *own), (*self.built_in, *unasked)
        self.config = self.written
        if own:
            info = self.written.model_fields[self.listed]
            field = names_of([one.name for one in self.objects]), FieldInfo(default=None, description=info.description)
            fields: Any = {self.listed: field}
            self.config = create_model(self.written.__name__, __base__=self.written, **fields)

    def misnamed(self, name: str) -> str | None:
        """Why no object may have this name, although it is well formed; None if it may."""
        return None

    def codes(self, config: C) -> tuple[OwnCode, ...]:
        there = (one.code for one in self.objects if one.name in getattr(config, self.listed))
        return tuple(dict.fromkeys(code for code in there if code is not None))
