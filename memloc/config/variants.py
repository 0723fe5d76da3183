"""Fields of a training that hold one of several variants: which one it is, a flat field says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from memloc.config.training import TrainConfig
from memloc.config.types import PathOrSweep, Variant


@dataclass(frozen=True)
class VariantField:
    """A field of a training that holds one of several variants.

    field: its name in TrainConfig. flat: the flat field that decides which variant it is. default: the variant if nothing is
    given.
    """

    field: str
    flat: str
    variants: Mapping[str, type[Variant]]
    default: str | None

    def variant(self, values: Mapping[str, Any]) -> type[Variant] | None:
        """The variant that these flat values mean; the key `timm:` stands for every name that begins with it."""
        kind = str(values.get(self.flat, self.default))
        return self.variants.get(kind) or self.variants.get(kind.partition(":")[0] + ":")

    def own(self, variant: type[Variant]) -> list[str]:
        """The fields of a variant besides the one that decides."""
        return [name for name in variant.model_fields if name != variant.KIND]


@dataclass(frozen=True, eq=False)
class PathsInNames(PathOrSweep):
    """Marks a field of which each variant knows which part of its name is a path."""

    held: VariantField | None = None

    def absolute(self, value: Any, folder: Path) -> Any:
        """As the variant makes it absolute."""
        variant: Any = self.held and self.held.variant({self.held.flat: value})
        return variant.absolute(value, folder) if variant else value

    def placeless(self, value: Any) -> Any:
        """As the variant writes it without folders."""
        variant: Any = self.held and self.held.variant({self.held.flat: value})
        return variant.placeless(value) if variant else value


def variant_field(field: str, of_a_name: Mapping[str, Mapping[str, type[Variant]]]) -> VariantField:
    """A field of a training. of_a_name: the variants of those whose flat field is a name."""
    if field in of_a_name:
        flat = next(iter(of_a_name[field].values())).FLAT
        return VariantField(field, str(flat), of_a_name[field], None)
    info = TrainConfig.model_fields[field]
    variants = {option.model_fields["kind"].default: option for option in get_args(info.annotation)}
    return VariantField(field, field, variants, info.default.kind)
