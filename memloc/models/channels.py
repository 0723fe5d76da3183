"""Channels as neurons, without single weights: their gates, their activations, and the weights before and behind them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memloc.models.blocks import ConvBlock
from memloc.models.groups import Network
from memloc.models.kept import Masks
from memloc.models.site_gates import SiteGated


def channels_of(network: Network) -> Network:
    """The network, folded, with gates on channels alone; its parameters take no gradients."""
    folded = network.folded()
    folded.neurons = {layer: shape for layer, shape in folded.neurons.items() if len(shape) == 1}
    return folded


def activations(network: Network, x: Tensor, masks: Masks | None = None) -> dict[str, Tensor]:
    """{layer: B×C×H×W} of every layer with gates, with every gate open; x: normalised images."""
    return network.activations(x, masks) if isinstance(network, SiteGated) else network.outputs(x, masks)


def weight_of(network: Network, group: str) -> nn.Parameter:
    """The weight of a group that is one convolution or linear layer, out×in×….

    Raises:
        ValueError: the group is anything else.
    """
    module = network.modules_of(group)[0]
    layer = module.conv if isinstance(module, ConvBlock) else module
    if isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(layer.weight, nn.Parameter):
        return layer.weight
    raise ValueError(f"group {group} is a {type(layer).__name__}, not one convolution or linear layer")


def next_group(network: Network, layer: str) -> str:
    """The group that gets the channels of a layer."""
    return network.groups[network.groups.index(network.group_of(layer)) + 1]


def incoming(network: Network) -> Tensor:
    """total×…: the weights that write each channel, padded with zeros to equal lengths."""
    return _stacked([weight_of(network, network.group_of(layer)).flatten(1) for layer in network.neurons])


def outgoing(network: Network) -> Tensor:
    """total×…: the weights of the next group that read each channel, likewise."""
    return _stacked([weight_of(network, next_group(network, layer)).transpose(0, 1).flatten(1) for layer in network.neurons])


def _stacked(rows: list[Tensor]) -> Tensor:
    longest = max(each.shape[1] for each in rows)
    return torch.cat([nn.functional.pad(each.detach(), (0, longest - each.shape[1])) for each in rows])
