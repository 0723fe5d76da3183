"""What a launch is told on the command line: which trials, and how to run them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from memloc.run.cards import Card
    from memloc.run.log_targets import LogTarget
    from memloc.run.placement import Resources


class ExecutorName(StrEnum):
    """Where a sweep runs: on Ray, or in this process."""

    ray = "ray"
    inline = "inline"


class DeviceName(StrEnum):
    """What trainings and analyses run on."""

    cpu = "cpu"
    cuda = "cuda"


class Retention(StrEnum):
    """Which checkpoints a sweep keeps."""

    all = "all"
    rewound = "rewound"
    last = "last"


@dataclass(frozen=True)
class TrialSelection:
    """The trials of a launch: a sweep file, values that replace its own (`FIELD=VALUE`), filters, how many of the first."""

    path: Path
    overrides: Sequence[str]
    only: Sequence[str]
    max_trials: int | None
    many: bool


@dataclass(frozen=True)
class Options:
    """The options of one launch that do not concern the plan. patience: seconds to wait for a storage that fails.
    checkpoint_bytes: how many the checkpoints of the store may take; None: any number. log_to:
    logs besides the store. card: the GPUs of a dry run's forecast. graphs: whether training steps are replayed from CUDA
    graphs.
    """

    store: str | None
    data_dir: Path
    executor: ExecutorName
    resources: Resources
    checkpoints: Retention | None
    as_json: bool
    patience: float = 0.0
    checkpoint_bytes: int | None = None
    log_to: tuple[LogTarget, ...] = ()
    card: Card | None = None
    graphs: bool = False

    @property
    def retention(self) -> Literal["all", "rewound", "last"] | None:
        """The policy by its name; None: the default."""
        return self.checkpoints.value if self.checkpoints else None
