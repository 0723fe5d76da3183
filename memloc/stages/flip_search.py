"""The search for the neurons that an example's prediction hangs on (science.md, Neuron flipping; paper §6.1).

Greedy: close the open gate whose closing, to first order, costs the example most and everybody else least, until the
example is no longer predicted as labelled. Every example of a group has its own gates in the same forward pass, and one
backward pass gives the gradient of all of them; there are no copies of the model and no gradients of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.data.types import I64, normalise
from memloc.models import Network
from memloc.models.inference import GROUP_SIZE, MaskSource, groups_of
from memloc.seeds import stream

COPIES = 5  # noisy copies over which F̄ averages its logits
NOISE = 0.01  # length of the noise relative to the image's
BATCH = 512  # examples of L_ref, unless the configuration says otherwise


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

    def __post_init__(self) -> None:
        self.neurons = Neurons(self.network)
        self.dtype = next(self.network.parameters()).dtype

    def images(self, rows: Tensor) -> Tensor:
        return normalise(self.x[rows]).to(self.dtype).contiguous(memory_format=torch.channels_last)

    def noisy(self, rows: I64, step: int) -> Tensor:
        """The copies x + 0.01·‖x‖₂·u/‖u‖₂ of the rows' images, (rows·5)×C×H×W; u Gaussian, keyed (example, repeat, step)."""
        shape = tuple(self.x.shape[1:])
        draws = [stream(self.seed, "flip noise", int(self.example[i]), self.repeat, step) for i in rows]
        u = torch.from_numpy(np.stack([d.standard_normal((COPIES, *shape), dtype=np.float32) for d in draws]))
        u = u.to(self.x.device, self.dtype)
        x = self.images(torch.from_numpy(rows).to(self.x.device))[:, None]
        scale: Tensor = NOISE * x.flatten(2).norm(dim=2) / u.flatten(2).norm(dim=2)
        return (x + scale[:, :, None, None, None] * u).flatten(0, 1).contiguous(memory_format=torch.channels_last)

    def batch(self, step: int) -> I64:
        """The rows of L_ref at a step, distinct, keyed (repeat, step): the same for every example."""
        n = len(self.y)
        return stream(self.seed, "flip batch", self.repeat, step).permutation(n)[: min(self.size, n)]

    def factors(self, rows: I64, copies: int) -> Mapping[str, Tensor] | None:
        """The dropout factors of rows that stand `copies` times one after the other."""
        return self.masks(torch.from_numpy(rows).to(self.x.device).repeat_interleave(copies))

    def remember(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        if key not in self.memo:
            self.memo[key] = compute()
        return self.memo[key]


def search(task: Task, rows: Sequence[int]) -> list[Search]:
    """Searches for several examples at once; each must be predicted as labelled by the plain network.

    A search's choices do not depend on the others beyond rounding. It ends when F̄ no longer predicts the label, or
    (`censored`) when that many neurons are closed as `max_neurons`, or as there are, and it still does.
    """
    searches = [Search(int(row)) for row in rows]
    limit = min(task.max_neurons, task.neurons.total)
    device, total = task.x.device, task.neurons.total
    gates = torch.ones(len(searches), total, dtype=task.dtype, device=device)
    active = list(range(len(searches)))
    for step in range(limit + 1 if active else 0):
        at = np.array([searches[i].row for i in active], dtype=np.int64)
        predicted, scores = _look(task, at, gates[active], step, last=step == limit)
        wrong = (predicted != task.y[torch.from_numpy(at).to(device)]).tolist()
        best = scores.masked_fill(gates[active] == 0, float("-inf")).argmax(dim=1)  # of ties the first: layer order
        classes, chosen = predicted.tolist(), best.tolist()
        for k, i in enumerate(active):
            if wrong[k]:
                searches[i].new_class = classes[k]
            elif step == limit:
                searches[i].censored = True
            else:
                searches[i].closed.append(chosen[k])
        active = [i for k, i in enumerate(active) if not wrong[k]]
        if not active or step == limit:
            return searches
        gates[active, [searches[i].closed[-1] for i in active]] = 0.0
    return searches


def _look(task: Task, rows: I64, gates: Tensor, step: int, last: bool) -> tuple[Tensor, Tensor]:
    """(what F̄ predicts for each row under its gates, int64 [B]; ∂(L_ref − ℓ(F̄(x_i), y_i))/∂gate, B×total)."""
    if last:
        with torch.no_grad():
            return _mean_logits(task, rows, gates, step).argmax(dim=1), torch.zeros_like(gates)
    if task.reference is None:
        predicted, own = _own_gradient(task, rows, gates, step)
        return predicted, own + _references(task, rows, gates, step, predicted)
    everybody = task.remember("open gates", lambda: _open_gradient(task))
    if step == 0:  # all gates are open: the estimate of ∂L_ref is what it is corrected to, ∂L over all of S
        predicted, own = _own_gradient(task, rows, gates, step)
        return predicted, own + everybody
    predicted, both = _own_and_reference(task, rows, gates, step)
    same = task.remember((task.repeat, step), lambda: _reference_gradient(task, step))
    return predicted, both + (everybody - same)


def _mean_logits(task: Task, rows: I64, gates: Tensor, step: int) -> Tensor:
    """F̄: the mean logits over the noisy copies, float64 B×K; each row under its own gates."""
    per_copy = task.neurons.split(_each(gates, COPIES))
    z = task.network(task.noisy(rows, step), gates=per_copy, masks=task.factors(rows, COPIES))
    return _over_copies(z)


def _each(gates: Tensor, times: int) -> Tensor:
    """Every row of B×total `times` times, one after the other; its gradient is a plain sum, the same bits on any device."""
    return gates[:, None].expand(-1, times, -1).reshape(-1, gates.shape[1])


def _over_copies(z: Tensor) -> Tensor:
    """Mean logits of each example, float64 B×K, from (B·5)×K."""
    return z.to(torch.float64).reshape(-1, COPIES, z.shape[1]).mean(dim=1)


def _own_gradient(task: Task, rows: I64, gates: Tensor, step: int) -> tuple[Tensor, Tensor]:
    leaf = gates.clone().requires_grad_()
    z = _mean_logits(task, rows, leaf, step)
    loss = F.cross_entropy(z, task.y[torch.from_numpy(rows).to(z.device)], reduction="sum")
    (gradient,) = torch.autograd.grad(-loss, leaf)
    return z.argmax(dim=1), gradient


# --- ∂L_ref, by definition --------------------------------------------------------------------------------------------


def _references(task: Task, rows: I64, gates: Tensor, step: int, predicted: Tensor) -> Tensor:
    """∂L_ref/∂gate, B×total, of the searches that go on; at the first step, with every gate open, it is the same for all."""
    if step == 0:
        shared = task.remember((task.repeat, "noisy"), lambda: _noisy_reference(task, gates[0], 0))
        return shared.expand(len(rows), -1)
    goes_on = (predicted == task.y[torch.from_numpy(rows).to(gates.device)]).tolist()
    none = torch.zeros_like(gates[0])
    return torch.stack([_noisy_reference(task, g, step) if on else none for g, on in zip(gates, goes_on, strict=True)])


def _noisy_reference(task: Task, gates: Tensor, step: int) -> Tensor:
    """∂/∂gate of the mean loss of F̄ on the batch of the step, all of it under the same gates [total]."""
    batch = task.batch(step)
    leaf = gates[None].clone().requires_grad_()
    total = torch.zeros_like(gates)
    for rows in _chunks(batch, GROUP_SIZE // COPIES):
        x = task.noisy(rows, step)
        z = task.network(x, gates=task.neurons.split(leaf), masks=task.factors(rows, COPIES))
        total += _gate_gradient(task, _over_copies(z), rows, leaf, len(batch))
    return total


def _chunks(rows: I64, size: int) -> Iterator[I64]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _gate_gradient(task: Task, z: Tensor, rows: I64, leaf: Tensor, n: int) -> Tensor:
    """∂/∂gate of (1/n) Σ ℓ over the rows, [total]; z: float64 logits."""
    loss = F.cross_entropy(z, task.y[torch.from_numpy(rows).to(z.device)], reduction="sum") / n
    (gradient,) = torch.autograd.grad(loss, leaf)
    return gradient[0]


# --- ∂L_ref, estimated ------------------------------------------------------------------------------------------------


def _open_gradient(task: Task) -> Tensor:
    """∂L/∂gate over all of S with every gate open and without noise, [total]."""
    total = torch.zeros(task.neurons.total, dtype=torch.float64, device=task.x.device)
    for rows in groups_of(len(task.y), torch.device("cpu")):
        total += _plain_gradient(task, rows.numpy(), len(task.y))
    return total.to(task.dtype)


def _reference_gradient(task: Task, step: int) -> Tensor:
    """The same over the first `reference` examples of the step's batch: what the control variate takes off."""
    rows = task.batch(step)[: task.reference]
    return _plain_gradient(task, rows, len(rows))


def _plain_gradient(task: Task, rows: I64, n: int) -> Tensor:
    leaf = torch.ones(1, task.neurons.total, dtype=task.dtype, device=task.x.device, requires_grad=True)
    x = task.images(torch.from_numpy(rows).to(task.x.device))
    z = task.network(x, gates=task.neurons.split(leaf), masks=task.factors(rows, 1))
    return _gate_gradient(task, z.to(torch.float64), rows, leaf, n)


def _own_and_reference(task: Task, rows: I64, gates: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """(F̄'s prediction, ∂(L_16 − ℓ(F̄(x_i), y_i))/∂gate): every example's copies and references in one pass."""
    batch = task.batch(step)[: task.reference]
    b, m = len(rows), len(batch)
    leaf = gates.clone().requires_grad_()
    references = np.tile(batch, b)
    x = torch.cat([task.noisy(rows, step), task.images(torch.from_numpy(references).to(gates.device))])
    x = x.contiguous(memory_format=torch.channels_last)
    per_row = torch.cat([_each(leaf, COPIES), _each(leaf, m)])
    everyone = np.concatenate([rows.repeat(COPIES), references])
    z = task.network(x, gates=task.neurons.split(per_row), masks=task.factors(everyone, 1)).to(torch.float64)
    own = _over_copies(z[: b * COPIES])
    labels = task.y[torch.from_numpy(np.concatenate([rows, references])).to(z.device)]
    loss = F.cross_entropy(z[b * COPIES :], labels[b:], reduction="sum") / m
    loss = loss - F.cross_entropy(own, labels[:b], reduction="sum")
    (gradient,) = torch.autograd.grad(loss, leaf)
    return own.argmax(dim=1), gradient
