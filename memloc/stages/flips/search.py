"""The search for the neurons that carry an example's prediction (science.md, Neuron flipping; paper §6.1).

The search is greedy. In every step it closes the open gate whose closing, to first order, raises the example's loss most
beyond what it adds to L_ref. It ends when the network no longer predicts the label. Every example of a group has its own
gates in the same forward pass. One backward pass gives the gradients of all gates. There are no copies of the model and no
gradients of weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.data.arrays import I64
from memloc.models.gates import Gate, Open, repeated
from memloc.models.inference import GROUP_SIZE, groups_of
from memloc.stages.flips.config import COPIES
from memloc.stages.flips.task import Search, Task

TOGETHER = 1024  # images in one pass at most, of several searches under their own gates: part of the numerics


def search(task: Task, rows: Sequence[int]) -> list[Search]:
    """Searches for several examples at once; each must be predicted as labelled by the plain network.

    A search depends on the other searches by rounding alone. It ends when F̄ no longer predicts the label. It ends as
    `censored` if F̄ still predicts the label when `max_neurons` neurons are closed, or all there are, or (`positive`) all
    with a score above 0.
    """
    searches = [Search(int(row)) for row in rows]
    labels = task.labels(searches).tolist()
    active = list(zip(searches, labels, strict=True))
    limit = min(task.max_neurons, task.neurons.total)
    step = 0
    while active:
        at = [s for s, _ in active]
        predicted, own = own_gradient(task, at, step, wanted=step < limit)
        right = [k for k, (_, label) in enumerate(active) if predicted[k] == label]
        for k in set(range(len(active))).difference(right):
            at[k].new_class = predicted[k]
        active = [active[k] for k in right]
        if step == limit:
            for s, _ in active:
                s.censored = True
            break
        if active:
            _close(task, [s for s, _ in active], own[right], step)
            active = [(s, label) for s, label in active if not s.censored]
        step += 1
    return searches


def _close(task: Task, searches: Sequence[Search], own: Tensor, step: int) -> None:
    """Closes one more gate of each search: the open one with the largest ∂(L_ref − ℓ(F̄(x_i), y_i))/∂gate."""
    scores = own + reference_gradient(task, searches, step)
    open_ones = _gates(task, searches) > 0
    scores = scores.masked_fill(~open_ones, float("-inf"))
    best = scores.argmax(dim=1)  # the first of several largest scores, in layer order
    good = (scores.amax(dim=1) > 0).tolist() if task.positive else [True] * len(searches)
    for s, chosen, closes in zip(searches, best.tolist(), good, strict=True):
        if closes:
            s.closed.append(chosen)
        else:
            s.censored = True


def reference_gradient(task: Task, searches: Sequence[Search], step: int) -> Tensor:
    """∂L_ref/∂gate for each search, B×total, by the task's estimator."""
    if task.reference is None:
        gradients = torch.empty(len(searches), task.neurons.total, dtype=task.dtype, device=task.x.device)
        for members, batch in task.batches(searches, step):
            gradients[members] = _defined_gradient(task, [searches[k] for k in members], batch, step)
        return gradients
    open_gradient = task.remember("open gates", lambda: _open_gradient(task))
    if step == 0:  # all gates are open: the corrected estimate of ∂L_ref is ∂L over all of S itself
        return open_gradient[None]
    batch = task.batch(step)[: task.reference]
    same = task.remember((task.repeat, step), lambda: _plain_gradient(task, batch, len(batch)))
    x = task.images(task.on_device(batch))
    return _batch_gradient(task, searches, batch, x, 1, len(batch)) + (open_gradient - same)


# --- one example's own loss -------------------------------------------------------------------------------------------


def own_gradient(task: Task, searches: Sequence[Search], step: int, wanted: bool = True) -> tuple[list[int], Tensor]:
    """(what F̄ predicts for each under its gates, −∂ℓ(F̄(x_i), y_i)/∂gate: B×total, zeros unless wanted)."""
    rows = np.array([s.row for s in searches], dtype=np.int64)
    leaf = _gates(task, searches).requires_grad_(wanted)
    with torch.set_grad_enabled(wanted):
        x = task.noisy(rows, step)
        z = _over_copies(task.network(x, gates=_split(task, leaf, searches), masks=task.factors(rows, COPIES)), COPIES)
        loss = F.cross_entropy(z, task.labels(searches), reduction="sum")
    gradient = torch.autograd.grad(-loss, leaf)[0] if wanted else torch.zeros_like(leaf)
    return z.argmax(dim=1).tolist(), gradient


def _gates(task: Task, searches: Sequence[Search]) -> Tensor:
    """B×total: 0 where a search has closed."""
    gates = torch.ones(len(searches), task.neurons.total, dtype=task.dtype)
    for k, s in enumerate(searches):
        gates[k, s.closed] = 0.0
    return gates.to(task.x.device)


def _split(task: Task, gates: Tensor, searches: Sequence[Search]) -> dict[str, Gate]:
    """The gates (B×total) by layer; layers in which no search has closed a gate are `Open`."""
    touched = {task.neurons.locate(index)[0] for s in searches for index in s.closed}
    split = task.neurons.split(gates)
    return {layer: values if layer in touched else Open(values) for layer, values in split.items()}


def _over_copies(z: Tensor, copies: int) -> Tensor:
    """Mean logits of each example, float64 B×K, from (B·copies)×K."""
    return z.to(torch.float64).view(-1, copies, z.shape[1]).mean(dim=1)


# --- L_ref ------------------------------------------------------------------------------------------------------------


def _defined_gradient(task: Task, searches: Sequence[Search], batch: I64, step: int) -> Tensor:
    """`definition`: ∂/∂gate of the mean loss of F̄ on the batch, B×total; with every gate open 1×total, the same for all."""
    if step > 0:
        return _noisy_reference(task, searches, batch, step)
    key = (task.repeat, "noisy", int(batch[0]))
    return task.remember(key, lambda: _noisy_reference(task, searches[:1], batch, 0))


def _noisy_reference(task: Task, searches: Sequence[Search], batch: I64, step: int) -> Tensor:
    scale = task.scale_over(batch, step)
    total = torch.zeros(len(searches), task.neurons.total, dtype=task.dtype, device=task.x.device)
    for start in range(0, len(batch), GROUP_SIZE // COPIES):
        rows = batch[start : start + GROUP_SIZE // COPIES]
        total += _batch_gradient(task, searches, rows, task.noisy(rows, step, scale), COPIES, len(batch))
    return total


def _batch_gradient(
    task: Task, searches: Sequence[Search], rows: I64, x: Tensor, copies: int, n: int
) -> Tensor:  # fmt: skip
    """∂/∂gate of (1/n) Σ ℓ(mean logits over copies) over the rows, for each search under its own gates: B×total.

    x: the rows' images, `copies` of each. Up to the group with a search's first closed gate the network does the same for
    all searches: that part goes forward once, and only backward for each.
    """
    factors = task.factors(rows, copies)
    outputs = task.network.outputs(x, factors)
    gradients = torch.empty(len(searches), task.neurons.total, dtype=task.dtype, device=task.x.device)
    for first, members in _by_first_group(task, searches, at_most=max(1, TOGETHER // len(x))):
        of_them = [searches[k] for k in members]
        leaf = _gates(task, of_them).requires_grad_()
        gates = _split(task, leaf, of_them)
        for layer, gate in gates.items():
            if isinstance(gate, Open) and task.group_index(layer) < first:
                gates[layer] = replace(gate, output=outputs.get(layer))
        z = task.network(repeated(x, len(of_them)), gates=gates, masks=task.factors(np.tile(rows, len(of_them)), copies))
        labels = task.y[task.on_device(rows)].repeat(len(of_them))
        loss = F.cross_entropy(_over_copies(z, copies), labels, reduction="sum") / n
        gradients[members] = torch.autograd.grad(loss, leaf)[0]
    return gradients


def _by_first_group(task: Task, searches: Sequence[Search], at_most: int) -> Iterator[tuple[int, list[int]]]:
    """(index of the group with the first closed gate, searches that begin to differ there); none closed: the last."""
    groups: dict[int, list[int]] = {}
    for k, s in enumerate(searches):
        places = [task.group_index(task.neurons.locate(index)[0]) for index in s.closed]
        groups.setdefault(min(places, default=len(task.network.groups)), []).append(k)
    for first, members in groups.items():
        for start in range(0, len(members), at_most):
            yield first, members[start : start + at_most]


def _open_gradient(task: Task) -> Tensor:
    """∂L/∂gate over all of S with every gate open and without noise, [total]."""
    total = torch.zeros(task.neurons.total, dtype=torch.float64, device=task.x.device)
    for rows in groups_of(len(task.y), torch.device("cpu")):
        total += _plain_gradient(task, rows.numpy(), len(task.y))
    return total.to(task.dtype)


def _plain_gradient(task: Task, rows: I64, n: int) -> Tensor:
    """∂/∂gate of (1/n) Σ ℓ over the rows with every gate open and without noise, [total]."""
    leaf = torch.ones(1, task.neurons.total, dtype=task.dtype, device=task.x.device, requires_grad=True)
    at = task.on_device(rows)
    z = task.network(task.images(at), gates=_split(task, leaf, ()), masks=task.factors(rows, 1))
    loss = F.cross_entropy(z.to(torch.float64), task.y[at], reduction="sum") / n
    return torch.autograd.grad(loss, leaf)[0][0]
