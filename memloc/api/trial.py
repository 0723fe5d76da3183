"""One committed training: its configuration, its rows, its checkpoints as models, its data."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from memloc.analysis.rows import trial_rows
from memloc.api import notebook
from memloc.api.arguments import absolute_folder, check_sweep, check_text, whole_number
from memloc.api.trial_data import TrialData
from memloc.config import TrainConfig
from memloc.data.directory import data_dir
from memloc.errors import UsageError, check_path, nearest
from memloc.seeds import Key, stream
from memloc.stages.evaluate.config import RESCALES
from memloc.stages.fields import MASK_MODES
from memloc.store import Commit, Store, layout

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from memloc.models.dropouts import Dropout
    from memloc.models.groups import Network


class Trial:
    """A committed training: its configuration, its rows, its checkpoints as models, its data.

    Two are equal that have the same id in the same store. They can be pickled, for processes that see the store.

    Attributes:
        id: 16 hexadecimal digits; column `trial` of the tables.
        config: the resolved configuration, every field as the training used it.
    """

    def __init__(
        self, store: Store, commit: Commit, config: TrainConfig, folder: str | os.PathLike[str] | None = None
    ) -> None:
        self._store, self._commit, self._folder = store, commit, folder
        self.id, self.config = commit.trial, config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trial) and (other.id, other._address) == (self.id, self._address)

    def __hash__(self) -> int:
        return hash((self.id, self._address))

    @property
    def _address(self) -> str:
        return self._store.files.address

    def __reduce__(self) -> tuple[Any, ...]:
        commit = replace(self._commit, checkpoints=tuple(self._commit.checkpoints))  # a generation reads them when asked
        return _reopened, (self._address, commit, self.config, absolute_folder(self._folder))

    def __repr__(self) -> str:
        c = self.config
        return f"Trial({self.id}: {c.dataset} {c.model} noise={c.noise} dropout={c.dropout.kind} seed={c.seed})"

    def _repr_html_(self) -> str:
        return notebook.trial_html(self.id, self.config)

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs whose checkpoint is in the store, from 0 (initialisation) to the last: what `model` takes."""
        here = self._store.files.listing(layout.checkpoints(self.id))
        return tuple(entry.epoch for entry in self._commit.checkpoints if entry.path in here)

    def table(self, name: str, *, partial: bool = False) -> pa.Table:
        """This trial's rows of a table or view that has a column `trial`.

        Args:
            name: such as "rewind" or "gradient_layers"; `OpenStore.table` says more.
            partial: the rows of incomplete analyses too.

        Returns:
            The rows sorted by analysis, then layer, from the network's input to its output, where there are such columns.

        Raises:
            UsageError: where there is no such table or view, or it has no column `trial`.
        """
        check_text("table", name, "the name of a table or view, such as 'rewind'")
        check_sweep(None, partial)
        return trial_rows(self._store, self.id, name, partial)

    def pandas(self, name: str, *, partial: bool = False) -> pd.DataFrame:
        """This trial's rows of a table or view as a DataFrame: `table`, converted."""
        frame: pd.DataFrame = self.table(name, partial=partial).to_pandas()
        return frame

    def with_source(self, file: str | os.PathLike[str]) -> Trial:
        """The same trial with the Python file at hand that made its network (`model: python:…`). A store holds no code.

        Args:
            file: a path, or the name of a module that Python can import.

        Raises:
            UsageError: it is another file, by its hash, or the network needs none.
        """
        check_path("file", file)
        architecture = self.config.architecture.with_source(os.fspath(file))
        config = self.config.model_copy(update={"architecture": architecture})
        return Trial(self._store, self._commit, config, self._folder)

    def model(self, epoch: int | None = None, mode: str = "plain", rescale: str = "none") -> nn.Module:
        """The network after an epoch, in evaluation mode, on the CPU.

        The module maps float32 [N, C, H, W] images (`data().x`, or others normalised so) to float32 [N, classes] logits,
        and gives the numbers of table `evaluation`, mode by mode (docs/definitions.md):

        - "plain": every channel is on, without a factor. An example-tied network was never trained in this mode, so it is
          often at chance. (The fixed masks of sparse dropout are on: they belong to the network. Where they go by the
          position in a batch, the images must be in the order of the data.)
        - "scaled" (example-tied dropout only): the generalization channels have factor 1, all others factor p_mem. This is
          the usual mode for images that the network was not trained on.
        - "dropped" (example-tied only): only the generalization channels are on, with a factor that `rescale` names.
        - "own" (example-tied only): every training example has its own channels, as in training. The module takes two
          arguments, `model(x, example)`, example: int64 [N].

        Args:
            epoch: 0 is the initialisation, None the last epoch; `epochs` lists those in the store.
            mode: as above.
            rescale: the factor of mode dropped: "none" (1), "authors" ((p_gen + p_mem) / p_gen), or "consistent" (the
                expected share of channels that are on in training, over the share that is on now).

        Returns:
            In mode plain the `memloc.models.groups.Network` itself. In other modes a module that holds it as `.network`.

        Raises:
            UsageError: the training has no such epoch, or its dropout has no such mode. StoreError: the checkpoint is pruned
                or damaged.
        """
        from memloc.api.masked import FixedMasks, OwnMasks, PositionMasks
        from memloc.models.kept import floats
        from memloc.store import checkpoints  # with torch

        last = self.config.epochs if self._commit.stopped is None else self._commit.stopped
        valid = f"a whole number, 0 to {last}, or None for the last epoch"
        epoch = last if epoch is None else whole_number("epoch", epoch, valid)
        entries = {c.epoch: c for c in self._commit.checkpoints}
        if epoch not in entries:
            raise UsageError(f"epoch {epoch}: trial {self.id} has none; valid: 0 to {last}")
        network = self._network()
        dropout = self._dropout(network)
        self._check_mode(mode, rescale, dropout.mask_modes)
        network.load_state_dict(checkpoints.read(self._store.files, entries[epoch]))
        network.eval()
        if mode == "own":
            return OwnMasks(network, dropout, self._data.example).eval()
        if dropout.by_position:
            return PositionMasks(network, dropout).eval()
        factors = floats(dropout.evaluation(mode, rescale=rescale))
        return FixedMasks(network, factors).eval() if factors else network

    def _check_mode(self, mode: str, rescale: str, modes: tuple[str, ...]) -> None:
        for name, value, valid in (("mode", mode, MASK_MODES), ("rescale", rescale, RESCALES)):
            if value not in valid:
                raise UsageError(f"{name} {value!r}: valid: {', '.join(valid)}{nearest(str(value), valid)}")
        if mode not in modes:
            raise UsageError(
                f"mode {mode}: trial {self.id} has dropout: {self.config.dropout.kind}; valid here: {', '.join(modes)} "
                "(the others need example-tied dropout)"
            )
        if rescale != "none" and mode != "dropped":
            raise UsageError(f"rescale {rescale}: applies to mode dropped only; here mode is {mode}")

    def data(self) -> TrialData:
        """The data as the training saw it, except for augmentation.

        Raises:
            UsageError: where the data set is not in the data directory, or is not what the trial was trained on.
        """
        import torch

        from memloc.data import normalise

        d = self._data
        x, x_test = (normalise(torch.tensor(a)) for a in (d.x, d.x_test))
        y, true_label, noisy, example, y_test = (torch.tensor(a) for a in (d.y, d.true_label, d.noisy, d.example, d.y_test))
        return TrialData(x, y, true_label, noisy, example, x_test, y_test)

    def mask(self, example: int) -> dict[str, torch.Tensor]:
        """{site: bool [C]}: the channels that were on for one training example, at every site of example-tied dropout.

        The generalization channels 0 to G − 1, G = max(1, ⌊p_gen·C⌋), are on for every example. Every other channel was
        drawn for this example with probability p_mem. Other examples have such a channel with the same probability.

        Args:
            example: an index as in `TrialData.example` (not a row number).

        Raises:
            UsageError: for a trial without example-tied dropout, or an example that it was not trained on.
        """
        import numpy as np
        import torch

        if self.config.example_tied is None:
            raise UsageError(
                f"mask: trial {self.id} has dropout: {self.config.dropout.kind}; only example_tied has a mask per example"
            )
        example = whole_number("example", example, "one index, a whole number, such as trial.data().example has")
        rows = np.flatnonzero(self._data.example == example)
        if not len(rows):
            raise UsageError(f"example {example}: is not among the training examples of trial {self.id}")
        return {site: torch.from_numpy(on) for site, on in self._dropout(self._network()).own(int(rows[0])).items()}

    def stream(self, purpose: str, *what: str | int) -> np.random.Generator:
        """A fresh generator of the draws that the training's seed gave for one purpose (docs/recompute.md lists them).

        Args:
            purpose: such as "gradient order".
            what: what the draws were for, such as an epoch. Each call gives the same draws from their beginning.

        Raises:
            UsageError: where one of them is neither text nor a whole number.
        """
        check_text("purpose", purpose, "what is drawn, such as 'gradient order'")
        keys: list[Key] = [w if isinstance(w, str) else whole_number("what", w, "text or a whole number") for w in what]
        return stream(self.config.seed, purpose, *keys)

    def flip_rows(self, analysis: str) -> tuple[torch.Tensor, torch.Tensor]:
        """(training rows, test rows), int64 each, in order: on these table `flips` has the accuracies after a search.

        They are places in `data().x` and `data().x_test`. A search leaves out its own example.

        Args:
            analysis: a complete analysis of stage flips, column `analysis` of the table.

        Raises:
            UsageError: there is none, or its S_n is a set by C-scores, which a trial does not have.
        """
        import torch

        from memloc.stages.neurons.after import choose

        own = (row for row in self.table("analyses").to_pylist() if row["stage"] == "flips")
        configs = {row["analysis"]: json.loads(row["config"]) for row in own}
        if analysis not in configs:
            raise UsageError(f"analysis {analysis!r}: is no complete analysis of stage flips of trial {self.id}")
        config = configs[analysis]
        if config.get("memorized", "labels") != "labels":
            raise UsageError(f"analysis {analysis}: its S_n is a set by C-scores; valid: an analysis with memorized: labels")
        rows, test_rows = choose(self._data, config["post_eval"], self.config)
        return torch.from_numpy(rows), torch.from_numpy(test_rows)

    def _network(self) -> Network:
        from memloc.models.build import build

        return build(self.config, self._data.shape, self._data.classes)

    def _dropout(self, network: Network) -> Dropout:
        import torch

        from memloc.models.dropouts import build_dropout

        return build_dropout(self.config, network.sites, self._data.example, torch.device("cpu"))

    @cached_property
    def _data(self) -> Any:
        from memloc.data import check_identity, load, prepare

        raw = load(self.config.source, data_dir(self._folder))
        check_identity(raw, self.config.source, str(self._commit.part["data"]))
        return prepare(raw, self.config)


def _reopened(address: str, commit: Commit, config: TrainConfig, folder: str | None) -> Trial:
    """A trial that another process has pickled."""
    return Trial(Store(address), commit, config, folder)


class TrialList(list[Trial]):
    """Trials. A notebook shows them as a table of the fields in which they differ."""

    def __init__(self, trials: Iterable[Trial] = ()) -> None:
        super().__init__(trials)

    def _repr_html_(self) -> str:
        return notebook.trials_html([(t.id, t.config) for t in self])
