"""What each depth knows (Baldock et al. 2021; Ketha & Ramaswamy): the probes of one checkpoint.

Neighbours and subspaces follow from inner products of examples with the support. So both take the same pass. The support's
activations of as many probes as fit are held at once; examples come in the fixed groups in which all analyses compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.data.device import images
from memloc.models.groups import Network
from memloc.models.inference import MaskSource, groups_of, share_right
from memloc.models.probes import activations
from memloc.seeds import hashed
from memloc.stages.base import Part, Tables
from memloc.stages.depth.config import ResolvedDepth
from memloc.stages.depth.nearest import votes
from memloc.stages.depth.subspaces import FOLDS, Rows, Subspaces
from memloc.stages.inputs import Inputs
from memloc.stages.set_accuracies import set_accuracies
from memloc.stages.training.transfer import to_device

HELD = 1 << 28  # numbers of the support that are held at once; a single probe may have more
CHUNK = 4096  # columns that are multiplied at once, in float64


def run(config: ResolvedDepth, inputs: Inputs, part: Part) -> Tables:
    """Rows of `depth`, one per training example, and of `probes`, two per probe, of one checkpoint."""
    epoch, data = int(part["epoch"]), inputs.on_device
    network = inputs.network(epoch)
    masks = inputs.masks(network, config.mask_mode)
    support = Support.drawn(inputs, config.support)
    passes = [Pass(network, data.x, masks)]
    if config.mask_mode != "own" and len(data.y_test):
        passes.append(Pass(network, data.x_test, masks))
    probed = Probed(passes, support, min(config.neighbours, len(support.rows) - 1))
    return {"depth": _of_examples(probed, inputs, epoch), "probes": _of_probes(probed.probes, inputs, epoch)}


@dataclass(frozen=True)
class Pass:
    """A set of images that goes through the network. x: uint8 n×C×H×W."""

    network: Network
    x: Tensor
    masks: MaskSource

    @torch.inference_mode()
    def blocks(self) -> Iterator[tuple[Tensor, list[tuple[str, Tensor]]]]:
        """(rows, activations at each probe) of each group of examples."""
        for rows in groups_of(len(self.x), self.x.device):
            block = activations(self.network, images(self.x[rows]), self.masks(rows))
            # What has diverged has no place among others. Zeros are as far from all as it gets without an error.
            yield rows, [(site, of.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)) for site, of in block]


@dataclass(frozen=True)
class Support:
    """The training examples of which the probes are made.

    rows: in order. y: their labels. fold: int64[n], of every training example. place: int64[n], where an example is in
    `rows`, len(rows) if it is not there.
    """

    rows: Rows
    y: Rows
    classes: int
    fold: Rows
    place: Rows
    device: torch.device

    @classmethod
    def drawn(cls, inputs: Inputs, most: int) -> Support:
        """The first examples in an order keyed by data_seed. The same order deals them into folds."""
        data = inputs.data
        order = np.argsort(hashed(inputs.train.data_seed, "depth support", i=data.example), kind="stable")
        n, rows = len(order), np.sort(order[:most])
        fold, place = np.empty(n, np.int64), np.full(n, len(rows))
        fold[order] = np.arange(n) % FOLDS
        place[rows] = np.arange(len(rows))
        return cls(rows, data.y[rows], data.classes, fold, place, inputs.device)

    @property
    def labels(self) -> Tensor:
        """float64 [m, classes], one-hot."""
        return F.one_hot(self.on_device(self.y), self.classes).double()

    def on_device(self, array: npt.NDArray[Any]) -> Tensor:
        return to_device(torch.from_numpy(array), self.device)


@dataclass
class Probe:
    """A probe, and what it says.

    dims: {knn, masc: in how many dimensions it decides}. predicted: {knn, masc: classes of the training examples, then those
    of the test examples}. shares: of the training examples' neighbours, those with each label, [n, classes].
    """

    site: str
    dims: dict[str, float]
    predicted: dict[str, list[Tensor]] = field(default_factory=lambda: {"knn": [], "masc": []})
    shares: Tensor | None = None


class Probed:
    """The probes of one checkpoint, from input to output. k: the neighbours that vote.

    predicted: the network's own predictions of the training examples.
    """

    def __init__(self, passes: Sequence[Pass], support: Support, k: int) -> None:
        self.passes, self.support, self.k = passes, support, k
        self.labels, self.predictions = support.labels, list[Tensor]()
        _, first = next(passes[0].blocks())
        packs = packed([of.shape[1] for _, of in first], HELD // max(1, len(support.rows)))
        self.probes = [probe for some in packs for probe in self._some(some)]

    @property
    def predicted(self) -> Tensor:
        return torch.cat(self.predictions)

    def _some(self, chosen: Sequence[int]) -> list[Probe]:
        """Those of these numbers, in one pass over the support, one over the training examples and one over the test set."""
        held = self._held(chosen)
        fits = [Fit(self.support, activation) for _, activation in held]
        probes = [
            Probe(site, {"knn": float(activation.shape[1]), "masc": fit.dimension})
            for (site, activation), fit in zip(held, fits, strict=True)
        ]
        for number, one in enumerate(self.passes):
            of_training = number == 0
            judged: list[list[tuple[Tensor, Tensor]]] = [[] for _ in probes]
            for rows, block in one.blocks():
                for fit, which, found in zip(fits, chosen, judged, strict=True):
                    found.append(fit.judged(block[which][1], rows if of_training else None, self.labels, self.k))
                if of_training and len(block) - 1 in chosen:
                    self.predictions.append(block[-1][1].argmax(dim=1))
            for probe, found in zip(probes, judged, strict=True):
                counts, nearest = (torch.cat(of) for of in zip(*found, strict=True))
                probe.predicted["knn"].append(counts.argmax(dim=1))
                probe.predicted["masc"].append(nearest)
                probe.shares = counts / max(1, self.k) if of_training else probe.shares
        return probes

    def _held(self, chosen: Sequence[int]) -> list[tuple[str, Tensor]]:
        """(site, the support's activations) of these probes. The support's examples stay in their groups."""
        parts: list[list[Tensor]] = [[] for _ in chosen]
        names: list[str] = []
        for rows, block in self.passes[0].blocks():
            names = [block[which][0] for which in chosen]
            inside = self.support.on_device(np.flatnonzero(self.support.place[rows.cpu().numpy()] < len(self.support.rows)))
            for k, which in enumerate(chosen):
                parts[k].append(block[which][1][inside])
        return [(name, torch.cat(of)) for name, of in zip(names, parts, strict=True)]


class Fit:
    """Neighbours and subspaces at one probe. activation: the support's, [m, dim]."""

    def __init__(self, support: Support, activation: Tensor) -> None:
        self.support, self.activation = support, activation
        gram = products(activation, activation)
        self.squares = gram.diagonal().clone()
        fold = support.fold[support.rows]
        kept = [fold != k for k in range(FOLDS)] + [np.ones(len(fold), bool)]
        self.subspaces = [Subspaces.fit(gram, support.y, rows, support.classes) for rows in kept]

    @property
    def dimension(self) -> float:
        """The mean dimension of the subspaces that judge training examples."""
        return float(np.mean([fold.dimension for fold in self.subspaces[:FOLDS]]))

    def judged(self, activation: Tensor, rows: Tensor | None, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """(votes of the neighbours, class of the nearest subspace) of a block of examples, [b, classes] and [b].

        rows: of training examples; None: these are test examples, and no subspace has seen them.
        """
        inner = products(activation, self.activation)
        squares = activation.double().square().sum(dim=1), self.squares
        if rows is None:
            return votes(inner, squares, None, labels, k), self.subspaces[FOLDS].nearest(inner)
        here = rows.cpu().numpy()
        own = self.support.on_device(self.support.place[here])
        nearest = torch.empty(len(rows), dtype=torch.int64, device=inner.device)
        for number in range(FOLDS):
            of_fold = self.support.on_device(np.flatnonzero(self.support.fold[here] == number))
            nearest[of_fold] = self.subspaces[number].nearest(inner[of_fold])
        return votes(inner, squares, own, labels, k), nearest


def products(one: Tensor, other: Tensor) -> Tensor:
    """one·otherᵀ in float64, some columns at a time."""
    total = torch.zeros(len(one), len(other), dtype=torch.float64, device=one.device)
    for start in range(0, one.shape[1], CHUNK):
        columns = slice(start, start + CHUNK)
        total.addmm_(one[:, columns].double(), other[:, columns].double().T)
    return total


def packed(sizes: Sequence[int], most: int) -> list[list[int]]:
    """The numbers of neighbouring probes whose sizes add up to `most` at the most; a larger one is alone."""
    packs: list[list[int]] = []
    for number, size in enumerate(sizes):
        if packs and sum(sizes[k] for k in packs[-1]) + size <= most:
            packs[-1].append(number)
        else:
            packs.append([number])
    return packs


def depths(predicted: Tensor, of_network: Tensor) -> Tensor:
    """int64 [n]: the first probe from which all predict what the network predicts; their number if the last one does not.

    predicted: [probes, n]. of_network: [n].
    """
    agrees = (predicted == of_network[None]).flip(0)
    return len(predicted) - agrees.to(torch.int64).cumprod(dim=0).sum(dim=0)


def _of_examples(probed: Probed, inputs: Inputs, epoch: int) -> dict[str, Any]:
    y, probes = inputs.on_device.y[:, None], probed.probes
    own = torch.stack([probe.shares.gather(1, y)[:, 0] for probe in probes if probe.shares is not None])
    depth = depths(torch.stack([probe.predicted["knn"][0] for probe in probes]), probed.predicted)
    return {
        "epoch": [epoch] * len(y),
        "example": inputs.data.example,
        "depth": depth.cpu().numpy(),
        "agreement": own.mean(dim=0).cpu().numpy(),
        "input_agreement": own[0].cpu().numpy(),
    }


def _of_probes(probes: Sequence[Probe], inputs: Inputs, epoch: int) -> dict[str, list[Any]]:
    rows = []
    for number, probe in enumerate(probes):
        for kind, (of_training, *of_test) in probe.predicted.items():
            accuracies = set_accuracies(inputs, of_training).values()
            test = share_right(of_test[0], inputs.on_device.y_test) if of_test else None
            rows.append((epoch, number, probe.site, kind, probe.dims[kind], *accuracies, test))
    return {name: [row[k] for row in rows] for k, name in enumerate(_COLUMNS)}


_COLUMNS = ("epoch", "depth", "site", "probe", "dim", "clean_acc", "noisy_acc", "noisy_true_acc", "test_acc")
