"""The instruments of a sweep: the query of each, what it says of itself, and the trainings that have not memorized.

A setting is all trainings that differ in their seeds alone. If a sweep has several settings, the query names the fields that
differ. Sentences about memorization are about trainings that memorized. The summary says which trainings have not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from memloc import stages
from memloc.analysis.own_stages import is_own, own_instruments
from memloc.analysis.reader import Reader
from memloc.analysis.reading import reading
from memloc.analysis.settings import SEEDS, in_words
from memloc.config import Neutral, fields_of, marker, written
from memloc.stages.instrument import LEAST_MEMORIZED, Instrument, Row
from memloc.store import Store

# A training's noisy accuracy at the last epoch. The first of these that is known: in evaluation mode (with example-tied
# dropout under each example's own mask); rewound to the last epoch, which is the network itself; in the training pass.
NOISY_ACCURACY = """WITH trained AS (SELECT trial, epochs, dropout FROM trials),
evaluated AS (
  SELECT trial, max(noisy_acc) AS noisy FROM evaluation JOIN trained USING (trial) JOIN analyses USING (analysis, trial)
  WHERE mode = CASE dropout WHEN 'example_tied' THEN 'own' ELSE 'plain' END AND rescale = 'none'
    AND json_extract(analyses.config, '$.epoch')::INT = epochs
  GROUP BY trial),
rewound AS (
  SELECT trial, max(noisy_acc) AS noisy FROM rewind JOIN trained USING (trial) JOIN analyses USING (analysis, trial)
  WHERE epoch = epochs AND coalesce(json_extract_string(analyses.config, 'memorized'), 'labels') = 'labels'
  GROUP BY trial),
passed AS (SELECT trial, max(noisy_acc) AS noisy FROM epochs JOIN trained USING (trial) WHERE epoch = epochs GROUP BY trial)
SELECT trial, coalesce(evaluated.noisy, rewound.noisy, passed.noisy) AS noisy
FROM trained LEFT JOIN evaluated USING (trial) LEFT JOIN rewound USING (trial) LEFT JOIN passed USING (trial)
ORDER BY trial"""


@dataclass(frozen=True)
class Used:
    """An instrument that a sweep has used.

    title: with the paper's section. sql: its query. lines: (setting, sentences), of an instrument that says something
    itself. not_memorized: {setting of the training: {trial: its noisy accuracy}} where no training memorized; the lines say
    nothing about these. own: it is that of a plugin's stage.
    """

    title: str
    sql: str
    lines: list[tuple[str, str]]
    not_memorized: dict[str, dict[str, float]]
    own: bool = False


@dataclass(frozen=True)
class SweepContent:
    """A reader of a sweep, its trials and its analyses as rows; noisy: {trial: its noisy accuracy at the last epoch}."""

    reader: Reader
    trials: list[Row]
    analyses: list[Row]
    noisy: Mapping[str, float]

    @cached_property
    def configs(self) -> dict[str, Row]:
        """{trial: its configuration}."""
        return {t["trial"]: json.loads(t["config"]) for t in self.trials}

    @cached_property
    def names(self) -> list[str]:
        """The fields, seeds aside, in which the trials of the sweep differ."""
        return list(_trial_fields(list(self.configs.values())))

    def label(self, trial: str) -> str:
        """What tells a trial's training from the others of the sweep: the same for every instrument."""
        return _label({name: self.configs[trial].get(name) for name in self.names})

    def rows(self, sql: str) -> list[Row]:
        """The rows of one SELECT over the sweep; errors as those of `Reader.sql`."""
        rows: list[Row] = self.reader.sql(sql).to_pylist()
        return rows


def instruments(store: Store, sweep: str | None) -> list[Used]:
    """As `instruments_of`, of a sweep, or of a whole store."""
    return reading(store, instruments_of, sweep)


def instruments_of(reader: Reader, sentences: bool = True) -> list[Used]:
    """Every instrument with complete analyses, in the paper's order. sentences: with what they say, which takes all rows."""
    trials, analyses = (reader.table(name).to_pylist() for name in ("trials", "analyses"))
    noisy = {r["trial"]: r["noisy"] for r in reader.sql(NOISY_ACCURACY).to_pylist() if r["noisy"] is not None}
    content = SweepContent(reader, trials, analyses, noisy)
    with_analyses = {a["stage"] for a in analyses}
    own = own_instruments(reader, with_analyses)
    return [_used(i, content, sentences) for i in (*stages.instruments(), *own) if i.stage in with_analyses]


def _used(instrument: Instrument, content: SweepContent, sentences: bool) -> Used:
    mine = [a for a in content.analyses if a["stage"] == instrument.stage]
    trials = dict.fromkeys(a["trial"] for a in mine)
    configs = [config for trial, config in content.configs.items() if trial in trials]
    fields = _trial_fields(configs, instrument.table)
    fields |= _analysis_fields(mine, content, list(fields), instrument)
    left_out = _not_memorized(mine, content) if instrument.memorizing else {}
    nobody = len(left_out) == len(configs)
    without = f"trial NOT IN ({', '.join(repr(t) for t in sorted(left_out))})" if left_out and not nobody else ""
    sql = _sql(instrument, fields, instrument.columns, without)
    if not sentences:
        return Used(instrument.title, sql, [], {}, is_own(instrument.stage))
    settings: dict[str, list[Row]] = {}
    for row in [] if nobody else content.rows(sql):
        settings.setdefault(_label({name: row[name] for name in fields}), []).append(row)
    not_memorized: dict[str, dict[str, float]] = {}
    for row in content.rows(_sql(instrument, fields, "trial")) if left_out else []:
        trial = row["trial"]
        if trial in left_out and _label({name: row[name] for name in fields}) not in settings:
            not_memorized.setdefault(content.label(trial), {})[trial] = left_out[trial]
    say = instrument.say
    lines = [(label, said) for label, rows in settings.items() if say and (said := say(rows))]
    return Used(instrument.title, sql, lines, not_memorized, is_own(instrument.stage))


def _not_memorized(analyses: Sequence[Row], content: SweepContent) -> dict[str, float]:
    """{trial: its noisy accuracy} of the trainings of these analyses that have not memorized the mislabeled examples."""
    by_label = [a for a in analyses if json.loads(a["config"]).get("memorized", "labels") in (None, "labels")]
    known = {a["trial"]: content.noisy[a["trial"]] for a in by_label if a["trial"] in content.noisy}
    return {trial: noisy for trial, noisy in known.items() if noisy < LEAST_MEMORIZED}


def _trial_fields(configs: Sequence[Row], table: str = "") -> dict[str, str]:
    """{name: SQL} of the training's fields, seeds aside, in which trainings differ. table: what they are joined to."""
    tables = stages.tables()
    columns = {name: name for name in tables["trials"].names}
    if table in tables:  # `precision` is a field of trainings and a column of `detection`
        columns |= {name: f"trials.{name} AS {name}" for name in columns if name in tables[table].names}
    names = [name for name in _differing(configs) if name not in SEEDS]
    peaks = {(c["epochs"], c["peak_epoch"]) for c in configs}
    if "peak_epoch" in names and len(peaks) == len({epochs for epochs, _ in peaks}):
        names.remove("peak_epoch")  # it follows from the epochs
    return {n: columns.get(n, f"json_extract_string(trials.config, '{n}') AS {n}") for n in names}


def _analysis_fields(
    analyses: Sequence[Row], content: SweepContent, of_trials: Sequence[str], instrument: Instrument
) -> dict[str, str]:
    """The same for the fields of the analyses and of those that they read.

    A difference that follows from the trainings' own fields (of_trials) does not count, unless the instrument always names
    the field.
    """
    by_id = {a["analysis"]: a for a in content.analyses}
    alike: dict[str, list[Mapping[Any, Any]]] = {}
    for analysis in analyses:
        setting = _label({name: content.configs[analysis["trial"]].get(name) for name in of_trials})
        read = [by_id[i] for i in analysis["reads"] if i in by_id]
        settings = {(a["stage"], k): v for a in (analysis, *read) for k, v in json.loads(a["config"]).items()}
        alike.setdefault(setting, []).append(settings)
    names = dict.fromkeys(name for group in alike.values() for name in _differing(group))
    everything = [settings for group in alike.values() for settings in group]
    names |= {name: None for name in _differing(everything) if name[1] in instrument.named}
    names = {name: None for name in names if name not in {(instrument.stage, field) for field in instrument.extent}}
    own = {a["stage"] for a in analyses}
    config = {stage: "analyses.config" if stage in own else f"read_{stage}.config" for stage, _ in names}
    return {f"{stage}_{n}": f"{_value(config[stage], stage, n)} AS {stage}_{n}" for stage, n in names}


def _value(config: str, stage: str, name: str) -> str:
    """SQL: the value of a stage's field. A field that is not there has its neutral value."""
    value = f"json_extract_string({config}, '{name}')"
    known = fields_of(stages.STAGES[stage].config) if stage in stages.STAGES else {}
    neutral = marker(known[name], Neutral) if name in known else None
    return value if neutral is None or neutral.value is None else f"coalesce({value}, '{neutral.value}')"


def _sql(instrument: Instrument, fields: Mapping[str, str], columns: str, without: str = "") -> str:
    """The SELECT of an instrument; fields: what names a setting. without: a condition that leaves trainings out."""
    text = ", ".join(fields.values())
    read = dict.fromkeys(re.findall(r"\(read_(\w+)\.config", text))
    of_analyses = "(analyses.config" in text or read
    of_trials = instrument.needs_trials or any("(analyses." not in f and "(read_" not in f for f in fields.values())
    joins = " JOIN trials USING (trial)" if of_trials else ""
    joins += " JOIN analyses USING (analysis, trial)" if of_analyses else ""
    for stage in read:  # an analysis reads at most one of each stage
        name = f"read_{stage}"
        joins += (
            f" LEFT JOIN analyses AS {name} ON list_contains(analyses.reads, {name}.analysis) AND {name}.stage = '{stage}'"
        )
    conditions = " AND ".join(c for c in (instrument.where, without) if c)
    where = f" WHERE {conditions}" if conditions else ""
    select = ", ".join([*fields.values(), columns])
    simple = instrument.order == "ALL" or columns == "trial"
    order = "ALL" if simple else ", ".join([*fields, instrument.order])
    return f"SELECT {select} FROM {instrument.table}{joins}{where} GROUP BY ALL ORDER BY {order}"


def _differing(configs: Sequence[Mapping[Any, Any]]) -> list[Any]:
    names = dict.fromkeys(name for config in configs for name in config)
    return [name for name in names if len({str(c.get(name)) for c in configs}) > 1]


def _label(setting: Row) -> str:
    """As `settings.differing` names settings: `MNIST, 20 % noise, width 0.5`."""
    fields = {name: written(value, quote=False) for name, value in setting.items() if value is not None}
    return ", ".join(in_words(fields).values())
