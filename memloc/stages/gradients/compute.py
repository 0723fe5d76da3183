"""Gradient accounting (science.md, Gradient accounting; paper §4, A.1–A.3): the gradients of clean and of noisy examples.

With the batch's statistics, one forward pass per batch serves three backward passes (clean, noisy, control). The sets share
these statistics, so g_c + g_n is the gradient that training on these batches would follow. With running statistics, an
example's gradient does not depend on its batch. It goes forward and backward once, in a batch of examples that belong to the
same sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.data.arrays import normalise
from memloc.models.groups import Network
from memloc.models.inference import MaskSource
from memloc.seeds import stream
from memloc.stages.base import Part, Tables
from memloc.stages.gradients.config import CONTROLS, QUANTITIES, ResolvedGradients
from memloc.stages.gradients.parameters import trained
from memloc.stages.gradients.sets import example_sets
from memloc.stages.gradients.trajectory import trajectory
from memloc.stages.inputs import Inputs
from memloc.stages.training.batches import split_into_batches
from memloc.stages.training.transfer import to_device


def run_together(config: ResolvedGradients, inputs: Inputs, parts: Sequence[Part]) -> Iterator[Tables]:
    """One row per parameter tensor: squared norms and inner products of g_c, g_n, and of the control's pair.

    g_c = (1/n) Σ_{S_c} ∇ℓ_i and g_n = (1/n) Σ_{S_n} ∇ℓ_i, at θ^t or along epoch t. Control: S_r, a keyed random subset with
    as many examples of each class as S_n; g_control = (1/n) Σ_{S_r} ∇ℓ_i, dot_control = ⟨g_control, g_c + g_n − g_control⟩.
    Along the trajectory there are five such subsets, and the columns hold the means of their squared norms and products.
    They are NULL in epochs without updates.
    """
    if config.at == "checkpoint":
        for part in parts:
            yield _at_checkpoint(config, inputs, int(part["epoch"]))
        return
    noisy = inputs.data.noisy
    members = example_sets(noisy, inputs.data.y, inputs.train.seed, CONTROLS)
    epochs = [int(part["epoch"]) for part in parts]
    for t, network, sums in trajectory(inputs, epochs, members, config.scale == "batch"):
        yield {"gradients": _columns(network, t, sums, noisy)}


def _at_checkpoint(config: ResolvedGradients, inputs: Inputs, t: int) -> Tables:
    noisy = inputs.data.noisy
    n = len(noisy)
    network = inputs.network(t)
    seed, batch_size = inputs.train.seed, inputs.train.batch_size
    members = example_sets(noisy, inputs.data.y, seed, 1)
    order = stream(seed, "gradient order", t).permutation(n)
    if config.bn == "batch":
        network.use_batch_statistics()
        batches = split_into_batches(order, batch_size)
    else:
        batches = alike(order, members, batch_size)
    masks = inputs.masks(network, config.mask_mode)
    factor = batch_factors(order, batch_size) if config.scale == "batch" else None
    sums = set_gradients(network, inputs, batches, members, masks, factor)
    return {"gradients": _columns(network, t, sums, noisy)}


def alike(order: np.ndarray, members: np.ndarray, batch_size: int) -> list[Tensor]:
    """The rows in batches whose examples all belong to the same sets, each in the order given; members: bool [sets, n]."""
    kind = (members * 2 ** np.arange(len(members))[:, None]).sum(axis=0)
    return [batch for k in np.unique(kind) for batch in split_into_batches(order[kind[order] == k], batch_size)]


def batch_factors(order: np.ndarray, batch_size: int) -> np.ndarray:
    """float64 [n]: 1/|b| for every example, where b is its training-size batch in this order."""
    factors = np.empty(len(order))
    for batch in split_into_batches(order, batch_size):
        factors[batch.numpy()] = 1 / len(batch)
    return factors


def set_gradients(
    network: Network,
    inputs: Inputs,
    order: Sequence[Tensor],
    members: np.ndarray,
    masks: MaskSource,
    factor: np.ndarray | None = None,
) -> list[list[Tensor]]:
    """(1/n) Σ over each set of ∇ℓ_i, for every parameter tensor, in the network's present mode.

    A backward pass per set that has members in a batch; sets with the same members there share one.

    Args:
        order: the batches, int64 rows on the CPU.
        members: bool [sets, n].
        masks: the dropout factors of the rows.
        factor: float64 [n]: of each ∇ℓ_i, instead of 1/n.

    Returns:
        [set][parameter], in the network's precision and the order of `trained(network)`.
    """
    data = inputs.on_device
    parameters = list(trained(network).values())
    sums = [[torch.zeros_like(p) for p in parameters] for _ in members]
    rows_of = torch.split(to_device(torch.cat(list(order)), inputs.device), [len(batch) for batch in order])
    weights = to_device(torch.from_numpy(members * (1.0 if factor is None else factor)), inputs.device)
    for batch, rows in zip(order, rows_of, strict=True):
        x = normalise(data.x[rows]).to(parameters[0].dtype)
        z = network(x.contiguous(memory_format=torch.channels_last), masks=masks(rows))
        # Float64 at the logits: p_y − 1 of a memorized example vanishes in float32.
        losses = F.cross_entropy(z.to(torch.float64), data.y[rows], reduction="none")
        sharing = _sharing(members[:, batch.numpy()])
        for k, alike_sets in enumerate(sharing):
            last = k == len(sharing) - 1
            gradients = torch.autograd.grad(
                losses, parameters, weights[alike_sets[0], rows], retain_graph=not last, materialize_grads=True
            )
            for s in alike_sets:
                torch._foreach_add_(sums[s], list(gradients))
    for total in sums if factor is None else ():
        torch._foreach_div_(total, members.shape[1])
    return sums


def _sharing(members: np.ndarray) -> list[list[int]]:
    """The sets that have members in a batch, those with the same members together; members: bool [sets, batch]."""
    groups: dict[bytes, list[int]] = {}
    for s, of_set in enumerate(members):
        if of_set.any():
            groups.setdefault(of_set.tobytes(), []).append(s)
    return list(groups.values())


def _columns(
    network: Network, epoch: int, sums: Sequence[Sequence[Tensor]] | None, noisy: np.ndarray
) -> dict[str, list[Any]]:
    """sums: [set][trained parameter], of S_c, S_n and the controls; None: there are none, so what they say is NULL."""
    of = trained(network)
    names = [(group, name) for group in network.groups for name in network.parameters_of(group) if name in of]
    said: dict[str, list[float | None]] = {quantity: [None] * len(names) for quantity in QUANTITIES}
    if sums is not None:
        place = {name: i for i, name in enumerate(of)}
        said = _quantities([[s[place[name]].flatten().to(torch.float64) for _, name in names] for s in sums], noisy)
    return {
        "epoch": [epoch] * len(names),
        "layer": [group for group, _ in names],
        "param": [name for _, name in names],
        "numel": [of[name].numel() for _, name in names],
        **said,
    }


def _quantities(sums: Sequence[Sequence[Tensor]], noisy: np.ndarray) -> dict[str, list[float | None]]:
    """sums: [set][parameter], flat and float64, of S_c, S_n and the controls."""
    clean, other, *controls = sums
    rests = [[c + o - r for c, o, r in zip(clean, other, control, strict=True)] for control in controls]
    has_noisy, has_clean = bool(noisy.any()), not bool(noisy.all())
    found = (
        _dots([(clean, clean)], has_clean),
        _dots([(other, other)], has_noisy),
        _dots([(clean, other)], has_clean and has_noisy),
        _dots([(control, control) for control in controls], has_noisy),
        _dots(list(zip(controls, rests, strict=True)), has_noisy and has_clean),
    )
    return dict(zip(QUANTITIES, found, strict=True))


def _dots(pairs: Sequence[tuple[Sequence[Tensor], Sequence[Tensor]]], defined: bool) -> list[float | None]:
    """The inner product for each parameter, float64, its mean over the pairs [(parameters, parameters)]; None if a set is
    empty.
    """
    if not defined:
        return [None] * len(pairs[0][0])
    products = torch.stack([torch.stack([x @ y for x, y in zip(a, b, strict=True)]) for a, b in pairs])
    return [float(v) for v in products.mean(dim=0).cpu()]
