"""What a sweep found, instrument by instrument: one query each, and what its rows say in a few words.

A setting is all trainings that differ in their seeds alone; where a sweep has several, the query names what differs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memloc import stages
from memloc.analysis.query import read_table, run_sql
from memloc.seeds import stream
from memloc.statistics import Interval, bootstrap_crossed
from memloc.store import Store

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
    fields = _trial_fields(trials)
    fields |= _analysis_fields(mine, source, trials, list(fields))
    sql, detailed = (_sql(instrument, fields, c) for c in (instrument.columns, instrument.detail or instrument.columns))
    settings: dict[str, list[Row]] = {}
    for row in source.rows(detailed) if mine else []:
        settings.setdefault(_label({name: row[name] for name in fields}), []).append(row)
    said = [(label, instrument.say(rows)) for label, rows in settings.items()]
    return Finding(instrument.title, [(label, words) for label, words in said if words], sql)


def _trial_fields(trials: Sequence[Row]) -> dict[str, str]:
    """{name: SQL} of the training's fields, seeds aside, in which the trials differ."""
    columns = stages.tables()["trials"].names
    configs = [json.loads(t["config"]) for t in trials]
    names = [name for name in _differing(configs) if name not in SEEDS]
    peaks = {(c["epochs"], c["peak_epoch"]) for c in configs}
    if "peak_epoch" in names and len(peaks) == len({epochs for epochs, _ in peaks}):
        names.remove("peak_epoch")  # it follows from the epochs
    return {n: n if n in columns else f"json_extract_string(trials.config, '{n}') AS {n}" for n in names}


def _analysis_fields(analyses: Sequence[Row], source: Source, trials: Sequence[Row], named: Sequence[str]) -> dict[str, str]:
    """The same of the analyses and of those that they read; differences that the trainings' own explain are not counted."""
    configs = {t["trial"]: json.loads(t["config"]) for t in trials}
    by_id = {a["analysis"]: a for a in source.analyses}
    alike: dict[str, list[Mapping[Any, Any]]] = {}
    for analysis in analyses:
        setting = _label({name: configs[analysis["trial"]].get(name) for name in named})
        read = [by_id[i] for i in analysis["reads"] if i in by_id]
        settings = {(a["stage"], k): v for a in (analysis, *read) for k, v in json.loads(a["config"]).items()}
        alike.setdefault(setting, []).append(settings)
    names = dict.fromkeys(name for group in alike.values() for name in _differing(group))
    # Which examples are S_n is named wherever it is not the mislabeled, though the trainings differ in noise as well.
    everything = [settings for group in alike.values() for settings in group]
    names |= {name: None for name in _differing(everything) if name[1] == "memorized"}
    own = {a["stage"] for a in analyses}
    config = {stage: "analyses.config" if stage in own else f"read_{stage}.config" for stage, _ in names}
    return {f"{stage}_{n}": f"json_extract_string({config[stage]}, '{n}') AS {stage}_{n}" for stage, n in names}


def _sql(instrument: Instrument, fields: Mapping[str, str], columns: str) -> str:
    text = ", ".join(fields.values())
    read = dict.fromkeys(re.findall(r"\(read_(\w+)\.config", text))
    of_analyses = "(analyses.config" in text or read
    of_trials = instrument.needs_trials or any("(analyses." not in f and "(read_" not in f for f in fields.values())
    joins = " JOIN trials USING (trial)" if of_trials else ""
    joins += " JOIN analyses USING (analysis, trial)" if of_analyses else ""
    for stage in read:  # of each stage an analysis reads one, or none
        name = f"read_{stage}"
        joins += (
            f" LEFT JOIN analyses AS {name} ON list_contains(analyses.reads, {name}.analysis) AND {name}.stage = '{stage}'"
        )
    where = f" WHERE {instrument.where}" if instrument.where else ""
    select = ", ".join([*fields.values(), columns])
    order = instrument.order if instrument.order == "ALL" else ", ".join([*fields, instrument.order])
    return f"SELECT {select} FROM {instrument.table}{joins}{where} GROUP BY ALL ORDER BY {order}"


def _differing(configs: Sequence[Mapping[Any, Any]]) -> list[Any]:
    names = dict.fromkeys(name for config in configs for name in config)
    return [name for name in names if len({str(c.get(name)) for c in configs}) > 1]


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
    """The extremes of norms and cosines over layers, each a mean over epochs and trainings."""
    words = []
    for name, what in (("ratio", "noisy norm / clean norm"), ("cosine", "cosine"), ("control", "of random sets")):
        known = sorted((r[name], r["layer"]) for r in rows if r[name] is not None and np.isfinite(r[name]))
        if known:
            (low, first), (high, last) = known[0], known[-1]
            sign = "" if name == "ratio" else "+"
            words.append(f"{what} {low:{sign}.2f} ({first}) to {high:{sign}.2f} ({last})")
    return "; ".join(words)


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
    """Of several trainings the mean AUC, and the hull of their DeLong intervals; on the flip sample where there is one."""
    defined = [r for r in rows if r["auc"] is not None]
    sample = "flips" if any(r["sample"] == "flips" for r in defined) else "all"
    known = {r["score"]: r for r in defined if r["sample"] == sample}
    others = [name for name in known if name != "flips"]
    words = [f"AUC {in_brackets(_interval(known['flips']), 3)}"] if "flips" in known else []
    if others:
        best = max(others, key=lambda name: (known[name]["auc"], name))
        words.append(f"the best {'other ' if words else ''}score, {best}: {in_brackets(_interval(known[best]), 3)}")
    return "; ".join(words)


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
        "layer, avg(norm_noisy)/nullif(avg(norm_clean), 0) AS ratio, avg(cosine) AS cosine, avg(cosine_control) AS control",
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
        "flip_counts",
        "noisy, avg(neurons) AS neurons, avg((neurons < 10)::INT) AS below_10, avg(clean_acc) AS clean, "
        "avg(test_acc) AS test",
        _neurons,
        detail="noisy, trial, analysis, repeat, list(neurons) AS counts, list(example) AS examples",
    ),
    Instrument(
        "Telling mislabeled examples by the number of neurons, or by their training (§6.1)",
        "detection",
        "detection",
        "sample, score, avg(auc) AS auc, min(auc_lo) AS lo, max(auc_hi) AS hi",
        _detection,
        order="sample DESC, auc DESC, score",
    ),
)
