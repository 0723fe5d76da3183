"""What every field of a sweep file means, read off the types: default, valid values, meaning, source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pydantic.fields import FieldInfo

from memloc.config.check import asked_type
from memloc.config.hints import valid_values
from memloc.config.registry import Registry
from memloc.config.resolve import TrainingFields
from memloc.config.training import HeldOut, TrainConfig
from memloc.config.types import Config, Variant, holds_configs
from memloc.config.variants import VariantField
from memloc.config.written import written

_SOURCE = re.compile(r"(.*?)\s*\[([^\]]*)\]", re.DOTALL)


@dataclass(frozen=True)
class FieldAbout:
    """A field of a sweep file.

    owner: `training`, or the stage's name. used_with: the setting of the training that the field needs, such as `dropout:
    sparse`. default, values: as one writes them; a field without a default is `required`. source: a section of the paper,
    the published code, or memloc.
    """

    owner: str
    field: str
    used_with: str
    default: str
    values: str
    meaning: str
    source: str


def about_fields(registry: Registry) -> list[FieldAbout]:
    """Every field of trainings, in the order of a configuration, then of every stage."""
    return [*_training(registry.training), *(f for name in registry.stages for f in _stage(name, registry))]


def _training(training: TrainingFields) -> Iterator[FieldAbout]:
    by_name = {held.field: held for held in training.variant_fields}
    for name, info in TrainConfig.model_fields.items():
        if name in by_name:
            yield from _variants(by_name[name], training)
        elif holds_configs(info.annotation):
            for held_out, about in HeldOut.model_fields.items():
                yield FieldAbout("training", held_out, "", "null", training.valid(held_out), *_meaning(about))
        else:
            default = "by schedule and epochs" if name == "peak_epoch" else None
            yield _about("training", name, info, default=default)


def _variants(held: VariantField, training: TrainingFields) -> Iterator[FieldAbout]:
    """The field that decides, then the fields of each variant."""
    deciding = [base.model_fields[v.KIND] for v in held.variants.values() for base in _bases(v)]
    meaning, source = _meaning(next((info for info in deciding if info.description), deciding[0]))
    default = "required" if held.default is None else held.default
    yield FieldAbout("training", held.flat, "", default, training.valid(held.flat), meaning, source)
    alike: dict[FieldAbout, list[str]] = {}
    for kind, variant in held.variants.items():
        for name in held.own(variant):
            alike.setdefault(_about("training", name, variant.model_fields[name]), []).append(kind)
    for about, kinds in alike.items():  # several variants may have one field from a base that they share
        yield replace(about, used_with=f"{held.flat}: {', '.join(kinds)}")


def _bases(variant: type[Variant]) -> list[type[Config]]:
    """The variant and those of its base classes that have the deciding field. One of them says what the field means."""
    return [base for base in variant.__mro__ if issubclass(base, Config) and variant.KIND in base.model_fields]


def _stage(name: str, registry: Registry) -> Iterator[FieldAbout]:
    for field, info in registry.stages[name].config.model_fields.items():
        yield _about(name, field, info)


def _about(owner: str, name: str, info: FieldInfo, used_with: str = "", default: str | None = None) -> FieldAbout:
    if default is None:
        default = "required" if info.is_required() else written(info.default, quote=False)
    meaning, source = _meaning(info)
    return FieldAbout(owner, name, used_with, default, valid_values(asked_type(info)), meaning, source)


def _meaning(info: FieldInfo) -> tuple[str, str]:
    """(meaning, source) of the text below a field, which ends with its source in brackets."""
    match = _SOURCE.fullmatch(" ".join((info.description or "").split()))
    return (match[1], match[2]) if match else (info.description or "", "")
