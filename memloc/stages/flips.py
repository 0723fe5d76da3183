"""Neuron flipping (science.md, Neuron flipping; paper §6.1, Figure 5): how many neurons carry an example's prediction.

The search itself is in flip_search.py, the accuracy that is left after it in flip_after.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import AfterValidator, Field

from memloc.config import Count, FieldError, Neutral, TrainConfig
from memloc.data import Data
from memloc.data.types import I64
from memloc.models.inference import logits
from memloc.models.weight_gates import WEIGHT_GATED, WeightGated
from memloc.seeds import hashed
from memloc.stages.base import Inputs, MaskedConfig, Part, Size, Stage, Tables, resolve_sets
from memloc.stages.flip_after import NAMES, accuracies, choose
from memloc.stages.flip_search import BATCH, COPIES, Neurons, Search, Task, search

DEFAULTS = {"reference": 16, "batch": BATCH}
STEPS = 8  # of a typical search, for estimates

Whole = Annotated[int, Field(ge=0)]


def _enough(count: int) -> int:
    if 0 < count < 4:
        raise ValueError("valid: 0, all, or at least 4, half of them from each set")
    return count


PostEval = Annotated[int, Field(ge=0), AfterValidator(_enough)] | Literal["all"]


class FlipsConfig(MaskedConfig):
    """clean, noisy: how many examples of S_c and S_n.

    estimator: of ∂L_ref. reference: its images per step (`fast` only). batch: the examples of L_ref, or own: the
    training-size batch, in row order, that the example is in (`definition` only).
    ablate: what closing a neuron sets to 0, a channel's activation or weights (a filter, a batch norm's scalar).
    choose: the open neuron with the largest score, any or only a positive one; without one the search ends as censored.
    noise_norm: of the images of L_ref: each image's own or over the whole batch (`definition` only).
    post_eval: on how many training examples accuracy is measured after a search, half of each set; or all, or 0.
    group_size: examples that are searched together: part of the numerics.
    """

    clean: Whole = 1000
    noisy: Whole = 1000
    repeats: Count = 1
    estimator: Literal["fast", "definition"] = "fast"
    reference: Annotated[int, Field(ge=1, le=BATCH)] | None = None
    batch: Count | Literal["all", "own"] | None = None
    ablate: Literal["activation", "weight"] = "activation"
    choose: Annotated[Literal["any", "positive"], Neutral("any")] = "any"
    noise_norm: Annotated[Literal["example", "batch"] | None, Neutral("example")] = None
    max_neurons: Count = 200
    post_eval: PostEval = 2000
    group_size: Count = 32


class Flips(Stage[FlipsConfig]):
    name: ClassVar[str] = "flips"
    version: ClassVar[int] = 2
    tables: ClassVar[tuple[str, ...]] = ("flips",)
    config = FlipsConfig

    def resolve(self, config: FlipsConfig, train: TrainConfig, beside: Collection[str] = ()) -> FlipsConfig:
        if not config.clean + config.noisy:
            raise FieldError("clean", "0, and noisy is 0 too; at least one of them must be above 0")
        config = resolve_sets(config, train)
        if config.ablate == "weight" and train.model not in WEIGHT_GATED:
            valid = f"valid here: activation; weight is for {', '.join(WEIGHT_GATED)}"
            raise FieldError("ablate", f"'weight' with model: {train.model}; {valid}")
        fast = config.estimator == "fast"
        used = "reference" if fast else "batch"
        for unused in ("batch", "noise_norm") if fast else ("reference",):
            if getattr(config, unused) is not None:
                other = "definition" if fast else "fast"
                raise FieldError(unused, f"used only with estimator: {other} (here estimator is {config.estimator})")
        filled = {used: getattr(config, used) or DEFAULTS[used]}
        return config.model_copy(update=filled if fast else {**filled, "noise_norm": config.noise_norm or "example"})

    def parts(self, config: FlipsConfig, train: TrainConfig, size: Size) -> Sequence[Part]:
        count = min(config.clean, size.n - size.n_noisy) + min(config.noisy, size.n_noisy)
        groups = max(1, -(-count // config.group_size))
        return [{"repeat": r, "group": g} for r in range(config.repeats) for g in range(groups)]

    def epochs(self, config: FlipsConfig, train: TrainConfig, part: Part) -> Sequence[int]:
        return [train.epochs]

    def passes(self, config: FlipsConfig, size: Size) -> float:
        batch = min(_examples(config, size.n) if config.batch else 0, size.n)
        reference = config.reference or COPIES * batch
        each = 3.0 * STEPS * (COPIES + reference)
        if config.post_eval != 0:
            after = size.n if config.post_eval == "all" else min(config.post_eval, size.n)
            each += 0.8 * (after + size.n_test)
        return config.group_size * each

    def rows(self, config: FlipsConfig, size: Size) -> Mapping[str, int]:
        return {"flips": config.group_size}

    def run(self, config: FlipsConfig, inputs: Inputs, part: Part) -> Tables:
        """One row per example of the part's group: its search, and accuracies after it."""
        data, repeat = inputs.data, int(part["repeat"])
        chosen = sample(data, config, inputs.train.data_seed)
        rows = chosen[int(part["group"]) * config.group_size :][: config.group_size]
        task = _task(config, inputs, repeat)
        predicted = _plain_predictions(task, rows)
        eligible = predicted == data.y[rows]
        found = {s.row: s for s in search(task, rows[eligible].tolist())}
        searches = [found.get(r) or Search(r, new_class=p) for r, p in zip(rows.tolist(), predicted.tolist(), strict=True)]
        columns = {
            "example": data.example[rows],
            "repeat": [repeat] * len(rows),
            "noisy": data.noisy[rows],
            "eligible": eligible,
            **_columns(task.neurons, searches),
        }
        return {"flips": columns | _after(config, inputs, task, searches)}


def sample(data: Data, config: FlipsConfig, data_seed: int) -> I64:
    """The rows of the examples that are searched, in order: the first of each set in an order keyed by data_seed alone."""
    rank = hashed(data_seed, "flip sample", i=data.example)
    chosen = []
    for members, count in ((np.flatnonzero(~data.noisy), config.clean), (np.flatnonzero(data.noisy), config.noisy)):
        chosen.append(members[np.argsort(rank[members], kind="stable")[:count]])
    return np.sort(np.concatenate(chosen))


def _examples(config: FlipsConfig, n: int) -> int:
    """Of how many examples L_ref is the mean, of n at most; with `own` it is for estimates alone."""
    if config.batch == "all":
        return n
    return config.batch if isinstance(config.batch, int) else BATCH


def _task(config: FlipsConfig, inputs: Inputs, repeat: int) -> Task:
    final = inputs.network(inputs.train.epochs)
    network = WeightGated(final) if config.ablate == "weight" else final.folded()
    dropout, mode = inputs.dropout(network), config.mask_mode or "plain"
    return Task(
        network,
        inputs.on_device.x,
        inputs.on_device.y,
        inputs.data.example,
        lambda rows: dropout.evaluation(mode, rows),
        inputs.train.seed,
        repeat,
        config.reference,
        config.max_neurons,
        _examples(config, len(inputs.data.y)),
        inputs.memo.setdefault(("flips", mode, config.reference, config.batch, config.ablate, config.noise_norm), {}),
        own_batch=inputs.train.batch_size if config.batch == "own" else None,
        norm_over_batch=config.noise_norm == "batch",
        positive=config.choose == "positive",
    )


def _plain_predictions(task: Task, rows: I64) -> I64:
    """What the network itself predicts: without noise, every gate open."""
    if not len(rows):
        return rows
    at = torch.from_numpy(rows).to(task.x.device)
    predicted: I64 = logits(task.network, task.x[at], lambda k: task.masks(at[k])).argmax(dim=1).cpu().numpy()
    return predicted


def _columns(neurons: Neurons, searches: Sequence[Search]) -> dict[str, list[Any]]:
    places = [[neurons.locate(index) for index in s.closed] for s in searches]
    return {
        "count": [len(s.closed) for s in searches],
        "censored": [s.censored for s in searches],
        "layers": [[layer for layer, _ in at] for at in places],
        "indices": [[index for _, index in at] for at in places],
        "new_class": [s.new_class for s in searches],
    }


def _after(config: FlipsConfig, inputs: Inputs, task: Task, searches: Sequence[Search]) -> dict[str, list[float | None]]:
    if config.post_eval == 0:
        return {name: [None] * len(searches) for name in NAMES}
    data, on_device = inputs.data, inputs.on_device
    sets = choose(data.example, data.noisy, config.post_eval, inputs.train.data_seed)
    test = None if config.mask_mode == "own" else (on_device.x_test, on_device.y_test)
    return accuracies(task.network, task.x, task.y, sets, test, task.masks, searches)
