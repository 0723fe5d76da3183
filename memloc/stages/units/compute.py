"""UnitMem and ClassMem (Wang et al. 2024) of every unit, and what closing the highest ones costs beside random ones.

One pass over the training examples in fixed groups: of each unit the largest activity, whose it is, and the sums by class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from memloc.data.augment import augment, shifts
from memloc.data.device import images
from memloc.models.groups import Network
from memloc.models.inference import MaskSource, groups_of, set_mean, share_right
from memloc.models.units import unit_activity, unit_layers
from memloc.seeds import stream, torch_seed
from memloc.stages.base import Part, Tables
from memloc.stages.inputs import Inputs
from memloc.stages.training.transfer import to_device
from memloc.stages.units.config import DRAWS, SCORES, ResolvedUnits

CLOSINGS = ("epoch", "score", "draw", "closed", "clean_acc", "noisy_acc", "test_acc")


@dataclass(frozen=True)
class Activity:
    """What each of U units does: its largest activity, the row of the example that has it, and the sums by class.

    largest: [U]. row: [U]. sums: [classes, U]. counts: [classes], the examples of each class.
    """

    largest: Float[Tensor, " U"]
    row: Int64[Tensor, " U"]
    sums: Float[Tensor, "classes U"]
    counts: Float[Tensor, " classes"]

    @property
    def unit_mem(self) -> Float[Tensor, " U"]:
        """(μ_max − μ_rest) / (μ_max + μ_rest) over examples; NaN for a unit that is never active."""
        rest = (self.sums.sum(dim=0) - self.largest) / (self.counts.sum() - 1).clamp(min=1)
        return (self.largest - rest) / (self.largest + rest)

    @property
    def class_mem(self) -> Float[Tensor, " U"]:
        """The same over the means of the classes that have examples."""
        means = self.sums[self.counts > 0] / self.counts[self.counts > 0, None]
        largest = means.amax(dim=0)
        rest = (means.sum(dim=0) - largest) / max(1, len(means) - 1)
        return (largest - rest) / (largest + rest)


def run(config: ResolvedUnits, inputs: Inputs, part: Part) -> Tables:
    """Rows of `units`, one per unit, and of `unit_closings`, a closing and its random draws for each score."""
    epoch = int(part["epoch"])
    network = inputs.network(epoch)
    masks = inputs.masks(network, config.mask_mode)
    activity = measured(config, inputs, network, masks)
    scores = {"unit_mem": activity.unit_mem.cpu().numpy(), "class_mem": activity.class_mem.cpu().numpy()}
    row, layers, silent = activity.row.cpu().numpy(), unit_layers(network), np.isnan(scores["unit_mem"])
    names = [(layer, unit) for layer, count in layers.items() for unit in range(count)]
    columns = {
        "epoch": [epoch] * len(names),
        "layer": [layer for layer, _ in names],
        "unit": [unit for _, unit in names],
        **{name: [None if np.isnan(v) else float(v) for v in values] for name, values in scores.items()},
        "example": [None if s else int(e) for s, e in zip(silent, inputs.data.example[row], strict=True)],
        "noisy": [None if s else bool(w) for s, w in zip(silent, inputs.data.noisy[row], strict=True)],
    }
    closer = Closer(inputs, network, masks, config.mask_mode != "own")
    closings = [(epoch, *of) for of in _closings(config, inputs, closer, scores)]
    return {"units": columns, "unit_closings": {name: [of[k] for of in closings] for k, name in enumerate(CLOSINGS)}}


@torch.inference_mode()
def measured(config: ResolvedUnits, inputs: Inputs, network: Network, masks: MaskSource) -> Activity:
    """The activity of all units, in layer order, over the training examples: float64 sums over the copies."""
    data, classes, units = inputs.on_device, inputs.data.classes, sum(unit_layers(network).values())
    largest = torch.full((units,), -1.0, dtype=torch.float64, device=inputs.device)
    row = torch.zeros(units, dtype=torch.int64, device=inputs.device)
    sums = torch.zeros(classes, units, dtype=torch.float64, device=inputs.device)
    labels = torch.nn.functional.one_hot(data.y, classes).double()
    for rows in groups_of(len(data.y), inputs.device):
        of = torch.zeros(len(rows), units, dtype=torch.float64, device=inputs.device)
        for x in _copies(config, inputs, data.x[rows], inputs.data.example[rows.cpu().numpy()]):
            active = unit_activity(network, images(x), masks(rows))
            of += torch.cat(list(active.values()), dim=1).double()
        sums += labels[rows].T @ of
        highest, at = of.max(dim=0)
        higher = highest > largest
        largest, row = torch.where(higher, highest, largest), torch.where(higher, rows[at], row)
    return Activity(largest, row, sums, labels.sum(dim=0))


def _copies(config: ResolvedUnits, inputs: Inputs, x: Tensor, example: np.ndarray) -> Iterator[Tensor]:
    """The augmented copies of images, keyed by example and copy: uint8 B×C×H×W each."""
    seed, (_, height, width) = torch_seed(inputs.train.seed, "units"), inputs.data.shape
    for copy in range(config.copies):
        if config.augment == "none":
            yield x
        else:
            shift = shifts(config.augment, example, height, width, seed, copy)
            yield augment(x, to_device(shift, inputs.device))


@dataclass(frozen=True)
class Closer:
    """Accuracies of a network with some units closed. tested: is there a test accuracy in this mask mode?"""

    inputs: Inputs
    network: Network
    masks: MaskSource
    tested: bool

    def accuracies(self, closed: np.ndarray) -> tuple[float | None, ...]:
        """(clean, noisy, test); closed: bool [U], in layer order."""
        data, gates, start = self.inputs.on_device, {}, 0
        for layer, count in unit_layers(self.network).items():
            of_layer = closed[start : start + count]
            start += count
            if of_layer.any():
                gates[layer] = to_device(torch.from_numpy(~of_layer).float()[None], self.inputs.device)
        correct = self._predicted(data.x, gates) == data.y
        tested = self.tested and len(data.y_test)
        test = share_right(self._predicted(data.x_test, gates), data.y_test) if tested else None
        return set_mean(correct, ~data.noisy), set_mean(correct, data.noisy), test

    @torch.inference_mode()
    def _predicted(self, x: Tensor, gates: Mapping[str, Tensor]) -> Tensor:
        groups = groups_of(len(x), x.device)
        return torch.cat([self.network(images(x[r]), gates, self.masks(r)).argmax(dim=1) for r in groups])


def _closings(config: ResolvedUnits, inputs: Inputs, closer: Closer, scores: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """(score, draw, how many are closed, accuracies): the units with the highest scores, then the random sets.

    A random set has as many units of each layer.
    """
    layer = np.repeat(np.arange(len(sizes := unit_layers(closer.network))), list(sizes.values()))
    count = max(1, round(config.close * len(layer)))
    for name in SCORES:
        order = np.argsort(-np.nan_to_num(scores[name], nan=-1.0), kind="stable")
        closed = np.zeros(len(layer), bool)
        closed[order[:count]] = True
        yield name, None, count, *closer.accuracies(closed)
        for draw in range(DRAWS):
            generator = stream(inputs.train.seed, "unit closings", name, draw)
            yield name, draw, count, *closer.accuracies(_like(closed, layer, generator))


def _like(closed: np.ndarray, layer: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """bool [U]: a random set with as many units of each layer."""
    drawn = np.zeros(len(closed), bool)
    for number in np.unique(layer):
        of = np.flatnonzero(layer == number)
        drawn[generator.permutation(of)[: closed[of].sum()]] = True
    return drawn
