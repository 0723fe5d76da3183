"""What a sweep found, instrument by instrument: one query each, and what its rows say in a few words.

A setting is all trainings that differ in their seeds alone; where a sweep has several, the query names what differs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memloc.analysis.query import read_table, run_sql
from memloc.seeds import stream
from memloc.statistics import Interval, bootstrap_crossed
from memloc.store import Store, schemas

Row = dict[str, Any]
Say = Callable[[list[Row]], str]  # the rows of one setting -> words, "" where they say nothing

SEEDS = ("seed", "data_seed")


@dataclass(frozen=True)
class Finding:
    """title: the instrument and where in the paper. lines: (setting, what was found). sql: the table it was read off."""

    title: str
    lines: list[tuple[str, str]]
    sql: str


@dataclass(frozen=True)
class Source:
    """A sweep in a store, its trials and its analyses as rows."""

    store: Store
    sweep: str
    trials: list[Row]
    analyses: list[Row]

    def rows(self, sql: str) -> list[Row]:
        found: list[Row] = run_sql(self.store, sql, self.sweep).to_pylist()
        return found


@dataclass(frozen=True)
class Instrument:
    """An experiment's table and what to say of it.

    columns: what is selected, and grouped by, after what names the setting. detail: the columns that `say` gets instead,
    where it needs more than a reader does.
    """

    title: str
    stage: str
    table: str
    columns: str
    say: Say
    where: str = ""
    order: str = "ALL"
    needs_trials: bool = False
    detail: str = ""


def findings(store: Store, sweep: str) -> list[Finding]:
    """Every instrument that the sweep has complete analyses of."""
    trials, analyses = (read_table(store, name, sweep).to_pylist() for name in ("trials", "analyses"))
    source = Source(store, sweep, trials, analyses)
    return [found for instrument in INSTRUMENTS if (found := _finding(instrument, source)).lines]


def _finding(instrument: Instrument, source: Source) -> Finding:
    mine = [a for a in source.analyses if a["stage"] == instrument.stage]
    trials = [t for t in source.trials if t["trial"] in {a["trial"] for a in mine}]
    of_trials = _trial_fields(trials)
    of_analyses = _analysis_fields(instrument.stage, mine, trials, of_trials)
    sql = _sql(instrument, of_trials, of_analyses, instrument.columns)
    detailed = _sql(instrument, of_trials, of_analyses, instrument.detail or instrument.columns)
    names = [*of_trials, *of_analyses]
    settings: dict[str, list[Row]] = {}
    for row in source.rows(detailed) if mine else []:
        settings.setdefault(_label({name: row[name] for name in names}), []).append(row)
    said = [(label, instrument.say(rows)) for label, rows in settings.items()]
    return Finding(instrument.title, [(label, words) for label, words in said if words], sql)


def _trial_fields(trials: Sequence[Row]) -> dict[str, str]:
    """{name: SQL} of the training's fields, seeds aside, in which the trials differ."""
    columns = schemas.TABLES["trials"].names
    names = [name for name in _differing([json.loads(t["config"]) for t in trials]) if name not in SEEDS]
    return {n: n if n in columns else f"json_extract_string(trials.config, '{n}') AS {n}" for n in names}


def _analysis_fields(stage: str, analyses: Sequence[Row], trials: Sequence[Row], named: Collection[str]) -> dict[str, str]:
    """The same of the stage's fields; differences that the training's own explain are not counted."""
    configs = {t["trial"]: json.loads(t["config"]) for t in trials}
    alike: dict[str, list[Row]] = {}
    for analysis in analyses:
        setting = _label({name: configs[analysis["trial"]].get(name) for name in named})
        alike.setdefault(setting, []).append(json.loads(analysis["config"]))
    names = dict.fromkeys(name for group in alike.values() for name in _differing(group))
    return {f"{stage}_{n}": f"json_extract_string(analyses.config, '{n}') AS {stage}_{n}" for n in names}


def _differing(configs: Sequence[Row]) -> list[str]:
    names = dict.fromkeys(name for config in configs for name in config)
    return [name for name in names if len({str(c.get(name)) for c in configs}) > 1]


def _sql(instrument: Instrument, of_trials: Mapping[str, str], of_analyses: Mapping[str, str], columns: str) -> str:
    joins = " JOIN trials USING (trial)" if of_trials or instrument.needs_trials else ""
    joins += " JOIN analyses USING (analysis, trial)" if of_analyses else ""
    where = f" WHERE {instrument.where}" if instrument.where else ""
    select = ", ".join([*of_trials.values(), *of_analyses.values(), columns])
    return f"SELECT {select} FROM {instrument.table}{joins}{where} GROUP BY ALL ORDER BY {instrument.order}"


def _label(setting: Row) -> str:
    return " ".join(f"{name}={value}" for name, value in setting.items() if value is not None)


# --- what the rows say ------------------------------------------------------------------------------------------------


def _accuracies(rows: list[Row]) -> str:
    """Before dropping: own masks on the training sets, scaled on test (example-tied); else plain."""
    modes = {(r["mode"], r["rescale"]): r for r in rows}
    before, scaled, after = (modes.get((m, "none")) for m in ("own", "scaled", "dropped"))
    plain = modes.get(("plain", "none"))
    words = []
    if before:
        words.append(_triple(before, scaled["test"] if scaled else None))
    elif plain:
        words.append(_triple(plain, plain["test"]))
    if after:
        words.append(f"dropped: {_triple(after, after['test'])}")
    return ", ".join(words)


def _triple(row: Row, test: float | None) -> str:
    return " / ".join("–" if v is None else f"{v:.3f}" for v in (row["clean"], row["noisy"], test))


def _gradients(rows: list[Row]) -> str:
    known = [r for r in rows if r["ratio"] is not None]
    if not known:
        return ""
    low, *_, high = [f"{r['ratio']:.2f} ({r['layer']})" for r in known] * 2  # in order; one layer is both
    cosine, control = (_mean(r[name] for r in known) for name in ("cosine", "control"))
    return f"noisy norm / clean norm {low} to {high}; cosine {cosine:+.2f} (random sets {control:+.2f})"


def _rewinding(rows: list[Row]) -> str:
    return _extremes(rows, "noisy accuracy left")


def _retraining(rows: list[Row]) -> str:
    return _extremes(rows, "noisy accuracy reached")


def _extremes(rows: list[Row], what: str) -> str:
    """The layers with the lowest and the highest noisy accuracy, mean over trainings."""
    by_layer: dict[str, list[float]] = {}
    for row in rows:
        if row["noisy"] is not None:
            by_layer.setdefault(row["layer"], []).append(row["noisy"])
    if not by_layer:
        return ""
    left = {layer: _mean(values) for layer, values in by_layer.items()}
    # Equal but for the order in which they were added up: the first by name.
    low, *_, high = sorted(left, key=lambda layer: (round(left[layer], 9), layer)) * 2
    return f"most critical {low} ({what} {left[low]:.3f}), most redundant {high} ({left[high]:.3f})"


def _neurons(rows: list[Row]) -> str:
    """Means over eligible rows; intervals resample examples and (training, repeat), whose draws all examples share."""
    words = []
    for name, noisy in (("clean", False), ("noisy", True)):
        counts = [r for r in rows if r["noisy"] == noisy]
        columns = {example: k for k, example in enumerate(sorted({e for r in counts for e in r["examples"]}))}
        values = np.full((len(counts), len(columns)), np.nan)
        for k, row in enumerate(counts):
            values[k, [columns[e] for e in row["examples"]]] = row["counts"]
        if found := bootstrap_crossed(values, stream(0, "neurons to flip", name)):
            words.append(f"{name} {in_brackets(found, 2)}")
    return ", ".join(words)


def _detection(rows: list[Row]) -> str:
    """Means over trainings of the AUC and of the ends of its DeLong interval."""
    known = {r["score"]: r for r in rows if r["auc"] is not None}
    if "flips" not in known:
        return ""
    others = [name for name in known if name != "flips"]
    words = f"AUC {in_brackets(_interval(known['flips']), 3)}"
    if others:
        best = max(others, key=lambda name: known[name]["auc"])
        words += f"; the best other score, {best}: {in_brackets(_interval(known[best]), 3)}"
    return words


def _interval(row: Row) -> Interval:
    return Interval(row["auc"], row["lo"], row["hi"])


def in_brackets(interval: Interval, digits: int) -> str:
    """`5.01 [4.70, 5.32]`, or the estimate alone where its spread is unknown."""
    if interval.lo is None or interval.hi is None:
        return f"{interval.value:.{digits}f}"
    return f"{interval.value:.{digits}f} [{interval.lo:.{digits}f}, {interval.hi:.{digits}f}]"


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


INSTRUMENTS = (
    Instrument(
        "Accuracy on clean / noisy / test examples, and with the memorization neurons dropped (§6.2)",
        "evaluate",
        "evaluation",
        "mode, rescale, avg(clean_acc) AS clean, avg(noisy_acc) AS noisy, avg(test_acc) AS test",
        _accuracies,
    ),
    Instrument(
        "Gradients of clean and noisy examples, by layer (§4)",
        "gradients",
        "gradient_layers",
        "layer, avg(norm_noisy) / avg(norm_clean) AS ratio, avg(cosine) AS cosine, avg(cosine_control) AS control",
        _gradients,
        order="ratio, layer",
    ),
    Instrument(
        "Rewinding one layer to an earlier epoch (§5.1)",
        "rewind",
        "rewind",
        "layer, avg(clean_acc) AS clean, avg(noisy_acc) AS noisy, avg(test_acc) AS test",
        _rewinding,
        where="epoch < epochs",
        order="noisy, layer",
        needs_trials=True,
    ),
    Instrument(
        "Retraining one layer on clean examples alone (§5.2)",
        "retrain",
        "retrain",
        "layer, trial, max(clean_acc) AS clean, max(noisy_acc) AS noisy",
        _retraining,
        where="epoch > 0",
        order="noisy, layer",
    ),
    Instrument(
        "Neurons to close until the prediction flips (§6.1)",
        "flips",
        "flips",
        "noisy, avg(count) AS neurons, avg((count < 10)::INT) AS below_10, avg(clean_acc) AS clean, avg(test_acc) AS test",
        _neurons,
        where="eligible",
        detail="noisy, trial, analysis, repeat, list(count) AS counts, list(example) AS examples",
    ),
    Instrument(
        "Telling mislabeled examples by the number of neurons (§6.1)",
        "detection",
        "detection",
        "score, avg(auc) AS auc, avg(auc_lo) AS lo, avg(auc_hi) AS hi",
        _detection,
        where="sample = 'flips'",
        order="auc DESC, score",
    ),
)
