"""The running statistics of batch norms, anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor, nn

from memloc.data.device import images
from memloc.models.groups import Network
from memloc.models.inference import GROUP_SIZE, MaskSource


def batch_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Its batch norms that keep running statistics."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return [norm for norm in norms if norm.running_mean is not None]


@torch.no_grad()
def recompute_statistics(
    networks: Sequence[Network],
    run: Callable[..., object],
    x: UInt8[Tensor, "n c h w"],
    order: Int64[Tensor, " n"],
    masks: MaskSource,
) -> None:
    """Sets them to the means of the statistics of batches, which come in this order and are as large as each other.

    networks: have the batch norms. run: runs them, with images (float32 B×C×H×W, normalised) and `masks`. All else is in
    evaluation mode, and so are the networks afterwards.
    """
    norms = [norm for network in networks for norm in batch_norms(network)]
    for network in networks:
        network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    for k, rows in enumerate(order.tensor_split(math.ceil(len(order) / GROUP_SIZE))):
        for norm in norms:
            norm.momentum = 1 / (k + 1)  # the mean so far; PyTorch's own (None) reads a counter from the device each time
        run(images(x[rows]), masks=masks(rows))
    for network in networks:
        network.eval()
