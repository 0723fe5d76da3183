"""ResNet-9 (science.md, Models): the paper's main architecture, with a width factor."""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from memloc.models.architectures.resnet9.config import ResNet9
from memloc.models.blocks import ConvBlock, GatedLinear, masked
from memloc.models.gates import Gates
from memloc.models.groups import Network, State
from memloc.models.kept import Masks


class Residual(nn.Module):
    """Two 3×3 blocks; their output is added to the input after the second ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBlock(channels, channels, 3, padding=1)
        self.conv2 = ConvBlock(channels, channels, 3, padding=1)


class Architecture(Network):
    """conv1 → conv2 → res1 → conv3 → max pool 2 → res2 → conv4 → global max pool → linear → ×0.2."""

    def __init__(self, channels: int, height: int, width: int, classes: int, factor: float) -> None:
        super().__init__()
        c1, c2, c3, c4 = (max(1, round(c * factor)) for c in (64, 128, 256, 128))
        self.conv1 = ConvBlock(channels, c1, 3, padding=1)
        self.conv2 = ConvBlock(c1, c2, 5, stride=2, padding=2)
        self.res1 = Residual(c2)
        self.conv3 = ConvBlock(c2, c3, 3, padding=1)
        self.res2 = Residual(c3)
        self.conv4 = ConvBlock(c3, c4, 3)
        self.linear = GatedLinear(c4, classes)
        self.groups = ("conv1", "conv2", "res1.conv1", "res1.conv2", "conv3", "res2.conv1", "res2.conv2", "conv4", "linear")
        h2, w2 = (height + 1) // 2, (width + 1) // 2
        h3, w3 = h2 // 2, w2 // 2
        self.sites = {
            "conv1": (c1, height, width),
            "conv2": (c2, h2, w2),
            "res1": (c2, h2, w2),
            "conv3": (c3, h2, w2),
            "res2": (c3, h3, w3),
            "conv4": (c4, h3 - 2, w3 - 2),
        }
        sizes = (c1, c2, c2, c2, c3, c3, c3, c4)
        self.neurons = {**{g: (c,) for g, c in zip(self.groups[:-1], sizes, strict=True)}, "linear": (classes, c4)}

    @classmethod
    def build(cls, config: ResNet9, shape: tuple[int, int, int], classes: int) -> Architecture:
        """The network for images of shape (C, H, W); `initialise` then fills its parameters."""
        return cls(*shape, classes, config.width)

    def run_group(self, group: str, state: State, gates: Gates | None = None, masks: Masks | None = None) -> State:
        x = state[0]
        gate = gates.get(group) if gates else None
        if group in ("res1.conv1", "res2.conv1"):
            block = self.res1 if group[3] == "1" else self.res2
            return block.conv1(x, gate), x
        if group in ("res1.conv2", "res2.conv2"):
            block, site = (self.res1, "res1") if group[3] == "1" else (self.res2, "res2")
            return (masked(state[1] + block.conv2(x, gate), site, masks),)
        if group == "linear":
            return (self.linear(x, gate) * 0.2,)
        x = masked(getattr(self, group)(x, gate), group, masks)
        if group == "conv3":
            x = F.max_pool2d(x, 2)
        elif group == "conv4":
            x = x.amax(dim=(2, 3))
        return (x,)
