"""The source of exhibits: the rows of one store or sweep, by SQL, and its layers in network order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from memloc import stages
from memloc.analysis.reader import Reader
from memloc.store import tables

SHOWN = 12  # settings of one exhibit; its query has them all


@dataclass
class Source:
    """A reader of a store, or of one sweep in it, so that all exhibits are of one snapshot.

    data_dir: where data sets lie; None: the usual place. problems: messages for the user. They are not on the page, because
    its bytes depend on the store and the data alone.
    """

    reader: Reader
    data_dir: Path | None = None
    problems: list[str] = field(default_factory=list)
    _layers: dict[str, list[str]] | None = field(default=None, init=False)

    def frame(self, sql: str) -> pd.DataFrame:
        """The rows of a SELECT."""
        rows: pd.DataFrame = self.reader.sql(sql).to_pandas()
        return rows

    def in_order(self, layers: Iterable[str], model: str) -> list[str]:
        """Layers from input to output, as the analyses of a network list them. A layer in a group follows the group."""
        if self._layers is None:
            self._layers = self._read_layers()
        known = self._layers.get(model, [])

        def place(layer: str) -> tuple[int, str]:
            inside = [k for k, group in enumerate(known) if layer == group or layer.startswith(group + ".")]
            return (max(inside) if inside else len(known), layer)

        return sorted(set(layers), key=place)

    def _read_layers(self) -> dict[str, list[str]]:
        commits = self.reader.seen.commits
        models = {c.trial: str(c.config["model"]) for c in commits if c.analysis is None}
        layers: dict[str, list[str]] = {}
        for table in ("gradients", "rewind", "retrain"):
            rows: Any = tables.dataset(self.reader.store.files, commits, table, stages.tables())
            pairs = rows.to_table(columns=["trial", "layer"], use_threads=False).to_pandas().drop_duplicates()
            for trial, layer in pairs.itertuples(index=False):
                of_model = layers.setdefault(models[trial], [])
                if layer not in of_model:
                    of_model.append(layer)
        return layers
