"""What a sweep found, instrument by instrument: one query each, and what its rows say in a few words.

A setting is all trainings that differ in their seeds alone; where a sweep has several, the query names what differs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memloc import stages
from memloc.analysis.query import reading
from memloc.analysis.reader import Reader
from memloc.stages.instrument import Instrument, Row
from memloc.store import Store

SEEDS = ("seed", "data_seed")


@dataclass(frozen=True)
class Finding:
    """title: the instrument and where in the paper. lines: (setting, what was found). sql: the table it was read off."""

    title: str
    lines: list[tuple[str, str]]
    sql: str


@dataclass(frozen=True)
class Source:
    """A reader of a sweep, its trials and its analyses as rows."""

    reader: Reader
    trials: list[Row]
    analyses: list[Row]

    def rows(self, sql: str) -> list[Row]:
        rows: list[Row] = self.reader.sql(sql).to_pylist()
        return rows


def findings(store: Store, sweep: str) -> list[Finding]:
    """Every instrument that the sweep has complete analyses of, from one snapshot."""

    def read(reader: Reader) -> list[Finding]:
        trials, analyses = (reader.table(name).to_pylist() for name in ("trials", "analyses"))
        source = Source(reader, trials, analyses)
        every = (_finding(instrument, source) for instrument in stages.instruments())
        return [finding for finding in every if finding.lines]

    return reading(store, read, sweep)


def _finding(instrument: Instrument, source: Source) -> Finding:
    mine = [a for a in source.analyses if a["stage"] == instrument.stage]
    trials = [t for t in source.trials if t["trial"] in {a["trial"] for a in mine}]
    fields = _trial_fields(trials)
    fields |= _analysis_fields(mine, source, trials, list(fields), instrument.named)
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


def _analysis_fields(
    analyses: Sequence[Row], source: Source, trials: Sequence[Row], of_trials: Sequence[str], always: Sequence[str]
) -> dict[str, str]:
    """The same of the analyses and of those that they read.

    Differences that the trainings' own fields (of_trials) explain are not counted, but for those in the fields `always`.
    """
    configs = {t["trial"]: json.loads(t["config"]) for t in trials}
    by_id = {a["analysis"]: a for a in source.analyses}
    alike: dict[str, list[Mapping[Any, Any]]] = {}
    for analysis in analyses:
        setting = _label({name: configs[analysis["trial"]].get(name) for name in of_trials})
        read = [by_id[i] for i in analysis["reads"] if i in by_id]
        settings = {(a["stage"], k): v for a in (analysis, *read) for k, v in json.loads(a["config"]).items()}
        alike.setdefault(setting, []).append(settings)
    names = dict.fromkeys(name for group in alike.values() for name in _differing(group))
    everything = [settings for group in alike.values() for settings in group]
    names |= {name: None for name in _differing(everything) if name[1] in always}
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
