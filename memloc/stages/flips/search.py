"""The search for the neurons that an example's prediction hangs on (science.md, Neuron flipping; paper §6.1).

Greedy: close the open gate whose closing, to first order, costs the example most and everybody else least, until the
example is no longer predicted as labelled. Every example of a group has its own gates in the same forward pass, and one
backward pass gives the gradient of all of them; there are no copies of the model and no gradients of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.data.types import I64, normalise
from memloc.models.gates import Gate, Open, repeated
from memloc.models.groups import Network
from memloc.models.inference import GROUP_SIZE, MaskSource, groups_of
from memloc.seeds import stream
from memloc.stages.flips.config import BATCH, COPIES

NOISE = 0.01  # length of the noise relative to the image's
TOGETHER = 1024  # images in one pass at most, of several searches under their own gates: part of the numerics


@dataclass
class Search:
    """One example's search: the closed neurons in order, as indices into all gates in layer order, and how it ended.

    new_class: what F̄ predicted at the end; None where the search was cut off (`censored`).
    """

    row: int
    closed: list[int] = field(default_factory=list)
    censored: bool = False
    new_class: int | None = None


class Neurons:
    """All gates of a network in layer order as one vector: layer by layer, each flattened.

    A gate vector of one example, [total]; of several, [B, total]. `split` gives what `Network.forward` takes.
    """

    def __init__(self, network: Network) -> None:
        self.shapes = dict(network.neurons)
        self.sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        self.total = sum(self.sizes)

    def split(self, gates: Tensor) -> dict[str, Tensor]:
        """{layer: gates of its neurons, B×shape} of B×total."""
        pieces = torch.split(gates, self.sizes, dim=1)
        return {layer: g.reshape(-1, *shape) for (layer, shape), g in zip(self.shapes.items(), pieces, strict=True)}

    def locate(self, index: int) -> tuple[str, int]:
        """(layer, index within it) of a position in the vector; a linear weight's index is out·in_features + in."""
        for layer, size in zip(self.shapes, self.sizes, strict=True):
            if index < size:
                return layer, index
            index -= size
        raise IndexError(index)


@dataclass
class Task:
    """What every search of a repeat shares.

    x: uint8 n×C×H×W, y: int64 [n], on the device; example: int64 [n], ids, which key the noise. masks: the dropout
    factors of rows. reference: how many images stand for L_ref at each step; None: `definition`. size: of how many
    examples L_ref is the mean. memo: results that other searches of the same training can use again.

    The published code's ways: own_batch: L_ref is over the batch of that many rows, in order, which the example is in, at
    every step and repeat. norm_over_batch: the noise of L_ref is scaled by the norm of all of its images. positive: nothing
    is closed whose score is not above 0.
    """

    network: Network
    x: Tensor
    y: Tensor
    example: I64
    masks: MaskSource
    seed: int
    repeat: int
    reference: int | None
    max_neurons: int
    size: int = BATCH
    memo: dict[Hashable, Tensor] = field(default_factory=dict)
    own_batch: int | None = None
    norm_over_batch: bool = False
    positive: bool = False

    def __post_init__(self) -> None:
        self.neurons = Neurons(self.network)
        self.dtype = next(self.network.parameters()).dtype

    def images(self, rows: Tensor) -> Tensor:
        return normalise(self.x[rows]).to(self.dtype).contiguous(memory_format=torch.channels_last)

    def noisy(self, rows: I64, step: int, scale: Tensor | None = None) -> Tensor:
        """The copies x + 0.01·‖x‖₂·u/‖u‖₂ of the rows' images, (rows·5)×C×H×W; u Gaussian, keyed (example, repeat, step).

        scale: 1×5, of u for each copy, instead of 0.01·‖x‖₂/‖u‖₂.
        """
        u = self._directions(rows, step)
        x = self.images(self.on_device(rows))[:, None]
        if scale is None:
            scale = NOISE * x.flatten(2).norm(dim=2) / u.flatten(2).norm(dim=2)
        return (x + scale[:, :, None, None, None] * u).flatten(0, 1).contiguous(memory_format=torch.channels_last)

    def _directions(self, rows: I64, step: int) -> Tensor:
        """u, rows×5×C×H×W."""
        shape = tuple(self.x.shape[1:])
        draws = [stream(self.seed, "flip noise", int(self.example[i]), self.repeat, step) for i in rows]
        u = torch.from_numpy(np.stack([d.standard_normal((COPIES, *shape), dtype=np.float32) for d in draws]))
        return u.to(self.x.device, self.dtype)

    def scale_over(self, rows: I64, step: int) -> Tensor | None:
        """`norm_over_batch`: 0.01·‖X‖₂/‖U‖₂ for each copy, 1×5, X all of the rows' images as one vector and U their u's."""
        if not self.norm_over_batch:
            return None
        x, u = self.images(self.on_device(rows)), self._directions(rows, step)
        scale: Tensor = NOISE * x.norm() / torch.linalg.vector_norm(u, dim=(0, 2, 3, 4))[None]
        return scale

    def batches(self, searches: Sequence[Search], step: int) -> Iterator[tuple[list[int], I64]]:
        """(searches, the rows of their L_ref at a step): one batch for all of them, or for each the one it is in itself."""
        if self.own_batch is None:
            yield list(range(len(searches))), self.batch(step)
            return
        numbers = [s.row // self.own_batch for s in searches]
        for number in dict.fromkeys(numbers):
            start = number * self.own_batch
            rows = np.arange(start, min(start + self.own_batch, len(self.y)))
            yield [k for k, of in enumerate(numbers) if of == number], rows

    def batch(self, step: int) -> I64:
        """The rows of L_ref at a step, distinct, keyed (repeat, step): the same for every example."""
        n = len(self.y)
        return stream(self.seed, "flip batch", self.repeat, step).permutation(n)[: min(self.size, n)]

    def on_device(self, rows: I64) -> Tensor:
        return torch.from_numpy(rows).to(self.x.device)

    def labels(self, searches: Sequence[Search]) -> Tensor:
        return self.y[self.on_device(np.array([s.row for s in searches], dtype=np.int64))]

    def group_index(self, layer: str) -> int:
        """The place of a layer's group in the network."""
        return self.network.groups.index(self.network.group_of(layer))

    def factors(self, rows: I64, copies: int) -> Mapping[str, Tensor] | None:
        """The dropout factors of rows that stand `copies` times one after the other."""
        return self.masks(self.on_device(rows).repeat_interleave(copies))

    def remember(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        if key not in self.memo:
            self.memo[key] = compute()
        return self.memo[key]


def search(task: Task, rows: Sequence[int]) -> list[Search]:
    """Searches for several examples at once; each must be predicted as labelled by the plain network.

    A search's choices do not depend on the others beyond rounding. It ends when F̄ no longer predicts the label, or
    (`censored`) when that many neurons are closed as `max_neurons`, or as there are, or (`positive`) as have a score
    above 0, and it still does.
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
    scores = own + everybodys_gradient(task, searches, step)
    open_ones = _gates(task, searches) > 0
    scores = scores.masked_fill(~open_ones, float("-inf"))
    best = scores.argmax(dim=1)  # of ties the first: layer order
    good = (scores.amax(dim=1) > 0).tolist() if task.positive else [True] * len(searches)
    for s, chosen, closes in zip(searches, best.tolist(), good, strict=True):
        if closes:
            s.closed.append(chosen)
        else:
            s.censored = True


def everybodys_gradient(task: Task, searches: Sequence[Search], step: int) -> Tensor:
    """∂L_ref/∂gate for each search, B×total, by the task's estimator."""
    if task.reference is None:
        found = torch.empty(len(searches), task.neurons.total, dtype=task.dtype, device=task.x.device)
        for members, batch in task.batches(searches, step):
            found[members] = _defined_gradient(task, [searches[k] for k in members], batch, step)
        return found
    everybody = task.remember("open gates", lambda: _open_gradient(task))
    if step == 0:  # the estimate of ∂L_ref is what it is corrected to: ∂L over all of S
        return everybody[None]
    batch = task.batch(step)[: task.reference]
    same = task.remember((task.repeat, step), lambda: _plain_gradient(task, batch, len(batch)))
    return _batch_gradient(task, searches, batch, task.images(task.on_device(batch)), 1, len(batch)) + (everybody - same)


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
    """The gates (B×total) by layer; layers that nobody has closed anything in are `Open`."""
    touched = {task.neurons.locate(index)[0] for s in searches for index in s.closed}
    split = task.neurons.split(gates)
    return {layer: values if layer in touched else Open(values) for layer, values in split.items()}


def _over_copies(z: Tensor, copies: int) -> Tensor:
    """Mean logits of each example, float64 B×K, from (B·copies)×K."""
    return z.to(torch.float64).view(-1, copies, z.shape[1]).mean(dim=1)


# --- everybody's loss -------------------------------------------------------------------------------------------------


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
    found = torch.empty(len(searches), task.neurons.total, dtype=task.dtype, device=task.x.device)
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
        found[members] = torch.autograd.grad(loss, leaf)[0]
    return found


def _by_first_group(task: Task, searches: Sequence[Search], at_most: int) -> Iterator[tuple[int, list[int]]]:
    """(index of the group with the first closed gate, searches that begin to differ there); none closed: the last."""
    found: dict[int, list[int]] = {}
    for k, s in enumerate(searches):
        places = [task.group_index(task.neurons.locate(index)[0]) for index in s.closed]
        found.setdefault(min(places, default=len(task.network.groups)), []).append(k)
    for first, members in found.items():
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
