"""Curvature edit (Merullo et al., 2025): accuracies of a checkpoint whose layers keep a part of their weights.

The covariances of a checkpoint are computed once for all of its edits. Edited networks share every weight that they do not
edit. A few of them go over the data together, each from its first edited layer group on. An edit has the same bits whatever
is edited beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import torch
from torch import Tensor

from memloc.data.device import images
from memloc.models.groups import Network, State
from memloc.models.inference import MaskSource, accuracy, groups_of, logits
from memloc.models.running_statistics import recompute_statistics
from memloc.models.weight_matrices import weight_matrices
from memloc.seeds import stream
from memloc.stages.base import Part, Tables
from memloc.stages.columns import ACCURACY_NAMES, columns_of
from memloc.stages.edit.config import Budget, Images, Norms, Rank, ResolvedEdit, ranked, selections
from memloc.stages.edit.covariances import covariances
from memloc.stages.edit.kept_weights import RANKED, Kept, Layer
from memloc.stages.inputs import Inputs
from memloc.stages.set_accuracies import set_accuracies
from memloc.stages.training.transfer import to_device

TOGETHER = 8  # edited networks that are there at the same time
KEYS = ("epoch", "groups", "rank", "rho", "budget", "bn", "images")
COUNTS = ("pairs", "pairs_kept", "energy_kept")
NAMES = (*KEYS, *COUNTS, *ACCURACY_NAMES, "noisy_true_acc")
NONE = "none"  # the rank, groups and images of a checkpoint as it is

Row: TypeAlias = dict[str, Any]
Setting: TypeAlias = tuple[tuple[Rank, Budget], float, Norms]


def run(config: ResolvedEdit, inputs: Inputs, part: Part) -> Tables:
    """The rows of all edits of one checkpoint; or of the checkpoints that are evaluated as they are."""
    if "epoch" in part:
        rows = list(_edited(config, inputs, int(part["epoch"]), "test" if part["images"] == "test" else "train"))
    else:
        rows = [_unedited(config, inputs, epoch) for epoch in config.unedited]
    return {"edits": columns_of(rows, NAMES)}


@dataclass(frozen=True)
class Edited:
    """A network with some of its weights edited. start: the first group that differs from the network as it is.

    row: of `edits`, without the accuracies.
    """

    network: Network
    start: str
    row: Row


def _unedited(config: ResolvedEdit, inputs: Inputs, epoch: int) -> Row:
    network, data = inputs.network(epoch), inputs.on_device
    masks = inputs.masks(network, config.mask_mode)
    z = logits(network, data.x, masks)
    z_test = None if config.mask_mode == "own" else logits(network, data.x_test, masks) if len(data.y_test) else None
    row = {
        "epoch": epoch,
        "groups": NONE,
        "rank": NONE,
        "budget": NONE,
        "bn": "final",
        "images": NONE,
        "pairs": 0,
        "pairs_kept": 0,
    }
    return row | _accuracies(config, inputs, z, z_test)


def _edited(config: ResolvedEdit, inputs: Inputs, epoch: int, of: Images) -> Iterator[Row]:
    network, data = inputs.network(epoch), inputs.on_device
    masks = inputs.masks(network, config.mask_mode)
    matrices, chosen = weight_matrices(network).layers, selections(config, network.groups)
    groups = [group for group in network.groups if any(group in several for several in chosen.values())]
    names = [layer for group in groups for layer in matrices[group]]
    x = data.x_test if of == "test" else data.x
    found = covariances(network, names, x, masks)
    layers = {name: Layer.of(_weight(network, name), found[name], _shuffled(inputs, network, name)) for name in names}
    order = torch.from_numpy(stream(inputs.train.seed, "edit statistics", of).permutation(len(x)))
    for name, several in chosen.items():
        mine = {layer: layers[layer] for group in several for layer in matrices[group]}
        settings = list(product(ranked(config), config.rho, config.bn))
        for k in range(0, len(settings), TOGETHER):
            edits = [_edit(network, mine, several[0], setting) for setting in settings[k : k + TOGETHER]]
            for edited in edits:
                if edited.row["bn"] == "recomputed":
                    copy = edited.network
                    recompute_statistics([copy], copy, x, to_device(order, inputs.device), masks)
            for edited, accuracies in zip(edits, _evaluated(config, inputs, network, edits, masks), strict=True):
                yield {"epoch": epoch, "groups": name, "images": of} | edited.row | accuracies


def _edit(network: Network, layers: Mapping[str, Layer | None], first: str, setting: Setting) -> Edited:
    """The network with these layers edited. first: the first of their groups."""
    (rank, budget), rho, bn = setting
    kept = {name: _kept(network, name, layer, setting) for name, layer in layers.items()}
    edited = {f"{name}.weight" for name in layers}
    shared = {id(p): p for name, p in network.named_parameters() if name not in edited}
    copy = deepcopy(network, shared)
    with torch.no_grad():
        for name, of_layer in kept.items():
            weight = _weight(copy, name)
            weight.copy_(of_layer.weight.reshape(weight.shape))
    known = [of_layer.energy for of_layer in kept.values() if of_layer.energy is not None]
    counts = sum(of_layer.pairs for of_layer in kept.values()), sum(of_layer.kept for of_layer in kept.values())
    energy = sum(known) / len(known) if known else None
    row = {"rank": rank, "rho": rho, "budget": budget, "bn": bn} | dict(zip(COUNTS, (*counts, energy), strict=True))
    return Edited(copy, first if bn == "final" else network.groups[0], row)


def _kept(network: Network, name: str, layer: Layer | None, setting: Setting) -> Kept:
    (rank, budget), rho, _ = setting
    if layer is not None:
        return RANKED[rank](layer, rho, budget)
    weight = _weight(network, name)
    return Kept(weight, weight.numel(), weight.numel(), None)


@torch.inference_mode()
def edited_logits(network: Network, edits: Sequence[Edited], x: Tensor, masks: MaskSource) -> list[Tensor]:
    """Logits (n×classes, float32) of uint8 images for each edited network; network: the one that they are edits of."""
    chunks: list[list[Tensor]] = [[] for _ in edits]
    for rows in groups_of(len(x), x.device):
        factors = masks(rows)
        state: State = (images(x[rows]),)
        before = {network.groups[0]: state}
        last = max((network.groups.index(edited.start) for edited in edits), default=0)
        for group, following in zip(network.groups[:last], network.groups[1:], strict=False):
            before[following] = state = network.run_group(group, state, masks=factors)
        for edited, own in zip(edits, chunks, strict=True):
            own.append(edited.network.run_from(edited.start, before[edited.start], masks=factors))
    return [torch.cat(own) for own in chunks]


def _evaluated(
    config: ResolvedEdit, inputs: Inputs, network: Network, edits: Sequence[Edited], masks: MaskSource
) -> Iterator[Row]:
    data = inputs.on_device
    z = edited_logits(network, edits, data.x, masks)
    tested = config.mask_mode != "own" and len(data.y_test) > 0
    z_test = edited_logits(network, edits, data.x_test, masks) if tested else [None] * len(edits)
    for on_train, on_test in zip(z, z_test, strict=True):
        yield _accuracies(config, inputs, on_train, on_test)


def _accuracies(config: ResolvedEdit, inputs: Inputs, z: Tensor, z_test: Tensor | None) -> Row:
    """noisy_true_acc: of the mislabeled examples, predicted as their true class; None if S_n is by C-score."""
    found = set_accuracies(inputs, z.argmax(dim=1))
    if config.c_scores_from() is not None:
        found["noisy_true_acc"] = None
    return {**found, "test_acc": None if z_test is None else accuracy(z_test, inputs.on_device.y_test)}


def _weight(network: Network, layer: str) -> Tensor:
    return network.get_parameter(f"{layer}.weight")


def _shuffled(inputs: Inputs, network: Network, layer: str) -> Tensor:
    pairs = _weight(network, layer).numel()
    return torch.from_numpy(stream(inputs.train.seed, "edit random", layer).permutation(pairs))
