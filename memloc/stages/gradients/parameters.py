"""The parameters whose gradients are taken: those that are trained."""

from __future__ import annotations

from torch import nn


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """{name: parameter} in the network's order. A network of the user's may have others, whose requires_grad is false."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
