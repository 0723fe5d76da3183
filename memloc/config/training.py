"""One resolved training. Every field holds the value that the program will use. A field that is not used is not there.

The fields are those of science.md, sections Data, Models, Training and Example-tied dropout.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidatorFunctionWrapHandler, WrapValidator

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
from memloc.errors import nearest

DATASETS = ("digits", "cifar10", "mnist", "fashion_mnist", "svhn")


class NoDropout(Variant):
    kind: Literal["none"] = "none"


class ExampleTied(Variant):
    """Example-tied dropout (paper §6.2). masks: drawn per site, or one draw that all sites and seeds share."""

    kind: Literal["example_tied"] = "example_tied"
    """Which dropout: none; example_tied, every example has channels of its own; standard, drawn anew in every step; sparse,
    a mask that is drawn once. [paper §6.2, Table 3]
    """
    p_gen: Share
    """The share of channels that are on for every example: channels 0 to G − 1, G = max(1, ⌊p_gen·C⌋). [paper §6.2]"""
    p_mem: Fraction
    """The probability with which each other channel belongs to an example. [paper §6.2]"""
    masks: Annotated[Literal["site", "shared"], Neutral("site")] = "site"
    """site: the masks are drawn anew at each dropout site. shared: one draw, the same at all sites and under all seeds.
    [paper §6.2; shared: published code]
    """


class Standard(Variant):
    """Random dropout, drawn anew in every step."""

    kind: Literal["standard"] = "standard"
    keep: Share = 0.4
    """The share that is kept: of units, each with this probability (standard), or of weights or units (sparse). [paper Table
    3]
    """
    unit: Literal["element", "channel"] = "element"
    """What is dropped: single activations (element), whole channels, or weights (sparse alone). [paper Table 3]"""


class Sparse(Variant):
    """A mask that is drawn once, over weights or over activations."""

    kind: Literal["sparse"] = "sparse"
    keep: Share = 0.4
    """The share that is kept: of units, each with this probability (standard), or of weights or units (sparse). [paper Table
    3]
    """
    unit: Literal["weight", "element", "channel"] = "weight"
    """What is dropped: single activations (element), whole channels, or weights (sparse alone). [paper Table 3]"""


Dropout: TypeAlias = NoDropout | ExampleTied | Standard | Sparse


class BatchStatistics(Variant):
    """Batch norms use the batch's statistics in every step."""

    kind: Annotated[Literal["train"], Neutral("train")] = "train"
    """train: batch norms use the batch's statistics in every step. frozen: from epoch 2 on they use the running statistics
    of epoch 1. [train: paper; frozen: published code]
    """


class FrozenStatistics(Variant):
    """From epoch 2 on, batch norms use the running statistics of epoch 1."""

    kind: Literal["frozen"] = "frozen"
    stochastic: Annotated[Literal["off", "on"], Neutral("off")] = "off"
    """Is random dropout (standard, the architecture's own) on from epoch 2 on? [published code: off]"""


BatchNorm: TypeAlias = BatchStatistics | FrozenStatistics


class ArchitectureConfig(Variant):
    """Base of the architectures' own fields. The subclasses stand with their architecture.

    NOT_COMPILED: why `compile: true` is refused, or None. WEIGHT_GATES: whether single weights can be neurons
    (models/weight_gates.py).
    """

    KIND: ClassVar[str] = "name"
    FLAT: ClassVar[str | None] = "model"
    NOT_COMPILED: ClassVar[str | None] = None
    WEIGHT_GATES: ClassVar[bool] = False

    name: str
    """The network. [paper §3]"""

    @classmethod
    def known(cls, name: str) -> str | None:
        """For architectures that share a prefix: the full name, if `name` is one of them without the prefix; else None."""
        return None

    def misfit(self, shape: tuple[int, int, int], classes: int) -> str | None:
        """Why the network cannot take images of shape (C, H, W), in one line; None if it can."""
        return None


class HeldOut(Config):
    """The training sees the share `ratio` of the examples; `cut` says which ones."""

    ratio: Annotated[float, Field(gt=0, lt=1)]
    """For the trainings behind C-scores: the share of the examples that are trained on. [paper §7]"""
    cut: CountOrZero
    """For the trainings behind C-scores: the number of the cut of the data set that is trained on. [paper §7]"""


def _dataset(value: str) -> str:
    if value in DATASETS or (value.startswith("npz:") and len(value) > len("npz:")):
        return value
    raise ValueError(f"valid: {', '.join(DATASETS)}, npz:PATH{nearest(value, DATASETS)}")


def _or_the_word_seed(value: Any, number: ValidatorFunctionWrapHandler) -> Any:
    return value if value == "seed" else number(value)


AskedDataSeed = Annotated[
    int, Field(ge=0, lt=SEEDS), WrapValidator(_or_the_word_seed), Valid(f"a whole number >= 0 and < {SEEDS}, or seed")
]


class DataConfig(Config):
    """The data part of a training: which examples it sees, and under which labels."""

    dataset: Annotated[str, AfterValidator(_dataset), Valid(f"{', '.join(DATASETS)}, npz:PATH"), PathOrSweep("npz:")]
    """The data set, by name, or a file of your own. [paper §3]"""
    subset: Count | None = None
    """The number of training examples, stratified by class and drawn by data_seed; null: all. [memloc]"""
    augment: Literal["none", "crop", "crop_flip"] = "none"
    """Augmentation of training images: none, random crops, or crops and flips, keyed by example and epoch. [paper: none]"""
    noise: Fraction = 0.0
    """The share of the training examples whose label is made wrong. [paper §3]"""
    wrong: Literal["uniform", "offset"] = "uniform"
    """The wrong label: uniform over the other classes, or (offset) over those but the class before the right one. [paper §3;
    offset: published code]
    """
    noise_count: Annotated[Literal["round", "floor"], Neutral("round")] = "round"
    """How noise·n becomes a whole number of examples. [floor: published code]"""
    data_seed: Annotated[Seed, Asked(AskedDataSeed)] = 0
    """Decides which labels are wrong, the subset, and which examples are sampled; seed: the same as seed. [memloc]"""
    held_out: HeldOut | None = None


class TrainConfig(DataConfig):
    """One training. `flat()` has its fields as SQL, JSON and sweep files have them."""

    architecture: ArchitectureConfig
    dropout: Annotated[Dropout, Field(discriminator="kind")] = NoDropout()

    epochs: EpochCount = 50
    """T, the number of passes over the training set. There is a checkpoint after each. [paper §3]"""
    batch_size: Annotated[int, Field(ge=2, lt=INT32)] = 512
    """Examples in a step. The last partial batch is kept; a single example joins the batch before. [paper §3]"""
    lr: Positive = 0.1
    """The learning rate at its peak. [paper §3]"""
    schedule: Literal["one_cycle", "warmup_cosine"] = "one_cycle"
    """How the learning rate goes: one_cycle rises and falls linearly; warmup_cosine rises linearly and falls as a cosine.
    [paper §3]
    """
    peak_epoch: Annotated[Count, Asked(Count | None)]
    """The epoch in which the learning rate peaks; null: round(T/5) of one_cycle, round(T/10) of warmup_cosine, at least 1.
    It is at most T, but in a training that the command line shortens: there the rate rises to the end. [memloc]
    """
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """The momentum of SGD. [paper §3]"""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """The weight decay of SGD, for all parameters. [paper §3]"""
    stop_after_perfect: Count | None = None
    """The training ends early after this many epochs in a row with every example right; null: never. [published code]"""
    batch_norm: Annotated[BatchNorm, Field(discriminator="kind")] = BatchStatistics()
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """The precision of the training's forward pass: fp32, tf32, or mixed precision. On a CPU tf32 is fp32. [memloc]"""
    compile: Annotated[bool, Neutral(False)] = False
    """Is a training step compiled? Compiled code rounds differently, so the field is part of the identity. [memloc]"""
    seed: Seed = 0
    """Decides initialisation, batch order, dropout masks, and what analyses draw. [memloc]"""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """CPU threads of a training and its analyses. They change rounding, so they are part of the identity. [memloc]"""

    @property
    def model(self) -> str:
        """The architecture's name, `resnet9` or `timm:NAME`."""
        return self.architecture.name

    @property
    def example_tied(self) -> ExampleTied | None:
        """The dropout, if it is example-tied."""
        return self.dropout if isinstance(self.dropout, ExampleTied) else None


def default_peak(schedule: str, epochs: int) -> int:
    """The epoch in which the learning rate peaks unless the configuration says otherwise."""
    return max(1, round(epochs / (5 if schedule == "one_cycle" else 10)))
