"""One resolved training. Every field holds the value that the program will use. A field that is not used is not there.

The fields are those of science.md, sections Data, Models, Training and Example-tied dropout.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, ValidatorFunctionWrapHandler, WrapValidator

from memloc.config.architecture import ArchitectureConfig
from memloc.config.source import SourceConfig
from memloc.config.stop import StopRule, StopText
from memloc.config.types import (
    INT32,
    SEEDS,
    Asked,
    Config,
    Count,
    CountOrZero,
    EpochCount,
    Fraction,
    Neutral,
    PathOrSweep,
    Positive,
    Seed,
    Share,
    Valid,
    Variant,
)


class NoDropout(Variant):
    """No dropout beyond that of the architecture."""

    kind: Literal["none"] = "none"
    """example_tied: every example has its own channels. standard: a mask is drawn in every step. sparse: one mask is
    drawn for the whole training. [paper §6.2, Table 3]
    """


class ExampleTied(Variant):
    """Example-tied dropout (paper §6.2). masks: drawn per site, or one draw that all sites and seeds share."""

    kind: Literal["example_tied"] = "example_tied"
    p_gen: Share
    """The share of channels that are on for every example: channels 0 to G − 1, G = max(1, ⌊p_gen·C⌋). [paper §6.2]"""
    p_mem: Fraction
    """The probability with which each other channel belongs to an example. [paper §6.2]"""
    masks: Annotated[Literal["site", "shared"], Neutral("site")] = "site"
    """site: each dropout site draws its own masks. shared: one draw serves all sites and all seeds. [paper: not said;
    shared: published code]
    """


class Standard(Variant):
    """Random dropout: a mask is drawn in every step."""

    kind: Literal["standard"] = "standard"
    keep: Share = 0.4
    """The probability with which each element or channel is kept. What is kept is multiplied by 1/keep. [paper Table 3: p
    = 0.4, read as the share that is kept; 0.6: published code]
    """
    unit: Literal["element", "channel"] = "element"
    """element: single activations are dropped. channel: whole channels are dropped. [paper: not said]"""


class Sparse(Variant):
    """A mask that is drawn once, over weights or over activations."""

    kind: Literal["sparse"] = "sparse"
    keep: Share = 0.4
    """The probability with which each weight, element or channel is kept. Activations that are kept are multiplied by
    1/keep; weights are not. [paper Table 3: s = 0.4; 0.6: published code]
    """
    unit: Literal["weight", "element", "channel", "batch_element"] = "weight"
    """weight: weights of convolutions and linear layers are dropped. element: single activations are dropped. channel:
    whole channels are dropped. batch_element: as element, but each position in a batch has a mask of its own. [paper §6.2:
    the remaining parameter fraction, so weight; batch_element: published code]
    """


Dropout: TypeAlias = NoDropout | ExampleTied | Standard | Sparse


class BatchStatistics(Variant):
    """Batch norms use the batch's statistics in every step."""

    kind: Annotated[Literal["train"], Neutral("train")] = "train"
    """train: batch norms use the batch's statistics in every step. frozen: from epoch 2 on they use the running
    statistics of epoch 1. [paper: not said; frozen: published code]
    """


class FrozenStatistics(Variant):
    """From epoch 2 on, batch norms use the running statistics of epoch 1."""

    kind: Literal["frozen"] = "frozen"
    stochastic: Annotated[Literal["off", "on"], Neutral("off")] = "off"
    """Is random dropout (`standard`, and the architecture's own) on from epoch 2 on? [off: published code]"""


BatchNorm: TypeAlias = BatchStatistics | FrozenStatistics


class HeldOut(Config):
    """The training sees the share `ratio` of the examples; `cut` says which ones."""

    ratio: Annotated[float, Field(gt=0, lt=1)]
    """For the trainings behind C-scores: the share of the examples that are trained on, given together with cut; null: all.
    [Jiang et al., 2021 (paper §7)]
    """
    cut: CountOrZero
    """For the trainings behind C-scores: which cut of the data set is trained on, by its number; given together with ratio.
    [memloc]
    """


def _or_the_word_seed(value: Any, number: ValidatorFunctionWrapHandler) -> Any:
    return value if value == "seed" else number(value)


AskedDataSeed = Annotated[
    int, Field(ge=0, lt=SEEDS), WrapValidator(_or_the_word_seed), Valid(f"a whole number >= 0 and < {SEEDS}, or seed")
]


class DataConfig(Config):
    """The data part of a training: which examples it sees, and under which labels."""

    source: SourceConfig
    subset: Count | None = None
    """The number of training examples, drawn by data_seed with every class in proportion; null: all. [memloc]"""
    test_subset: Count | None = None
    """The number of test images, the same ones for every data_seed, with every class in proportion; null: all. Measuring all
    of them often costs more than training on a small subset. [memloc]
    """
    augment: Literal["none", "crop", "crop_flip"] = "none"
    """How training images are changed in every epoch: crop shifts them, crop_flip shifts and mirrors them. [paper: not
    said; crop_flip: published code, for flips]
    """
    noise: Fraction = 0.0
    """The share of the training examples that get a wrong label. [paper §3: 0.1]"""
    wrong: Literal["uniform", "offset"] = "uniform"
    """uniform: each of the other classes is equally likely. offset: the same, but the class before the right one is never
    drawn. [uniform: paper §3; offset: published code]
    """
    noise_count: Annotated[Literal["round", "floor"], Neutral("round")] = "round"
    """How noise·n becomes a whole number of examples: rounded, or cut off. [round: memloc; floor: published code]"""
    data_seed: Annotated[Seed, Asked(AskedDataSeed)] = 0
    """Decides which labels are wrong, which examples the subset has, and which examples are searched by flips; seed: the
    training's seed. [memloc; seed: published code]
    """
    noise_seed: Seed | None = None
    """Decides which labels are wrong, in place of data_seed; null: data_seed does. [memloc]"""
    held_out: HeldOut | None = None

    @property
    def seed_of_noise(self) -> int:
        """The seed that decides which labels are wrong."""
        return self.data_seed if self.noise_seed is None else self.noise_seed


def _listed(value: Any) -> Any:
    """A list of epochs as the text that a table holds."""
    return json.dumps(value) if isinstance(value, list) else value


def _epochs(value: str) -> str:
    try:
        epochs = json.loads(value)
    except ValueError:
        epochs = None
    whole = isinstance(epochs, list) and all(type(epoch) is int and 0 <= epoch <= 100_000 for epoch in epochs)
    if not epochs or not whole or len(set(epochs)) < len(epochs):
        raise ValueError("valid: a list of epochs, such as [0, 10, 20], each once")
    return json.dumps(sorted(epochs))


class TrainConfig(DataConfig):
    """One training. `flat()` has its fields as SQL, JSON and sweep files have them."""

    architecture: ArchitectureConfig
    dropout: Annotated[Dropout, Field(discriminator="kind")] = NoDropout()

    epochs: EpochCount = 50
    """T, the number of passes over the training set. There is a checkpoint after each. [paper §3]"""
    batch_size: Annotated[int, Field(ge=2, lt=INT32)] = 512
    """The number of examples in a step. The last, smaller batch is kept; a single example joins the batch before. [paper
    §3]
    """
    optimizer: Annotated[Literal["sgd", "adamw"], Neutral("sgd")] = "sgd"
    """sgd: with momentum. adamw: the defaults of lr and weight_decay are then 0.001 and 0.01. [sgd: paper §3; adamw: memloc]
    """
    lr: Positive = 0.1
    """The learning rate at its peak. [paper §3]"""
    schedule: Literal["one_cycle", "warmup_cosine"] = "one_cycle"
    """one_cycle: the learning rate rises and falls linearly. warmup_cosine: it rises linearly and falls as a cosine.
    [one_cycle: paper §3; warmup_cosine: published code]
    """
    peak_epoch: Annotated[Count, Asked(Count | None)]
    """The epoch in which the learning rate peaks; null: max(1, round(T/5)) for one_cycle, max(1, round(T/10)) for
    warmup_cosine. It is at most T. If the command line makes T smaller, it stays, and the rate rises to the end. [paper §3:
    epoch 10; round(T/10): published code]
    """
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """The momentum of SGD; of AdamW β₁. [paper: not said; memloc]"""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """The weight decay, for all parameters; of AdamW decoupled. [paper: not said; memloc]"""
    stop_after_perfect: Count | None = None
    """The training ends after this many epochs in a row in which every example was predicted as labelled; null: never.
    [published code, for flips]
    """
    stop: Annotated[StopText | None, Neutral(None)] = None
    """The training ends after epoch `at_epoch` if its noisy accuracy there, in the training pass, is below
    `noisy_acc_below`; null: it never does. Analyses that need later checkpoints are then not run. [memloc]
    """
    batch_norm: Annotated[BatchNorm, Field(discriminator="kind")] = BatchStatistics()
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """The precision of the training's forward pass: single (fp32), tf32, or mixed (bf16, fp16). On a CPU tf32 is fp32.
    [paper: not said; fp16: published code, for flips]
    """
    compile: Annotated[bool, Neutral(False)] = False
    """Is the training step compiled? Compiled code rounds differently, so the field is part of the identity. [memloc]"""
    given_from: Annotated[str, Field(min_length=1), Valid("a folder, or a path with {epoch}"), PathOrSweep()] | None = None
    """The checkpoints of a training that memloc did not make: a folder, or a path with {epoch} in it; in a block `train:
    {from: …, epochs: …}`. Null: memloc trains. [memloc]
    """
    given_epochs: Annotated[str, BeforeValidator(_listed), AfterValidator(_epochs), Valid("a list of epochs")] | None = None
    """The epochs of these checkpoints. T is the last of them. [memloc]"""
    given_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$"), Valid("64 hexadecimal digits")] | None = None
    """The hash of these files; null: memloc fills it in. It stands for them in the identity. [memloc]"""
    seed: Seed = 0
    """Decides initialisation, batch order, dropout masks, and what analyses draw. [memloc]"""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """The number of CPU threads of a training and its analyses. It changes rounding, so it is part of the identity.
    [memloc]
    """

    @property
    def dataset(self) -> str:
        """The data set's name, or where it lies: `digits`, `npz:FILE`."""
        return self.source.dataset

    @property
    def model(self) -> str:
        """The architecture's name, `resnet9` or `timm:NAME`."""
        return self.architecture.name

    @property
    def stop_rule(self) -> StopRule | None:
        """When the training ends early; None: never."""
        return None if self.stop is None else StopRule.of(self.stop)

    @property
    def checkpoint_epochs(self) -> tuple[int, ...]:
        """The epochs that have a checkpoint: 0..T, or those that were given."""
        return tuple(range(self.epochs + 1)) if self.given_epochs is None else tuple(json.loads(self.given_epochs))

    @property
    def example_tied(self) -> ExampleTied | None:
        """The dropout, if it is example-tied."""
        return self.dropout if isinstance(self.dropout, ExampleTied) else None


# Defaults of fields with `optimizer: adamw`.
ADAMW: dict[str, float] = {"lr": 1e-3, "weight_decay": 1e-2}


def default_peak(schedule: str, epochs: int) -> int:
    """The epoch in which the learning rate peaks unless the configuration says otherwise."""
    return max(1, round(epochs / (5 if schedule == "one_cycle" else 10)))
