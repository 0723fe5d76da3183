"""What a store says of its settings, read once: trainings, whether they memorized, rows of analyses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from memloc.analysis.reader import Reader
from memloc.analysis.settings import SEEDS, Measurement, Setting, settings, variant_of
from memloc.analysis.testable import testable
from memloc.analysis.views import RIGHT_SCORES
from memloc.config import canonical_json
from memloc.data import SOURCES, NamedDataset, describe

Row = dict[str, Any]
DERIVED = {
    "gradient_layers": "SELECT * FROM gradient_layers ORDER BY analysis, epoch, layer",
    # Eligible searches: the count (max_neurons where censored), and the accuracies after the closings.
    "flip_counts": """SELECT analysis, trial, repeat, example, noisy, clean_acc, noisy_acc, test_acc, neurons AS count
        FROM flip_counts ORDER BY analysis, repeat, example""",
    # n: rows of `flips`, eligible or not.
    "searches": "SELECT analysis, noisy, count(*) AS n FROM flips GROUP BY ALL ORDER BY ALL",
    # Of eligible examples. share: the mean over repeats of the layer's part of a search's closings. first: the same of the
    # first closing alone.
    "closings": """WITH
        closed AS (SELECT analysis, trial, example, noisy, unnest(layers) AS layer, 1 / len(layers) AS part,
                          generate_subscripts(layers, 1) = 1 AS first FROM flips WHERE eligible),
        searches AS (SELECT analysis, example, count(*) AS n FROM flips
                     WHERE eligible AND len(layers) > 0 GROUP BY ALL)
        SELECT analysis, trial, example, noisy, layer, fsum(part ORDER BY part) / any_value(n) AS share,
               count_if(first) / any_value(n) AS first
        FROM closed JOIN searches USING (analysis, example) GROUP BY ALL ORDER BY ALL""",
}


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


class Observations:
    """The rows of a store, from one reader. Every table is read once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._tables: dict[str, pd.DataFrame] = {}
        self._groups_of: dict[str, list[str]] = {}

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
        """As `settings.settings`, for this store."""
        measured = Measurement(stage, atypical, at)
        return settings(self.trials, self.analyses, measured, dropout=dropout, without=without)

    @cached_property
    def trials(self) -> dict[str, Row]:
        """{trial: its configuration}. If its labels are wrong as they are given, their share is its noise rate."""
        table = self._reader.table("trials")
        rows = zip(*(table[k].to_pylist() for k in ("trial", "config", "given_noise")), strict=True)
        return {trial: json.loads(config) | _given(share) for trial, config, share in rows}

    @cached_property
    def analyses(self) -> list[Row]:
        """Rows of `analyses`, config as a mapping; variant: the options of the flips that they read.

        Also the source of C-scores, if trainings have analyses on sets by C-scores of several sources. An analysis without
        any row is left out: memloc writes none, and there is nothing to estimate.
        """
        with_rows = {c.analysis for c in self._reader.seen.commits if any(f.rows for f in c.files)}
        rows = [r for r in self._reader.table("analyses").to_pylist() if r["analysis"] in with_rows]
        configs = {r["analysis"]: (r["stage"], json.loads(r["config"])) for r in rows}
        described, several = [], _with_several_sources(rows, self.trials)
        for row in rows:
            counts = [configs[a][1] for a in row["reads"] if a in configs and configs[a][0] == "flips"]
            variant = {k: v for config in counts for k, v in variant_of("flips", config).items() if k != "mask_mode"}
            inherited = {k: c[k] for c in counts for k in ("memorized", "mask_mode") if c.get(k)}
            if row["analysis"] in several:
                variant["memorized"] = configs[row["analysis"]][1]["memorized"]
            described.append({**row, "config": configs[row["analysis"]][1] | inherited, "variant": variant})
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
        return self._identities[trial]

    @cached_property
    def _identities(self) -> dict[str, str]:
        return {c.trial: str(c.part["data"]) for c in self._reader.seen.commits if c.analysis is None}

    def test_size(self, dataset: str) -> int | None:
        """How many test examples a data set has. None for images of the user's: they need not be there any more."""
        source = SOURCES.get(dataset)
        if isinstance(source, NamedDataset):
            return source.n_test  # a whole description imports torchvision, for the files' checksums
        return None if source is None else describe(dataset).n_test

    def table(self, name: str) -> pd.DataFrame:
        """A whole table, in the order of its commits: within one analysis, layers are in the order of the network.

        Or one of `DERIVED`, sorted.
        """
        if name not in self._tables:
            derived = DERIVED.get(name)
            self._tables[name] = self._reader.table(name).to_pandas() if derived is None else self.frame(derived)
        return self._tables[name]

    def c_scores(self, trials: Sequence[str]) -> pd.DataFrame | None:
        """Columns trial, example, c_score (on the right labels of their data); None if the store has none."""
        scores = self.frame(
            f"SELECT trial, example, c_score FROM ({RIGHT_SCORES}) AS chosen "
            f"JOIN (SELECT scores, example, c_score FROM c_scores) USING (scores) WHERE {among('trial', trials)}"
        )
        return None if scores.empty else scores

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """Columns trial, epoch, clean_acc and noisy_acc (of the training pass), test_acc."""
        return self.frame("SELECT trial, epoch, clean_acc, noisy_acc, test_acc FROM epochs ORDER BY trial, epoch")

    def first_reaching(self, level: float) -> Mapping[str, int]:
        """{trial: the first epoch whose training pass has noisy accuracy of at least `level`}."""
        reached = self.epochs[self.epochs["noisy_acc"] >= level]
        return {str(t): int(e) for t, e in reached.groupby("trial")["epoch"].min().items()}

    def rows(self, table: str, setting: Setting) -> pd.DataFrame:
        """The rows of a setting's analyses, as in `table`."""
        frame = self.table(table)
        return frame[frame["analysis"].isin(set(setting.analyses.values()))]

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
            for stage in ("gradients", "rewind", "retrain"):
                first = next(
                    (a for a in self.analyses if a["stage"] == stage and self.trials[a["trial"]]["model"] == model), None
                )
                if first is not None:
                    rows = self.frame(f"SELECT layer FROM {stage} WHERE {among('analysis', [first['analysis']])}")
                    groups |= dict.fromkeys(rows["layer"])
            self._groups_of[model] = list(groups)
        return self._groups_of[model]

    # --- memorization -------------------------------------------------------------------------------------------------

    @cached_property
    def memorized(self) -> dict[str, float]:
        """{trial: evaluation-mode accuracy on its mislabeled examples at the last epoch}, where it is known.

        It comes from `evaluation` (mode plain; own with example-tied dropout); else from `rewind` (rewinding to T is the
        network itself); else from `flips.eligible` of the noisy examples of the sample.
        """
        known: dict[str, float] = {}
        for accuracies in (self._from_flips, self._from_rewind, self._from_evaluation):
            known.update(accuracies())
        return known

    def testable(self, trials: Sequence[str], *, atypical: bool = False) -> tuple[list[str], str]:
        """As `testable.testable`, for this store."""
        known, passed = (self.memorized_atypical, {}) if atypical else (self.memorized, self._passed)
        return testable(trials, known, passed)

    @cached_property
    def _passed(self) -> dict[str, float]:
        """{trial: noisy accuracy in the last epoch's training pass}."""
        last = self.epochs.groupby("trial")["noisy_acc"].last().dropna()
        return {str(t): float(v) for t, v in last.items()}

    def _from_evaluation(self) -> dict[str, float]:
        tied = ("example_tied",)
        known: dict[str, float] = {}
        for dropout, mode in ((("none", "standard", "sparse"), "plain"), (tied, "own")):
            for setting in self.settings("evaluate", dropout=dropout):
                rows = self.rows("evaluation", setting)
                known.update(_by_trial(rows[rows["mode"] == mode], "noisy_acc"))
        return known

    def _from_rewind(self, atypical: bool = False) -> dict[str, float]:
        known: dict[str, float] = {}
        for setting in self.settings("rewind", atypical=atypical):
            rows = self.rows("rewind", setting)
            last = rows["trial"].map({t: self.trials[t]["epochs"] for t in setting.trials})
            known.update(_by_trial(rows[rows["epoch"] == last], "noisy_acc"))
        return known

    @cached_property
    def memorized_atypical(self) -> dict[str, float]:
        """The same for the examples with a low C-score, from `rewind`."""
        return self._from_rewind(atypical=True)

    def _from_flips(self) -> dict[str, float]:
        searched = [a for s in self.settings("flips") for a in s.analyses.values()]
        if not searched:
            return {}
        where = among("analysis", searched)
        sql = f"SELECT trial, avg(eligible::INT) AS share FROM flips WHERE noisy AND {where} GROUP BY trial"
        return _by_trial(self.frame(sql), "share")


def _with_several_sources(analyses: Iterable[Row], trials: Mapping[str, Row]) -> set[str]:
    """The analyses on sets by C-score, of trainings that differ in their seeds alone and have such sets of several sources.

    C-scores on a subset may be others for each data_seed; so there several sources are several of one data_seed.
    """
    groups: dict[str, dict[str, str]] = {}
    for row in analyses:
        training, source = trials.get(row["trial"]), json.loads(row["config"]).get("memorized") or "labels"
        if training is not None and source != "labels":
            aside = ("seed",) if training.get("subset") else SEEDS
            group = canonical_json({k: v for k, v in training.items() if k not in aside})
            groups.setdefault(group, {})[row["analysis"]] = source
    return {analysis for of in groups.values() if len(set(of.values())) > 1 for analysis in of}


def _by_trial(frame: pd.DataFrame, column: str) -> dict[str, float]:
    return {t: float(v) for t, v in zip(frame["trial"], frame[column], strict=True) if not pd.isna(v)}


def among(column: str, values: Iterable[str]) -> str:
    """`column IN ('a', 'b')`; ids have no quotes."""
    return f"{column} IN ({', '.join(repr(v) for v in sorted(values))})"


def _given(share: float | None) -> Row:
    """The fields that stand for labels of which this share is wrong as they are given: no field says their noise rate."""
    return {"noise": round(share, 4), "wrong": "given"} if share else {}
