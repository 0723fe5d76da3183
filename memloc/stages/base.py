"""What a stage is: a configuration, its parts, and a pure function from a part's inputs to rows.

A stage knows no paths, no Ray, no store and no clock. To add one: a file here with a `Stage`, an entry in
`stages.STAGES`, and its table in `store/schemas.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import AfterValidator
from torch import Tensor

from memloc.config import FieldError, Share, StageConfig, TrainConfig
from memloc.data import Data
from memloc.data.device import OnDevice
from memloc.models.base import Network
from memloc.models.build import build
from memloc.models.dropout import Dropout, build_dropout

Part: TypeAlias = Mapping[str, int | str]  # what one commit holds, as a JSON object
Columns: TypeAlias = Mapping[str, Any]  # {column: a sequence or array}, all of one length
Tables: TypeAlias = Mapping[str, Columns]
MaskMode = Literal["plain", "own", "scaled", "dropped"]


class MaskModeConfig(StageConfig):
    """mask_mode: under which masks an example-tied network runs."""

    mask_mode: MaskMode | None = None


C_SCORE = "c_score:"


def _memorized(value: str) -> str:
    if value == "labels" or value.removeprefix(C_SCORE) not in (value, "", "sweep:"):
        return value
    raise ValueError("valid: labels, c_score:PATH, c_score:sweep:NAME")


class MaskedConfig(MaskModeConfig):
    """Fields of every stage that runs the network on both sets.

    memorized: what S_n is, the mislabeled examples, or (c_score:PATH, c_score:sweep:NAME) those whose C-score is below
    `c_score_below`, by default 0.5 (paper §7). Resolved, PATH and NAME have become the identity of the scores.
    """

    memorized: Annotated[str, AfterValidator(_memorized)] = "labels"
    c_score_below: Share | None = None

    def c_scores_from(self) -> str | None:
        return self.memorized.removeprefix(C_SCORE) if self.memorized.startswith(C_SCORE) else None

    def with_c_scores(self, identity: str) -> Self:
        return self.model_copy(update={"memorized": f"{C_SCORE}{identity}"})


C = TypeVar("C", bound=StageConfig)


@dataclass(frozen=True)
class Size:
    """How large a training is: examples, those of the memorized set, test examples, parameters, layer groups, classes.

    n_out: examples that are held out.
    """

    n: int
    n_noisy: int
    n_test: int
    parameters: int
    groups: tuple[str, ...]
    classes: int
    n_out: int = 0


@dataclass
class Inputs:
    """Everything a part may read.

    weights: epoch -> that checkpoint's `state_dict` on the CPU. tables: for a stage that `reads`, the rows of the
    training and of those analyses of the block that are there, by table name (`analyses` has their configurations).
    c_scores: float64 [n], for an analysis that takes them.
    memo: what a part has computed of the training as a whole, for the next part in this process; whoever computes it gets
    the same bits.
    """

    train: TrainConfig
    data: Data
    device: torch.device
    weights: Callable[[int], Mapping[str, Tensor]]
    tables: Mapping[str, Columns] = field(default_factory=dict)
    c_scores: npt.NDArray[np.float64] | None = None
    memo: dict[Hashable, Any] = field(default_factory=dict)
    _on_device: OnDevice | None = None
    _dropout: Dropout | None = None

    @property
    def on_device(self) -> OnDevice:
        if self._on_device is None:
            self._on_device = OnDevice(self.data, self.device)
        return self._on_device

    def network(self, epoch: int) -> Network:
        """The network with the checkpoint's weights, in evaluation mode on the device, channels last in memory."""
        network = build(self.train, self.data.shape, self.data.classes)
        network.load_state_dict(dict(self.weights(epoch)))
        return network.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]

    def dropout(self, network: Network) -> Dropout:
        if self._dropout is None:
            self._dropout = build_dropout(self.train, network.sites, self.data.example, self.device)
        return self._dropout


class Stage(ABC, Generic[C]):
    """One kind of analysis of a finished training.

    version: raised whenever the stage's numbers change. tables: what it writes. reads: stages of the same block
    whose rows it needs; their ids enter its own. lockstep: parts that run together all end at the same time.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    tables: ClassVar[tuple[str, ...]]
    reads: ClassVar[tuple[str, ...]] = ()
    lockstep: ClassVar[bool] = False
    config: type[C]

    @abstractmethod
    def resolve(self, config: C, train: TrainConfig, beside: Collection[str] = ()) -> C:
        """`config` with every None filled in that the training and the block's other stages imply; raises FieldError."""

    def trainings(self, config: C, train: TrainConfig, n: Callable[[], int]) -> Sequence[TrainConfig]:
        """The trainings that a block with this stage has in place of each of its own; n: gives the number of examples.

        Raises FieldError.
        """
        return [train]

    @abstractmethod
    def parts(self, config: C, train: TrainConfig, size: Size) -> Sequence[Part]:
        """The parts of an analysis; they follow from the configuration and the size of the data alone."""

    @abstractmethod
    def epochs(self, config: C, train: TrainConfig, part: Part) -> Sequence[int]:
        """The checkpoints that a part reads."""

    @abstractmethod
    def run(self, config: C, inputs: Inputs, part: Part) -> Tables:
        """The rows of a part."""

    def run_together(self, config: C, inputs: Inputs, parts: Sequence[Part]) -> Iterator[Tables]:
        """The rows of several parts, one after the other.

        For stages that can share work between parts; a part's rows are the same bits in whatever company.
        """
        for part in parts:
            yield self.run(config, inputs, part)

    @abstractmethod
    def passes(self, config: C, size: Size) -> float:
        """The cost of one part that runs alone, in forward passes of one example."""

    def shared(self, config: C, size: Size) -> float:
        """Of this cost, the share that parts which run together pay once."""
        return 0.0

    def memory(self, config: C, size: Size) -> int:
        """Bytes of device memory that every further part takes which runs together with others; 0: they take turns."""
        return 0

    @abstractmethod
    def rows(self, config: C, size: Size) -> Mapping[str, int]:
        """{table: rows} of one part, for the estimate of a dry run."""


M = TypeVar("M", bound=MaskModeConfig)


def resolve_mask_mode(config: M, train: TrainConfig) -> M:
    """mask_mode is required on example-tied trainings, and None on all others."""
    if train.example_tied:
        if config.mask_mode is None:
            valid = "plain, own, scaled, dropped"
            raise FieldError("mask_mode", f"required on a training with dropout: example_tied; valid: {valid}")
        return config
    if config.mask_mode is not None:
        raise FieldError("mask_mode", f"used only with dropout: example_tied (here dropout is {train.dropout.kind})")
    return config


S = TypeVar("S", bound=MaskedConfig)


def resolve_sets(config: S, train: TrainConfig) -> S:
    """As `resolve_mask_mode`; and atypical examples are told apart only where no label is wrong."""
    config = resolve_mask_mode(config, train)
    if config.c_scores_from() is None:
        if config.c_score_below is not None:
            raise FieldError("c_score_below", "used only with memorized: c_score:PATH or c_score:sweep:NAME")
        return config
    if train.noise:
        problem = f"C-scores on a training with noise: {train.noise}; valid: noise: 0, or memorized: labels"
        raise FieldError("memorized", problem)
    return config.model_copy(update={"c_score_below": config.c_score_below or 0.5})


def check_epochs(field_name: str, epochs: Sequence[int], train: TrainConfig) -> None:
    beyond = [t for t in epochs if t > train.epochs]
    if beyond:
        raise FieldError(field_name, f"{', '.join(map(str, beyond))} beyond the last epoch; valid: 0 to {train.epochs}")
