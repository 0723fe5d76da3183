"""Which layers are a matrix applied to patches or tokens, by network: those that a hook sees, once, and no others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.models.weight_matrices import weight_matrices
from tests.models import own_nets

NETWORKS: dict[str, dict[str, Any]] = {
    "resnet9": {"model": "resnet9", "width": 0.0625},
    "vit_small": {"model": "vit_small"},
    "vit_small shifted": {"model": "vit_small", "tokens": "shifted"},
    "timm transformer": {"model": "timm:test_vit"},
    "own": {"model": f"python:{own_nets.__file__}:make"},
    "own mlp": {"model": f"python:{own_nets.__file__}:mlp"},
}


def network_of(**fields: Any) -> Any:
    return build(resolved(dataset="digits", **fields), (1, 16, 16), 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_is_in_a_layer_that_multiplies_it(name: str) -> None:
    """All but one matrix are zero: the layer's output is its input times that matrix, whatever the network does with it."""
    network = network_of(**NETWORKS[name]).eval()
    found = weight_matrices(network)
    assert found.others == {}
    layers = [layer for group in network.groups for layer in found.layers[group]]
    weights = {n for n, p in network.named_parameters() if p.ndim > 1 and n.endswith("weight")}
    assert {f"{layer}.weight" for layer in layers} == weights
    seen: list[str] = []
    for layer in layers:
        module = network.get_submodule(layer)
        module.register_forward_hook(lambda m, args, y, layer=layer: seen.append(layer) or check(m, args[0], y))
    with torch.no_grad():
        network(torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)))
    assert sorted(seen) == sorted(layers)


def check(module: nn.Module, x: Tensor, y: Tensor) -> None:
    if isinstance(module, nn.Conv2d):
        patches = F.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride)  # type: ignore[arg-type]
        rows, wanted = patches.transpose(1, 2), y.flatten(2).transpose(1, 2)
    else:
        rows, wanted = x, y
    weight: Any = module.weight
    bias: Any = 0 if module.bias is None else module.bias
    torch.testing.assert_close(rows @ weight.flatten(1).T + bias, wanted, rtol=1e-4, atol=1e-4)


class Odd(nn.Module):
    """Layers that are none, one after the other."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        layers = {
            "depthwise": nn.Conv2d(1, 4, 3, padding=1, groups=1),
            "mirrored": nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
            "same": nn.Conv2d(4, 4, 3, padding="same"),
            "twice": nn.Conv2d(4, 4, 3, padding=1),
            "subclass": Halved(4, 4, 3, padding=1),
            "transposed": nn.ConvTranspose2d(4, 4, 3, padding=1),
            "normed": nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, padding=1)),
        }
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.odd = nn.Conv2d(4, 4, 3, padding=1, groups=2) if kind == "depthwise" else layers[kind]
        self.times = 2 if kind == "twice" else 1
        self.last = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        for _ in range(self.times):
            x = self.odd(x).relu()
        logits: Tensor = self.last(x.mean(dim=(2, 3)))
        return logits


class Halved(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / 2)


def depthwise(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Odd("depthwise")


def mirrored(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Odd("mirrored")


def same(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Odd("same")


def twice(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Odd("twice")


def subclass(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Odd("subclass")


def transposed(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Odd("transposed")


def normed(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Odd("normed")


REASONS = {
    "depthwise": "odd is a convolution in 2 groups",
    "mirrored": "odd is a convolution with padding (1, 1) of reflect",
    "same": "odd is a convolution with padding 'same' of zeros",
    "twice": "odd runs 2 times",
    "subclass": "odd is a Halved",
    "transposed": "odd is a ConvTranspose2d",
    "normed": "odd.parametrizations.weight is a ParametrizationList",
}


@pytest.mark.parametrize("kind", REASONS)
def test_what_is_no_such_matrix_says_why(kind: str) -> None:
    found = weight_matrices(network_of(model=f"python:{__file__}:{kind}"))
    assert found.layers == {"first": ("first",), "odd": (), "last": ("last",)}
    assert found.others == {"odd": REASONS[kind]}


def test_timms_separable_convolutions() -> None:
    found = weight_matrices(network_of(model="timm:test_efficientnet"))
    assert any("is a convolution in" in why for why in found.others.values())
