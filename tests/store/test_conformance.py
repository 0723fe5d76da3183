"""One suite for every kind of store: what a file, a commit, a table and a record are, on a disk and on S3."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
import torch

from memloc.analysis.reader import known_tables
from memloc.analysis.reading import run_sql
from memloc.errors import DamagedError, MemlocWarning, StorageError, StoreError, UsageError
from memloc.store import Commit, Files, Store, checkpoints, commits, heartbeats, layout, records, tables
from memloc.store.state_form import ResumeState
from memloc.store.verify import verify

A, B = "a" * 16, "b" * 16  # ids of a training and of an analysis


def damaged(content: bytes, at: int = -10) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


# --- files


def test_files(store: Store) -> None:
    files = store.files
    assert not files.exists()
    files.check_usable()
    assert files.listing("x") == {}
    content = {"x/a": b"", "x/sub/ünïcode name": b"\x00\xff" * 1000, "x/large": bytes(12_000_000)}
    for path, data in content.items():
        files.put(path, data)
    assert files.exists()
    assert {path: files.get(path) for path in content} == content
    assert files.listing("x") == {path: len(data) for path, data in content.items()}
    assert files.size("x/a") == 0
    assert files.size("x/none") is None
    files.put("x/a", b"other")
    assert files.get("x/a") == b"other"
    assert files.move("x/a", "y/deep/a")
    assert files.find("x/a") is None
    assert files.find("y/deep/a") == b"other"
    assert not files.move("x/a", "y/b")
    files.delete("y/deep/a")
    files.delete("y/deep/a")
    with pytest.raises(FileNotFoundError):
        files.get("y/deep/a")
    assert not [path for path in files.listing("") if path.startswith("tmp/")]


def test_many_writers_of_one_file(store: Store) -> None:
    versions = [bytes([i]) * 100_000 for i in range(16)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda data: store.files.put("one", data), versions))
    assert store.files.get("one") in versions


# --- commits and tables


def part(nth: int, of: int = 2, seconds: float = 1.0, analysis: str = B) -> Commit:
    """Part `nth` of an analysis of the stage rewind."""
    return Commit(
        id=f"{analysis[:8]}{nth:08d}", trial=A, analysis=analysis, stage="rewind", part={"epoch": nth}, nth=nth, of=of,
        config={"epochs": [0, 1]}, seconds=seconds,
    )  # fmt: skip


def rows(nth: int, analysis: str = B) -> dict[str, dict[str, Any]]:
    numbers = {name: [0.5, 0.25] for name in ("clean_acc", "noisy_acc", "clean_loss", "noisy_loss")}
    ids = {"analysis": [analysis] * 2, "trial": [A] * 2, "layer": ["conv1", "linear"], "epoch": [nth] * 2}
    return {"rewind": {**ids, **numbers, "test_acc": [None, 1.0]}}


def table(store: Store, name: str = "rewind", partial: bool = False) -> pa.Table:
    return tables.read(store.files, store.snapshot().shown(partial), name, known_tables())


def train(store: Store) -> None:
    """Commits the training, without which no analysis of it is complete."""
    store.publish(Commit(A, A, None, "train", {}, 0, 1, {}), {}, known_tables())


def test_a_part_exists_when_its_commit_does(store: Store) -> None:
    commits.publish_tables(store.files, part(0).id, rows(0), known_tables())  # a writer killed before the commit
    assert store.snapshot().commits == {}
    assert table(store, partial=True).num_rows == 0
    store.publish(part(0), rows(0), known_tables())
    commit = store.commit(part(0).id)
    assert commit is not None
    assert [f.rows for f in commit.files] == [2]
    assert replace(commit, files=()) == part(0)
    assert store.commit("0" * 16) is None


def test_only_complete_analyses_are_shown(store: Store) -> None:
    train(store)
    store.publish(part(1), rows(1), known_tables())
    assert table(store).num_rows == 0
    assert table(store, "analyses").num_rows == 0
    assert table(store, partial=True).column("epoch").to_pylist() == [1, 1]
    store.publish(part(0), rows(0), known_tables())
    assert table(store).column("epoch").to_pylist() == [0, 0, 1, 1]  # in the order of the parts, not of the commits
    assert table(store).column("test_acc").to_pylist() == [None, 1.0] * 2
    assert table(store, "analyses").to_pylist() == [
        {"analysis": B, "trial": A, "stage": "rewind", "config": '{"epochs":[0,1]}', "reads": [], "version": None}
    ]
    assert run_sql(store, "SELECT count(*) AS n FROM rewind").to_pylist() == [{"n": 4}]


def test_two_commits_of_one_part_are_one(store: Store) -> None:
    """A worker that was taken for dead, and its successor."""
    train(store)
    for seconds in (3.0, 1.0, 2.0):
        store.publish(part(0, of=1, seconds=seconds), rows(0), known_tables())
    paths = sorted(store.files.listing(layout.commit_folder(part(0).id)))
    assert len(paths) == 3
    assert store.snapshot().paths[part(0).id] == paths[0]
    assert table(store).num_rows == 2
    store.files.delete(paths[0])
    assert store.snapshot().paths[part(0).id] == paths[1]
    assert table(store).num_rows == 2


def test_damage_of_two_commits_is_set_aside_with_both(store: Store) -> None:
    """They list the same file, so the second one would only bring the damage back."""
    train(store)
    for seconds in (3.0, 1.0):
        store.publish(part(0, of=1, seconds=seconds), rows(0), known_tables())
    (entry,) = store.snapshot().commits[part(0).id].files
    store.files.put(entry.path, damaged(store.files.get(entry.path)))
    with pytest.raises(DamagedError) as found:
        table(store)
    assert store.set_aside(found.value).endswith("it is set aside, and the same command computes it again")
    assert part(0).id not in store.snapshot().commits
    store.publish(part(0, of=1), rows(0), known_tables())
    assert table(store).num_rows == 2


def test_a_damaged_commit_is_passed_over(store: Store) -> None:
    store.publish(part(0, of=1), rows(0), known_tables())
    (path,) = store.files.listing(layout.COMMITS)
    store.files.put(path, damaged(store.files.get(path)))
    fresh = Store(store.uri)
    assert fresh.snapshot().commits == {}
    assert fresh.snapshot().broken == [path]
    assert fresh.commit(part(0).id) is None
    assert table(fresh).num_rows == 0


def test_a_stray_file_breaks_nothing(store: Store) -> None:
    train(store)
    store.publish(part(0, of=1), rows(0), known_tables())
    store.files.put("data/rewind/zz/stray.parquet", b"not parquet")
    store.files.put("data/rewind/stray", b"")
    assert table(store).num_rows == 2
    assert run_sql(store, "SELECT count(*) AS n FROM rewind").to_pylist() == [{"n": 2}]


def test_a_damaged_table_is_an_error_not_wrong_numbers(store: Store) -> None:
    train(store)
    store.publish(part(0, of=1), rows(0), known_tables())
    (path,) = store.files.listing(layout.DATA)
    content = store.files.get(path)
    for at in range(0, len(content), 40):
        store.files.put(path, damaged(content, at))
        with pytest.raises(StoreError, match="was changed since it was committed"):
            table(store)


def test_a_later_version_is_not_guessed_at(store: Store) -> None:
    commits.publish(store.files, replace(part(0, of=1), schema=99))
    other = replace(part(0, of=1), id="f" * 16)
    commits.publish(store.files, other)
    with pytest.warns(
        MemlocWarning, match=r"left out: commits/.*\.json was written by a later memloc \(schema 99\); update"
    ):
        snapshot = store.snapshot()
    assert list(snapshot.commits.values()) == [other]
    assert len(snapshot.unreadable) == 1
    assert snapshot.broken == []
    assert store.snapshot().unreadable == snapshot.unreadable  # said once
    with pytest.raises(StoreError, match="later memloc"):
        store.commit(part(0, of=1).id)
    with pytest.warns(MemlocWarning, match="what it lists is not checked"):
        assert verify(store.files)[0] == []


def test_many_of_a_later_version_are_counted(store: Store) -> None:
    for k in range(7):
        commits.publish(store.files, replace(part(0, of=1), id=f"{k}" * 16, schema=99))
    with pytest.warns(MemlocWarning, match=r"left out: (commits/[^;]*; [^;]*; ){5}and 2 more$"):
        store.snapshot()


@pytest.mark.parametrize("change", [{"files": [{"of": "another form"}]}, {"checkpoints": 3}, None, [1]])
def test_what_another_version_wrote_is_left_out(store: Store, change: Any) -> None:
    raw = json.loads(part(0, of=1).encode())
    content = json.dumps({**raw, **change} if isinstance(change, dict) else change).encode()
    store.files.put(layout.commit(part(0).id, content), content)
    with pytest.warns(MemlocWarning, match="is no commit that this version of memloc can read"):
        assert store.snapshot().commits == {}
    assert store.commit(part(0).id) is None


def test_a_field_of_a_later_version_is_passed_over(store: Store) -> None:
    """A later version raises the number of the form if an earlier one would misread what it writes."""
    raw = json.loads(part(0, of=1).encode())
    content = json.dumps({**raw, "new": {"of": 1}}).encode()
    store.files.put(layout.commit(part(0).id, content), content)
    assert store.commit(part(0).id) == part(0, of=1)


# --- records


P, Q, R = "1" * 16, "2" * 16, "3" * 16


def trials(*analyses: str) -> list[dict[str, Any]]:
    listed = [{"analysis": a, "stage": "rewind", "config": {}, "parts": [a]} for a in analyses]
    return [{"trial": A, "config": {"seed": 0}, "blocks": ["x"], "analyses": listed}]


def test_sweep_records(store: Store) -> None:
    first = records.write_sweep(store.files, "mine", trials(P))
    assert records.write_sweep(store.files, "mine", trials(P)) == first
    second = records.write_sweep(store.files, "mine", trials(Q))
    records.write_sweep(store.files, "mine too", trials(R))
    assert sorted(records.sweep_names(store.files)) == ["mine", "mine too"]
    (union,) = records.merged_trials(records.read_sweep(store.files, "mine"))
    assert {a["analysis"] for a in union["analyses"]} == {P, Q}
    records.write_sweep(store.files, "mine", [{**trial, "blocks": ["x", "y"]} for trial in trials(Q)])
    (union,) = records.merged_trials(records.read_sweep(store.files, "mine"))
    assert sorted(union["blocks"]) == ["x", "y"]
    assert [a["analysis"] for a in records.read_sweep(store.files, second)[0].trials[0]["analyses"]] == [Q]
    for name, message in (("mime", "did you mean 'mine'"), ("mine@00000000", "no such record")):
        with pytest.raises(UsageError, match=message):
            records.read_sweep(store.files, name)


def test_failures_and_heartbeats(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    records.record_failure(store.files, records.Failure(P, A, "rewind", "Traceback …\nValueError: once", "ValueError: once"))
    records.record_failure(
        store.files, records.Failure(P, A, "rewind", "Traceback …\nValueError: twice", "ValueError: twice")
    )
    assert records.read_failures(store.files)[P]["traceback"].endswith("twice")
    records.clear_failures(store.files, {Q})
    assert set(records.read_failures(store.files)) == {P}
    records.clear_failures(store.files, {P})
    assert records.read_failures(store.files) == {}
    heartbeats.write(store.files, "run", A, {"stage": "train", "epoch": 3})
    assert heartbeats.read(store.files)[0][A]["epoch"] == 3
    monkeypatch.setattr(heartbeats, "FRESH_SECONDS", -1.0)
    assert heartbeats.read(store.files)[0] == {}
    heartbeats.clear(store.files, "run")
    assert store.files.listing(layout.HEARTBEATS) == {}


# --- checkpoints


def weights(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"w": torch.randn(30, 3, generator=generator), "n": torch.tensor(seed), "b": torch.zeros(0)}


def test_checkpoints_are_read_as_they_were_committed(store: Store) -> None:
    content = checkpoints.encode(weights(1))
    assert content == checkpoints.encode(dict(reversed(weights(1).items())))  # the same weights are the same bytes
    entry = checkpoints.entry(A, 1, content)
    with pytest.raises(StoreError, match="is missing"):
        checkpoints.read(store.files, entry)
    store.files.put(entry.path, content)
    found = checkpoints.read(store.files, entry)
    assert all(torch.equal(found[k], t) for k, t in weights(1).items())
    for harm in (damaged(content), content[:-1], b""):
        store.files.put(entry.path, harm)
        with pytest.raises(StoreError, match="memloc store verify"):
            checkpoints.read(store.files, entry)


def state(store: Store, epoch: int) -> ResumeState:
    content = checkpoints.encode(weights(epoch))
    entry = checkpoints.entry(A, epoch, content)
    store.files.put(entry.path, content)
    return ResumeState(epoch, weights(epoch), {"loss": torch.ones(3)}, [{"epoch": epoch, "lr": 0.1}], [entry], "here")


def test_resume_states(store: Store) -> None:
    assert checkpoints.load_resume(store.files, A, set(), "here") is None
    old = checkpoints.save_resume(store.files, A, state(store, 1), [])
    new = checkpoints.save_resume(store.files, A, state(store, 2), [])  # killed before the old one was removed
    found = checkpoints.load_resume(store.files, A, {2}, "here")
    assert found is not None
    assert found[0].epoch == 2
    assert torch.equal(found[1]["w"], weights(2)["w"])
    assert found[0].rows == [{"epoch": 2, "lr": 0.1}]
    assert checkpoints.load_resume(store.files, A, {2}, "elsewhere") is None
    store.files.put(new, damaged(store.files.get(new)))
    older = checkpoints.load_resume(store.files, A, set(), "here")
    assert older is not None
    assert older[0].epoch == 1
    checkpoints.save_resume(store.files, A, state(store, 3), [old, new])
    assert len(checkpoints.resume_states(store.files, A)) == 1


def test_a_storage_that_fails_is_no_damage_of_a_state(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """To begin anew would throw away what is intact."""
    checkpoints.save_resume(store.files, A, state(store, 1), [])
    real = Files.get

    def get(files: Files, path: str, most: int | None = None) -> bytes:
        if path.endswith(".safetensors"):
            raise StorageError("the storage is away")
        return real(files, path, most)

    monkeypatch.setattr(Files, "get", get)
    with pytest.raises(StorageError, match="the storage is away"):
        checkpoints.load_resume(store.files, A, set(), "here")


def test_pruning_is_written_down(store: Store) -> None:
    entries = [state(store, epoch).entries[0] for epoch in range(4)]
    checkpoints.prune(store.files, A, entries, keep={0, 3})
    assert {e.epoch for e in entries if store.files.size(e.path) is not None} == {0, 3}
    assert checkpoints.read_pruned(store.files, A) == {1, 2}


def test_everything_is_readable_without_memloc(store: Store) -> None:
    """JSON, Parquet and safetensors, by other programs than ours."""
    store.publish(part(0, of=1), rows(0), known_tables())
    (path,) = store.files.listing(layout.COMMITS)
    listed = json.loads(store.files.get(path))
    assert listed["files"][0]["table"] == "rewind"
    data = pa.parquet.read_table(pa.BufferReader(store.files.get(listed["files"][0]["path"])))
    assert data.num_rows == listed["files"][0]["rows"]
