"""One training, resolved: every field holds what the program will use, and what is not used is not there.

The fields are those of science.md, sections Data, Models, Training and Example-tied dropout.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidatorFunctionWrapHandler, WrapValidator

from memloc.config.types import Asked, Config, Count, Fraction, Neutral, PathOrSweep, Positive, Seed, Share, Valid, Variant
from memloc.errors import nearest

DATASETS = ("digits", "cifar10", "mnist", "fashion_mnist", "svhn")


class NoDropout(Variant):
    kind: Literal["none"] = "none"


class ExampleTied(Variant):
    """Example-tied dropout (paper §6.2). masks: drawn per site, or one draw that all sites and seeds share."""

    kind: Literal["example_tied"] = "example_tied"
    p_gen: Share
    p_mem: Fraction
    masks: Annotated[Literal["site", "shared"], Neutral("site")] = "site"


class Standard(Variant):
    """Random dropout, drawn anew in every step. keep: what Table 3's baselines keep, by default."""

    kind: Literal["standard"] = "standard"
    keep: Share = 0.4
    unit: Literal["element", "channel"] = "element"


class Sparse(Variant):
    """A mask that is drawn once, over weights or over activations."""

    kind: Literal["sparse"] = "sparse"
    keep: Share = 0.4
    unit: Literal["weight", "element", "channel"] = "weight"


Dropout: TypeAlias = NoDropout | ExampleTied | Standard | Sparse


class BatchStatistics(Variant):
    """Batch norms use the batch's statistics in every step."""

    kind: Annotated[Literal["train"], Neutral("train")] = "train"


class FrozenStatistics(Variant):
    """From epoch 2 on, batch norms use the running statistics of epoch 1. stochastic: random dropout from then on."""

    kind: Literal["frozen"] = "frozen"
    stochastic: Annotated[Literal["off", "on"], Neutral("off")] = "off"


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

    @classmethod
    def known(cls, name: str) -> str | None:
        """For architectures that share a prefix: the full name of what `name` means without it, or None."""
        return None

    def misfit(self, shape: tuple[int, int, int], classes: int) -> str | None:
        """Why the network cannot take images of shape (C, H, W), in one line; None if it can."""
        return None


class HeldOut(Config):
    """Of the examples, `ratio` are trained on; `cut` says which."""

    ratio: Annotated[float, Field(gt=0, lt=1)]
    cut: Annotated[int, Field(ge=0)]


def _dataset(value: str) -> str:
    if value in DATASETS or (value.startswith("npz:") and len(value) > len("npz:")):
        return value
    raise ValueError(f"valid: {', '.join(DATASETS)}, npz:PATH{nearest(value, DATASETS)}")


def _or_the_word_seed(value: Any, number: ValidatorFunctionWrapHandler) -> Any:
    return value if value == "seed" else number(value)


AskedDataSeed = Annotated[
    int, Field(ge=0, lt=2**63), WrapValidator(_or_the_word_seed), Valid(f"a whole number >= 0 and < {2**63}, or seed")
]


class DataConfig(Config):
    """The data part of a training: which examples it sees, and under which labels."""

    dataset: Annotated[str, AfterValidator(_dataset), Valid(f"{', '.join(DATASETS)}, npz:PATH"), PathOrSweep("npz:")]
    subset: Count | None = None
    augment: Literal["none", "crop", "crop_flip"] = "none"
    noise: Fraction = 0.0
    wrong: Literal["uniform", "offset"] = "uniform"
    noise_count: Annotated[Literal["round", "floor"], Neutral("round")] = "round"
    data_seed: Annotated[Seed, Asked(AskedDataSeed)] = 0
    held_out: HeldOut | None = None


class TrainConfig(DataConfig):
    """One training. `flat()` has its fields as SQL, JSON and sweep files have them."""

    architecture: ArchitectureConfig
    dropout: Annotated[Dropout, Field(discriminator="kind")] = NoDropout()

    epochs: Count = 50
    batch_size: Annotated[int, Field(ge=2)] = 512
    lr: Positive = 0.1
    schedule: Literal["one_cycle", "warmup_cosine"] = "one_cycle"
    peak_epoch: Annotated[Count, Asked(Count | None)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    stop_after_perfect: Count | None = None
    batch_norm: Annotated[BatchNorm, Field(discriminator="kind")] = BatchStatistics()
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    compile: Annotated[bool, Neutral(False)] = False
    seed: Seed = 0
    threads: Annotated[int, Field(ge=1, le=1024)] = 1

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
