"""Networks as a person writes them, each made by a function (channels, height, width, classes) -> nn.Module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Plain(nn.Module):
    """Convolutions, a batch norm, a dropout, methods and functions that activate, one of them in place."""

    def __init__(self, channels: int, height: int, width: int, classes: int, rate: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.drop = nn.Dropout(rate)
        self.fc1 = nn.Linear(8 * (height // 4) * (width // 4), 12)
        self.fc2 = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), True), 2)
        x = F.max_pool2d(self.conv2(x).relu_(), 2)
        x = self.drop(F.relu(self.fc1(torch.flatten(x, 1))))
        logits: Tensor = self.fc2(x)
        return logits


def make(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Plain(channels, height, width, classes)


def with_dropout(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Plain(channels, height, width, classes, 0.25)


def sequential(channels: int, height: int, width: int, classes: int) -> nn.Module:
    first = (nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    second = (nn.Conv2d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*first, *second, nn.Linear(8, classes))


def mlp(channels: int, height: int, width: int, classes: int) -> nn.Module:
    hidden = (nn.Linear(channels * height * width, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 8), nn.Tanh())
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(8, classes))


class Held(nn.Module):
    """A network in a network: one child with parameters. A scale that is a plain tensor, and a parameter used twice."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.scale = torch.tensor(0.5)
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x * self.scale + self.shift) - self.shift
        return logits


def held(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Held(sequential(channels, height, width, classes))


class Residual(nn.Module):
    """Layers in a list, the second of which runs twice, so it cannot be cut from the third."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels if k == 0 else 6, 6, 3, padding=1) for k in range(3))
        self.norm = nn.GroupNorm(2, 6)
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.convs[0](x))
        x = F.relu(self.convs[1](x))
        x = x + F.relu(self.convs[2](x))
        x = self.norm(self.convs[1](x)).mean(dim=(2, 3))
        logits: Tensor = self.head(x)
        return logits


def residual(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Residual(channels, classes)


class Undecided(nn.Module):
    """Branches on the values of its images."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        if y.sum() > 1e9:
            return y * 2
        return y


class Partly(nn.Module):
    """Only a part of it cannot be traced."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.part = Undecided(channels)
        self.conv = nn.Conv2d(6, 8, 3)
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(F.relu(self.conv(self.part(x))).mean(dim=(2, 3)))
        return logits


def partly(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Partly(channels, classes)


def lazy(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(classes))


# --- what is refused --------------------------------------------------------------------------------------------------


def undecided(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(Undecided(channels)) if height < 0 else Undecided(channels)


class Root(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(x.flatten(1))
        if y.sum() > 1e9:
            return y * 2
        return y


def root(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Root(classes)


def wrong_shape(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 3))


def raises(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return nn.Linear(1, 1 // (channels - 1))


def fails(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, classes))


def no_module(channels: int, height: int, width: int, classes: int) -> Any:
    return "a network"


class Draws(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(F.dropout(x.flatten(1), 0.5, self.training))
        return logits


def draws(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Draws(classes)


class Named(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.outputs = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.outputs(x.flatten(1))
        return logits


def named(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Named(classes)


class Spare(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc, self.unused = nn.Linear(64, classes), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(x.flatten(1))
        return logits


def spare(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Spare(classes)


class Closed(nn.Module):
    """Its dropout is inside of a part that cannot be traced."""

    def __init__(self, channels: int, classes: int, rate: float) -> None:
        super().__init__()
        self.part = Undecided(channels)
        self.part.conv = nn.Sequential(nn.Conv2d(channels, 6, 3), nn.Dropout(rate))  # type: ignore[assignment]
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.part(x).mean(dim=(2, 3)))
        return logits


def closed(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Closed(channels, classes, 0.5)


def closed_without_rate(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Closed(channels, classes, 0.0)


def all_frozen(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return make(channels, height, width, classes).requires_grad_(False)


def spectral(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.utils.parametrizations.spectral_norm(nn.Linear(64, classes)))


class Shared(nn.Module):
    """Two convolutions with one weight, under two names."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.first, self.one, self.two = (nn.Conv2d(c, 6, 3, padding=1) for c in (channels, 6, 6))
        self.two.weight = self.one.weight
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.two(F.relu(self.one(F.relu(self.first(x))))))
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def shared(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Shared(channels, classes)


def gated_units(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.GLU(), nn.Linear(8, classes))


class Attending(nn.Module):
    """Rows as tokens, from a linear layer directly into torch's attention."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(channels * width, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.permute(0, 2, 1, 3).flatten(2))
        logits: Tensor = self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(dim=1))
        return logits


def attending(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Attending(channels, width, classes)


def all_dropped(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Dropout(1.0), nn.Linear(8, classes))


class Halved(nn.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0.5 if self.training else x


def derived_dropout(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), Halved(0.5), nn.Linear(8, classes))


class Cosine(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(x), F.normalize(self.weight))


def cosine(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), Cosine(8, classes))


class Noted(nn.Linear):
    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: object) -> None: ...


def noted(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), Noted(64, classes))


def pruned(channels: int, height: int, width: int, classes: int) -> nn.Module:
    from torch.nn.utils import prune

    network = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    prune.random_unstructured(network[1], "weight", 0.5)  # type: ignore[no-untyped-call]
    return network


def twice(channels: int, height: int, width: int, classes: int) -> nn.Module:
    layer = nn.Linear(64, 64)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(64, classes))


# --- parameters that a training leaves as they are, or computes ---------------------------------------------------------


def partly_frozen(channels: int, height: int, width: int, classes: int) -> nn.Module:
    network = sequential(channels, height, width, classes)
    network[0].requires_grad_(False)  # type: ignore[index]
    return network


def frozen_layer(channels: int, height: int, width: int, classes: int) -> nn.Module:
    """Nothing of its first group is trained."""
    layers = (nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes))
    layers[0].requires_grad_(False)
    return nn.Sequential(*layers)


class Detached(nn.Module):
    """Its first layer gets no gradient, although it asks for one."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(channels, 6, 3), nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(F.relu(self.conv(x)).detach().mean(dim=(2, 3)))
        return logits


def detached(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Detached(channels, classes)


def no_scale(channels: int, height: int, width: int, classes: int) -> nn.Module:
    layers = (nn.Conv2d(channels, 6, 3), nn.BatchNorm2d(6, affine=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(6, classes))


def weight_normed(channels: int, height: int, width: int, classes: int) -> nn.Module:
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(channels, 6, 3))
    return nn.Sequential(normed, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes))


NUMBER = 3


class Lonely(nn.Module):
    """One parameter, no layer."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.only = nn.Bilinear(features, 1, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.only(x.flatten(1), x.flatten(1)[:, :1])
        return logits


def lonely(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Lonely(channels * height * width, classes)


class InPlace(nn.Module):
    """Functions of torch that change what they are given."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.fc1 = nn.Linear(8, 12)
        self.fc2 = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu_(self.conv1(x), 0.1)
        x = torch.clamp_(self.conv2(x), -0.5, 0.5)
        x = torch.sigmoid_(self.fc1(x.mean(dim=(2, 3))))
        logits: Tensor = self.fc2(x)
        return logits


def in_place(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return InPlace(channels, classes)


# --- `view` of images that memloc lays out channels last ------------------------------------------------------------------


class Tutorial(nn.Module):
    """The first network of PyTorch's tutorials."""

    def __init__(self, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=2)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5, padding=2)
        self.size = 16 * (height // 4) * (width // 4)
        self.fc1 = nn.Linear(self.size, 12)
        self.fc2 = nn.Linear(12, classes)

    def flat(self, x: Tensor) -> Tensor:
        return x.view(-1, self.size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        logits: Tensor = self.fc2(F.relu(self.fc1(self.flat(x))))
        return logits


class ByTuple(Tutorial):
    def flat(self, x: Tensor) -> Tensor:
        return x.view((x.size(0), self.size))


class ByName(Tutorial):
    def flat(self, x: Tensor) -> Tensor:
        return x.view(size=(x.shape[0], self.size))


class AsAnother(Tutorial):
    def flat(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return x.view_as(flat) + x.view_as(other=flat) + x.view(flat.shape) + x.view(flat.size())


class OfAType(Tutorial):
    """What `view` does beside: the same bits as numbers of another type."""

    def flat(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(torch.int32).view(x.dtype).view(dtype=torch.int32).view(self.fc1.weight.dtype)


class ChangedInPlace(Tutorial):
    """What it changes is seen under the other name too."""

    def flat(self, x: Tensor) -> Tensor:
        x.view(-1, self.size).mul_(2.0)
        return x.flatten(1)


class BySum(Tutorial):
    """Cannot be traced, so nothing in it can be replaced."""

    def flat(self, x: Tensor) -> Tensor:
        return x.view(-1, self.size) * (2.0 if x.sum() > 1e9 else 1.0)


def tutorial(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Tutorial(channels, height, width, classes)


def by_tuple(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return ByTuple(channels, height, width, classes)


def by_name(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return ByName(channels, height, width, classes)


def as_another(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return AsAnother(channels, height, width, classes)


def of_a_type(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return OfAType(channels, height, width, classes)


def changed_in_place(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return ChangedInPlace(channels, height, width, classes)


def view_inside(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1), BySum(channels, height, width, 8), nn.ReLU(), nn.Linear(8, classes)
    )


def view_in_training(channels: int, height: int, width: int, classes: int) -> nn.Module:
    class Net(Tutorial):
        def flat(self, x: Tensor) -> Tensor:
            return x.view(-1, self.size) if self.training else x.flatten(1)

    return Net(channels, height, width, classes)


class Strided(nn.Module):
    """Patches behind a convolution by `as_strided`, with the strides of the images, or with PyTorch's usual ones."""

    def __init__(self, channels: int, height: int, width: int, classes: int, usual: bool) -> None:
        super().__init__()
        self.usual = usual
        self.conv = nn.Conv2d(channels, 6, 3, padding=1)
        self.fc1 = nn.Linear(6 * 9, 12)
        self.fc2 = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        b, c, h, w = x.shape
        image, channel, row, column = (c * h * w, h * w, w, 1) if self.usual else x.stride()
        patches = x.as_strided((b, c, h - 2, w - 2, 3, 3), (image, channel, row, column, row, column))
        logits: Tensor = self.fc2(F.relu(self.fc1(patches.square().mean(dim=(2, 3)).flatten(1))))
        return logits


def strided(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Strided(channels, height, width, classes, usual=False)


def strided_as_usual(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Strided(channels, height, width, classes, usual=True)


class Whole(nn.Module):
    """One operation, as it branches on the values of its images, and all parameters are in it."""

    def __init__(self, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 6), nn.ReLU(), nn.Linear(6, classes))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits * 2 if logits.sum() > 1e9 else logits


def whole(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Identity(), Whole(channels, height, width, classes))


class Zipped(nn.Module):
    """Layers in one list, their norms in another."""

    def __init__(self, layers: list[nn.Module], norms: list[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.layers_of, self.norms, self.head = nn.ModuleList(layers), nn.ModuleList(norms), head

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm in zip(self.layers_of, self.norms, strict=True):
            x = norm(layer(x)).relu()
        logits: Tensor = self.head(x)
        return logits


def zipped(channels: int, height: int, width: int, classes: int) -> nn.Module:
    convs = [nn.Conv2d(channels if k == 0 else 6, 6, 3, padding=1) for k in range(3)]
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes)
    return Zipped([*convs], [nn.BatchNorm2d(6) for _ in range(3)], nn.Sequential(*head))


def zipped_linear(channels: int, height: int, width: int, classes: int) -> nn.Module:
    layers = [nn.Linear(channels * height * width if k == 0 else 6, 6) for k in range(3)]
    return nn.Sequential(nn.Flatten(), Zipped([*layers], [nn.LayerNorm(6) for _ in range(3)], nn.Linear(6, classes)))


# --- what ends Python ---------------------------------------------------------------------------------------------------


def leaves(channels: int, height: int, width: int, classes: int) -> nn.Module:
    raise SystemExit(3)


class Leaving(nn.Module):
    """Ends Python in its forward pass."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        raise SystemExit(3)


def leaving(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return Leaving(classes)


def no_parameters(channels: int, height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Identity())
