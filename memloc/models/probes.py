"""Probes: what a network has computed of an example at its input, after every block, and at its end."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from memloc.models.groups import Network, State
from memloc.models.kept import Masks
from memloc.models.probe_sites import INPUT, SOFTMAX, block_name


def activations(network: Network, x: Tensor, masks: Masks | None = None) -> Iterator[tuple[str, Tensor]]:
    """(probe, float32 or float64 B×dim), from input to output: the images, the output of every block, the probabilities.

    A block is a run of layer groups that ends where the network hands on one tensor: a group, or those of a residual block
    that is not closed before. Blocks of several groups have the name that these begin with. The probabilities are float64.

    x: normalised images, float32 B×C×H×W.
    """
    yield INPUT, x.flatten(1)
    state: State = (x,)
    groups: list[str] = []
    for group in network.groups[:-1]:
        state = network.run_group(group, state, masks=masks)
        groups.append(group)
        if len(state) == 1:
            yield block_name(groups), state[0].flatten(1)
            groups = []
    (logits,) = network.run_group(network.groups[-1], state, masks=masks)
    yield SOFTMAX, logits.double().softmax(dim=1)
