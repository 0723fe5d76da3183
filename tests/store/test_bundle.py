"""A training in a file: what an export and an import leave the same, and what is refused of a file that somebody made."""

from __future__ import annotations

import io
import json
import random
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import memloc
from memloc.errors import StorageError, StoreError, UsageError
from memloc.models.architectures import TRAINING
from memloc.run import ids
from memloc.run.pending import pending
from memloc.run.plan import Plan
from memloc.store import Commit, Store, bundle, checkpoints, commit_form, compaction, exporting, importing, layout
from memloc.store.verify import verify
from tests.store.compacted import assert_same, shown

Members = dict[str, bytes]


def exported(store: Store, trial: str, target: Path, **wanted: Any) -> Path:
    snapshot = store.snapshot()
    with target.open("wb") as file:
        trials = {snapshot.training(trial).trial}
        exporting.write(store, snapshot, exporting.Wanted(trials, TRAINING.placeless, **wanted), file)
    return target


def imported(store: Store, file: Path) -> importing.Import:
    with bundle.opened(str(file)) as content:
        what = importing.plan(store, content, store.snapshot())
        importing.carry_out(store, content, what)
    return what


def check_ids(content: bundle.Bundle) -> None:
    for packed in content.trials.values():
        ids.check(packed.training, packed.analyses)


def trainings(store: Store) -> list[str]:
    return sorted(store.snapshot().trainings())


def weights(store: Store) -> dict[str, bytes]:
    return {path: store.files.get(path) for path in store.files.listing(layout.CHECKPOINTS) if path.endswith("tensors")}


def beside(store: Store, tmp_path: Path) -> Store:
    """An empty store of the same kind."""
    return Store(str(tmp_path / "new") if store.files.local else store.uri.replace("?", "-new?"))


# --- what stays the same ----------------------------------------------------------------------------------------------


def test_a_store_of_imports_says_the_same(plan: Plan, store: Store, tmp_path: Path) -> None:
    new = beside(store, tmp_path)
    for trial in trainings(store):
        imported(new, exported(store, trial[:9], tmp_path / f"{trial}.zip"))
    assert_same(shown(new), shown(store))
    assert len(weights(store)) == 6
    assert weights(new) == weights(store)
    before, after = (memloc.open_store(s.uri).claims().drop(columns="reason") for s in (store, new))
    assert after.equals(before)
    assert [work.trial.id for work in pending(plan, new, new.snapshot(), "all") if work.anything] == []
    assert verify(new.files)[0] == []
    for trial in trainings(store):
        again = exported(new, trial, tmp_path / "again.zip")
        assert again.read_bytes() == (tmp_path / f"{trial}.zip").read_bytes()


def test_a_model_is_the_same_bit_for_bit(tiny: Path, tmp_path: Path) -> None:
    store, new = Store(str(tiny)), Store(str(tmp_path / "new"))
    trial = trainings(store)[0]
    imported(new, exported(store, trial, tmp_path / "x.zip"))
    here, there = (memloc.open_store(s.uri).trial(trial) for s in (new, store))
    assert (here.epochs, here.config) == (there.epochs, there.config) == ((0, 1, 2), there.config)
    states = [t.model(1).state_dict() for t in (here, there)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


def test_a_second_import_writes_nothing(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, new = Store(str(tiny)), Store(str(tmp_path / "new"))
    file = exported(store, trainings(store)[0], tmp_path / "x.zip")
    assert imported(new, file).anything
    monkeypatch.setattr(type(new.files), "put", lambda *_: pytest.fail("it writes"))
    assert not imported(new, file).anything


def test_an_import_adds_what_is_missing(tiny: Path, tmp_path: Path) -> None:
    """Analyses, and a checkpoint that was pruned. What is there stays, also if its times are others."""
    store, new = Store(str(tiny)), Store(str(tmp_path / "new"))
    trial = next(t for t, c in store.snapshot().trainings().items() if c.config["dropout"] == "none")
    file = exported(store, trial, tmp_path / "x.zip")
    imported(new, file)
    for path in new.files.listing(layout.COMMITS):
        if not layout.is_commit_of(path, trial):
            new.files.delete(path)
        else:
            other = replace(new.snapshot().commits[trial], seconds=7.0)
            new.files.delete(path)
    new = Store(new.uri)
    new.files.put(layout.commit(trial, other.encode()), other.encode())
    checkpoints.prune(new.files, trial, other.checkpoints, keep=[2])
    what = imported(new, file)
    (missing,) = what.trials
    assert [entry.epoch for entry in missing.weights] == [0, 1]
    assert trial not in {commit.id for commit in missing.commits}
    assert new.snapshot().commits[trial].seconds == 7.0
    assert checkpoints.read_pruned(new.files, trial) == set()
    assert verify(new.files)[0] == []
    kept, full = shown(new), shown(store)
    assert kept["rewind"].equals(full["rewind"])


def test_what_retention_has_pruned_is_not_lost(tiny: Path, tmp_path: Path) -> None:
    store, new, last = (Store(str(tmp_path / name)) for name in ("old", "new", "last"))
    trial = trainings(Store(str(tiny)))[0]
    imported(store, exported(Store(str(tiny)), trial, tmp_path / "x.zip"))
    checkpoints.prune(store.files, trial, store.snapshot().commits[trial].checkpoints, keep=[2])
    imported(new, exported(store, trial, tmp_path / "y.zip"))
    assert memloc.open_store(new.uri).trial(trial).epochs == (2,)
    assert verify(new.files)[0] == []
    store.files.delete(layout.checkpoint(trial, 2))  # not on purpose
    with pytest.raises(StoreError, match=r"epoch-0002\.safetensors is missing"):
        imported(last, exported(store, trial, tmp_path / "z.zip"))


def test_rows_of_a_generation_get_files_of_their_own(tiny: Path, tmp_path: Path) -> None:
    store, new = Store(str(tmp_path / "old")), Store(str(tmp_path / "new"))
    trial = trainings(Store(str(tiny)))[0]
    file = exported(Store(str(tiny)), trial, tmp_path / "x.zip")
    imported(store, file)
    before = shown(store)
    compaction.compact(store.files)
    for folder in (layout.DATA, layout.COMMITS):
        for path in store.files.listing(folder):
            store.files.delete(path)
    store = Store(store.uri)
    assert store.snapshot().covered
    again = exported(store, trial, tmp_path / "y.zip")
    assert again.read_bytes() == file.read_bytes()  # this version of Arrow wrote both
    imported(new, again)
    assert_same(shown(new), before)


def test_an_import_that_is_killed_shows_nothing_and_goes_on(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tiny))
    trial = next(t for t, c in store.snapshot().trainings().items() if c.config["dropout"] == "none")
    file, put = exported(store, trial, tmp_path / "x.zip"), type(store.files).put
    (what,) = imported(Store(str(tmp_path / "whole")), file).trials
    commits = [layout.commit(c.id, c.encode()) for c in what.commits]
    writes = len(what.data) + len(what.weights) + len(what.commits)
    for k in (0, 3, writes - len(what.commits), writes - 2, writes - 1):
        new, paths = Store(str(tmp_path / f"new{k}")), []

        def failing(self: Any, path: str, data: bytes, paths: list[str] = paths, most: int = k) -> None:
            if len(paths) == most:
                raise StorageError("the disk is gone")
            put(self, path, data)
            paths.append(path)

        with monkeypatch.context() as patch:
            patch.setattr(type(store.files), "put", failing)
            with pytest.raises(StorageError):
                imported(new, file)
        first_commit = writes - len(what.commits)
        assert paths[first_commit:] == commits[: max(0, k - first_commit)]
        assert all(not rows.num_rows for rows in shown(Store(new.uri)).values())
        assert imported(new, file).anything
        assert shown(new)["rewind"].num_rows == 27


def test_a_training_with_other_weights_stays(tiny: Path, tmp_path: Path) -> None:
    store, new = Store(str(tiny)), Store(str(tmp_path / "new"))
    trial = trainings(store)[0]
    training = store.snapshot().commits[trial]
    first, *rest = training.checkpoints
    other = replace(training, files=(), checkpoints=(replace(first, sha256="0" * 64), *rest))
    new.files.put(layout.commit(trial, other.encode()), other.encode())
    with pytest.raises(UsageError, match="has it with other weights: another processor"):
        imported(new, exported(store, trial, tmp_path / "x.zip"))
    assert list(new.files.listing("")) == [layout.commit(trial, other.encode())]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a training with analyses. Only to be read."""
    store = Store(str(tiny))
    trial = next(t for t, c in store.snapshot().trainings().items() if c.config["dropout"] == "none")
    return exported(store, trial, tmp_path_factory.mktemp("bundle") / "x.zip")


@pytest.fixture
def members(file: Path) -> Members:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def listed(members: Members, **more: Any) -> Members:
    """The members with a manifest that lists them."""
    manifest = json.loads(members["manifest.json"])
    files = [
        {"path": path, "size": len(content), "sha256": layout.sha256(content)}
        for path, content in members.items()
        if path != "manifest.json"
    ]
    return {**members, "manifest.json": json.dumps({**manifest, "files": files, **more}).encode()}


def described(members: Members, *others: dict[str, Any], **fields: Any) -> Members:
    """The members with other fields for the training in the manifest, and with other trainings like it."""
    (one,) = json.loads(members["manifest.json"])["trials"]
    return listed(members, trials=[{**one, **fields}, *({**one, **other} for other in others)])


def with_record(members: Members, content: bytes, name: str = "demo") -> Members:
    return listed({**members, layout.sweep(name, content): content})


def commits(members: Members) -> dict[str, Commit]:
    return {path: commit_form.decode(path, c) for path, c in members.items() if path.startswith("commits/")}


def changed(members: Members, which: Callable[[Commit], bool], **fields: Any) -> Members:
    """The members with other fields in these commits, under their right names."""
    made = dict(members)
    for path, commit in commits(members).items():
        if which(commit):
            content = json.dumps({**asdict(commit), **fields}).encode()
            del made[path]
            made[layout.commit(commit.id, content)] = content
    return listed(made)


def is_training(commit: Commit) -> bool:
    return commit.analysis is None


def without(members: Members, path: str) -> Members:
    return listed({name: content for name, content in members.items() if name != path})


def first(members: Members, start: str) -> str:
    return next(path for path in members if path.startswith(start))


ODD_PATHS = [
    f"sweeps/../{'0' * 8}.json", f"sweeps/./{'0' * 8}.json", f"sweeps/{'0' * 8}.json", f"sweeps/a/b/{'0' * 8}.json",
    "../x", "/tmp/x", "data/../../x", "data/rewind/ab/../x.parquet", "C:\\x", "data\\x", "tmp/x",
    "stops/20260101-000000-abcdef.json", f"leases/{'a' * 16}.json",
    "manifests/000001-aaaaaaaa.json",
    f"data/rewind/aa/{'a' * 16}-{'0' * 8}.parquet", f"checkpoints/{'a' * 16}/epoch-0000.safetensors",
    f"checkpoints/{'a' * 16}/resume-0001-{'0' * 8}-{'0' * 8}.pt", f"failures/{'a' * 16}-{'0' * 8}.json",
]  # fmt: skip


def with_commit_of(members: Members, trial: str) -> Members:
    commit = next(c for c in commits(members).values() if c.analysis is not None)
    other = replace(commit, id="b" * 16, trial=trial, files=(), nth=0, of=1).encode()
    return listed({**members, layout.commit("b" * 16, other): other})


def twice(members: Members) -> Members:
    commit = next(c for c in commits(members).values() if c.analysis is not None)
    again = replace(commit, seconds=77.0).encode()
    return listed({**members, layout.commit(commit.id, again): again})


def with_path(members: Members) -> Members:
    training = next(c for c in commits(members).values() if c.analysis is None)
    entries = [asdict(file) for file in training.files]
    return changed(members, is_training, files=[{**entries[0], "path": "../../x"}, *entries[1:]])


def with_rows(members: Members, content: bytes) -> Members:
    """Other bytes in the place of a data file, which its commit lists with their hash."""
    commit = next(c for c in commits(members).values() if c.stage == "rewind")
    entry = commit.files[0]
    path = layout.data(entry.table, commit.id, content)
    other = {"path": path, "size": len(content), "sha256": layout.sha256(content)}
    made = {name: data for name, data in members.items() if name != entry.path} | {path: content}
    return changed(made, lambda c: c.id == commit.id, files=[{**asdict(entry), **other}, *map(asdict, commit.files[1:])])


REFUSED: dict[str, tuple[Callable[[Members], Members], str]] = {
    "no manifest": (lambda m: {p: c for p, c in m.items() if p != "manifest.json"}, "has no manifest.json"),
    "a manifest that is none": (lambda m: {**m, "manifest.json": b"[1]"}, "its manifest.json: "),
    "deep": (lambda m: described(m, config={"x": json.loads("[" * 50 + "]" * 50)}), "its manifest.json: it is nested"),
    "another kind": (lambda m: listed(m, kind="a film"), "its manifest.json: kind"),
    "a later one": (lambda m: listed(m, schema=99), "was written by a later memloc"),
    "a negative size": (lambda m: listed(m, files=[{"path": "x", "size": -1, "sha256": "0" * 64}]), "files.0.size"),
    "a file that is not there": (lambda m: {p: c for p, c in m.items() if "epoch-0001" not in p}, "is not in it"),
    "a file that is not listed": (lambda m: {**m, "data/x": b"1"}, "'data/x' is not in its manifest"),
    "another size": (lambda m: {**m, first(m, "data/"): b"1"}, "has 1 bytes, and the manifest says"),
    "another content": (
        lambda m: {**m, first(m, "data/"): bytes(len(m[first(m, "data/")]))}, "is not what the manifest says"
    ),
    "other rows than committed": (lambda m: listed({**m, first(m, "data/"): b"1"}), "is not what a commit says"),
    "other weights than committed": (lambda m: listed({**m, first(m, "checkpoints/"): b"1"}), "is not what a commit says"),
    "rows that are no Parquet": (lambda m: with_rows(m, b"x" * 1000), "data/rewind/.*its rows cannot be read"),
    "rows that are others'": (lambda m: with_rows(m, m[first(m, "data/examples/")]), "has .* rows, was committed with"),
    "rows that are missing": (lambda m: without(m, first(m, "data/rewind/")), "which a commit lists"),
    "a changed commit": (lambda m: listed({**m, first(m, "commits/"): b"{}"}), "does not match the hash in its name"),
    "a commit with a path of its own": (with_path, r"lists '\.\./\.\./x' as a file of table"),
    "no training": (
        lambda m: without(m, next(p for p, c in commits(m).items() if is_training(c))), "has no commit of training"
    ),
    "another trial": (lambda m: described(m, trial="c" * 16), "has a part of trial"),
    "no trial": (lambda m: listed(m, trials=[]), "its manifest.json: trials"),
    "a trial twice": (lambda m: listed(m, trials=2 * json.loads(m["manifest.json"])["trials"]), "names a training twice"),
    "a trial without commits": (lambda m: described(m, {"trial": "c" * 16}), "has no commit of training cccc"),
    "other data": (lambda m: described(m, data="mine"), "say different things"),
    "a record that was changed": (
        lambda m: listed({**m, "sweeps/demo/00000000.json": b"[]"}), "does not match the hash in its name"
    ),
    "no record": (lambda m: with_record(m, b"{}"), r"sweeps/demo/44136fa3\.json is no record of a sweep"),
    "a part of another trial": (lambda m: with_commit_of(m, "c" * 16), "has a part of trial cccc"),
    "a part twice": (twice, "has a part twice"),
    "half an analysis": (
        lambda m: changed(m, lambda c: c.stage == "rewind", of=4), "an analysis that is not whole"
    ),
}  # fmt: skip


def refused(path: Path, why: str) -> None:
    """The file is refused in one line, and no store is made."""
    with pytest.raises(UsageError, match=why) as raised, bundle.opened(str(path)):
        pass
    assert len(raised.value.problems) == 1
    assert "\n" not in str(raised.value)


def written(path: Path, members: Members, **info: Any) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            for key, value in info.items():
                setattr(member, key, value)
            archive.writestr(member, content)
    return path


def test_the_same_written_anew_is_taken(members: Members, tmp_path: Path) -> None:
    with bundle.opened(str(written(tmp_path / "x.zip", listed(members)))) as content:
        check_ids(content)


@pytest.mark.parametrize("case", REFUSED)
def test_refused(members: Members, tmp_path: Path, case: str) -> None:
    change, why = REFUSED[case]
    refused(written(tmp_path / "x.zip", change(members)), why)


@pytest.mark.parametrize("path", ODD_PATHS)
def test_a_path_that_no_commit_lists(members: Members, tmp_path: Path, path: str) -> None:
    refused(written(tmp_path / "x.zip", listed({**members, path: b"1"})), "no commit in it lists")


def test_a_member_twice(members: Members, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile's own
        path = written(tmp_path / "x.zip", members)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("manifest.json", b"{}")
    refused(path, "it has 'manifest.json' twice")


@pytest.mark.parametrize(
    ("info", "why"),
    [
        ({"external_attr": 0o120777 << 16}, "is no regular file"),
        ({"external_attr": 0o010644 << 16}, "is no regular file"),
        ({"compress_type": zipfile.ZIP_DEFLATED}, "is compressed"),
        ({"compress_type": zipfile.ZIP_LZMA}, "is compressed"),
    ],
)
def test_links_pipes_and_compressed_members(members: Members, tmp_path: Path, info: dict[str, Any], why: str) -> None:
    refused(written(tmp_path / "x.zip", members, **info), why)


def test_a_bomb_is_not_unpacked(members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = {**members, first(members, "data/"): bytes(50_000_000)}
    path = written(tmp_path / "x.zip", bomb, compress_type=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2_000_000
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it unpacks"))
    refused(path, "is compressed")


def test_members_that_overlap(members: Members, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    large = first(members, "checkpoints/")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
        size = len(members[large])
        for k in range(1 + path.stat().st_size // size):
            copy = zipfile.ZipInfo(f"data/{k}")
            copy.file_size = copy.compress_size = size
            copy.CRC = 0
            copy.header_offset = archive.getinfo(large).header_offset
            archive.filelist.append(copy)
    refused(path, "its members are larger than itself")


def test_an_encrypted_member(file: Path, tmp_path: Path) -> None:
    content = bytearray(file.read_bytes())
    at = content.rindex(b"PK\1\2")
    content[at + 8] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    refused(tmp_path / "x.zip", "is encrypted")


def test_a_list_of_members_that_would_fill_the_memory(file: Path, tmp_path: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-10:-6] = (1 << 31).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(content)
    refused(tmp_path / "x.zip", "its list of members has 2147483648 bytes")
    locator = b"PK\6\7" + bytes(16)
    (tmp_path / "x.zip").write_bytes(
        b"PK\6\6" + bytes(36) + (1 << 40).to_bytes(8, "little") + bytes(8) + locator + content[-22:]
    )
    refused(tmp_path / "x.zip", "its list of members has 1099511627776 bytes")


def test_many_members_have_a_longer_end(tmp_path: Path) -> None:
    """Of more than 65,535 members the end of a zip file has another form."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for k in range(65_536):
            archive.writestr(zipfile.ZipInfo(str(k)), b"")
    (tmp_path / "x.zip").write_bytes(buffer.getvalue())
    refused(tmp_path / "x.zip", "it has no manifest.json")


def test_damage_anywhere_is_refused_or_changes_nothing(file: Path, tmp_path: Path) -> None:
    whole, draw, path = file.read_bytes(), random.Random(0), tmp_path / "x.zip"
    with bundle.opened(str(file)) as content:
        right = {p: content.read(p) for p in content.members}
    places = [draw.randrange(len(whole)) for _ in range(60)] + [len(whole) - draw.randrange(1, 6000) for _ in range(60)]
    refusals = []
    for k, place in enumerate(places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged if k % 3 else whole[:place])
        try:
            with bundle.opened(str(path)) as content:
                assert {p: content.read(p) for p in content.members} == right
        except UsageError as error:
            refusals.append(error.problems)
    assert len(refusals) > 80
    assert all(len(problems) == 1 for problems in refusals)


def test_a_file_that_changes_after_the_check(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(file.read_bytes())
    with bundle.opened(str(path)) as content:
        wanted = next(p for p in content.members if p.startswith("checkpoints/"))
        with path.open("r+b") as other:
            other.seek(file.read_bytes().index(content.read(wanted)) + 100)
            other.write(b"\xff" * 8)
        with pytest.raises(UsageError, match=f"Bad CRC-32|{wanted} was changed meanwhile"):
            content.read(wanted)


@pytest.mark.parametrize("field", ["noise", "seed", "batch_size"])
def test_the_id_of_a_training_is_that_of_its_configuration(members: Members, tmp_path: Path, field: str) -> None:
    training = next(c for c in commits(members).values() if c.analysis is None)
    config = {**training.config, field: 0.3 if field == "noise" else 64}
    path = written(tmp_path / "x.zip", described(changed(members, is_training, config=config), config=config))
    with (
        bundle.opened(str(path)) as content,
        pytest.raises(UsageError, match="is not the id of the configuration and the data"),
    ):
        check_ids(content)


def test_the_ids_of_analyses_and_parts_are_those_of_what_they_are(members: Members, tmp_path: Path) -> None:
    stage = {"stage": "flips"}
    path = written(tmp_path / "x.zip", changed(members, lambda c: c.stage == "rewind", **stage))
    with bundle.opened(str(path)) as content, pytest.raises(UsageError, match="is not the id of the flips that its commits"):
        check_ids(content)
    path = written(tmp_path / "x.zip", changed(members, lambda c: c.part == {"epoch": 1}, part={"epoch": 2}))
    with bundle.opened(str(path)) as content, pytest.raises(UsageError, match="is not the id of the part of rewind"):
        check_ids(content)
