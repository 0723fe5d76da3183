"""Hashes everything that commits list, and moves what is broken out of the way, so that the next sweep recomputes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from memloc.store import checkpoints, layout
from memloc.store.commits import CheckpointEntry, Commit, FileEntry
from memloc.store.files import Files


@dataclass(frozen=True)
class Finding:
    """One broken file, and what the next sweep does about it."""

    path: str
    problem: str
    consequence: str


def verify(files: Files) -> tuple[list[Finding], int]:
    """(everything broken, files checked). Moves the broken files, and commits that lost a data file, to quarantine."""
    findings: list[Finding] = []
    checked = 0
    for folder in (layout.SWEEPS, layout.COMMITS):
        for path in sorted(files.listing(folder)):
            checked += 1
            content = files.get(path)
            if not layout.is_intact(path, content):
                findings.append(
                    _set_aside(files, path, "its content does not match its name", "recomputed by the next sweep")
                )
            elif folder == layout.COMMITS:
                commit = Commit.decode(content)
                checked += len(commit.files) + len(commit.checkpoints)
                findings += _check_commit(files, path, commit)
    return findings, checked


def _check_commit(files: Files, path: str, commit: Commit) -> Iterator[Finding]:
    what = commit.stage if commit.analysis is None else f"{commit.stage} {dict(commit.part)}"
    lost = False
    for entry in commit.files:
        if problem := _problem(files, entry):
            lost = True
            yield _set_aside(files, entry.path, problem, f"{what} of trial {commit.trial} is recomputed by the next sweep")
    if lost:
        files.move(path, layout.quarantine(path))
    pruned = checkpoints.read_pruned(files, commit.trial) if commit.checkpoints else set()
    for checkpoint in commit.checkpoints:
        problem = _problem(files, checkpoint)
        if problem and not (checkpoint.epoch in pruned and files.size(checkpoint.path) is None):
            consequence = f"trial {commit.trial} is trained again by the next sweep and must give the same checkpoint"
            yield _set_aside(files, checkpoint.path, problem, consequence)


def _problem(files: Files, entry: FileEntry | CheckpointEntry) -> str | None:
    try:
        content = files.get(entry.path)
    except FileNotFoundError:
        return "is missing"
    if len(content) != entry.size:
        return f"has {len(content)} bytes, was committed with {entry.size}"
    return None if layout.sha256(content) == entry.sha256 else "was changed since it was committed"


def _set_aside(files: Files, path: str, problem: str, consequence: str) -> Finding:
    if files.size(path) is not None:
        files.move(path, layout.quarantine(path))
    return Finding(path, problem, consequence)
