"""The running statistics of a network's batch norms, anew."""

from __future__ import annotations

import math

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor, nn

from memloc.data.device import images
from memloc.models.groups import Network
from memloc.models.inference import GROUP_SIZE, MaskSource


@torch.no_grad()
def recompute_statistics(
    network: Network, x: UInt8[Tensor, "n c h w"], order: Int64[Tensor, " n"], masks: MaskSource
) -> None:
    """Sets them to the means of the statistics of batches, which come in this order and are as large as each other.

    All else is in evaluation mode, then as before.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    for k, rows in enumerate(order.tensor_split(math.ceil(len(order) / GROUP_SIZE))):
        for norm in norms:
            norm.momentum = 1 / (k + 1)  # the mean so far; PyTorch's own (None) reads a counter from the device each time
        network(images(x[rows]), masks=masks(rows))
    network.eval()
