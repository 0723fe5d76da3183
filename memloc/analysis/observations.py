"""What a store says of its settings, read once: trainings, whether they memorized, rows of analyses."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from memloc.analysis import scan
from memloc.analysis.conditions import among
from memloc.analysis.memorizing import Memorizing, by_trial
from memloc.analysis.own_stages import layered_tables
from memloc.analysis.pooling import Measurement, Origin, settings, variant_of
from memloc.analysis.reader import Reader
from memloc.analysis.settings import GIVEN, SEEDS, Setting
from memloc.analysis.stage_versions import warn_of_analyses
from memloc.analysis.views import VIEWS
from memloc.config import canonical_json
from memloc.data import SOURCES, NamedDataset, describe
from memloc.store.columns import Ints, texts_of

Row = dict[str, Any]
KEPT = 200_000_000  # bytes of rows and of what was made of them: whoever asks again need not wait
LAYERED = ("gradients", "rewind", "retrain")  # stages with a table of their name that has rows by layer
T = TypeVar("T")


@dataclass(frozen=True)
class Sizes:
    """The sizes of a training: examples, the mislabeled among them, classes."""

    n: int
    noisy: int
    classes: int

    @property
    def clean(self) -> int:
        """Correctly labeled examples."""
        return self.n - self.noisy

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / self.classes


class Observations(Memorizing):
    """The rows of a store, from one reader, read setting by setting: memory does not hold a table."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._settings: dict[tuple[Any, ...], list[Setting]] = {}
        self._kept: dict[tuple[str, ...], tuple[Any, int]] = {}
        self._groups_of: dict[str, list[str]] = {}

    def of_trials(self, trials: Collection[str]) -> Observations:
        """Those of some trainings and their analyses, and all C-scores."""
        seen = self._reader.seen
        return Observations(Reader(self._reader.store, replace(seen, commits=seen.commits.of_trials(trials), is_part=True)))

    def frame(self, sql: str) -> pd.DataFrame:
        """The rows of a SELECT."""
        rows: pd.DataFrame = self._reader.sql(sql).to_pandas()
        return rows

    def settings(
        self,
        stage: str,
        *,
        dropout: Sequence[str] = ("none",),
        without: Sequence[str] = (),
        atypical: bool = False,
        at: str = "trajectory",
    ) -> list[Setting]:
        """As `pooling.settings`, for this store."""
        key = (stage, tuple(dropout), tuple(without), atypical, at)
        if key not in self._settings:
            measured = Measurement(stage, atypical, at)
            self._settings[key] = settings(
                self.trials, self.analyses, measured, dropout=dropout, without=without, origins=self._origins
            )
        return self._settings[key]

    @cached_property
    def trials(self) -> dict[str, Row]:
        """{trial: its configuration}. If its labels are wrong as they are given, their share is its noise rate."""
        table = self._reader.table("trials")
        rows = zip(*(table[k].to_pylist() for k in ("trial", "config", "given_noise")), strict=True)
        return {trial: json.loads(config) | _given(share) for trial, config, share in rows}

    @cached_property
    def analyses(self) -> list[Row]:
        """Rows of `analyses`, config as a mapping; variant: the unusual options of what they read; read: the (stage,
        configuration) of all that they read.

        Also the source of C-scores, if trainings have analyses on sets by C-scores of several sources. An analysis without
        any row is left out: memloc writes none, and there is nothing to estimate.
        """
        committed = self._reader.seen.commits
        if not self._reader.seen.is_part:
            warn_of_analyses(self._reader.store, committed)
        with_rows = set(committed.at(committed.rows() > 0).said("analysis"))
        rows = [r for r in self._reader.table("analyses").to_pylist() if r["analysis"] in with_rows]
        read = cache(json.loads)  # most analyses have one of few configurations: they share the mapping
        configs = {r["analysis"]: read(r["config"]) for r in rows}
        stages = {r["analysis"]: r["stage"] for r in rows}
        described, several = [], _with_several_sources(rows, configs, self.trials)
        known: dict[tuple[Any, ...], tuple[Row, Row]] = {}
        for row in rows:
            of = [(stages[a], configs[a]) for a in row["reads"] if a in configs]
            training = self.trials.get(row["trial"], {})
            apart, epochs = row["analysis"] in several, training.get("epochs", 0)
            key = (row["config"], *(id(config) for _, config in of), apart, epochs)
            if key not in known:
                known[key] = _with_what_it_reads(configs[row["analysis"]], of, apart, epochs)
            config, unusual = known[key]
            variant = {k: v for k, v in unusual.items() if training.get(k.rpartition(".")[-1]) != v}
            described.append({**row, "config": config, "variant": variant, "read": of})
        return described

    @cached_property
    def configs(self) -> dict[str, Row]:
        """{analysis: its configuration}, as in `analyses`."""
        return {row["analysis"]: row["config"] for row in self.analyses}

    @cached_property
    def sizes(self) -> dict[str, Sizes]:
        """{trial: its sizes}."""
        sql = """SELECT trial, count(*) AS n, count_if(noisy) AS noisy, count(DISTINCT true_label) AS classes
                 FROM examples GROUP BY trial"""
        rows = self.frame(sql)[["trial", "n", "noisy", "classes"]].to_numpy().tolist()
        return {trial: Sizes(int(n), int(noisy), int(classes)) for trial, n, noisy, classes in rows}

    def data_identity(self, trial: str) -> str:
        """What the data of a training were, for `memloc.data.check_identity`."""
        return self._origins[trial].data

    @cached_property
    def _origins(self) -> dict[str, Origin]:
        trainings = self._reader.seen.commits.trainings()
        parts = zip(trainings.said("trial"), trainings.said("part"), strict=True)
        return {trial: Origin(str(part["data"]), int(part.get("version") or 0)) for trial, part in parts}

    def test_size(self, trial: str) -> int | None:
        """How many test examples a training has. None for all images of the user's: they need not be there any more."""
        config = self.trials[trial]
        if config.get("test_subset") is not None:
            return int(config["test_subset"])
        dataset = config["dataset"]
        source = SOURCES.get(dataset)
        if isinstance(source, NamedDataset):
            return source.n_test  # a whole description imports torchvision, for the files' checksums
        return None if source is None else describe(dataset).n_test

    def batches(
        self, table: str, columns: Sequence[str], analyses: Collection[str], coded: Sequence[str] = ()
    ) -> Iterator[Any]:
        """Record batches of some columns of the rows of these analyses, as `scan.batches`, in the order of their commits."""
        found = sorted((places for a in set(analyses) if (places := self._places.get(a)) is not None), key=lambda p: p[0])
        parts = self._reader.seen.commits.at(np.concatenate(found)) if found else []
        return scan.batches(self._reader.store, parts, table, columns, coded)

    def rows_of(self, analysis: str, table: str) -> int:
        """How many rows of a table an analysis has."""
        places = self._places.get(analysis)
        return 0 if places is None else int(self._reader.seen.commits.at(places).rows(table).sum())

    @cached_property
    def _places(self) -> dict[str, Ints]:
        """{analysis: the places of its commits}, in the order of tables."""
        ids = self._reader.seen.commits.array("analysis")
        order = np.argsort(ids, kind="stable")
        order = order[~self._reader.seen.commits.array("training")[order]]
        own = np.split(order, np.flatnonzero(np.diff(ids[order])) + 1) if len(order) else []
        return dict(zip(texts_of(ids[[places[0] for places in own]]), own, strict=True)) if own else {}

    def once(self, key: tuple[str, ...], make: Callable[[], T]) -> T:
        """What `make` makes, kept for whoever asks again.

        While there is no room, what was made first goes: `KEPT` bytes are kept of frames, and of what says its `nbytes`.
        """
        if key in self._kept:
            made: T = self._kept[key][0]
            return made
        made = make()
        size = int(made.memory_usage(deep=True).sum()) if isinstance(made, pd.DataFrame) else getattr(made, "nbytes", 0)
        for old in [old for old, (_, bytes_of) in self._kept.items() if bytes_of]:
            if size + sum(of for _, of in self._kept.values()) > KEPT:
                del self._kept[old]
        self._kept[key] = made, size
        return made

    def first_reaching(self, level: float) -> Mapping[str, int]:
        """{trial: the first epoch whose training pass has noisy accuracy of at least `level`}."""
        sql = (
            f"SELECT trial, min(epoch) AS epoch FROM epochs WHERE noisy_acc >= {level} AND NOT isnan(noisy_acc) GROUP BY ALL"
        )
        return {t: int(epoch) for t, epoch in by_trial(self.frame(sql), "epoch").items()}

    def rows(self, table: str, setting: Setting) -> pd.DataFrame:
        """The rows of a setting's analyses: within one analysis, layers are in the order of the network.

        Those of a view are sorted by analysis, epoch and layer.
        """
        analyses = [setting.analyses[t] for t in setting.trials]

        def make() -> pd.DataFrame:
            if table in VIEWS:
                return self.frame(
                    f"SELECT * FROM {table} WHERE {among('analysis', analyses)} ORDER BY analysis, epoch, layer"
                )
            schema = self._reader.schema(table)
            frame: pd.DataFrame = pa.Table.from_batches(self.batches(table, schema.names, analyses), schema).to_pandas()
            return frame

        return self.once((table, *analyses), make)

    def with_data_seed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """With a column data_seed. Examples of trainings are the same ones where it is the same."""
        return frame.assign(data_seed=frame["trial"].map({t: config.get("data_seed") for t, config in self.trials.items()}))

    def order(self, setting: Setting, layers: Iterable[str]) -> list[str]:
        """Layers from input to output, as analyses of the network list them. A layer within a group follows the group."""
        known = self.groups(setting.scope.model)

        def place(layer: str) -> tuple[int, str]:
            inside = [k for k, group in enumerate(known) if layer == group or layer.startswith(f"{group}.")]
            return (max(inside) if inside else len(known), layer)

        return sorted(set(layers), key=place)

    def groups(self, model: str) -> list[str]:
        """The layer groups of a network, in the order of the rows of one analysis of each stage that has them."""
        if model not in self._groups_of:
            groups: dict[str, None] = {}
            for stage, table in [*((name, name) for name in LAYERED), *layered_tables(self._reader)]:
                first = next(
                    (a for a in self.analyses if a["stage"] == stage and self.trials[a["trial"]]["model"] == model), None
                )
                if first is not None:
                    for batch in self.batches(table, ("layer",), (first["analysis"],)):
                        groups |= dict.fromkeys(batch.column("layer").to_pylist())
            self._groups_of[model] = list(groups)
        return self._groups_of[model]


def _with_several_sources(analyses: Iterable[Row], configs: Mapping[str, Row], trials: Mapping[str, Row]) -> set[str]:
    """The analyses on sets by C-score, of trainings that differ in their seeds alone and have such sets of several sources.

    C-scores on a subset may be others for each data_seed; so there several sources are several of one data_seed.
    """
    groups: dict[str, dict[str, str]] = {}
    for row in analyses:
        training, source = trials.get(row["trial"]), configs[row["analysis"]].get("memorized") or "labels"
        if training is not None and source != "labels":
            aside = ("seed",) if training.get("subset") else SEEDS
            group = canonical_json({k: v for k, v in training.items() if k not in aside})
            groups.setdefault(group, {})[row["analysis"]] = source
    return {analysis for of in groups.values() if len(set(of.values())) > 1 for analysis in of}


def _with_what_it_reads(config: Row, read: Sequence[tuple[str, Row]], several: bool, epochs: int) -> tuple[Row, Row]:
    """(the configuration, with what it has of the searches that it reads; the unusual options of what it reads).

    An option that the configuration has itself, as that of `locate` has those of the injection, is not repeated.
    """
    aside = {"mask_mode", *config}
    variant = {k: v for stage, of in read for k, v in variant_of(stage, of, epochs).items() if k not in aside}
    inherited = {k: of[k] for stage, of in read if stage == "flips" for k in ("memorized", "mask_mode") if of.get(k)}
    return config | inherited, variant | ({"memorized": config["memorized"]} if several else {})


def _given(share: float | None) -> Row:
    """The fields that stand for labels of which this share is wrong as they are given: no field says their noise rate."""
    return {"noise": round(share, 4), "wrong": GIVEN} if share else {}
