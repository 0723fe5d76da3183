"""The search for the neurons that carry an example's prediction (science.md, Neuron flipping; paper §6.1).

The search is greedy. In every step it closes the open gate whose closing, to first order, raises the example's loss most
beyond what it adds to L_ref. It ends when the network no longer predicts the label. Every example of a group has its own
gates in the same forward pass. One backward pass gives the gradients of all gates. There are no copies of the model and no
gradients of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.data.arrays import I64
from memloc.models.gates import Gate, Open, repeated
from memloc.models.inference import GROUP_SIZE, groups_of
from memloc.stages.neurons import COPIES
from memloc.stages.neurons.active import Active, ByGroup
from memloc.stages.neurons.task import Search, Task
from memloc.stages.training.transfer import to_device

TOGETHER = 1024  # images in one pass at most, of several searches under their own gates: part of the numerics


def search(task: Task, rows: Sequence[int]) -> list[Search]:
    """Searches for several examples at once; each must be predicted as labelled by the plain network.

    A search depends on the other searches by rounding alone. It ends when F̄ no longer predicts the label. It ends as
    `censored` if F̄ still predicts the label when `max_neurons` neurons are closed, or all there are, or (`positive`) all
    with a score above 0.
    """
    searches = [Search(int(row)) for row in rows]
    if searches:
        with task.noise.drawing_ahead(task.x.device.type == "cuda"):  # on a CPU this thread would take the time of the other
            _search(task, searches)
    return searches


def _search(task: Task, searches: Sequence[Search]) -> None:
    active = Active.of(task, searches)
    label_of = dict(zip([s.row for s in searches], active.labels.tolist(), strict=True))
    limit = min(task.max_neurons, task.neurons.total)
    for step in range(limit + 1):
        classes, own = own_gradient(task, active, step, wanted=step < limit)
        predicted = classes.tolist()
        right = [k for k, s in enumerate(active.searches) if predicted[k] == label_of[s.row]]
        for k in set(range(len(predicted))).difference(right):
            active.searches[k].new_class = predicted[k]
        if not right:
            return
        active, gradient = active.only(right, own)
        if step == limit or gradient is None:
            for s in active.searches:
                s.censored = True
            return
        task.noise.ahead([*(s.row for s in active.searches), *_reference_rows(task, step + 1, limit)], step + 1)
        active = _close(task, active, gradient, step)
        if not active.searches:
            return


def _reference_rows(task: Task, step: int, limit: int) -> list[int]:
    """The rows whose noise L_ref will need at a step, if they are the same for all searches."""
    wanted = task.reference is None and task.own_batch is None and step < limit
    return task.batch(step).tolist() if wanted else []


def _close(task: Task, active: Active, own: Tensor, step: int) -> Active:
    """Closes one more gate of each search: the open one with the largest ∂(L_ref − ℓ(F̄(x_i), y_i))/∂gate."""
    scores = own + reference_gradient(task, active, step)
    scores = scores.masked_fill(active.gates <= 0, float("-inf"))
    best = scores.argmax(dim=1)  # the first of several largest scores, in layer order
    none = ~(scores.amax(dim=1) > 0) if task.positive else torch.zeros_like(best, dtype=torch.bool)
    chosen, ended = torch.stack([best, none.to(best.dtype)]).tolist()  # the one thing that the host reads here
    for s, index, ends in zip(active.searches, chosen, ended, strict=True):
        if ends:
            s.censored = True
        else:
            s.closed.append(index)
    kept = [k for k, s in enumerate(active.searches) if not s.censored]
    return active.closing(best).only(kept)[0]


def reference_gradient(task: Task, active: Active, step: int) -> Tensor:
    """∂L_ref/∂gate for each search, B×total, by the task's estimator."""
    if task.reference is None:
        if task.own_batch is None:
            return _defined_gradient(task, active, task.batch(step), step)
        gradients = torch.empty_like(active.gates)
        for members, batch in task.batches(active.searches, step):
            at = to_device(torch.tensor(members), task.x.device)
            gradients[at] = _defined_gradient(task, active.only(members)[0], batch, step)
        return gradients
    open_gradient = task.remember("open gates", lambda: _open_gradient(task))
    if step == 0:  # all gates are open: the corrected estimate of ∂L_ref is ∂L over all of S itself
        return open_gradient[None]
    rows = task.on_device(task.batch(step)[: task.reference])
    same = task.remember((task.repeat, step), lambda: _plain_gradient(task, rows, len(rows)))
    ordered = ByGroup.of(task, active)
    gradient = _batch_gradient(task, ordered, rows, task.images(rows), len(rows))
    return ordered.in_first_order(gradient) + (open_gradient - same)


# --- one example's own loss -------------------------------------------------------------------------------------------


def own_gradient(task: Task, active: Active, step: int, wanted: bool = True) -> tuple[Tensor, Tensor]:
    """(what F̄ predicts for each under its gates: int64 [B]; −∂ℓ(F̄(x_i), y_i)/∂gate: B×total, zeros unless wanted)."""
    rows = np.array([s.row for s in active.searches], dtype=np.int64)
    leaf = active.gates.detach().requires_grad_(wanted)
    with torch.set_grad_enabled(wanted):
        x = task.moved(active.rows, task.directions(rows, step))
        gates, masks = _split(task, leaf, active.searches), task.factors(active.rows, COPIES)
        z = _over_copies(task.network(x, gates=gates, masks=masks), COPIES)
        loss = F.cross_entropy(z, active.labels, reduction="sum")
    gradient = torch.autograd.grad(-loss, leaf)[0] if wanted else torch.zeros_like(leaf)
    return z.argmax(dim=1), gradient


def _split(task: Task, gates: Tensor, searches: Sequence[Search]) -> dict[str, Gate]:
    """The gates (B×total) by layer; layers in which no search has closed a gate are `Open`."""
    touched = {task.neurons.locate(index)[0] for s in searches for index in s.closed}
    split = task.neurons.split(gates)
    return {layer: values if layer in touched else Open(values) for layer, values in split.items()}


def _over_copies(z: Tensor, copies: int) -> Tensor:
    """Mean logits of each example, float64 B×K, from (B·copies)×K."""
    return z.to(torch.float64).view(-1, copies, z.shape[1]).mean(dim=1)


# --- L_ref ------------------------------------------------------------------------------------------------------------


def _defined_gradient(task: Task, active: Active, batch: I64, step: int) -> Tensor:
    """`definition`: ∂/∂gate of the mean loss of F̄ on the batch, B×total; with every gate open 1×total, the same for all."""
    if step > 0:
        return _noisy_reference(task, active, batch, step)
    key = (task.repeat, "noisy", int(batch[0]))
    return task.remember(key, lambda: _noisy_reference(task, Active.of(task, active.searches[:1]), batch, 0))


def _noisy_reference(task: Task, active: Active, batch: I64, step: int) -> Tensor:
    scale = task.scale_over(batch, step)
    ordered = ByGroup.of(task, active)
    rows, u = task.on_device(batch), task.directions(batch, step)
    total = torch.zeros_like(active.gates)
    for some, noise in zip(*(torch.split(t, GROUP_SIZE // COPIES) for t in (rows, u)), strict=True):
        total += _batch_gradient(task, ordered, some, task.moved(some, noise, scale), len(batch), COPIES)
    return ordered.in_first_order(total)


def _batch_gradient(task: Task, ordered: ByGroup, rows: Tensor, x: Tensor, n: int, copies: int = 1) -> Tensor:
    """∂/∂gate of (1/n) Σ ℓ(mean logits over copies) over the rows, for each search under its own gates: B×total.

    x: the rows' images, `copies` of each. Up to the group with a search's first closed gate the network does the same for
    all searches: that part goes forward once, and only backward for each.
    """
    outputs = task.network.outputs(x, task.factors(rows, copies))
    gradients = []
    for first, piece in ordered.pieces(at_most=max(1, TOGETHER // len(x))):
        searches, leaf = ordered.active.searches[piece], ordered.active.gates[piece].detach().requires_grad_()
        gates = _split(task, leaf, searches)
        for layer, gate in gates.items():
            if isinstance(gate, Open) and task.group_index(layer) < first:
                gates[layer] = replace(gate, output=outputs.get(layer))
        masks = task.factors(rows, copies, len(searches))
        z = task.network(repeated(x, len(searches)), gates=gates, masks=masks)
        labels = task.y[rows].repeat(len(searches))
        loss = F.cross_entropy(_over_copies(z, copies), labels, reduction="sum") / n
        gradients.append(torch.autograd.grad(loss, leaf)[0])
    return torch.cat(gradients)


def _open_gradient(task: Task) -> Tensor:
    """∂L/∂gate over all of S with every gate open and without noise, [total]."""
    total = torch.zeros(task.neurons.total, dtype=torch.float64, device=task.x.device)
    for rows in groups_of(task.n, task.x.device):
        total += _plain_gradient(task, rows, task.n)
    return total.to(task.dtype)


def _plain_gradient(task: Task, rows: Tensor, n: int) -> Tensor:
    """∂/∂gate of (1/n) Σ ℓ over the rows (int64) with every gate open and without noise, [total]."""
    leaf = torch.ones(1, task.neurons.total, dtype=task.dtype, device=task.x.device, requires_grad=True)
    z = task.network(task.images(rows), gates=_split(task, leaf, ()), masks=task.factors(rows, 1))
    loss = F.cross_entropy(z.to(torch.float64), task.y[rows], reduction="sum") / n
    return torch.autograd.grad(loss, leaf)[0][0]
