"""What a notebook uses: `memloc.open_store("URI")`, its tables, and its trials as models with their data."""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from memloc.analysis.query import read_table, run_sql
from memloc.config import TrainConfig
from memloc.data.directory import data_dir
from memloc.errors import StoreError, UsageError
from memloc.models.architectures import TRAINING, resolved
from memloc.store import Commit, Store, checkpoints

if TYPE_CHECKING:
    import torch

    from memloc.models.base import Network

DEFAULT_STORE = "./memloc-store"

__all__ = ["OpenStore", "Trial", "TrialData", "data_dir", "open_store", "store_uri"]


def store_uri(uri: str | None = None) -> str:
    """The store that is meant: the argument, else MEMLOC_STORE, else ./memloc-store."""
    return (os.environ.get("MEMLOC_STORE") or DEFAULT_STORE) if uri is None else uri


def open_store(uri: str | None = None) -> OpenStore:
    """Opens an existing store for reading.

    Raises:
        StoreError: where there is none.
    """
    store = Store(store_uri(uri))
    if not store.files.exists():
        raise StoreError(
            f"store {store.uri}: does not exist; `memloc sweep` makes one, --store URI or MEMLOC_STORE names another"
        )
    return OpenStore(store)


class OpenStore:
    """A store, for reading. Every call sees what is committed at that moment."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def table(self, name: str, *, sweep: str | None = None, partial: bool = False) -> pa.Table:
        """A whole table (docs/tables.md); complete analyses only, unless `partial`."""
        return read_table(self._store, name, sweep, partial)

    def sql(self, query: str, *, sweep: str | None = None, partial: bool = False) -> pd.DataFrame:
        """The rows of one SELECT."""
        frame: pd.DataFrame = run_sql(self._store, query, sweep, partial).to_pandas()
        return frame

    def pandas(self, name: str, *, sweep: str | None = None, partial: bool = False) -> pd.DataFrame:
        """A whole table as a DataFrame."""
        frame: pd.DataFrame = self.table(name, sweep=sweep, partial=partial).to_pandas()
        return frame

    def claims(self, *, sweep: str | None = None) -> pd.DataFrame:
        """The paper's claims judged on the store: a row per number, columns as in `memloc.papers.maini2023.Judgement`."""
        from memloc.papers.maini2023 import Judgement, judge

        names = [field.name for field in fields(Judgement)]
        return pd.DataFrame([astuple(j) for j in judge(self._store, sweep)], columns=names)

    def trial(self, prefix: str) -> Trial:
        """The committed trial whose id begins with `prefix`.

        Raises:
            UsageError: where none or several do.
        """
        trainings = self._store.snapshot().trainings()
        found = sorted(i for i in trainings if i.startswith(prefix))
        if len(found) != 1:
            what = f"several trials begin so: {', '.join(found[:5])}" if found else "no trial begins so"
            raise UsageError(f"trial {prefix!r}: {what}")
        return Trial(self._store, trainings[found[0]])

    def trials(self, **fields: Any) -> list[Trial]:
        """The committed trials whose configuration has these values, such as dataset="digits", noise=0.1."""
        wanted = {}
        for name, value in fields.items():
            problem = TRAINING.check_name(name)
            taken, wrong = (None, None) if problem else TRAINING.check(name, value)
            if problem or wrong:
                raise UsageError(f"{name}: {problem or wrong}")
            wanted[name] = taken
        every = [Trial(self._store, c) for _, c in sorted(self._store.snapshot().trainings().items())]
        return [t for t in every if wanted.items() <= t.config.flat().items()]


@dataclass(frozen=True)
class TrialData:
    """What a trial was trained and tested on.

    x: float32 n×C×H×W, normalised to [−1, 1]. y: int64 [n], the labels trained on. true_label: int64 [n].
    noisy: bool [n]. example: int64 [n], the index in the data set's own training array. x_test, y_test: the test set.
    """

    x: torch.Tensor
    y: torch.Tensor
    true_label: torch.Tensor
    noisy: torch.Tensor
    example: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor


class Trial:
    """A committed training: its configuration, its checkpoints as models, its data."""

    def __init__(self, store: Store, commit: Commit) -> None:
        self._store, self._commit = store, commit
        self.id = commit.trial
        self.config: TrainConfig = resolved(**commit.config)

    def __repr__(self) -> str:
        c = self.config
        return f"Trial({self.id}: {c.dataset} {c.model} noise={c.noise} dropout={c.dropout.kind} seed={c.seed})"

    def model(self, epoch: int | None = None) -> Network:
        """The network after an epoch (0: initialisation; None: the last), evaluation mode, mode plain, on the CPU.

        Raises:
            UsageError: where training has no such epoch. StoreError: where its checkpoint is pruned or damaged.
        """
        from memloc.models.build import build

        epoch = self.config.epochs if epoch is None else epoch
        entries = {c.epoch: c for c in self._commit.checkpoints}
        if epoch not in entries:
            raise UsageError(f"epoch {epoch}: trial {self.id} has none; valid: 0 to {self.config.epochs}")
        network = build(self.config, self._data.shape, self._data.classes)
        network.load_state_dict(checkpoints.read(self._store.files, entries[epoch]))
        return network.eval()

    def data(self) -> TrialData:
        """The data as the training saw it, except for augmentation."""
        import torch

        from memloc.data import normalise

        d = self._data
        x, x_test = (normalise(torch.tensor(a)) for a in (d.x, d.x_test))
        y, true_label, noisy, example, y_test = (torch.tensor(a) for a in (d.y, d.true_label, d.noisy, d.example, d.y_test))
        return TrialData(x, y, true_label, noisy, example, x_test, y_test)

    def mask(self, example: int) -> dict[str, torch.Tensor]:
        """{site: bool [C]}: the channels that are on for one training example, by its `example` index.

        Raises:
            UsageError: for a trial without example-tied dropout, or an example that is not in it.
        """
        import numpy as np
        import torch

        from memloc.models.build import build
        from memloc.models.dropout import build_dropout

        if self.config.example_tied is None:
            raise UsageError(
                f"mask: trial {self.id} has dropout: {self.config.dropout.kind}; only example_tied has a mask per example"
            )
        rows = np.flatnonzero(self._data.example == example)
        if not len(rows):
            raise UsageError(f"example {example}: is not among the training examples of trial {self.id}")
        network = build(self.config, self._data.shape, self._data.classes)
        dropout = build_dropout(self.config, network.sites, self._data.example, torch.device("cpu"))
        return {site: torch.from_numpy(mask) for site, mask in dropout.own(int(rows[0])).items()}

    @cached_property
    def _data(self) -> Any:
        from memloc.data import check_identity, load, prepare

        raw = load(self.config.dataset, data_dir())
        check_identity(raw, self.config.dataset, str(self._commit.part["data"]))
        return prepare(raw, self.config)
