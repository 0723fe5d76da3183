"""ResNet-9 written straight from science.md with nn.Sequential: no gates, no masks, no layer groups.

The oracle of the model's and the stages' tests. Its tensors stand in the order of the forward pass, so weights are
copied by order (shapes checked), never by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

CONVS = ("conv1", "conv2", "res1.conv1", "res1.conv2", "conv3", "res2.conv1", "res2.conv2", "conv4")
GROUPS = (*CONVS, "linear")
SITES = ("conv1", "conv2", "res1", "conv3", "res2", "conv4")


def block(i: int, o: int, kernel: int, stride: int = 1, padding: int = 0) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, kernel, stride, padding, bias=False), nn.BatchNorm2d(o), nn.ReLU())


class Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Scale(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 0.2


class Plain(nn.Sequential):
    def __init__(self, channels: int, classes: int, width: float) -> None:
        a, b, c = int(64 * width), int(128 * width), int(256 * width)
        super().__init__(
            block(channels, a, 3, padding=1),
            block(a, b, 5, stride=2, padding=2),
            Residual(block(b, b, 3, padding=1), block(b, b, 3, padding=1)),
            block(b, c, 3, padding=1),
            nn.MaxPool2d(2),
            Residual(block(c, c, 3, padding=1), block(c, c, 3, padding=1)),
            block(c, b, 3),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(b, classes, bias=False),
            Scale(),
        )

    def site(self, name: str) -> nn.Module:
        """The module whose output is the activation at a dropout site."""
        return self[{"conv1": 0, "conv2": 1, "res1": 2, "conv3": 3, "res2": 5, "conv4": 6}[name]]

    def layer(self, name: str) -> nn.Module:
        """The module whose output is a convolution's map after ReLU (before any residual sum), or the linear layer."""
        if name == "linear":
            return self[9]
        if name.startswith("res"):
            return self[{"res1": 2, "res2": 5}[name[:4]]][int(name[-1]) - 1]
        return self.site(name)

    def load(self, state: Mapping[str, Tensor]) -> Plain:
        """Takes over the tensors of a `state_dict` in its order."""
        own = self.state_dict()
        assert [tuple(t.shape) for t in own.values()] == [tuple(t.shape) for t in state.values()]
        self.load_state_dict(dict(zip(own, state.values(), strict=True)))
        return self


@contextmanager
def scaled_at(modules: Mapping[nn.Module, Tensor]) -> Iterator[None]:
    """Within it, the output of each module is multiplied by its tensor."""
    handles = [m.register_forward_hook(lambda _, __, out, factor=f: out * factor) for m, f in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def randomise(network: nn.Module, seed: int) -> None:
    """Weights, scales, shifts and running statistics as after some training: nothing at 0 or 1, everything different."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, t in network.state_dict().items():
            if t.is_floating_point():
                low, high = (-0.3, 0.3) if t.ndim > 1 or name.endswith(("bias", "mean")) else (0.5, 1.5)
                t.copy_(torch.empty(t.shape, dtype=t.dtype).uniform_(low, high, generator=generator))
