"""Hashes all files that commits list, and moves broken ones to quarantine. The next sweep computes them again."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from memloc.errors import MemlocWarning
from memloc.store import checkpoints, commit_form, commits, layout
from memloc.store.commit_form import CheckpointEntry, Commit, FileEntry
from memloc.store.files import Files


@dataclass(frozen=True)
class BrokenFile:
    """One broken file, and what the next sweep does about it."""

    path: str
    problem: str
    consequence: str


def verify(files: Files) -> tuple[list[BrokenFile], int]:
    """(everything broken, files checked). Moves the broken files, and commits that lost a data file, to quarantine.

    Files that the layout could not have written are not touched: they belong to somebody else.
    """
    broken_files: list[BrokenFile] = []
    records = _intact(files, layout.SWEEPS, "written again by the next sweep", broken_files)
    contents = _intact(files, layout.COMMITS, "what it committed is recomputed by the next sweep", broken_files)
    checked = len(records) + len(contents) + len(broken_files)
    committed = {path: commit for path, content in contents.items() if (commit := _decoded(files, path, content))}
    data = {e.path: e for c in committed.values() for e in c.files}
    broken = _problems(files, data.values())
    broken_files += _set_aside_data(files, committed, broken)
    winners: dict[str, Commit] = {}
    for _, commit in sorted(committed.items()):
        if not any(e.path in broken for e in commit.files):
            winners.setdefault(commit.id, commit)
    for commit in winners.values():
        broken_files += _check_checkpoints(files, commit)
    return broken_files, checked + len(data) + sum(len(c.checkpoints) for c in winners.values())


def _intact(files: Files, folder: str, consequence: str, broken_files: list[BrokenFile]) -> dict[str, bytes]:
    """{path: content} of the files whose content matches their name. The others become broken_files."""
    paths = layout.own(files.listing(folder))
    intact = {}
    for path, content in zip(paths, files.map(files.find, paths), strict=True):
        if content is None:
            continue  # another process has just moved it
        if layout.is_intact(path, content):
            intact[path] = content
        else:
            files.move(path, layout.quarantine(path))
            broken_files.append(BrokenFile(path, "its content does not match its name", consequence))
    return intact


def _decoded(files: Files, path: str, content: bytes) -> Commit | None:
    """A commit, or None if this version of memloc cannot read it. No file that it lists is touched."""
    try:
        return commit_form.decode(path, content)
    except ValueError as error:
        warnings.warn(f"store {files.uri}: {path} {error}; what it lists is not checked", MemlocWarning, stacklevel=2)
        return None


def _problems(files: Files, entries: Iterable[FileEntry | CheckpointEntry]) -> dict[str, str]:
    """{path: what is wrong with it} of the files that are not as committed."""
    entries = list(entries)
    problems = files.map(lambda e: commits.look_at(files, e)[1], entries)
    return {e.path: problem for e, problem in zip(entries, problems, strict=True) if problem}


def _set_aside_data(files: Files, committed: dict[str, Commit], broken: dict[str, str]) -> Iterator[BrokenFile]:
    """Moves commits first, then data: a reader must not find a commit without its data."""
    parts: dict[str, str] = {}
    for path, commit in committed.items():
        lost = [e.path for e in commit.files if e.path in broken]
        if lost:
            files.move(path, layout.quarantine(path))
            what = commit.stage if commit.analysis is None else f"{commit.stage} {dict(commit.part)}"
            parts |= dict.fromkeys(lost, f"{what} of trial {commit.trial}")
    for path, problem in sorted(broken.items()):
        files.move(path, layout.quarantine(path))
        yield BrokenFile(path, problem, f"{parts[path]} is recomputed by the next sweep")


def _check_checkpoints(files: Files, commit: Commit) -> Iterator[BrokenFile]:
    broken = _problems(files, commit.checkpoints)
    if not broken:
        return
    pruned = checkpoints.read_pruned(files, commit.trial)
    for entry in commit.checkpoints:
        missing = files.size(entry.path) is None
        if entry.path not in broken or (missing and entry.epoch in pruned):
            continue
        files.move(entry.path, layout.quarantine(entry.path))
        consequence = f"trial {commit.trial} is trained again by the next sweep and must give the same checkpoint"
        yield BrokenFile(entry.path, broken[entry.path], consequence)
