"""The file that `memloc store export` writes: trainings with complete analyses, as a zip file without compression.

Its members are files of a store under their own paths, and `manifest.json`, which lists them. Whoever wants can make such
a file, so nothing in it counts until it is checked: its members are the files that its own commits list, these commits, and
records of sweeps, and no others; the paths are those that the layout gives; sizes and hashes are right. Members are not
compressed, so what comes out of a file is no larger than the file. Nothing is written before all of it is checked.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from memloc.errors import UsageError, error_line
from memloc.store import archive as archives
from memloc.store import commit_form, documents, layout, record_form, table_content
from memloc.store.commit_form import Commit
from memloc.store.completeness import complete_of
from memloc.store.documents import Count, Id, Sha256
from memloc.store.entries import Listed

MANIFEST = "manifest.json"
VERSION = 2  # of the form of these files; raised with any change that an earlier memloc would misread
LARGEST = 1 << 34  # bytes of a member: a checkpoint is held in memory when it is written
# What reading a zip file raises that is none of ours.
NO_BUNDLE = (
    zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, LookupError, struct.error, OSError,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A file of a store in the bundle. size: bytes."""

    path: str
    size: Annotated[int, Field(ge=0, le=LARGEST)]
    sha256: Sha256


@dataclass(frozen=True)
class Described:
    """A training of a bundle: its resolved configuration, and the identity of its data.

    Which examples it was trained on stands in its table `examples`.
    """

    trial: Id
    data: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Manifest:
    """What a bundle has. memloc: the version that wrote it."""

    trials: Annotated[tuple[Described, ...], Field(min_length=1)]
    files: tuple[Member, ...]
    memloc: str
    kind: Literal["memloc export"] = "memloc export"
    schema: Count = VERSION


@dataclass(frozen=True)
class Packed:
    """The commit of a training in a bundle, and those of the parts of its analyses."""

    training: Commit
    analyses: Sequence[Commit]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose content is proven to be what it says.

    trials: by id. paths: {part id: the path of its commit}. records: the paths of records of sweeps. members: {path: the
    member} of all files.
    """

    trials: Mapping[str, Packed]
    paths: Mapping[str, str]
    records: Sequence[str]
    members: Mapping[str, Member]
    _archive: zipfile.ZipFile

    def read(self, path: str) -> bytes:
        """The bytes of a file; UsageError if somebody has changed the bundle since it was checked."""
        member = self.members[path]
        with _one_line(str(self._archive.filename)):
            content = self._archive.read(path)
            if len(content) != member.size or layout.sha256(content) != member.sha256:
                raise ValueError(f"{path} was changed meanwhile")
        return content


@contextmanager
def opened(path: str) -> Iterator[Bundle]:
    """The bundle in a file, checked.

    Raises:
        UsageError: there is no such file, or it is no bundle. One line says why.
    """
    with _one_line(path):
        file = open(path, "rb")  # noqa: SIM115
    with file:
        with _one_line(path):
            bundle = _checked(archives.opened(file))
        yield bundle


@contextmanager
def _one_line(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; valid: a file that memloc store export wrote") from None
    except NO_BUNDLE as error:
        why = error_line(error, with_type=type(error) not in (ValueError, commit_form.LaterVersionError))
        raise UsageError(f"{path}: is no export that can be imported: {why}") from None


def _checked(archive: zipfile.ZipFile) -> Bundle:
    """Raises one of NO_BUNDLE where the archive is no bundle."""
    infos = archives.plain_members(archive)
    manifest = _manifest(archive, infos)
    members = {member.path: member for member in manifest.files}
    if len(members) != len(manifest.files):
        raise ValueError("its manifest lists a file twice")
    if odd := sorted(members.keys() ^ (infos.keys() - {MANIFEST})):
        raise ValueError(f"{odd[0]!r} is {'not in it' if odd[0] in members else 'not in its manifest'}")
    for path, member in members.items():
        if infos[path].file_size != member.size:
            raise ValueError(f"{path} has {infos[path].file_size} bytes, and the manifest says {member.size}")
    commits = {path: _commit(path, _document(archive, infos[path])) for path in members if layout.is_commit(path)}
    records = [path for path in members if layout.is_record(path)]
    for path in records:
        _check_record(path, _document(archive, infos[path]))
    trials = _trials(manifest, list(commits.values()))
    _check_listed(members, commits, records)
    for path, member in members.items():
        with archive.open(path) as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != member.sha256:  # type: ignore[arg-type]
                raise ValueError(f"{path} is not what the manifest says: its hash is another")
    for entry in (entry for commit in commits.values() for entry in commit.files):
        if wrong := table_content.wrong_content(archive.read(entry.path), entry, {}):
            raise ValueError(f"{entry.path} {wrong}")
    return Bundle(trials, {commit.id: path for path, commit in commits.items()}, records, members, archive)


def _manifest(archive: zipfile.ZipFile, infos: Mapping[str, zipfile.ZipInfo]) -> Manifest:
    if MANIFEST not in infos:
        raise ValueError(f"it has no {MANIFEST}")
    content = _document(archive, infos[MANIFEST])
    commit_form.refuse_later(content, VERSION)
    try:
        manifest = documents.checked(_adapter(), content)
        for one in manifest.trials:
            documents.check(one.config)
    except ValueError as error:
        raise ValueError(f"its {MANIFEST}: {error}") from None
    return manifest


def _document(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > documents.LARGEST:
        raise ValueError(f"{info.filename} has {info.file_size} bytes; {documents.LARGEST} at most are read")
    return archive.read(info)


@cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def _commit(path: str, content: bytes) -> Commit:
    _check_intact(path, content)
    try:
        return commit_form.decode(path, content)
    except commit_form.LaterVersionError as error:
        raise ValueError(f"{path} {error}") from None


def _check_intact(path: str, content: bytes) -> None:
    if not layout.is_intact(path, content):
        raise ValueError(f"{path} does not match the hash in its name")


def _check_record(path: str, content: bytes) -> None:
    _check_intact(path, content)
    try:
        record_form.trials_in(content)
    except ValueError as error:
        raise ValueError(f"{path} is no record of a sweep ({error})") from None


def _trials(manifest: Manifest, commits: Sequence[Commit]) -> dict[str, Packed]:
    """{trial: its commits}, where every commit is of a training that the manifest names, and all is as `_packed` says."""
    of_trial: dict[str, list[Commit]] = {one.trial: [] for one in manifest.trials}
    if len(of_trial) < len(manifest.trials):
        raise ValueError("its manifest names a training twice")
    for commit in commits:
        if commit.trial not in of_trial:
            raise ValueError(f"it has a part of trial {commit.trial}")
        of_trial[commit.trial].append(commit)
    if len({commit.id for commit in commits}) < len(commits):
        raise ValueError("it has a part twice")
    return {one.trial: _packed(one, of_trial[one.trial]) for one in manifest.trials}


def _packed(described: Described, commits: Sequence[Commit]) -> Packed:
    """The training and the parts of its analyses, where these are whole and the training is as described."""
    training = next((commit for commit in commits if commit.analysis is None), None)
    if training is None:
        raise ValueError(f"it has no commit of training {described.trial}")
    if (training.config, training.part.get("data")) != (described.config, described.data):
        raise ValueError(f"its manifest and the commit of training {described.trial} say different things of it")
    analyses = [commit for commit in commits if commit.analysis is not None]
    whole = [commit for parts in complete_of(analyses).values() for commit in parts]
    if len(whole) != len(analyses):
        raise ValueError("it has an analysis that is not whole")
    return Packed(training, analyses)


def _check_listed(members: Mapping[str, Member], commits: Mapping[str, Commit], records: Sequence[str]) -> None:
    """Raises ValueError unless the files are those that the commits list. A training's checkpoints may be missing."""
    data: dict[str, Listed] = {f.path: f for commit in commits.values() for f in commit.needed}
    weights: dict[str, Listed] = {c.path: c for commit in commits.values() for c in commit.checkpoints}
    if missing := sorted(data.keys() - members.keys()):
        raise ValueError(f"it lacks {missing[0]}, which a commit lists")
    for path, entry in {**data, **weights}.items():
        member = members.get(path)
        if member is not None and (member.size, member.sha256) != (entry.size, entry.sha256):
            raise ValueError(f"{path} is not what a commit says: its size or its hash is another")
    if odd := sorted(members.keys() - data.keys() - weights.keys() - commits.keys() - set(records)):
        raise ValueError(f"no commit in it lists {odd[0]!r}")
