"""ResNet-50 (He et al. 2016; torchvision's `resnet50`, with the stride in the 3×3 convolutions) for images of any size.

It computes what torchvision's network computes, with the same tensors in the same order. Its blocks have gates and fold
their batch norms. Neurons: every convolution's output channel after its batch norm, and after its ReLU if one follows
directly. So conv1 and conv2 of a bottleneck are taken after their ReLU. conv3 and the shortcut's convolution are taken
before the residual sum, because their ReLU follows the sum. In `fc` every weight is a neuron; a bias is none. Dropout
sites: after the stem (with its pool) and after each of layer1 to layer4.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memloc.models.architectures.resnet50.config import ResNet50
from memloc.models.blocks import ConvBlock, GatedLinear, masked, uniform
from memloc.models.gates import Gates
from memloc.models.groups import Network, State
from memloc.models.kept import Masks
from memloc.models.recomputation import recomputed

STAGES = {"layer1": (64, 3, 1), "layer2": (128, 4, 2), "layer3": (256, 6, 2), "layer4": (512, 3, 2)}  # width, blocks, stride
EXPANSION = 4


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1; the sum with the shortcut, then ReLU."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        out = EXPANSION * width
        self.conv1 = ConvBlock(channels_in, width, 1)
        self.conv2 = ConvBlock(width, width, 3, stride, padding=1)
        self.conv3 = ConvBlock(width, out, 1, relu=False)
        self.downsample = ConvBlock(channels_in, out, 1, stride, relu=False) if stride > 1 or channels_in != out else None

    def forward(self, x: Tensor, name: str, gates: Gates) -> Tensor:
        """gates: of the whole network; this block's layers begin with `name`."""
        y = self.conv1(x, gates.get(f"{name}.conv1"))
        y = self.conv2(y, gates.get(f"{name}.conv2"))
        y = self.conv3(y, gates.get(f"{name}.conv3"))
        shortcut = x if self.downsample is None else self.downsample(x, gates.get(f"{name}.downsample"))
        if not gates and y.dtype == shortcut.dtype:
            y.add_(shortcut)  # the same sum in the place of y, which no backward pass needs
        else:
            y = y + shortcut  # under the same name: what is not needed any more must not stay
        return F.relu(y, inplace=True)


class Architecture(Network):
    """stem → layer1 → … → layer4 → mean over pixels → fc.

    stem: `imagenet` is 7×7 with stride 2, then a max pool with stride 2; `cifar` is 3×3 with stride 1 and no pool.
    """

    def __init__(self, channels: int, height: int, width: int, classes: int, stem: str) -> None:
        super().__init__()
        self.pooled = stem == "imagenet"
        self.stem = ConvBlock(channels, 64, 7, 2, padding=3) if self.pooled else ConvBlock(channels, 64, 3, padding=1)
        size = (height, width)
        for _ in range(2 if self.pooled else 0):
            size = _halved(size)
        self.sites = {"stem": (64, *size)}
        last = 64
        for name, (inner, blocks, stride) in STAGES.items():
            size = size if stride == 1 else _halved(size)
            out = EXPANSION * inner
            rest = [Bottleneck(out, inner, 1) for _ in range(blocks - 1)]
            self.add_module(name, nn.Sequential(Bottleneck(last, inner, stride), *rest))
            self.sites[name] = (out, *size)
            last = out
        self.fc = GatedLinear(last, classes, bias=True)
        self.groups, self.in_pieces = ("stem", *STAGES, "fc"), tuple(STAGES)
        convs = {name: m.conv.out_channels for name, m in self.named_modules() if isinstance(m, ConvBlock)}
        self.neurons = {**{name: (c,) for name, c in convs.items()}, "fc": (classes, last)}

    @classmethod
    def build(cls, config: ResNet50, shape: tuple[int, int, int], classes: int) -> Architecture:
        """The network for images of shape (C, H, W); `initialise` then fills its parameters."""
        return cls(*shape, classes, config.stem)

    def run_group(self, group: str, state: State, gates: Gates | None = None, masks: Masks | None = None) -> State:
        x, gates = state[0], gates or {}
        if group == "fc":
            return (self.fc(x.mean(dim=(2, 3)), gates.get("fc")),)
        if group == "stem":
            x = self.stem(x, gates.get("stem"))
            x = F.max_pool2d(x, 3, 2, padding=1) if self.pooled else x
        else:
            for k, block in enumerate(self.get_submodule(group).children()):
                x = recomputed(partial(block, name=f"{group}.{k}", gates=gates), (x,), [block])
        return (masked(x, group, masks),)

    def initial(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """As in torchvision: convolutions N(0, 2/fan_out), norms 1 and 0, `fc` PyTorch's default."""
        if len(shape) == 4:
            fan_out = shape[0] * shape[2] * shape[3]
            return torch.empty(shape).normal_(0.0, (2 / fan_out) ** 0.5, generator=generator)
        if name == "fc.bias":
            return uniform(shape, self.fc.in_features, generator)
        return super().initial(name, shape, generator)


def _halved(size: tuple[int, int]) -> tuple[int, int]:
    return (size[0] + 1) // 2, (size[1] + 1) // 2
