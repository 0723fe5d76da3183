"""Neuron flipping: its settings, what it costs, and the table of its rows (science.md, Neuron flipping; paper §6.1)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import AfterValidator, Field

from memloc.config import ArchitectureConfig, Count, CountOrZero, FieldError, Neutral, TrainConfig, UnusedFieldError
from memloc.models.architectures import ARCHITECTURES
from memloc.stages.base import NetworkFacts, Part, Size, Stage
from memloc.stages.columns import ACCURACIES, BOOL, FLOAT, INT, SMALL, SMALLS, TEXTS, of_analysis
from memloc.stages.fields import MaskedConfig, resolve_sets
from memloc.stages.neurons import BATCH, COPIES
from memloc.stages.neurons.named import atlas_of

DEFAULTS = {"reference": 16, "batch": BATCH}
STEPS = 8  # of a typical search, for estimates


def _enough(count: int) -> int:
    if 0 < count < 4:
        raise ValueError("valid: 0, all, or at least 4, half of them from each set")
    return count


PostEval = Annotated[CountOrZero, AfterValidator(_enough)] | Literal["all"]


class FlipsConfig(MaskedConfig):
    """Which examples are searched, and how."""

    clean: CountOrZero = 1000
    """The number of examples of S_c that are searched. [paper §6.1, Figure 5]"""
    noisy: CountOrZero = 1000
    """The number of examples of S_n that are searched. [paper §6.1, Figure 5]"""
    repeats: Annotated[int, Field(ge=1, le=10_000)] = 1
    """The number of searches per example. Each has its own noise and its own batches of L_ref. [memloc; paper §6.1: 30
    trainings]
    """
    estimator: Literal["fast", "definition"] = "fast"
    """How the gradient of L_ref is computed. definition: from noisy copies of its whole batch. fast: from a few of its
    images without noise, with a control variate. [definition: paper §6.1; fast: memloc]
    """
    reference: Annotated[int, Field(ge=1, le=BATCH)] | None = None
    """The number of images per step from which fast computes the gradient of L_ref; null: 16. Used with estimator: fast.
    [memloc]
    """
    batch: Count | Literal["all", "own"] | None = None
    """The examples of L_ref: how many are drawn, all, or own (the batch of training size, in the order of the data, that
    has the example in it); null: 512. Used with estimator: definition. [paper §6.1: a random batch; own: published code]
    """
    ablate: Literal["activation", "weight"] = "activation"
    """What is set to 0 when a neuron is closed. activation: a channel's activation. weight: a filter, or one scale or
    shift of a batch norm. In the linear layer both close one weight. [activation: paper §6.1; weight: published code]
    """
    choose: Annotated[Literal["any", "positive"], Neutral("any")] = "any"
    """Which open neuron a step closes. any: the one with the largest score. positive: the same, if its score is above 0;
    otherwise the search ends as censored. [any: paper §6.1; positive: published code]
    """
    noise_norm: Annotated[Literal["example", "batch"] | None, Neutral("example")] = None
    """The length of the noise on the images of L_ref. example: on each image, 0.01 times the norm of this image. batch:
    on all images of the batch together, 0.01 times their norm together. null: example. Used with estimator: definition.
    [paper: not said; batch: published code]
    """
    max_neurons: Count = 200
    """The number of closed neurons at which a search ends as censored. [memloc]"""
    post_eval: PostEval = 2000
    """The examples on which accuracy is measured after a search. N: N/2 of S_c, N/2 of S_n and N/2 test examples, in
    proportion to their labels, the same for every search of a training. all: all of them. 0: none. [paper §6.1: all; 2000:
    memloc]
    """
    group_size: Count = 32
    """The number of examples that are searched together. It changes rounding, so it is part of the identity. [memloc]"""


class Flips(Stage[FlipsConfig]):
    """The number of neurons that carry an example's prediction (science.md, Neuron flipping; paper §6.1, Figure 5)."""

    name: ClassVar[str] = "flips"
    forward_only: ClassVar[bool] = True
    version: ClassVar[int] = 4
    extent: ClassVar[tuple[str, ...]] = ("clean", "noisy", "repeats", "post_eval", "group_size")
    usual: ClassVar[Mapping[str, Any]] = {
        "estimator": "fast",
        "reference": 16,
        "batch": 512,
        "ablate": "activation",
        "max_neurons": 200,
    }
    atlas: ClassVar[tuple[str, ...]] = atlas_of("SELECT *, 'flips' AS method FROM flips WHERE eligible")
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "flips": of_analysis(
            ("example", INT),
            ("repeat", SMALL),
            ("noisy", BOOL),
            ("eligible", BOOL),
            ("count", SMALL),
            ("censored", BOOL),
            ("layers", TEXTS),
            ("indices", SMALLS),
            ("new_class", SMALL),
            *ACCURACIES,
            ("clean_se", FLOAT),
            ("noisy_se", FLOAT),
            ("test_se", FLOAT),
        )
    }
    config = FlipsConfig

    def resolve(self, config: FlipsConfig, train: TrainConfig, beside: Collection[str] = ()) -> FlipsConfig:
        if not config.clean + config.noisy:
            raise FieldError("clean", "0, and noisy is 0 too; at least one of them must be above 0")
        config = resolve_sets(config, train)
        if config.ablate == "weight" and not train.architecture.WEIGHT_GATES:
            raise FieldError("ablate", _weights_problem(train.architecture))
        fast = config.estimator == "fast"
        used = "reference" if fast else "batch"
        for unused in ("batch", "noise_norm") if fast else ("reference",):
            if getattr(config, unused) is not None:
                other = "definition" if fast else "fast"
                raise UnusedFieldError(unused, f"used only with estimator: {other} (here estimator is {config.estimator})")
        filled = {used: getattr(config, used) or DEFAULTS[used]}
        return config.model_copy(update=filled if fast else {**filled, "noise_norm": config.noise_norm or "example"})

    def fits(self, train: TrainConfig, network: NetworkFacts) -> Mapping[str, str | None]:
        none = "the network has no neurons: no convolution, no hidden unit that an activation follows, no classifier"
        weight = None if train.architecture.WEIGHT_GATES else _weights_problem(train.architecture)
        return {"": None if network.neurons else none, "ablate: weight": weight}

    @classmethod
    def looked_at(cls, config: Mapping[str, Any]) -> tuple[int, ...]:
        clean, noisy, repeats = config["clean"], config["noisy"], config["repeats"]
        return min(clean, noisy) * repeats, int(config.get("post_eval", 0) != 0), (clean + noisy) * repeats

    def parts(self, config: FlipsConfig, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"repeat": r, "group": g} for r in range(config.repeats) for g in range(_groups(config, size))]

    def epochs(self, config: FlipsConfig, train: TrainConfig, part: Part) -> Sequence[int]:
        return [train.epochs]

    def passes(self, config: FlipsConfig, size: Size) -> float:
        batch = min(reference_examples(config, size.n) if config.batch else 0, size.n)
        reference = config.reference or COPIES * batch
        each = 3.0 * STEPS * (COPIES + reference)
        if config.post_eval != 0:
            on = config.post_eval
            after, test = (size.n, size.n_test) if on == "all" else (min(on, size.n), min(on // 2, size.n_test))
            each += 0.8 * (after + test)
        return _searched(config, size) / _groups(config, size) * each

    def rows(self, config: FlipsConfig, size: Size) -> Mapping[str, int]:
        return {"flips": -(-_searched(config, size) // _groups(config, size))}


def _searched(config: FlipsConfig, size: Size) -> int:
    """How many examples are searched, of both sets together."""
    return min(config.clean, size.n - size.n_noisy) + min(config.noisy, size.n_noisy)


def _groups(config: FlipsConfig, size: Size) -> int:
    """The number of groups that are searched one after the other. The last one may be smaller, so prices are means."""
    return max(1, -(-_searched(config, size) // config.group_size))


def _weights_problem(architecture: ArchitectureConfig) -> str:
    """What is said where an architecture has no gates for single weights."""
    gated = ", ".join(name for name, config in ARCHITECTURES.items() if config.WEIGHT_GATES)
    return f"'weight' with model: {architecture.name}; valid here: activation; weight is for {gated}"


def reference_examples(config: FlipsConfig, n: int) -> int:
    """The number of examples of which L_ref is the mean, at most n. With `own` it serves estimates of cost alone."""
    if config.batch == "all":
        return n
    return config.batch if isinstance(config.batch, int) else BATCH


STAGE = Flips()
