"""What every configuration is made of: strict frozen classes, variants, and the types of their fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from memloc.own_code import OwnCode, defining

M = TypeVar("M")
R = TypeVar("R", bound="StageConfig")


@dataclass(frozen=True)
class Neutral:
    """Marks a field that was added later. `value` means what the program did before the field existed.

    This value stays out of the identity, so older trainings and analyses keep their ids. A neutral value never changes. A
    default may change.
    """

    value: Any


@dataclass(frozen=True)
class Asked:
    """Marks a field for which a person may write more than its resolved type holds, such as null."""

    type: Any


@dataclass(frozen=True)
class Valid:
    """Marks a field whose type does not say which values are valid; `phrase` does."""

    phrase: str


@dataclass(frozen=True)
class Checkpoints:
    """Marks a stage's field that names checkpoints by one or several epochs.

    If the command line makes a training shorter, the epochs beyond its end are dropped.
    """


def last_name(path: str) -> str:
    """What a path names, without the folders above it."""
    return PurePath(path).name or "."


@dataclass(frozen=True)
class PathOrSweep:
    """Marks a text field that may name a file: what follows `prefix` is a path, unless it is sweep:NAME.

    In a sweep file such a path is relative to the folder of the file.
    """

    prefix: str = ""

    def path(self, value: Any) -> str | None:
        """The path in a value of the field, or None."""
        if not isinstance(value, str) or not value.startswith(self.prefix):
            return None
        rest = value.removeprefix(self.prefix)
        return None if rest.startswith("sweep:") else rest

    def absolute(self, value: Any, folder: Path) -> Any:
        """The value with an absolute path in it, if it has a path.

        Raises:
            OSError, RuntimeError, ValueError: an unknown ~user, a byte that no path has.
        """
        path = self.path(value)
        return value if path is None else self.prefix + str((folder / Path(path).expanduser()).resolve())

    def placeless(self, value: Any) -> Any:
        """The value with the last name alone of its path, if it has a path."""
        path = self.path(value)
        return value if path is None else self.prefix + last_name(path)


class Config(BaseModel):
    """A frozen, strict configuration: `1` is not True, and "3" is not 3. Unknown fields, NaN and infinities are errors.

    The text below a field says what it means and, in brackets at its end, where that comes from. `memloc sweep --fields`
    and docs/fields.md show it.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def flat(self) -> dict[str, Any]:
        """{field: value} as SQL, JSON and sweep files have it: the fields in use, the fields of variants included."""
        return {name: value for name, value, _ in leaves(self)}


class Variant(Config):
    """One of several configurations that a field may hold, with fields of its own.

    KIND: the field that tells the variants apart. FLAT: its name in the flat form, if that is not the name of the field that
    holds the variant.
    """

    KIND: ClassVar[str] = "kind"
    FLAT: ClassVar[str | None] = None

    def completed(self) -> Self:
        """The same with what it implies filled in, such as the hash of a file that it names.

        Raises:
            UsageError: such a file cannot be read. FieldError: a field has a value that does not fit the others.
        """
        return self


class StageConfig(Config):
    """Base of every analysis stage's configuration. The subclasses stand with their stage.

    One whose class is defined in a file of the user's takes the file's text along when it goes to another process.
    """

    def __reduce_ex__(self, protocol: Any) -> Any:
        code = defining(type(self))
        if code is None:
            return super().__reduce_ex__(protocol)
        return _restored, (code, type(self).__name__, dict(self))

    def resolved_as(self, cls: type[R], **filled: Any) -> R:
        """The same settings as a resolved configuration, in which these are filled in."""
        return cls(**{**dict(self), **filled})

    def c_scores_from(self) -> str | None:
        """Which C-scores the analysis takes, PATH or sweep:NAME; None: it takes none."""
        return None

    def with_c_scores(self, identity: str) -> Self:
        """The same configuration with the scores' hash in place of their origin, which is not part of an identity."""
        raise NotImplementedError

    def c_score_threshold(self) -> float | None:
        """S_n of the analysis are the examples whose C-score is below this; None: the mislabeled examples."""
        return None


def _restored(code: OwnCode, name: str, values: dict[str, Any]) -> Any:
    return code.function(name)(**values)


class FieldError(ValueError):
    """A field has a value that does not fit the others, or a stage's field one that does not fit the training."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


class UnusedFieldError(FieldError):
    """A stage's field means nothing for this training, or beside the stage's other fields."""


def leaves(config: Config, held_by: str = "") -> Iterator[tuple[str, Any, Sequence[Any]]]:
    """(flat name, value, the field's markers) of every field in use, in order."""
    for name, markers, is_kind, may_hold in _fields(type(config)):
        value = getattr(config, name)
        if isinstance(value, Config):
            yield from leaves(value, name)
        elif is_kind:
            yield config.FLAT or held_by, value, markers  # type: ignore[attr-defined]
        elif value is not None or not may_hold:
            yield name, value, markers


@cache
def _fields(cls: type[Config]) -> list[tuple[str, Sequence[Any], bool, bool]]:
    """(name, markers, does it tell variants apart?, can it hold a configuration?) of every field, in order."""
    kind = cls.KIND if issubclass(cls, Variant) else None
    return [(n, info.metadata, n == kind, holds_configs(info.annotation)) for n, info in cls.model_fields.items()]


def holds_configs(annotation: Any) -> bool:
    """Can the field hold a configuration of its own?"""
    options = getattr(annotation, "__args__", (annotation,))
    return any(isinstance(option, type) and issubclass(option, Config) for option in options)


def marker(annotation: Any, kind: type[M]) -> M | None:
    """The marker of this kind anywhere in the type of a field, or None."""
    inside = [*getattr(annotation, "__metadata__", ()), *get_args(annotation)]
    own = next((m for m in inside if isinstance(m, kind)), None)
    return own or next((m for part in inside if get_args(part) and (m := marker(part, kind))), None)


def as_tuple(value: Any) -> Any:
    """A list as a tuple; anything else as it is. YAML has lists, and configurations are frozen."""
    return tuple(value) if isinstance(value, list) else value


def distinct(value: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same tuple; raises ValueError if a value stands in it twice."""
    if len(set(value)) < len(value):
        raise ValueError("the same value twice")
    return value


Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]  # a fraction that must not be empty
Positive = Annotated[float, Field(gt=0)]
INT32 = 2**31  # no count reaches it: tables hold counts in 32 bits
Count = Annotated[int, Field(ge=1, lt=INT32)]
CountOrZero = Annotated[int, Field(ge=0, lt=INT32)]
EpochCount = Annotated[int, Field(ge=1, le=100_000)]  # each has a checkpoint, a row and a place in the plan
SEEDS = 2**63  # no seed reaches it: tables hold seeds in 64 bits
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
Epochs = Annotated[
    tuple[CountOrZero, ...],
    BeforeValidator(as_tuple),
    Field(min_length=1),
    AfterValidator(distinct),
    AfterValidator(lambda epochs: tuple(sorted(epochs))),
    Checkpoints(),
]
