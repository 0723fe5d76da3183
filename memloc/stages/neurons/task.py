"""What the searches of a repeat share: the network's gates as one vector, the noisy images, the batches of L_ref."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from memloc.data.arrays import I64, normalise
from memloc.models.groups import Network
from memloc.models.inference import MaskSource
from memloc.models.kept import Masks
from memloc.seeds import stream
from memloc.stages.neurons import BATCH, COPIES
from memloc.stages.neurons.noise import Noise
from memloc.stages.training.transfer import to_device

NOISE = 0.01  # length of the noise relative to the image's
KEPT = 2**28  # bytes of what the searches of a training leave for later ones, at most


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

    A gate vector of one example, [total]; of several, [B, total]. `split` gives what `Network.forward` takes. shapes:
    {layer: shape of its gates}. sizes: the number of gates of each layer. total: the number of all gates.
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

    x: uint8 n×C×H×W, y: int64 [n], on the device. example: int64 [n], ids, which key the noise. masks: the dropout
    factors of rows. seed: the training's, and repeat: the number of the repeat; both key all draws. reference: how many
    images stand for L_ref at each step; None: `definition`. max_neurons: the number of closed gates at which a search is
    censored. size: of how many examples L_ref is the mean. over: L_ref is of the first so many rows; None: of all. memo:
    results that other searches of the same training can use again.

    Options of the published code. own_batch: L_ref is over the batch of so many rows, in order, that contains the
    example, at every step and repeat. norm_over_batch: the noise of L_ref is scaled by the norm of all its images.
    positive: only neurons with a score above 0 are closed.
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
    over: int | None = None

    def __post_init__(self) -> None:
        self.neurons = Neurons(self.network)
        self.dtype = next(self.network.parameters()).dtype
        self.noise = Noise(self._stream, (COPIES, *self.x.shape[1:]))

    @property
    def n(self) -> int:
        """The number of rows from which those of L_ref are drawn."""
        return len(self.y) if self.over is None else self.over

    def images(self, rows: Tensor) -> Tensor:
        """The rows' images, normalised, B×C×H×W in the network's precision, channels last. rows: int64 [B], on the
        device.
        """
        return normalise(self.x[rows]).to(self.dtype).contiguous(memory_format=torch.channels_last)

    def noisy(self, rows: I64, step: int, scale: Tensor | None = None) -> Tensor:
        """The copies x + 0.01·‖x‖₂·u/‖u‖₂ of the rows' images, (rows·5)×C×H×W; u Gaussian, keyed (example, repeat, step).

        scale: 1×5, of u for each copy, instead of 0.01·‖x‖₂/‖u‖₂.
        """
        return self.moved(self.on_device(rows), self.directions(rows, step), scale)

    def moved(self, rows: Tensor, u: Tensor, scale: Tensor | None = None) -> Tensor:
        """These copies for rows (int64 [B]) and directions u (B×5×C×H×W) on the device."""
        x = self.images(rows)[:, None]
        if scale is None:
            scale = NOISE * x.flatten(2).norm(dim=2) / u.flatten(2).norm(dim=2)
        return (x + scale[:, :, None, None, None] * u).flatten(0, 1).contiguous(memory_format=torch.channels_last)

    def directions(self, rows: I64, step: int) -> Tensor:
        """u on the device, rows×5×C×H×W."""
        u = torch.from_numpy(self.noise.directions(rows.tolist(), step))
        return to_device(u, self.x.device).to(self.dtype)

    def _stream(self, row: int, step: int) -> np.random.Generator:
        return stream(self.seed, "flip noise", int(self.example[row]), self.repeat, step)

    def scale_over(self, rows: I64, step: int) -> Tensor | None:
        """`norm_over_batch`: 0.01·‖X‖₂/‖U‖₂ for each copy, 1×5, X all of the rows' images as one vector and U their u's."""
        if not self.norm_over_batch:
            return None
        x, u = self.images(self.on_device(rows)), self.directions(rows, step)
        scale: Tensor = NOISE * x.norm() / torch.linalg.vector_norm(u, dim=(0, 2, 3, 4))[None]
        return scale

    def batches(self, searches: Sequence[Search], step: int) -> Iterator[tuple[list[int], I64]]:
        """(searches, the rows of their L_ref at a step): one batch for all searches, or each search's own batch."""
        if self.own_batch is None:
            yield list(range(len(searches))), self.batch(step)
            return
        numbers = [s.row // self.own_batch for s in searches]
        for number in dict.fromkeys(numbers):
            start = number * self.own_batch
            rows = np.arange(start, min(start + self.own_batch, len(self.y)))
            yield [k for k, own in enumerate(numbers) if own == number], rows

    def batch(self, step: int) -> I64:
        """The rows of L_ref at a step, distinct, keyed (repeat, step): the same for every example."""
        n = self.n
        return stream(self.seed, "flip batch", self.repeat, step).permutation(n)[: min(self.size, n)]

    def on_device(self, rows: I64) -> Tensor:
        """Rows (int64 [B]) as a tensor on the device."""
        return to_device(torch.from_numpy(rows), self.x.device)

    def group_index(self, layer: str) -> int:
        """The place of a layer's group in the network."""
        return self.network.groups.index(self.network.group_of(layer))

    def factors(self, rows: Tensor, copies: int, runs: int = 1) -> Masks | None:
        """The dropout factors of rows (int64 [B], on the device), each repeated `copies` times, all of them `runs` times."""
        return self.masks(rows[:, None].expand(-1, copies).flatten().repeat(runs))

    def remember(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """The quantity of this key, computed only if no earlier search of the training has left it in `memo`.

        What would make `memo` too large is not kept: there is a number for every gate, of every repeat and step.
        """
        if key in self.memo:
            return self.memo[key]
        value = compute()
        if value.nbytes + sum(known.nbytes for known in self.memo.values()) <= KEPT:
            self.memo[key] = value
        return value
