"""The file that `memloc store export` writes: one training with its complete analyses, as a zip file without compression.

Its members are files of a store under their own paths, after `manifest.json`, which lists them. Whoever wants can make such
a file, so nothing in it counts until it is checked: its members are the files that its own commits list, and no others; the
paths are those that the layout gives; sizes and hashes are right. Members are not compressed, so what comes out of a file
is no larger than the file. Nothing is written before all of it is checked.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from memloc.errors import UsageError, error_line
from memloc.store import commit_form, documents, layout
from memloc.store.commit_form import Commit
from memloc.store.completeness import complete_of
from memloc.store.documents import Count, Id, Sha256
from memloc.store.entries import Listed

MANIFEST = "manifest.json"
VERSION = 1  # of the form of these files; raised with any change that an earlier memloc would misread
LARGEST = 1 << 34  # bytes of a member: a checkpoint is held in memory when it is written
DIRECTORY = 1 << 28  # bytes of the list of members, which is held in memory
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
class Manifest:
    """What a bundle has. config, data: the training's resolved configuration, and the identity of its data.

    Which examples it was trained on stands in its table `examples`. memloc: the version that wrote the bundle.
    """

    trial: Id
    data: str
    config: Mapping[str, Any]
    files: tuple[Member, ...]
    memloc: str
    kind: Literal["memloc trial"] = "memloc trial"
    schema: Count = VERSION


@dataclass(frozen=True)
class Bundle:
    """A bundle whose content is proven to be what it says.

    training: the commit of its training. analyses: the commits of the parts of its analyses. contents: {commit's path: its
    bytes}. members: {path: the member} of all files.
    """

    training: Commit
    analyses: Sequence[Commit]
    contents: Mapping[str, bytes]
    members: Mapping[str, Member]
    _archive: zipfile.ZipFile

    @property
    def commits(self) -> dict[str, Commit]:
        """{path: commit}, that of the training last."""
        by_id = {layout.part_of(path): path for path in self.contents}
        return {by_id[commit.id]: commit for commit in (*self.analyses, self.training)}

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
            _check_directory(file)
            archive = zipfile.ZipFile(file)
            bundle = _checked(archive)
        yield bundle


@contextmanager
def _one_line(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; valid: a file that memloc store export wrote") from None
    except NO_BUNDLE as error:
        why = error_line(error, with_type=type(error) not in (ValueError, commit_form.LaterVersionError))
        raise UsageError(f"{path}: is no export of a trial that can be imported: {why}") from None


def _check_directory(file: Any) -> None:
    """Raises ValueError where the file does not end as ours do, or where its list of members is very large."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 98))
    end = file.read().rjust(98, b"\0")  # 56 bytes + 20 where there are many members, then 22
    mark, listed = end[-22:-18], struct.unpack("<L", end[-10:-6])[0]
    if mark != b"PK\5\6" or end[-2:] != b"\0\0":
        raise ValueError("it does not end as a zip file without a comment does")
    if end[-42:-38] == b"PK\6\7":
        listed = struct.unpack("<Q", end[40:48])[0] if end[:4] == b"PK\6\6" else size
    if listed > min(DIRECTORY, size):
        raise ValueError(f"its list of members has {listed} bytes")


def _checked(archive: zipfile.ZipFile) -> Bundle:
    """Raises one of NO_BUNDLE where the archive is no bundle."""
    infos = _members(archive)
    manifest = _manifest(archive, infos)
    members = {member.path: member for member in manifest.files}
    if len(members) != len(manifest.files):
        raise ValueError("its manifest lists a file twice")
    if odd := sorted(members.keys() ^ (infos.keys() - {MANIFEST})):
        raise ValueError(f"{odd[0]!r} is {'not in it' if odd[0] in members else 'not in its manifest'}")
    for path, member in members.items():
        if infos[path].file_size != member.size:
            raise ValueError(f"{path} has {infos[path].file_size} bytes, and the manifest says {member.size}")
    contents = {path: _document(archive, infos[path]) for path in members if layout.is_commit(path)}
    commits = {path: _commit(path, content) for path, content in contents.items()}
    training, analyses = _parts(manifest, list(commits.values()))
    _check_listed(members, commits)
    for path, member in members.items():
        with archive.open(path) as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != member.sha256:  # type: ignore[arg-type]
                raise ValueError(f"{path} is not what the manifest says: its hash is another")
    return Bundle(training, analyses, contents, members, archive)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """{name: member}, each once, plain and uncompressed."""
    infos: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.orig_filename
        if name != info.filename or name in infos:
            raise ValueError(f"it has {name!r} twice" if name in infos else f"it has a member called {name!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"{name!r} is compressed")  # and might fill the memory, or the disk
        if info.flag_bits & 0x1 or not _is_plain(info):
            raise ValueError(f"{name!r} is {'encrypted' if info.flag_bits & 0x1 else 'no regular file'}")
        infos[name] = info
    size = archive.fp.seek(0, 2) if archive.fp is not None else 0
    if sum(info.file_size for info in infos.values()) > size:
        raise ValueError("its members are larger than itself")  # they overlap
    return infos


def _is_plain(info: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(info.external_attr >> 16)
    return kind in (0, stat.S_IFREG) and not info.is_dir()


def _manifest(archive: zipfile.ZipFile, infos: Mapping[str, zipfile.ZipInfo]) -> Manifest:
    if MANIFEST not in infos:
        raise ValueError(f"it has no {MANIFEST}")
    content = _document(archive, infos[MANIFEST])
    commit_form.refuse_later(content, VERSION)
    try:
        manifest = documents.checked(_adapter(), content)
        documents.check(manifest.config)
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
    if not layout.is_intact(path, content):
        raise ValueError(f"{path} does not match the hash in its name")
    try:
        return commit_form.decode(path, content)
    except commit_form.LaterVersionError as error:
        raise ValueError(f"{path} {error}") from None


def _parts(manifest: Manifest, commits: Sequence[Commit]) -> tuple[Commit, list[Commit]]:
    """(the training, the parts of its analyses), where these are all of one trial, each once, and whole analyses."""
    by_id = {commit.id: commit for commit in commits}
    training = by_id.get(manifest.trial)
    if training is None or training.analysis is not None:
        raise ValueError(f"it has no commit of training {manifest.trial}")
    if (training.config, training.part.get("data")) != (manifest.config, manifest.data):
        raise ValueError(f"its manifest and the commit of training {manifest.trial} say different things of it")
    analyses = [commit for commit in commits if commit.analysis is not None]
    foreign = [commit for commit in commits if commit.trial != manifest.trial]
    if foreign or len(by_id) != len(commits):
        raise ValueError(f"it has {f'a part of trial {foreign[0].trial}' if foreign else 'a part twice'}")
    whole = [commit for parts in complete_of(analyses).values() for commit in parts]
    if len(whole) != len(analyses):
        raise ValueError("it has an analysis that is not whole")
    return training, analyses


def _check_listed(members: Mapping[str, Member], commits: Mapping[str, Commit]) -> None:
    """Raises ValueError unless the files are those that the commits list. Checkpoints may be missing: they were pruned."""
    data: dict[str, Listed] = {f.path: f for commit in commits.values() for f in commit.files}
    weights: dict[str, Listed] = {c.path: c for commit in commits.values() for c in commit.checkpoints}
    if missing := sorted(data.keys() - members.keys()):
        raise ValueError(f"it lacks {missing[0]}, which a commit lists")
    for path, entry in {**data, **weights}.items():
        member = members.get(path)
        if member is not None and (member.size, member.sha256) != (entry.size, entry.sha256):
            raise ValueError(f"{path} is not what a commit says: its size or its hash is another")
    if odd := sorted(members.keys() - data.keys() - weights.keys() - commits.keys()):
        raise ValueError(f"no commit in it lists {odd[0]!r}")
