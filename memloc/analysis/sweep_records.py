"""The records of the sweeps in a store: when each was first launched, and what differs between those of one name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from memloc.analysis.superseded import Current, current, in_order
from memloc.config import canonical_json, written
from memloc.config.analysis_ids import Said, versions_of
from memloc.config.types import Neutral
from memloc.counts import counted
from memloc.errors import UsageError
from memloc.store import Snapshot, Store, records
from memloc.store.records import SweepRecord

SHOWN = 4  # values of a field in a description, damaged records in a warning
COUNTS = {2: "two", 3: "three"}


@dataclass(frozen=True)
class RecordAbout:
    """A record, when it was first launched, and its differences from the record of its name before it."""

    record: SweepRecord
    launched: float
    differs: tuple[str, ...]

    @property
    def name(self) -> str:
        """NAME@sha8: what a command takes."""
        return f"{self.record.name}@{self.record.sha}"


def about_records(store: Store, sweep: str | None = None, snapshot: Snapshot | None = None) -> list[RecordAbout]:
    """Every record, or those of one name. Names are in order; the oldest record of a name comes first."""
    return described(_intact(store, sweep), snapshot or store.snapshot())


def _intact(store: Store, sweep: str | None) -> list[SweepRecord]:
    """Every intact record, or those that a name means; warns of the damaged ones, once for a store."""

    def warn(damaged: list[str]) -> None:
        named = ", ".join(damaged[:SHOWN]) + (f" and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else "")
        left_out = f"store {store.uri}: left out: {counted(len(damaged), 'damaged sweep record')} ({named})"
        store.warn(frozenset(damaged), lambda: f"{left_out}; launch the sweep again to write it anew")

    if sweep is None:
        return records.read_sweeps(store.files, on_damaged=warn)
    return records.read_sweep(store.files, sweep, on_damaged=warn)


def described(contents: Sequence[SweepRecord], snapshot: Snapshot) -> list[RecordAbout]:
    """Each record with its differences, in the order of `about_records`."""
    about: list[RecordAbout] = []
    for record, launched in in_order(contents, snapshot):
        before = about[-1].record if about and about[-1].record.name == record.name else None
        about.append(RecordAbout(record, launched, differences(before, record) if before else ()))
    return about


def contents_of(store: Store, sweep: str | None) -> list[SweepRecord]:
    """The records of a sweep's name, the one that NAME@sha8 means, or all records (None).

    Raises:
        UsageError: where the store has no such sweep.

    Warns:
        MemlocWarning: where records are damaged; where the name means several records (it says how to name one of them).
            Each comes once for a store.
    """
    contents = _intact(store, sweep)
    if sweep is not None and len(contents) > 1:
        name: str = sweep  # which the records' contents decide the text of
        store.warn((name, *(r.sha for r in contents)), lambda: _several(name, described(contents, store.snapshot())))
    return contents


def trials_of(store: Store, sweep: str | None) -> list[dict[str, Any]]:
    """The trials of these records, each once, as records.SweepRecord holds them; errors and warnings as `contents_of`."""
    return records.merged_trials(contents_of(store, sweep))


def current_of(store: Store, sweep: str | None, snapshot: Snapshot) -> Current:
    """The same without what is unfinished and superseded (analysis/superseded.py)."""
    return current(contents_of(store, sweep), snapshot)


def _several(name: str, about: Sequence[RecordAbout]) -> str:
    """The warning that a name has several records, with the name and the differences of each."""
    each = [f"{a.name} (of {day(a.launched)}{''.join(f', {d}' for d in a.differs)})" for a in about]
    count = COUNTS.get(len(about), str(len(about)))
    together = f"{name}: {count} different sweeps have this name. Their trials are taken together"
    return f"{together}. To see one, type {' or '.join(each)}"


def day(seconds: float) -> str:
    """Local date and time to the minute."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def moment(seconds: float) -> str:
    """Local date and time to the second with the offset from UTC, in ISO 8601: for programs."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def differences(first: SweepRecord, other: SweepRecord) -> tuple[str, ...]:
    """What changes from `first` to `other`: `FIELD: old → new` of trainings and stages, stages, the number of trainings."""
    from memloc.models.architectures import resolved  # half a second, and most stores have one record of a name

    try:
        configs = [[resolved(**t["config"]).flat() for t in record.trials] for record in (first, other)]
    except UsageError:  # another version of memloc planned one of them: what it wrote is all that is known
        configs = [[t["config"] for t in record.trials] for record in (first, other)]
    before, after = _field_values(first, configs[0]), _field_values(other, configs[1])
    changed = []
    for name in dict.fromkeys([*before, *after]):
        stage, point, _ = name.partition(".")
        if before.get(name) == after.get(name):
            continue
        if not point or (stage in before and stage in after):
            changed.append(f"{name}: {_listed(before.get(name))} → {_listed(after.get(name))}")
    if len(first.trials) != len(other.trials):
        changed.append(f"trainings: {len(first.trials)} → {len(other.trials)}")
    return tuple(changed) or tuple(_other_ids(first, other)) or ("ids alone: another version of memloc, or other data",)


def _other_ids(first: SweepRecord, other: SweepRecord) -> Iterator[str]:
    """What has the same configuration and other ids: `flips: version 2 → 3`, or that the ids differ."""
    before, after = _ids_by_stage(first), _ids_by_stage(other)
    if before["train"] != after["train"]:
        yield "train: other ids, by another version of memloc or other data"  # so have all of their analyses
        return
    for stage in sorted({*before, *after}):
        if before.get(stage) != after.get(stage):
            versions = [_versions(record, stage) for record in (first, other)]
            known = all(versions) and versions[0] != versions[1]
            said = " → ".join(", ".join(map(str, of)) for of in versions)
            yield f"{stage}: version {said}" if known else f"{stage}: other ids, by another version of memloc or of its code"


def _ids_by_stage(record: SweepRecord) -> dict[str, set[str]]:
    ids = {"train": {trial["trial"] for trial in record.trials}}
    for trial in record.trials:
        for analysis in trial["analyses"]:
            ids.setdefault(analysis["stage"], set()).add(analysis["analysis"])
    return ids


def _versions(record: SweepRecord, stage: str) -> list[int]:
    """The versions of a stage in a record; none where the ids do not tell: those of analyses that read others."""
    own = [(t["trial"], a) for t in record.trials for a in t["analyses"] if a["stage"] == stage]
    said = {a["analysis"]: Said(trial, stage, canonical_json(a["config"]), ()) for trial, a in own[:SHOWN]}
    found = set(versions_of(said))
    return [] if None in found else sorted(v for v in found if v is not None)


def _field_values(record: SweepRecord, configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """{field, STAGE or STAGE.FIELD: its values among the record's trials}. A stage itself has the values ("yes",).

    configs: the fields of each training.
    """
    by_name: dict[str, dict[str, Any]] = {}

    def note(name: str, value: Any) -> None:
        if value is not None:
            by_name.setdefault(name, {})[canonical_json([value])] = value

    for trial, config in zip(record.trials, configs, strict=True):
        for name, value in config.items():
            note(name, value)
        for analysis in trial["analyses"]:
            note(analysis["stage"], "yes")
            for name, value in {**_neutral(analysis["stage"]), **analysis["config"]}.items():
                note(f"{analysis['stage']}.{name}", value)
    return {name: tuple(by_text[text] for text in sorted(by_text)) for name, by_text in by_name.items()}


def _neutral(stage: str) -> dict[str, Any]:
    """{field: neutral value} of a stage: what an analysis has whose configuration does not name the field."""
    from memloc.stages import STAGES

    if stage not in STAGES:  # a plugin's stage that is not here
        return {}
    fields = STAGES[stage].config.model_fields
    return {name: m.value for name, field in fields.items() for m in field.metadata if isinstance(m, Neutral)}


def _listed(values: Sequence[Any] | None) -> str:
    if values is None:
        return "none"
    shown = ", ".join(canonical_json(v) if isinstance(v, list) else written(v, quote=False) for v in values[:SHOWN])
    return f"{shown}, …" if len(values) > SHOWN else shown
