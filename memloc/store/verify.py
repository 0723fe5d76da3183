"""Hashes all files that commits list, and moves broken ones to quarantine. The next sweep computes them again."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from memloc.counts import counted
from memloc.errors import DamagedError, MemlocWarning
from memloc.store import checkpoints, columns, commit_form, commits, documents, generations, layout, parquet, table_content
from memloc.store.commit_form import Commit
from memloc.store.entries import Listed
from memloc.store.files import Files
from memloc.store.generations import Generation
from memloc.store.index_columns import spans
from memloc.store.schemas import Schemas
from memloc.store.table_content import PART


@dataclass(frozen=True)
class BrokenFile:
    """One broken file, and what the next sweep does about it."""

    path: str
    problem: str
    consequence: str


def verify(files: Files, known: Schemas | None = None) -> tuple[list[BrokenFile], int]:
    """(everything broken, files checked). Moves the broken files, and commits that lost a data file, to quarantine.

    Files that the layout could not have written are not touched: they belong to somebody else. What `gc` or `rm` removes
    meanwhile, with what lists it, is not broken.

    known: the schemas of the tables that this version writes. A data file whose columns do not fit to them is broken.
    """
    broken_files: list[BrokenFile] = []
    while True:
        before = generations.in_order(files)
        try:
            return broken_files, _checked(files, broken_files, known or {})
        except DamagedError:
            if not _is_replaced(files, before):
                raise  # else `rm` has taken the index away from which checkpoints were read


def _is_replaced(files: Files, manifests: Sequence[str]) -> bool:
    """Is there a generation besides these? `rm` writes one and removes those before it at once."""
    return not set(generations.in_order(files)) <= set(manifests)


def _checked(files: Files, broken_files: list[BrokenFile], known: Schemas) -> int:
    """How many files were checked. What is broken is set aside, and becomes broken_files."""
    records = _intact(files, layout.SWEEPS, "written again by the next sweep", broken_files)
    contents = _intact(files, layout.COMMITS, "what it committed is recomputed by the next sweep", broken_files)
    manifests = _intact(files, layout.MANIFESTS, "readers take the generation before it", broken_files)
    checked = len(records) + len(contents) + len(manifests) + len(broken_files)
    committed = {path: commit for path, content in contents.items() if (commit := _decoded(files, path, content))}
    data: dict[str, Listed] = {e.path: e for c in committed.values() for e in c.needed}
    broken = _problems(files, data.values(), known)
    broken_files += _set_aside_data(files, committed, broken)
    winners: dict[str, Commit] = {}
    for _, commit in sorted(committed.items()):
        if not any(e.path in broken for e in commit.needed):
            winners.setdefault(commit.id, commit)
    generation, listed = _check_generation(files, winners, broken_files, known)
    every = [c for i, c in winners.items() if i not in generation and not c.networks]
    every += generation.values()
    read: dict[str, Generation] = {}
    for commit in every:
        broken_files += _check_checkpoints(files, commit, read)
    return checked + len(data) + listed + sum(len(c.checkpoints) for c in every)


def _intact(files: Files, folder: str, consequence: str, broken_files: list[BrokenFile]) -> dict[str, bytes]:
    """{path: content} of the JSON files whose content matches their name. The others become broken_files."""
    paths = [path for path in layout.own(files.listing(folder)) if path.endswith(".json")]
    intact = {}
    odd: dict[str, str] = {}
    for path, content in zip(paths, files.map(lambda p: documents.find(files, p, odd), paths), strict=True):
        if path in odd and folder != layout.MANIFESTS:  # a reader of manifests names those
            warnings.warn(f"store {files.uri}: {path} {odd[path]}; it is not checked", MemlocWarning, stacklevel=4)
        if content is None:
            continue  # too large for a reader too, or another process has just moved it
        if layout.is_intact(path, content):
            intact[path] = content
        else:
            files.move(path, layout.quarantine(path))
            broken_files.append(BrokenFile(path, "its content does not match its name", consequence))
    return intact


def _check_generation(
    files: Files, loose: Mapping[str, Commit], broken_files: list[BrokenFile], known: Schemas
) -> tuple[Mapping[str, Commit], int]:
    """(the commits of the generation that readers take, how many files it lists). Broken ones become broken_files.

    loose: {part: its commit with files of its own, all whole}.
    """
    _set_aside_indexes(files, broken_files)
    manifests = generations.look(files, {})
    for path, why in manifests.unreadable.items():
        warnings.warn(f"store {files.uri}: {path} {why}; what it lists is not checked", MemlocWarning, stacklevel=3)
    present = manifests.taken
    if present is None:
        return {}, 0
    lost = _problems(files, present.files, known)
    wrong = _wrong_commits(files, present) or _wrong_places(files, present, lost)
    newer = generations.look(files, {}).taken if lost or wrong else present
    if newer is not None and newer.path == present.path and wrong:
        _set_aside_manifest(files, present.path, wrong, broken_files)
        newer = None
    if newer is None or newer.path != present.path:
        return _check_generation(files, loose, broken_files, known)
    for file in present.files:
        if file.path not in lost:
            continue
        again = sum(part not in loose for part in present.lost_with(file))
        is_known = not again or files.size(layout.quarantine(file.path)) is not None
        if lost[file.path] != "is missing" or not is_known:
            files.move(file.path, layout.quarantine(file.path))
            consequence = f"{counted(again, 'part')} of table {file.table} recomputed by the next sweep"
            broken_files.append(BrokenFile(file.path, lost[file.path], consequence))
    return present.commits.without(lost), len(present.files) + len(present.manifest.index)


def _set_aside_indexes(files: Files, broken_files: list[BrokenFile]) -> None:
    """Sets aside manifests whose index is broken, the highest first, as far as the first whole one."""
    paths = generations.in_order(files)
    for path in paths:
        try:
            manifest = generations.read_manifest(files, path)
        except ValueError:
            continue
        wrong = _problems(files, manifest.index, {}) if manifest is not None else {}
        if manifest is not None and not wrong:
            return
        if wrong and _is_replaced(files, paths):
            _set_aside_indexes(files, broken_files)
            return
        if wrong:
            _set_aside_manifest(files, path, wrong, broken_files)


def _set_aside_manifest(files: Files, path: str, wrong: Mapping[str, str], broken_files: list[BrokenFile]) -> None:
    """wrong: {file of its index: what is wrong with it}."""
    for own, problem in {path: "has a broken index", **wrong}.items():  # itself first: none may find it without its index
        files.move(own, layout.quarantine(own))
        broken_files.append(BrokenFile(own, problem, "readers take the generation before it"))


def _wrong_commits(files: Files, present: Generation) -> dict[str, str]:
    """{file of its index: what is wrong with it} where the bytes of a commit, whose hash is right, are not that commit."""
    try:
        for part_id in present.commits:
            present.commits.whole(part_id)
    except DamagedError as error:
        return {error.path: error.problem.removeprefix(f"store {files.uri}: {error.path} ")}
    return {}


def _decoded(files: Files, path: str, content: bytes) -> Commit | None:
    """A commit, or None if this version of memloc cannot read it. No file that it lists is touched."""
    try:
        return commit_form.decode(path, content)
    except ValueError as error:
        warnings.warn(f"store {files.uri}: {path} {error}; what it lists is not checked", MemlocWarning, stacklevel=2)
        return None


def _problems(files: Files, listed: Iterable[Listed], known: Schemas) -> dict[str, str]:
    """{path: what is wrong with it} of the files that are not as committed, and of data files that are none."""
    listed = list(listed)
    problems = files.map(lambda e: table_content.problem(files, e, known), listed)
    return {e.path: problem for e, problem in zip(listed, problems, strict=True) if problem}


def _set_aside_data(files: Files, committed: dict[str, Commit], broken: dict[str, str]) -> Iterator[BrokenFile]:
    """Moves commits first, then data: a reader must not find a commit without its data."""
    parts: dict[str, str] = {}
    for path, commit in committed.items():
        lost = [e.path for e in commit.needed if e.path in broken]
        if lost and files.move(path, layout.quarantine(path)):
            what = commit.stage if commit.analysis is None else f"{commit.stage} {dict(commit.part)}"
            parts |= dict.fromkeys(lost, f"{what} of trial {commit.trial}")
    for path, problem in sorted(broken.items()):
        if path not in parts:
            continue  # another process has just removed the commit, and the file after it
        files.move(path, layout.quarantine(path))
        yield BrokenFile(path, problem, f"{parts[path]} is recomputed by the next sweep")


def _wrong_places(files: Files, present: Generation, lost: Collection[str]) -> dict[str, str]:
    """{file of its index: what is wrong with it} where the index gives a part rows of another. lost: files to skip."""
    of = present.commits.columns
    for n, file in enumerate(of.files):
        own = of["within"] == n
        if file.path in lost or not own.any():
            continue
        try:
            parts = parquet.read(
                files, file, lambda read: columns.plain(read.read([PART.name], use_threads=False)[PART.name])
            )
        except parquet.ChangedError:  # it was whole just now: `rm` or `gc` has removed it
            continue
        places = spans(of["first"][own], of["rows"][own])
        if (parts[places] != np.repeat(of["id"][of.owner[own]], of["rows"][own])).any():
            return {piece.path: f"has other rows of {file.path} than those of its parts" for piece in present.manifest.index}
    return {}


def _check_checkpoints(files: Files, commit: Commit, known: dict[str, Generation]) -> Iterator[BrokenFile]:
    """known: the generations that were read to see whether a training is still there."""
    broken = _problems(files, commit.checkpoints, {})
    if not broken or commits.find(files, commit.id, known, placed=True) is None:
        return
    pruned = checkpoints.read_pruned(files, commit.trial)
    for entry in commit.checkpoints:
        missing = files.size(entry.path) is None
        if entry.path not in broken or (missing and entry.epoch in pruned):
            continue
        files.move(entry.path, layout.quarantine(entry.path))
        consequence = f"trial {commit.trial} is trained again by the next sweep and must give the same checkpoint"
        yield BrokenFile(entry.path, broken[entry.path], consequence)
