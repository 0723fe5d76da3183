"""python -m benchmarks.same_tables BEFORE AFTER: are the tables of two stores equal, bit for bit, for the same settings?

It is for a new version of memloc. Both versions run one sweep, each into a store of its own. Trainings are paired by their
resolved configuration; analyses by training, stage and their own configuration; rows by their key (epoch, layer, example).
Fields that hold their neutral value are left out on both sides. Every column that both stores have is compared, but ids and
clock readings. NaN is equal to NaN, and NULL only to NULL.

Version 2 of training makes two kinds of difference, which are named and not counted: columns that are new, and trainings
with random dropout (masks are drawn anew). The exit code is 1 on any other difference, and where one store has a training,
an analysis or a row that the other has not.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import memloc
from memloc.analysis.reader import known_tables
from memloc.config import Neutral, TrainConfig
from memloc.models.architectures import TRAINING
from memloc.stages import STAGES

IDS = ("trial", "analysis", "scores", "reads", "config", "version")  # follow from versions and configurations
CLOCK = ("seconds",)
KEYS = ("epoch", "layer", "param", "mode", "rescale", "example", "repeat", "score", "other", "sample")
NEW = {"examples": ("mean_prob", "alternative", "alternative_prob")}  # columns that later versions have added
RANDOM = "masks of random dropout, drawn anew"


class Tables(Protocol):
    """What is compared: an open store."""

    def table(self, name: str) -> pa.Table: ...


@dataclass
class Settings:
    """What the ids of a store stand for, each as text that is the same in every version.

    owners: {id of a training, an analysis or a set of C-scores: its settings}. random: ids of trainings with random dropout
    and of their analyses.
    """

    owners: dict[str, str] = field(default_factory=dict)
    random: set[str] = field(default_factory=set)


@dataclass
class Compared:
    """One table: how much was compared, and what differs. only: rows that one store alone has."""

    table: str
    rows: int = 0
    columns: int = 0
    new: list[str] = field(default_factory=list)
    differing: int = 0
    only: int = 0
    first: str = ""


def without_neutral(config: Mapping[str, Any], neutral: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a stored configuration that say something."""
    return {name: v for name, v in config.items() if v is not None and not (name in neutral and neutral[name] == v)}


def training_neutral() -> dict[str, Any]:
    """{field of a training: its neutral value}"""
    found = _neutral(TrainConfig.model_fields)
    for held in TRAINING.variant_fields:
        for variant in held.variants.values():
            own = _neutral(variant.model_fields)
            found |= {held.flat if name == variant.KIND else name: value for name, value in own.items()}
    return found


def _neutral(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: m.value for name, info in fields.items() for m in info.metadata if isinstance(m, Neutral)}


def settings_of(store: Tables) -> Settings:
    """The settings behind every id of a store."""
    found, neutral = Settings(), training_neutral()
    for row in store.table("trials").to_pylist():
        config = without_neutral(json.loads(row["config"]), neutral)
        found.owners[row["trial"]] = _text(config)
        if config.get("dropout") == "standard" or config["model"] == "vit_small":
            found.random.add(row["trial"])
    analyses = {row["analysis"]: row for row in store.table("analyses").to_pylist()}
    for name, row in analyses.items():
        found.owners[name] = _text(_analysis(row, analyses, found.owners))
        if row["trial"] in found.random:
            found.random.add(name)
    scores = store.table("c_scores")
    for row in scores.drop_columns(["example", "c_score", "memorization", "n_in", "n_out"]).to_pylist():
        if row["scores"] not in found.owners:
            config = without_neutral(json.loads(row["config"]), neutral)
            found.owners[row["scores"]] = _text({**row, "scores": None, "config": config})
    return found


def _analysis(row: Mapping[str, Any], analyses: Mapping[str, Any], owners: Mapping[str, str]) -> dict[str, Any]:
    stage = STAGES.get(row["stage"])
    config = without_neutral(json.loads(row["config"]), _neutral(stage.config.model_fields) if stage else {})
    reads = [_analysis(analyses[i], analyses, owners) for i in row["reads"] or () if i in analyses]
    return {"training": owners[row["trial"]], "stage": row["stage"], "config": config, "reads": sorted(map(_text, reads))}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def compare(name: str, tables: Sequence[pa.Table], settings: Sequence[Settings]) -> Compared:
    """Table `name` of (before, after)."""
    rows = [_rows(table, s) for table, s in zip(tables, settings, strict=True)]
    paired = [key for key in rows[0] if key in rows[1]]
    one_sided = [row for r, other in (rows, rows[::-1]) for key, row in r.items() if key not in other]
    result = Compared(name, rows=len(paired), only=len(one_sided))
    if one_sided:
        result.first = f"only in one store: {one_sided[0].place}"
    numbers = [pa.array([r[key].number for key in paired], pa.int64()) for r in rows]
    before, after = (table.take(number) for table, number in zip(tables, numbers, strict=True))
    for column in dict.fromkeys([*before.column_names, *after.column_names]):
        if column in (*IDS, *CLOCK):
            continue
        if _is_new(name, column, before, after):
            result.new.append(column)
            continue
        values = [_column(table, column) for table in (before, after)]
        different = differences(*values)
        result.columns += 1
        result.differing += len(different)
        if len(different) and not result.first:
            at = int(different[0])
            result.first = f"{column} of {rows[0][paired[at]].place}: {values[0][at]!s} before, {values[1][at]!s} after"
    return result


@dataclass(frozen=True)
class Row:
    """number: in its table. place: which one it is, for a person."""

    number: int
    place: str


def _rows(table: pa.Table, settings: Settings) -> dict[tuple[Any, ...], Row]:
    """{(settings, keys, count of rows before it with the same): row}, without what random masks have changed."""
    owner = next(name for name in ("analysis", "trial", "scores") if name in table.column_names)
    keys = [name for name in KEYS if name in table.column_names]
    columns = [table.column(name).to_pylist() for name in (owner, *keys)]
    seen: Counter[tuple[Any, ...]] = Counter()
    found: dict[tuple[Any, ...], Row] = {}
    for number, (identity, *key) in enumerate(zip(*columns, strict=True)):
        if identity not in settings.random:
            what = (settings.owners[identity], *key)
            words = [f"{owner} {identity}", *(f"{name} {value}" for name, value in zip(keys, key, strict=True))]
            found[*what, seen[what]] = Row(number, ", ".join(words))
            seen[what] += 1
    return found


def _is_new(table: str, column: str, before: pa.Table, after: pa.Table) -> bool:
    """Whether the column is one that version 2 of training added, and the older store has nothing in it."""
    is_field = table == "trials" and TRAINING.check_name(column) is None
    return (column in NEW.get(table, ()) or is_field) and _is_empty(before, column) and not _is_empty(after, column)


def _is_empty(table: pa.Table, column: str) -> bool:
    return column not in table.column_names or table.column(column).null_count == table.num_rows


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    return table.column(name) if name in table.column_names else pa.chunked_array([pa.nulls(table.num_rows)])


def differences(before: pa.ChunkedArray, after: pa.ChunkedArray) -> np.ndarray:
    """The rows, int64, in which two columns of one length differ in a bit."""
    if before.type != after.type or pa.types.is_nested(after.type) or pa.types.is_null(after.type):
        pairs = enumerate(zip(before.to_pylist(), after.to_pylist(), strict=True))
        return np.array([i for i, (one, other) in pairs if not _same(one, other)], dtype=np.int64)
    if pa.types.is_floating(after.type):
        bits = [_bits(column) for column in (before, after)]
        null = [column.is_null().to_numpy() for column in (before, after)]
        return np.flatnonzero((null[0] != null[1]) | (~null[0] & (bits[0] != bits[1])))
    same = pc.fill_null(pc.equal(before, after), False)
    same = pc.or_(same, pc.and_(before.is_null(), after.is_null()))
    return np.flatnonzero(~same.to_numpy())


def _bits(column: pa.ChunkedArray) -> np.ndarray:
    """The bit patterns as whole numbers; every NaN has one pattern."""
    values = np.array(column.fill_null(0.0).to_numpy())
    values[np.isnan(values)] = np.nan
    return values.view(np.int64 if values.dtype == np.float64 else np.int32)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one.hex() == other.hex()
    return type(one) is type(other) and bool(one == other)


def main(before: str, after: str) -> int:
    stores = [memloc.open_store(uri) for uri in (before, after)]
    return report(stores)


def report(stores: Sequence[Tables]) -> int:
    """Prints what was compared and what differs; returns the exit code."""
    settings = [settings_of(store) for store in stores]
    names = [*known_tables()]
    found = [compare(name, [store.table(name) for store in stores], settings) for name in names]
    print(f"{'table':<16}{'rows':>8}{'columns':>9}{'differing':>11}{'one-sided':>11}  new columns")
    for c in found:
        if c.rows or c.only:
            new = ", ".join(c.new)
            print(f"{c.table:<16}{c.rows:>8}{c.columns:>9}{c.differing:>11}{c.only:>11}  {new}".rstrip())
    print(f"not compared: {len(settings[1].random)} trainings and analyses ({RANDOM})")
    bad = [c for c in found if c.differing or c.only]
    for c in bad:
        print(f"{c.table}: {c.first}")
    if not any(c.rows for c in found):
        print("the stores have no training in common")
        return 1
    print("the tables differ" if bad else "equal, value by value")
    return 1 if bad else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.same_tables BEFORE AFTER (two stores)")
    sys.exit(main(*sys.argv[1:]))
