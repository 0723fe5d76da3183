"""How a model of timm is made and cut.

Groups are its stages or blocks (`models/traced/units.py`) where they run one after the other; else its children. Tensors
have timm's names. timm's dropouts and stochastic depth are off.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn

from memloc.errors import UsageError, error_line
from memloc.models.dropouts import Shape
from memloc.models.traced.origin import Origin, Untraced, by_stages
from memloc.models.traced.program import GroupingError, Program
from memloc.models.weights_file import read_weights
from memloc.own_weights import carried


@dataclass(frozen=True)
class TimmModel(Origin):
    """A model of timm, by its name there. groups: (group, pattern) of each; None: by its stages. sites: see `Origin`.

    weights: (file, its sha256) of the weights with which a training begins; None: timm's initialisation.
    """

    key: str
    groups: tuple[tuple[str, str], ...] | None = None
    sites: str | None = None
    weights: tuple[str, str] | None = None
    fails: ClassVar[str] = "timm says"

    def create(self, shape: Shape, classes: int) -> nn.Module:
        try:
            return create(self.key, shape, classes)
        except Exception as error:  # the library may raise anything if it cannot take these images
            raise GroupingError(f"timm says: {error_line(error, with_type=False)}") from error

    def initialised(self, shape: Shape, classes: int) -> nn.Module:
        """timm adapts the weights: the first convolution to the channels of the images; another classifier is drawn."""
        if self.weights is None:
            return self.create(shape, classes)
        file, sha256 = self.weights
        there = Path(file).exists() or carried(sha256) is not None
        tensors = read_weights(file if there else fetched(self.key), sha256)
        state = torch.get_rng_state()
        before = dict(create(self.key, shape, classes).named_parameters())
        torch.set_rng_state(state)
        try:
            model = create(self.key, shape, classes, tensors)
        except Exception as error:  # the library may raise anything if they do not fit
            raise GroupingError(
                f"{file}: does not fit {self.key}: timm says: {error_line(error, False)}", "weights"
            ) from error
        if left := [name for name in _drawn(model) if torch.equal(model.get_parameter(name), before[name])]:
            raise GroupingError(f"{file}: does not fit {self.key}: it has nothing for {left[0]}", "weights")
        return model

    def untraced(self) -> Untraced:
        from timm.layers import get_notrace_functions, get_notrace_modules

        return Untraced(frozenset(get_notrace_modules()), tuple(f for f in get_notrace_functions() if callable(f)))

    def without_neurons(self, model: nn.Module) -> Collection[str]:
        from timm.layers import PatchEmbed

        return [name for name, module in model.named_modules() if isinstance(module, PatchEmbed)]

    def program(self, model: nn.Module, graph: fx.Graph) -> tuple[Program, list[str]]:
        program = by_stages(model, graph) if self.groups is None else None
        return super().program(model, graph) if program is None else (program, [])


def fetched(name: str) -> str:
    """The file of timm's own weights of a model: from the cache on this machine, else from the network.

    Raises:
        UsageError: there are none, or they cannot be fetched.
    """
    from huggingface_hub import hf_hub_download
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(name, allow_unregistered=True)
    if known is None or not known.hf_hub_id:
        raise UsageError(f"true with model: timm:{name}: timm has no weights of it; name a file in `weights`")
    problem = ""
    for file in (known.hf_hub_filename or "model.safetensors", "pytorch_model.bin"):
        try:
            return hf_hub_download(known.hf_hub_id, file)
        except Exception as error:  # the library raises many kinds: no network, no such file
            problem = problem or error_line(error, with_type=False)
    raise UsageError(
        f"true with model: timm:{name}: its weights ({known.hf_hub_id}) are not on this machine, and cannot be fetched; "
        f"name a file of them in `weights` ({problem[:100]})"
    )


def create(name: str, shape: Shape, classes: int, weights: Mapping[str, Tensor] | None = None) -> nn.Module:
    """timm's model with its initialisation and without dropout, for images of this size if the model has a size.

    weights: are taken over, but for a classifier of another number of classes.
    Attention is written out, because PyTorch's fused form adds up its gradient in no fixed order on a GPU.
    """
    import timm

    wanted: dict[str, Any] = {"pretrained": weights is not None, "in_chans": shape[0], "num_classes": classes}
    if weights is not None:
        wanted["pretrained_cfg_overlay"] = {"state_dict": dict(weights)}
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


def _drawn(model: nn.Module) -> list[str]:
    """The parameters that timm draws at random, but for those of the classifier."""
    heads: Any = model.get_classifier()  # type: ignore[operator]
    of_head = {id(p) for head in (heads if isinstance(heads, tuple | list) else [heads]) for p in head.parameters()}
    return [name for name, p in model.named_parameters() if p.ndim > 1 and id(p) not in of_head and p.any()]


def _first_accepted(create: Callable[[dict[str, Any]], nn.Module], options: list[dict[str, Any]]) -> nn.Module:
    """The model made with the first of the options that it accepts. The last options must be accepted."""
    for more in options[:-1]:
        with suppress(TypeError):
            return create(more)
    return create(options[-1])
