"""Layer retraining (science.md, Layer retraining; paper §5.2): a group starts anew and sees the clean examples alone.

If the noisy examples come back nevertheless, the other layers know them, and the group is redundant. Groups run in lockstep
over the same batches. A batch runs once through the frozen network, and every group goes on from the state before it. The
backward pass stops at the group.

With `freeze: none` (published code) everything trains, the group from θ^0 and the rest from θ^T. So nothing is shared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.config import TrainConfig
from memloc.data.augment import augment, shifts
from memloc.data.device import images
from memloc.models.dropouts import OwnDropouts
from memloc.models.groups import Network, State
from memloc.models.inference import MaskSource, accuracy, groups_of, set_mean
from memloc.models.kept import Masks
from memloc.seeds import stream
from memloc.stages.base import Part, Tables
from memloc.stages.columns import ACCURACY_NAMES, columns_of
from memloc.stages.inputs import Inputs
from memloc.stages.retrain.config import ResolvedRetrain
from memloc.stages.training.batches import split_into_batches
from memloc.stages.training.mode import StepMasks, epoch_mode, with_batch_norm
from memloc.stages.training.optimizer import Optimizer, optimizer_of
from memloc.stages.training.steps import learning_rate
from memloc.stages.training.transfer import to_device


def run_together(config: ResolvedRetrain, inputs: Inputs, parts: Sequence[Part]) -> Iterator[Tables]:
    """Rows for epochs 0..E of each part's group: accuracy on S_c and S_n; on test after the last.

    With S_c empty there is nothing to train on, and every accuracy is None.
    """
    groups = [str(part["layer"]) for part in parts]
    rows: dict[str, list[dict[str, float | None]]] = {}
    if not inputs.data.noisy.all():
        rows = {variant.group: variant.rows for variant in retrain(config, inputs, groups)}
    for group in groups:
        of_group = rows.get(group, [{}] * (config.epochs + 1))
        epochs = list(range(config.epochs + 1))
        yield {"retrain": {"layer": [group] * len(epochs), "epoch": epochs, **columns_of(of_group, ACCURACY_NAMES)}}


@dataclass
class Variant:
    """The final network with one group at θ^0 and trained; its other parameters are the final network's own tensors.

    It runs from its group on (`start`). The groups before are the same for all variants, statistics included, and run in the
    final network. With `freeze: none` all parameters are its own, and it runs from the first group on.
    rows: {clean_acc, noisy_acc, test_acc} after each epoch so far (test_acc: None but for the last).
    perfect: how many epochs in which every clean example was right count so far.
    """

    group: str
    start: str
    network: Network
    optimizer: Optimizer
    rows: list[dict[str, float | None]] = field(default_factory=list)
    perfect: int = 0


def retrain(config: ResolvedRetrain, inputs: Inputs, groups: Sequence[str]) -> list[Variant]:
    """The retrained variants, one per group, with their rows of epochs 0..E; S_c must not be empty.

    A group's numbers are the same bits whatever other groups run with it.
    """
    final = inputs.network(inputs.train.epochs)
    trained = {name for name, parameter in final.named_parameters() if parameter.requires_grad}
    final.requires_grad_(False)
    variants = _variants(config, inputs, final, groups, trained)
    masks = inputs.masks(final, config.mask_mode)
    _evaluate(inputs, final, variants, masks)
    own = {"epochs": config.epochs, "lr": config.lr, "peak_epoch": config.peak_epoch}
    schedule = with_batch_norm(inputs.train, config.batch_norm).model_copy(update=own)
    going = variants
    for epoch in range(1, config.epochs + 1):
        wrong = _train_epoch(config, schedule, epoch, inputs, final, going)
        _evaluate(inputs, final, going, masks)
        ended = going if epoch == config.epochs else _perfect(config, going, wrong)
        if config.mask_mode != "own":
            _test(inputs, final, ended, masks)
        going = [v for v in going if v not in ended]
        if not going:
            break
    for variant in variants:
        _repeat_last(variant, config.epochs)
    return variants


def _perfect(config: ResolvedRetrain, variants: Sequence[Variant], wrong: Sequence[Tensor]) -> list[Variant]:
    """The variants that have been perfect often enough. wrong: for each, the epoch's wrong training passes, int64."""
    if config.stop_after_perfect is None:
        return []
    for variant, count in zip(variants, torch.stack(list(wrong)).tolist(), strict=True):
        if count == 0:
            variant.perfect += 1
        elif config.perfect == "in_a_row":
            variant.perfect = 0
    return [v for v in variants if v.perfect == config.stop_after_perfect]


def _repeat_last(variant: Variant, epochs: int) -> None:
    """Repeats the row of the stop up to epoch E: the network does not change. The last row has the test accuracy."""
    last = variant.rows[-1]
    for _ in range(epochs + 1 - len(variant.rows)):
        variant.rows[-1] = last | {"test_acc": None}
        variant.rows.append(last)


def _variants(
    config: ResolvedRetrain, inputs: Inputs, final: Network, groups: Sequence[str], trained: Collection[str]
) -> list[Variant]:
    """trained: the parameters that the training itself trains. A network of the user's may freeze others."""
    start = inputs.weights(0)
    variants = []
    for group in groups:
        own = final.parameters_of(group)
        trains = [name for name, _ in final.named_parameters() if name in own or config.freeze == "none"]
        shared = {id(p): p for name, p in final.named_parameters() if name not in trains}
        network = deepcopy(final, shared)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name in own:
                    parameter.copy_(start[name])
        parameters = [p for name, p in network.named_parameters() if name in trains and name in trained]
        for parameter in parameters:
            parameter.requires_grad_(True)
        optimizer = optimizer_of(inputs.train, parameters, config.lr)
        start_at = group if config.freeze == "others" else final.groups[0]
        variants.append(Variant(group, start_at, network, optimizer))
    return variants


def _train_epoch(
    config: ResolvedRetrain,
    schedule: TrainConfig,
    epoch: int,
    inputs: Inputs,
    final: Network,
    variants: Sequence[Variant],
) -> list[Tensor]:
    """One epoch over S_c in a keyed order, the same for every group, without a host synchronisation.

    Returns for each variant how many of its training passes, before the update, were wrong: int64.
    """
    data, train = inputs.on_device, inputs.train
    dropout = inputs.dropout(final)
    masks = StepMasks(dropout, OwnDropouts(final, train.seed, inputs.device), config.mask_mode)
    batches = _batches(config, inputs, epoch)
    wrong = {v.group: torch.zeros((), dtype=torch.int64, device=inputs.device) for v in variants}
    shift = None
    if train.augment != "none":
        of_epoch = shifts(train.augment, inputs.data.example, *inputs.data.shape[1:], train.seed, epoch)
        shift = to_device(of_epoch, inputs.device)
    mode = epoch_mode(schedule, epoch)
    for network in (final, *(v.network for v in variants)):
        network.train(mode.train)
    for k, rows in enumerate(batches):
        if config.batches == "filtered" and len(rows) < 2:  # too few for the statistics of a batch
            continue
        step = (epoch - 1) * len(batches) + k
        rate = learning_rate(schedule, step, config.epochs * len(batches), len(batches))
        x = data.x[rows] if shift is None else augment(data.x[rows], shift[rows])
        factors = masks.at(mode, rows, epoch, k)
        for variant, state in _states(final, variants, (images(x),), factors):
            for settings in variant.optimizer.param_groups:
                settings["lr"] = rate
            z = variant.network.run_from(variant.start, state, masks=factors)
            loss = F.cross_entropy(z, data.y[rows])
            variant.optimizer.zero_grad()
            if loss.requires_grad:  # not where a network of the user's detaches the group from its logits
                loss.backward()  # type: ignore[no-untyped-call]
            variant.optimizer.step()
            dropout.constrain(variant.network)
            wrong[variant.group] += (z.detach().argmax(dim=1) != data.y[rows]).sum()
    return list(wrong.values())


def _batches(config: ResolvedRetrain, inputs: Inputs, epoch: int) -> list[Tensor]:
    """The epoch's batches of clean rows, on the device; `filtered` ones may be empty."""
    noisy, size = inputs.data.noisy, inputs.train.batch_size
    draw = stream(inputs.train.seed, "retrain order", epoch)
    if config.batches == "clean":
        clean = np.flatnonzero(~noisy)
        return split_into_batches(clean[draw.permutation(len(clean))], size, inputs.device)
    is_clean = torch.from_numpy(~noisy)
    kept = [rows[is_clean[rows]] for rows in split_into_batches(draw.permutation(len(noisy)), size)]
    return list(torch.split(to_device(torch.cat(kept), inputs.device), [len(rows) for rows in kept]))


def _states(
    final: Network, variants: Sequence[Variant], state: State, masks: Masks | None
) -> Iterator[tuple[Variant, State]]:
    """(variant, the frozen network's state before its start), in forward order; the frozen groups run once for all."""
    waiting = list(variants)
    for group in final.groups:
        for variant in waiting:
            if variant.start == group:
                yield variant, state
        waiting = [variant for variant in waiting if variant.start != group]
        if not waiting:
            return
        with torch.no_grad():
            state = final.run_group(group, state, masks=masks)


@torch.no_grad()
def _logits(final: Network, variants: Sequence[Variant], x: Tensor, masks: MaskSource) -> dict[str, Tensor]:
    """{group: logits of uint8 images x, n×classes float32}, evaluation mode."""
    for network in (final, *(v.network for v in variants)):
        network.eval()
    chunks_of: dict[str, list[Tensor]] = {v.group: [] for v in variants}
    for rows in groups_of(len(x), x.device):
        factors = masks(rows)
        for variant, state in _states(final, variants, (images(x[rows]),), factors):
            chunks_of[variant.group].append(variant.network.run_from(variant.start, state, masks=factors))
    return {group: torch.cat(chunks) for group, chunks in chunks_of.items()}


def _evaluate(inputs: Inputs, final: Network, variants: Sequence[Variant], masks: MaskSource) -> None:
    data = inputs.on_device
    z = _logits(final, variants, data.x, masks)
    for variant in variants:
        correct = z[variant.group].argmax(dim=1) == data.y
        accuracies = {"clean_acc": set_mean(correct, ~data.noisy), "noisy_acc": set_mean(correct, data.noisy)}
        variant.rows.append({**accuracies, "test_acc": None})


def _test(inputs: Inputs, final: Network, variants: Sequence[Variant], masks: MaskSource) -> None:
    data = inputs.on_device
    if not variants or not len(data.y_test):
        return
    z = _logits(final, variants, data.x_test, masks)
    for variant in variants:
        variant.rows[-1]["test_acc"] = accuracy(z[variant.group], data.y_test)
