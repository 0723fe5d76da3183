"""The records of a store besides results: resolved sweeps and failures."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from memloc.config import canonical_json
from memloc.errors import UsageError, nearest, without_secrets
from memloc.store import documents, layout, record_form
from memloc.store.documents import Id
from memloc.store.files import Files

if TYPE_CHECKING:
    from memloc.store.commits import Snapshot

OnDamaged: TypeAlias = Callable[[list[str]], None]


class _Failed(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    id: Id
    trial: Id
    stage: str
    traceback: str
    host: str
    when: documents.Seconds
    error: NotRequired[str]


@cache
def _failed() -> TypeAdapter[_Failed]:
    return TypeAdapter(_Failed)


@dataclass(frozen=True)
class SweepRecord:
    """A resolved sweep: `trials` is [{trial, config, blocks, analyses: [{analysis, stage, config, parts: [id, …]}]}].

    A trial with analyses that could not be planned yet also has `waiting`: [{block, stage}]. recorded: the time of writing
    in seconds since 1970, by the file system. In a copied store it may be the time of the copy: analysis/superseded.launched
    knows better.
    """

    name: str
    sha: str
    trials: list[dict[str, Any]]
    recorded: float = 0.0


def write_sweep(files: Files, name: str, trials: list[dict[str, Any]]) -> str:
    """Records a sweep; returns its `NAME@sha8`. The hash is of the trials and analyses alone."""
    content = canonical_json(trials).encode()
    path = layout.sweep(name, content)
    if documents.find(files, path, {}) != content:
        files.put(path, content)
        files.delete(layout.quarantine(path))  # what it was is known again
    return f"{name}@{layout.sha8(content)}"


def read_sweeps(files: Files, folder: str = layout.SWEEPS, on_damaged: OnDamaged | None = None) -> list[SweepRecord]:
    """Every intact record, in the order of names. on_damaged: called with the paths of the damaged ones, if any are.

    `files.on_odd` is told of what is intact and is no record.
    """
    dates = files.dates(folder)
    intact: list[SweepRecord] = []
    damaged: list[str] = []
    odd: dict[str, str] = {}
    paths = layout.own(dates)
    for path, content in zip(paths, files.map(lambda p: documents.find(files, p, odd), paths), strict=True):
        if content is not None and not layout.is_intact(path, content):
            damaged.append(path)
        elif content is not None:
            try:
                trials = record_form.trials_in(content)
                intact.append(SweepRecord(layout.sweep_of(path), layout.sha8(content), trials, dates[path]))
            except ValueError as error:
                odd[path] = f"is no record of a sweep that this version of memloc can read ({error})"
    if odd:
        files.on_odd(odd)
    if damaged and on_damaged is not None:
        on_damaged(damaged)
    return intact


def read_all(files: Files, folder: str = layout.SWEEPS) -> tuple[list[SweepRecord], list[str]]:
    """(every record that can be read, the paths of the others: what they need is not known).

    A link in the place of a record or of a folder is not followed, so records may be behind it: it is among the others. So
    are the records that `verify` has set aside as damaged, for those in `sweeps/`.
    """
    with files.noting_odd() as odd:
        paths = layout.own(files.listing(folder))
    intact = read_sweeps(files, folder)
    read = {(record.name, record.sha) for record in intact}
    unread = [path for path in paths if (layout.sweep_of(path), layout.record_sha(path)) not in read]
    lost = quarantined(files) if folder == layout.SWEEPS else []
    return intact, [*sorted(odd), *(path for path in unread if files.size(path) is not None), *lost]


def unfinished(sweeps: Iterable[SweepRecord], snapshot: Snapshot) -> dict[str, str]:
    """{training of which a sweep's record plans more than is committed: NAME@sha8 of such a record}."""
    return {
        trial["trial"]: f"{record.name}@{record.sha}"
        for record in sweeps
        for trial in record.trials
        if trial.get("waiting") or not all(snapshot.complete(analysis["parts"]) for analysis in trial["analyses"])
    }


def quarantined(files: Files) -> list[str]:
    """The damaged records of sweeps that `verify` has moved to `quarantine/`, and that no launch has written anew."""
    anew = {layout.quarantine(path) for path in files.listing(layout.SWEEPS)}
    paths = files.listing(layout.quarantine(layout.SWEEPS))
    return sorted(path for path in paths if layout.is_quarantined(path) and path not in anew)


def sweep_names(files: Files) -> list[str]:
    """The names that have a record, sorted, by the names of files alone: a record may be damaged."""
    return sorted({layout.sweep_of(path) for path in layout.own(files.listing(layout.SWEEPS))})


def read_sweep(files: Files, name: str, on_damaged: OnDamaged | None = None) -> list[SweepRecord]:
    """Every intact record of a sweep's name, or the one that NAME@sha8 means. on_damaged: as for `read_sweeps`.

    Raises:
        UsageError: where the store has no such sweep, or none of its records can be read.
    """
    base, at, sha = name.partition("@")
    names = sweep_names(files)  # the name is searched among these, and never used as a path
    if base not in names:
        have = ", ".join(names) or "none"
        raise UsageError(f"{base or repr(base)}: no such sweep in store {files.uri}{nearest(base, names)}; it has: {have}")
    damaged: list[str] = []
    records = read_sweeps(files, layout.sweep_folder(base), damaged.extend)
    if not records:
        whole = "is damaged; launch the sweep again to write it anew"
        odd = "is none that this version of memloc can read; update memloc, or launch the sweep again"
        raise UsageError(f"{base}: its record in store {files.uri} {whole if damaged else odd}")
    if damaged and on_damaged is not None and not at:
        on_damaged(damaged)
    wanted = [r for r in records if r.sha == sha or not at]
    if not wanted:
        raise UsageError(
            f"{name}: no such record in store {files.uri}; valid: {', '.join(f'{base}@{r.sha}' for r in records)}"
        )
    return wanted


def merged_trials(records: list[SweepRecord]) -> list[dict[str, Any]]:
    """The union of records: each training once, with all blocks and all analyses of all records.

    An analysis of a block may wait in one record. It does not wait here if another record has the same training in the same
    block, and nothing of this block waits there.
    """
    # Most names have one record. That of ten thousand trainings is asked for by every status.
    if len(records) == 1 and len({trial["trial"] for trial in records[0].trials}) == len(records[0].trials):
        return [{"waiting": [], **trial, "blocks": list(dict.fromkeys(trial["blocks"]))} for trial in records[0].trials]
    union: dict[str, dict[str, Any]] = {}
    for record in records:
        for trial in record.trials:
            known = union.setdefault(trial["trial"], {**trial, "analyses": [], "waiting": []})
            have = {a["analysis"] for a in known["analyses"]}
            known["analyses"] += [a for a in trial["analyses"] if a["analysis"] not in have]
            known["waiting"] += [w for w in trial.get("waiting", []) if w not in known["waiting"]]
            known["blocks"] = list(dict.fromkeys((*known["blocks"], *trial["blocks"])))
    for record in records:
        for trial in record.trials:
            met = [b for b in trial["blocks"] if b not in [w["block"] for w in trial.get("waiting", [])]]
            known = union[trial["trial"]]
            known["waiting"] = [w for w in known["waiting"] if w["block"] not in met]
    return list(union.values())


@dataclass(frozen=True)
class Failure:
    """A part that failed for good. part_id: for a training the id of the trial. error: the traceback's error in one line."""

    part_id: str
    trial: str
    stage: str
    traceback: str
    error: str


def record_failure(files: Files, failure: Failure) -> None:
    """Writes down that a part failed for good, where, and how."""
    record = {
        "id": failure.part_id,
        "trial": failure.trial,
        "stage": failure.stage,
        "traceback": without_secrets(failure.traceback),
        "error": without_secrets(failure.error),
        "host": platform.node(),
        "when": time.time(),
    }
    write_failure(files, failure.part_id, record)


def write_failure(files: Files, part_id: str, record: Mapping[str, Any]) -> None:
    """Writes a failure record, as `record_failure` makes it."""
    content = json.dumps(dict(record), indent=1).encode()
    files.put(layout.failure(part_id, content), content)


def read_failures(files: Files) -> dict[str, dict[str, Any]]:
    """{part id: its newest failure record}. Readers must check whether a commit supersedes it.

    `files.on_odd` is told of what is no record.
    """
    newest: dict[str, dict[str, Any]] = {}
    odd: dict[str, str] = {}
    paths = layout.own(files.listing(layout.FAILURES))
    for path, content in zip(paths, files.map(lambda p: documents.find(files, p, odd), paths), strict=True):
        if content is None:
            continue
        try:
            record = _failure_in(path, content)
        except ValueError as error:
            odd[path] = f"is no record of a failure ({error})"
            continue
        known = newest.get(record["id"])
        if known is None or record["when"] >= known["when"]:
            newest[record["id"]] = record
    if odd:
        files.on_odd(odd)
    return newest


def _failure_in(path: str, content: bytes) -> dict[str, Any]:
    """Raises ValueError where the content is no record of the failure that the path names."""
    if not layout.is_intact(path, content):
        raise ValueError("its content does not match its name")
    record: dict[str, Any] = documents.as_written(_failed(), content)
    if layout.failed_part(path) != record["id"]:
        raise ValueError(f"it has the id {record['id']}")
    return record


def clear_failures(files: Files, part_ids: set[str]) -> None:
    """Removes the records of parts that are about to be tried again."""
    if not part_ids:
        return
    for path in files.listing(layout.FAILURES):
        if layout.is_failure_of(path, part_ids):
            files.delete(path)
