"""Writes trainings and their complete analyses into a bundle (bundle.py). No more than one file of it is held in memory."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import IO, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from memloc.config import canonical_json
from memloc.store import Store, bundle, checkpoints, footers, layout, schemas
from memloc.store.bundle import Described, Manifest, Member
from memloc.store.commit_form import Commit, FileEntry
from memloc.store.commits import Snapshot
from memloc.store.completeness import complete_of
from memloc.store.entries import read_entry
from memloc.store.generation_rows import SliceReader, read_rows
from memloc.store.index_columns import PlacedEntry
from memloc.store.records import SweepRecord
from memloc.version import VERSION

DATE = (1980, 1, 1, 0, 0, 0)  # of every member: equal content is an equal file
MODE = 0o100644 << 16  # a regular file

Config: TypeAlias = Mapping[str, Any]  # the fields of a training
Change: TypeAlias = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True)
class Wanted:
    """What a bundle shall have.

    trials: the ids of committed trainings. analyses: those that come along if they are complete; None: all. records: of
    sweeps. weights: do checkpoints come along? placeless: a training's fields without the folders of this machine.
    """

    trials: Collection[str]
    placeless: Callable[[Config], Config]
    analyses: Collection[str] | None = None
    records: Sequence[SweepRecord] = ()
    weights: bool = True


@dataclass
class Export:
    """What a bundle has: how many analyses and checkpoints, and all its files. bytes: of these together."""

    analyses: int = 0
    checkpoints: int = 0
    trials: list[Described] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """The bytes of all files."""
        return sum(member.size for member in self.members)


def write(store: Store, snapshot: Snapshot, wanted: Wanted, file: IO[bytes]) -> Export:
    """Writes a bundle.

    Raises:
        StoreError: a file of the store is not what was committed.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        return _Writer(store, snapshot, wanted, archive).written()


@dataclass
class _Writer:
    store: Store
    snapshot: Snapshot
    wanted: Wanted
    archive: zipfile.ZipFile
    export: Export = field(default_factory=Export)
    _readers: dict[str, SliceReader] = field(default_factory=dict)

    def written(self) -> Export:
        for record in self.wanted.records:
            self._add_record(record)
        trials = set(self.wanted.trials)
        parts_of: dict[str, list[Commit]] = {trial: [] for trial in sorted(trials)}
        for _, parts in sorted(complete_of(self.snapshot.every.of_trials(trials, self.wanted.analyses)).items()):
            parts_of[parts[0].trial] += parts
        for trial, parts in parts_of.items():
            self._add_trial(trial, parts)
        manifest = Manifest(tuple(self.export.trials), tuple(self.export.members), VERSION)
        content = json.dumps(asdict(manifest), sort_keys=True, indent=1).encode()
        self.archive.writestr(_info(bundle.MANIFEST), content)
        return self.export

    def _add(self, path: str, content: bytes) -> None:
        self.export.members.append(Member(path, len(content), layout.sha256(content)))
        self.archive.writestr(_info(path), content)

    def _add_record(self, record: SweepRecord) -> None:
        trials = [{**trial, "config": self.wanted.placeless(trial["config"])} for trial in record.trials]
        content = self.store.files.get(layout.sweep_named(record.name, record.sha))
        if trials != record.trials:
            content = canonical_json(trials).encode()
        self._add(layout.sweep(record.name, content), content)

    def _add_trial(self, trial: str, parts: Sequence[Commit]) -> None:
        training = self.snapshot.commits[trial]
        config = self.wanted.placeless(training.config)
        self._add_part(training, None if config == training.config else config)
        for entry in self._kept(training) if self.wanted.weights else ():
            self._add(entry.path, read_entry(self.store.files, entry))
            self.export.checkpoints += 1
        for part in parts:
            self._add_part(part)
        self.export.analyses += len({part.analysis for part in parts})
        self.export.trials.append(Described(trial, str(training.part["data"]), dict(config)))

    def _kept(self, training: Commit) -> list[Any]:
        """The checkpoints of a training but those that retention has removed."""
        files = self.store.files
        pruned = checkpoints.read_pruned(files, training.trial)
        return [e for e in training.checkpoints if e.epoch not in pruned or files.size(e.path) is not None]

    def _add_part(self, commit: Commit, config: Config | None = None) -> None:
        """Adds a part's data files and its commit. config: the fields that the commit and the rows have then."""
        if config is not None:
            change = _replacing({old: config[name] for name, old in commit.config.items() if config[name] != old} | {
                canonical_json(commit.config): canonical_json(config)
            })  # fmt: skip
            commit = replace(self._written_anew(commit, change), config=config)
        elif commit.id in self.snapshot.covered:
            commit = self._written_anew(commit, lambda rows: rows)
        else:
            for entry in commit.needed:  # with the networks that a part made: without them it would count as damaged
                self._add(entry.path, read_entry(self.store.files, entry))
            content = self.store.files.get(self.snapshot.paths[commit.id])
            self._add(layout.commit(commit.id, content), content)
            return
        content = commit.encode()
        self._add(layout.commit(commit.id, content), content)

    def _written_anew(self, commit: Commit, change: Change) -> Commit:
        """Adds data files with the rows of a commit, as `change` makes them. Returns the commit that lists them.

        If a generation has the rows, and they do not change, they are the bytes of before if the same version of Arrow and
        of memloc writes them.
        """
        entries = []
        for entry in commit.files:
            rows = change(self._rows(entry, commit.id))
            content = schemas.written(rows)
            path = layout.data(entry.table, commit.id, content)
            hashes = layout.sha256(content), schemas.sha8(rows.schema), layout.sha256(footers.footer(content))
            entries.append(FileEntry(entry.table, path, rows.num_rows, len(content), *hashes))
            self._add(path, content)
        return replace(commit, files=tuple(entries))

    def _rows(self, entry: FileEntry, part_id: str) -> pa.Table:
        if not isinstance(entry, PlacedEntry):
            return read_rows(self.store.files, entry, part_id)
        within = entry.within
        if within.path not in self._readers:
            self._readers[within.path] = SliceReader(self.store.files, within)
        return self._readers[within.path].rows(entry, part_id)


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, DATE)
    info.external_attr = MODE
    info.create_system = 3  # as on Linux, wherever it is written
    return info


def _replacing(texts: Mapping[str, str]) -> Change:
    """Puts others in place of these texts, in every cell that is one of them."""

    def change(rows: pa.Table) -> pa.Table:
        for place, column in enumerate(rows.schema):
            if column.type == pa.string() and pc.any(pc.is_in(rows[place], pa.array(list(texts)))).as_py():
                cells = [texts.get(cell, cell) for cell in rows[place].to_pylist()]
                rows = rows.set_column(place, column, pa.array(cells, pa.string()))
        return rows

    return change
