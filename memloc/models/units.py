"""How active each unit of a network is: a channel, a hidden unit or a head. A weight of the classifier is no unit."""

from __future__ import annotations

import torch
from torch import Tensor

from memloc.models.gates import Watched
from memloc.models.groups import Network
from memloc.models.kept import Masks


def unit_layers(network: Network) -> dict[str, int]:
    """{layer: how many units}, in layer order."""
    return {layer: shape[0] for layer, shape in network.neurons.items() if len(shape) == 1}


def unit_activity(network: Network, x: Tensor, masks: Masks | None = None) -> dict[str, Tensor]:
    """{layer: the mean |activation| of each image and unit, float32 B×C}; x: normalised images, B×C×H×W.

    The mean is over pixels or tokens, and over the numbers of a head. A layer that runs twice has the mean of both. A layer
    that computes windows of an image apart, as those of a Swin transformer, has them in order, image by image; their mean
    counts.
    """
    watched = {layer: Watched(torch.ones(1, count, device=x.device)) for layer, count in unit_layers(network).items()}
    network(x, watched, masks)
    seen = {layer: torch.stack(gate.seen).mean(dim=0) for layer, gate in watched.items()}
    return {
        layer: of if len(of) == len(x) else of.reshape(len(x), -1, of.shape[1]).mean(dim=1) for layer, of in seen.items()
    }
