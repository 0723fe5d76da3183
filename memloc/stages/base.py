"""What a stage is: a configuration, its parts and what they cost, the tables it writes; all without importing torch.

A stage is a folder in stages/: `config.py` defines it (a `Stage` as `STAGE`), `compute.py` computes its rows, `summary.py`
has what a summary says of them. It knows no paths, no Ray, no store and no clock, and imports no other stage.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

import pyarrow as pa

from memloc.config import FieldError, StageConfig, TrainConfig
from memloc.own_code import OwnCode

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.inputs import Inputs

Part: TypeAlias = Mapping[str, int | str]  # what one commit holds, as a JSON object
Columns: TypeAlias = Mapping[str, Any]  # {column: a sequence or array}, all of one length
Tables: TypeAlias = Mapping[str, Columns]


@dataclass(frozen=True)
class WithNetwork:
    """What a part gives that makes a network: its rows, and the network's weights, on the CPU. They become a checkpoint.

    epoch: that of the checkpoint of which the part made it.
    """

    tables: Tables
    weights: Mapping[str, Tensor]
    epoch: int


Given: TypeAlias = Tables | WithNetwork  # what a part gives

C = TypeVar("C", bound=StageConfig)


@dataclass(frozen=True)
class Size:
    """The size of a training, from which costs and parts follow.

    n: training examples. n_noisy: examples of the memorized set S_n. n_test: test examples. parameters: numbers in all
    parameter tensors of the network. groups: the names of its layer groups, in forward order. classes: K. n_out: examples
    that the training holds out.
    """

    n: int
    n_noisy: int
    n_test: int
    parameters: int
    groups: tuple[str, ...]
    classes: int
    n_out: int = 0


@dataclass(frozen=True)
class NetworkFacts:
    """What a network has. neurons: how many. sites: its dropout sites. running_statistics: does it have batch norms?
    matrices: {layer group: its layers that are a matrix applied to patches or tokens}. others: {group: why one of its
    weights is none} (`models/weight_matrices.py`). computed: layers whose weight is no parameter, as by weight_norm.
    """

    neurons: int
    sites: tuple[str, ...]
    running_statistics: bool
    matrices: Mapping[str, tuple[str, ...]]
    others: Mapping[str, str]
    computed: tuple[str, ...] = ()


class Stage(Generic[C]):
    """One kind of analysis of a finished training. Unless a stage says otherwise, it has one part, which reads the last
    checkpoint and costs one pass over the training examples.

    version: raised whenever the stage's numbers change. tables: the schemas of its tables; a column `seconds` that a stage
    does not give gets the time of the part, in equal shares of its rows. reads: stages of the same block
    whose rows it needs; their ids enter its own. lockstep: where its parts share work, those that run together end at
    once. forward_only: its parts run the network in evaluation mode, mostly forward. footprint: whether a part needs less
    memory of a device than the training, as much, or perhaps more. extent: its fields that say how much is measured, not
    what. usual: {option: its usual value}, of options that change what is measured; the settings of other values are named
    by them. renamed: {option: its name there}, of options with the name of a training field. atlas: what its tables say of
    where examples are, for view `atlas`: SELECTs of analysis, trial, method, layer, unit (NULL: the whole layer), example
    (NULL: the mislabeled ones together), score (higher: more of it is here; 0 where there is no row). code: the file of a
    user's own stage; its hash enters the ids too.

    A stage has `run(config, inputs, part)`, which returns the rows of a part. memloc's own have it in compute.py, beside
    config.py; or there `run_together(config, inputs, parts)`, which yields the rows of one part after the other, in their
    order. The rows of a part do not depend on the other parts, to the last bit. A part that makes a network returns
    `WithNetwork`. A stage that reads this one gets the network (`Inputs.networks`), and so do all of its parts the same one.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    tables: ClassVar[Mapping[str, pa.Schema]]
    reads: tuple[str, ...] = ()
    lockstep: ClassVar[bool] = False
    forward_only: ClassVar[bool] = False
    footprint: ClassVar[Literal["less", "as much", "more"]] = "less"
    extent: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[Mapping[str, Any]] = {}
    renamed: ClassVar[Mapping[str, str]] = {}
    atlas: ClassVar[tuple[str, ...]] = ()
    code: OwnCode | None = None
    # What a person may write. C is the resolved type, often a subclass with fewer None.
    config: type[StageConfig] = StageConfig

    @classmethod
    def usual_on(cls, epochs: int) -> Mapping[str, Any]:
        """`usual`, and the usual values that follow from how many epochs a training has."""
        return cls.usual

    def resolve(self, config: Any, train: TrainConfig, beside: Collection[str] = ()) -> C:
        """The configuration, completed with what the training and the block's other stages imply.

        Raises:
            FieldError: a field does not fit the training. UnusedFieldError: a field means nothing for this training.
        """
        resolved: C = config
        return resolved

    def completed(self, config: C, read: Mapping[str, StageConfig]) -> C:
        """The configuration, completed with those of the analyses that it reads, by stage: of them its parts may depend."""
        return config

    def codes(self, config: C) -> tuple[OwnCode, ...]:
        """The user's files on which the rows depend."""
        return () if self.code is None else (self.code,)

    @classmethod
    def looked_at(cls, config: Mapping[str, Any]) -> tuple[int, ...]:
        """How much an analysis has looked at, what counts most first: of two of a setting, the larger one is shown."""
        value = config.get("epochs")
        return (len(value) if isinstance(value, list | tuple) else int(value or 0),)

    def trainings(self, config: C, train: TrainConfig, n: Callable[[], int]) -> Iterable[TrainConfig]:
        """The trainings that replace a training of a block with this stage, one by one where they are many.

        n: returns the number of examples.

        Raises:
            FieldError: a field does not fit the training.
        """
        return [train]

    def fits(self, train: TrainConfig, network: NetworkFacts) -> Mapping[str, str | None]:
        """{setting of the stage: why it cannot run on this network, or None if it can}; "" is any setting."""
        return {"": None}

    def misfit(self, config: C, train: TrainConfig, size: Size, network: NetworkFacts) -> FieldError | None:
        """Why this analysis cannot run on this network and these data, for the field that asks for it ("": for the stage);
        None if it can.
        """
        return None

    def parts(self, config: C, train: TrainConfig, size: Size) -> Sequence[Part]:
        """The parts of an analysis; they follow from the configuration and the size of the data alone."""
        return [{"all": "all"}]

    def epochs(self, config: C, train: TrainConfig, part: Part) -> Sequence[int]:
        """The checkpoints that a part reads."""
        return [train.epochs]

    def goes_on_from(self, config: C, part: Part) -> int | None:
        """The epoch after which a part goes on with the training, from its weights and momentum; None: it trains nothing."""
        return None

    def keeps(self, config: C) -> Sequence[int]:
        """The checkpoints that `--checkpoints rewound` keeps for the stage, besides the first and the last one."""
        return ()

    def passes(self, config: C, size: Size) -> float:
        """The cost of one part that runs alone, in forward passes of one example."""
        return float(size.n)

    def trained_share(self, size: Size) -> float:
        """The share of the examples that an epoch of a part trains on, if it trains."""
        return 1.0

    def shared(self, config: C, size: Size) -> float:
        """The share of this cost that parts pay only once if they run together."""
        return 0.0

    def memory(self, config: C, size: Size) -> int:
        """Bytes of device memory that each further part needs that runs together with others; 0: parts take turns."""
        return 0

    def rows(self, config: C, size: Size) -> Mapping[str, int]:
        """{table: rows} of one part, for the estimate of a dry run."""
        return {}

    def run(self, config: C, inputs: Inputs, part: Part) -> Given:
        """The rows of one part, and perhaps a network."""
        return next(self.run_together(config, inputs, [part]))

    def run_together(self, config: C, inputs: Inputs, parts: Sequence[Part]) -> Iterator[Given]:
        """The rows of several parts, one after the other. compute.py is imported only here, because it needs torch."""
        if type(self).run is not Stage.run:
            for part in parts:
                yield self.run(config, inputs, part)
            return
        folder = type(self).__module__.rpartition(".")[0]
        compute = import_module(f"{folder}.compute")
        if hasattr(compute, "run_together"):
            yield from compute.run_together(config, inputs, parts)
        else:
            for part in parts:
                yield compute.run(config, inputs, part)
