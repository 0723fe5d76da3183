"""How a model of timm is made and cut.

Groups are its stages or blocks (`models/traced/units.py`) where they run one after the other; else its children. Tensors
have timm's names. timm's dropouts and stochastic depth are off.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import fx, nn

from memloc.errors import error_line
from memloc.models.dropouts import Shape
from memloc.models.traced.origin import Origin, Untraced, by_stages
from memloc.models.traced.program import GroupingError, Program


@dataclass(frozen=True)
class TimmModel(Origin):
    """A model of timm, by its name there. groups: (group, pattern) of each; None: by its stages. sites: see `Origin`."""

    key: str
    groups: tuple[tuple[str, str], ...] | None = None
    sites: str | None = None
    fails: ClassVar[str] = "timm says"

    def create(self, shape: Shape, classes: int) -> nn.Module:
        try:
            return create(self.key, shape, classes)
        except Exception as error:  # the library may raise anything if it cannot take these images
            raise GroupingError(f"timm says: {error_line(error, with_type=False)}") from error

    def untraced(self) -> Untraced:
        from timm.layers import get_notrace_functions, get_notrace_modules

        return Untraced(frozenset(get_notrace_modules()), tuple(f for f in get_notrace_functions() if callable(f)))

    def without_neurons(self, model: nn.Module) -> Collection[str]:
        from timm.layers import PatchEmbed

        return [name for name, module in model.named_modules() if isinstance(module, PatchEmbed)]

    def program(self, model: nn.Module, graph: fx.Graph) -> tuple[Program, list[str]]:
        program = by_stages(model, graph) if self.groups is None else None
        return super().program(model, graph) if program is None else (program, [])


def create(name: str, shape: Shape, classes: int) -> nn.Module:
    """timm's model with its initialisation and without dropout, for images of this size if the model has a size.

    Attention is written out, because PyTorch's fused form adds up its gradient in no fixed order on a GPU.
    """
    import timm

    wanted: dict[str, Any] = {"pretrained": False, "in_chans": shape[0], "num_classes": classes}
    sized, rates = {"img_size": shape[1:]}, {"drop_rate": 0.0, "drop_path_rate": 0.0}
    model: nn.Module = _first_accepted(
        lambda more: timm.create_model(name, **wanted, **more),
        [size | off for size in (sized, {}) for off in (rates, {"drop_rate": 0.0}, {})],
    )
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]
    return model


def _first_accepted(create: Callable[[dict[str, Any]], nn.Module], options: list[dict[str, Any]]) -> nn.Module:
    """The model made with the first of the options that it accepts. The last options must be accepted."""
    for more in options[:-1]:
        with suppress(TypeError):
            return create(more)
    return create(options[-1])
