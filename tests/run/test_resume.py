"""A training that is stopped, killed, damaged or pruned anywhere ends as one that never was: to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml

from memloc.analysis.reader import known_tables
from memloc.data import load
from memloc.errors import ReplayError
from memloc.invocation import command
from memloc.run import provenance
from memloc.run.events import Event
from memloc.run.pending import Work, pending
from memloc.run.plan import Plan, TrialPlan
from memloc.run.planner import build_plan
from memloc.run.retention import Retention
from memloc.run.trainer import run_training
from memloc.run.worker import Worker, never
from memloc.stages import REGISTRY
from memloc.store import Files, Store, checkpoints, commits, layout, tables
from memloc.store.compaction import compact
from memloc.sweep import load as load_sweep
from tests.conftest import carry_out
from tests.numerics import kept_numerics

T = 3
loaded = cache(load)  # every worker reads the same arrays
DROPOUTS: dict[str, dict[str, Any]] = {
    "none": {},
    "example_tied": {"dropout": "example_tied", "p_gen": 0.3, "p_mem": 0.2},
    "standard element": {"dropout": "standard", "keep": 0.6, "unit": "element"},
    "standard channel": {"dropout": "standard", "keep": 0.6, "unit": "channel"},
    "sparse weight": {"dropout": "sparse", "keep": 0.6, "unit": "weight"},
    "sparse element": {"dropout": "sparse", "keep": 0.6, "unit": "element"},
    "sparse channel": {"dropout": "sparse", "keep": 0.6, "unit": "channel"},
}


@pytest.fixture(autouse=True)
def _numerics() -> Iterator[None]:
    with kept_numerics():
        yield


@dataclass
class Place:
    """A store in a folder, and one training of three epochs on 100 digits with what is asked of it."""

    home: Path
    fields: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, Any] = field(default_factory=dict)
    retention: Retention = "all"

    @property
    def store(self) -> Store:
        return Store(str(self.home / "store"))  # a new one every time: another process knows nothing

    @cached_property
    def plan(self) -> Plan:
        base = {"dataset": "digits", "model": "resnet9", "width": 0.0625, "subset": 100, "noise": 0.2, "epochs": T}
        block = {"axes": {"seed": [0]}, "set": {"batch_size": 32, **self.fields}, "stages": self.stages}
        self.home.mkdir(exist_ok=True)
        path = self.home / "one.yaml"
        path.write_text(yaml.safe_dump({"defaults": base, "blocks": {"one": block}}))
        sweep = load_sweep(path, REGISTRY)
        return build_plan(sweep, sweep.entries, self.home)

    @property
    def trial(self) -> TrialPlan:
        (trial,) = self.plan.trials
        return trial

    @property
    def work(self) -> Work:
        """What a new process finds to do."""
        store = self.store
        (work,) = pending(self.plan, store, store.snapshot(), self.retention)
        return work

    def train(self, should_stop: Callable[[], bool] = never) -> tuple[bool, list[int]]:
        """(finished, the epochs that were told of), by a fresh worker."""
        told: list[int] = []
        worker = Worker(self.store, loaded, torch.device("cpu"))
        return run_training(worker, self.work, lambda epoch, _: told.append(epoch), should_stop), told

    def sweep(self) -> list[Event]:
        """Everything there is to do, as the inline executor does it."""
        events: list[Event] = []
        outcome = carry_out([self.work], self.store, self.home, events.append)
        assert outcome.failures == {}
        return events

    def path(self, epoch: int) -> Path:
        return Path(self.store.files.full(layout.checkpoint(self.trial.id, epoch)))

    @property
    def epochs_here(self) -> list[int]:
        return [t for t in range(T + 1) if self.path(t).exists()]

    @property
    def resume_state(self) -> Path:
        (path,) = self.path(0).parent.glob("resume-*")
        return path

    def contents(self, *names: str) -> dict[str, pa.Table]:
        """Tables without the clock's readings."""
        found = {}
        for name in names or ("trials", "epochs", "examples"):
            store = self.store
            table = tables.read(store.files, store.snapshot().shown(partial=False), name, known_tables())
            found[name] = table.drop_columns([c for c in ("seconds",) if c in table.column_names])
        return found

    def hashes(self) -> list[tuple[int, str]]:
        commit = self.store.commit(self.trial.id)
        assert commit is not None
        return [(c.epoch, c.sha256) for c in commit.checkpoints]


def assert_same(one: Place, other: Place) -> None:
    """Same tables, same committed hashes, same bytes of every checkpoint that both still have."""
    mine, theirs = one.contents(), other.contents()
    for name, table in mine.items():
        assert table.num_rows == {"trials": 1, "epochs": T, "examples": 100}[name]
        assert table.equals(theirs[name]), name
    assert one.hashes() == other.hashes()
    assert [t for t, _ in one.hashes()] == list(range(T + 1))
    for epoch in set(one.epochs_here) & set(other.epochs_here):
        assert one.path(epoch).read_bytes() == other.path(epoch).read_bytes()
    assert T in one.epochs_here


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Place]:
    """fields -> a finished training with these fields; each is trained once for all the tests of this file."""
    made: dict[str, Place] = {}

    def get(**fields: Any) -> Place:
        key = json.dumps(fields, sort_keys=True)
        if key not in made:
            made[key] = Place(tmp_path_factory.mktemp("undisturbed"), fields)
            assert made[key].train() == (True, list(range(T + 1)))
        return made[key]

    return get


# --- stopped ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
@pytest.mark.parametrize("name", list(DROPOUTS))
def test_stopped_after_every_epoch(tmp_path: Path, undisturbed: Callable[..., Place], name: str, augment: str) -> None:
    fields = {**DROPOUTS[name], "augment": augment}
    place = Place(tmp_path / "stopped", fields)
    for epoch in range(T):
        finished, told = place.train(should_stop=lambda: True)
        assert not finished
        assert told == ([0] if epoch == 0 else [epoch - 1, epoch])  # goes on from where the last one stopped
        assert place.epochs_here == list(range(epoch + 1))
        assert place.store.snapshot().commits == {}  # nothing is visible yet
    assert place.train(should_stop=lambda: True) == (True, [T - 1, T])  # after the last epoch there is nothing to stop
    assert_same(place, undisturbed(**fields))
    assert place.train() == (True, [])  # committed and whole: nothing to do
    for epoch in range(T + 1):
        assert place.path(epoch).exists()


def test_trainings_differ_where_they_should(undisturbed: Callable[..., Place]) -> None:
    """The comparisons above compare something: every dropout, and augmentation, leads to other weights."""
    last = [
        undisturbed(**fields, augment=augment).hashes()[-1]
        for fields in DROPOUTS.values()
        for augment in ("none", "crop_flip")
    ]
    assert len(set(last)) == len(last)


def test_one_epoch_more_needs_the_momentum(tmp_path: Path, undisturbed: Callable[..., Place]) -> None:
    """The state that a training goes on from matters: another momentum leads elsewhere."""
    place = Place(tmp_path / "changed", {"augment": "none"})
    place.train(should_stop=lambda: True)
    place.train(should_stop=lambda: True)
    state = torch.load(place.resume_state, weights_only=True)
    state["momentum"] = {k: t * 0.5 for k, t in state["momentum"].items()}
    torch.save(state, place.resume_state)
    content = place.resume_state.read_bytes()
    numerics = json.loads(state["extra"])["numerics"]
    path = layout.resume_state(place.trial.id, state["epoch"], numerics, content)
    place.resume_state.rename(place.store.files.full(path))
    assert place.train() == (True, [1, 2, 3])
    mine, theirs = place.hashes(), undisturbed(augment="none").hashes()
    assert mine[:2] == theirs[:2]
    assert all(a != b for a, b in zip(mine[2:], theirs[2:], strict=True))


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("tf32", True)])
def test_the_numerics_are_the_trials_not_the_processs(tmp_path: Path, precision: str, tf32: bool) -> None:
    """A process that trained something else before trains and analyses as a fresh one does."""
    place = Place(tmp_path / "numerics", {"precision": precision, "epochs": 1}, {"evaluate": {}})

    def numerics() -> tuple[int, bool, bool]:
        return torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    def spoil() -> None:
        torch.set_num_threads(2)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not tf32

    spoil()
    assert place.train()[0]
    assert numerics() == (1, tf32, tf32)
    spoil()
    assert [e.kind for e in place.sweep()] == ["started", "placed", "part", "finished"]  # the analysis alone
    assert numerics() == (1, tf32, tf32)


# --- killed -----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What a `kill -9` is to the process: no handler of ours takes it."""


def killed_before(monkeypatch: pytest.MonkeyPatch, place: Place, nth: int) -> bool:
    """Trains until just before the nth change of the store; False where there are fewer."""
    changes = 0
    with monkeypatch.context() as patch:
        for name in ("put", "delete"):
            original = getattr(Files, name)

            def counted(self: Files, path: str, *rest: Any, original: Any = original) -> Any:
                nonlocal changes
                changes += 1
                if changes == nth:
                    raise Killed
                return original(self, path, *rest)

            patch.setattr(Files, name, counted)
        try:
            place.train()
        except Killed:
            return True
    return False


@pytest.mark.parametrize("retention", ["all", "last"])
def test_killed_before_every_change_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Callable[..., Place], retention: Retention
) -> None:
    """At each write and each removal, one after the other; a second run ends as if nothing had happened."""
    expected = undisturbed(**DROPOUTS["example_tied"], augment="none")
    nth = 1
    while True:
        place = Place(tmp_path / str(nth), {**DROPOUTS["example_tied"], "augment": "none"}, retention=retention)
        if not killed_before(monkeypatch, place, nth):
            break
        assert place.store.snapshot().commits == {}
        assert place.train()[0]
        assert_same(place, expected)
        assert place.work.train == "done"
        nth += 1
    # Checkpoints, resume states, three tables and the commit; older resume states and (last) checkpoints removed.
    assert nth - 1 == (T + 1) * 2 + T + 3 + 1 + (T + 1 if retention == "last" else 0)


@pytest.mark.parametrize("first", [1, 4, 7])
def test_killed_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Callable[..., Place], first: int
) -> None:
    place = Place(tmp_path / "often", {"augment": "none"})
    kills = 0
    while killed_before(monkeypatch, place, first + 5):  # enough for an epoch and a little more
        kills += 1
    assert kills >= 1
    assert_same(place, undisturbed(augment="none"))


# --- damaged ----------------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [flip, cut, empty, remove])
@pytest.mark.parametrize("what", ["resume state", "its checkpoint"])
def test_damaged_state_means_a_fresh_start(
    tmp_path: Path, undisturbed: Callable[..., Place], what: str, harm: Callable[[Path], None]
) -> None:
    place = Place(tmp_path / "damaged", {"augment": "none"})
    place.train(should_stop=lambda: True)
    place.train(should_stop=lambda: True)
    harm(place.resume_state if what == "resume state" else place.path(1))
    assert place.train() == (True, list(range(T + 1)))
    assert_same(place, undisturbed(augment="none"))
    assert len(list(place.path(0).parent.glob("resume-*"))) == 1  # nothing damaged is left beside the new state


@pytest.mark.parametrize("harm", [cut, empty, remove])
def test_an_earlier_checkpoint_lost_before_the_commit(
    tmp_path: Path, undisturbed: Callable[..., Place], harm: Callable[[Path], None]
) -> None:
    place = Place(tmp_path / "damaged", {"augment": "none"})
    for _ in range(3):
        place.train(should_stop=lambda: True)
    harm(place.path(1))
    assert place.train()[0]
    assert place.epochs_here == [0, 1, 2, 3]
    assert_same(place, undisturbed(augment="none"))


def test_a_state_of_other_numerics_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Callable[..., Place]
) -> None:
    """An upgrade of a library in mid-training: the checkpoints would be a mixture that no replay could give again."""
    place = Place(tmp_path / "upgraded", {"augment": "none"})
    with monkeypatch.context() as before:
        before.setattr("memloc.run.trainer.numerics", lambda device: "another torch")
        place.train(should_stop=lambda: True)
        place.train(should_stop=lambda: True)
    assert place.train() == (True, list(range(T + 1)))
    assert_same(place, undisturbed(augment="none"))


def test_the_older_state_serves_where_the_newest_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Callable[..., Place]
) -> None:
    """Killed between writing a state and removing the one before: two are there, and one of them may be damaged."""
    place = Place(tmp_path / "two", {"augment": "none"})
    place.train(should_stop=lambda: True)
    older = place.resume_state
    assert killed_before(monkeypatch, place, 3)  # checkpoint 1, state 1, and then the removal of state 0
    (newest,) = set(older.parent.glob("resume-*")) - {older}
    flip(newest)
    assert place.train() == (True, [0, 1, 2, 3])
    assert_same(place, undisturbed(augment="none"))
    assert len(list(older.parent.glob("resume-*"))) == 1


# --- lost after the commit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", [cut, empty, remove])
@pytest.mark.parametrize(("name", "lost"), [("none", [1]), ("standard element", [0, 2]), ("example_tied", [3])])
def test_a_lost_checkpoint_is_replayed(
    tmp_path: Path, undisturbed: Callable[..., Place], name: str, lost: list[int], harm: Callable[[Path], None]
) -> None:
    fields = {**DROPOUTS[name], "augment": "crop_flip"}
    place = Place(tmp_path / "lost", fields)
    place.train()
    before = {p: p.read_bytes() for p in Path(place.store.uri).rglob("*") if p.is_file()}
    for epoch in lost:
        harm(place.path(epoch))
    assert place.work.train == "replay"
    assert place.train() == (True, list(range(max(lost) + 1)))  # no further than it must
    assert {p: p.read_bytes() for p in Path(place.store.uri).rglob("*") if p.is_file()} == before
    assert place.work.train == "done"
    assert not place.work.anything
    assert_same(place, undisturbed(**fields))


def test_a_replay_that_is_stopped_starts_again(tmp_path: Path) -> None:
    place = Place(tmp_path / "lost")
    place.train()
    content = place.path(2).read_bytes()
    remove(place.path(2))
    assert place.train(should_stop=lambda: True) == (False, [0])
    assert not place.path(2).exists()
    assert place.train() == (True, [0, 1, 2])
    assert place.path(2).read_bytes() == content


def commit_other_hash(place: Place, epoch: int) -> None:
    """As if the training had been committed by a machine that rounds differently."""
    store, trial = place.store, place.trial
    commit = store.commit(trial.id)
    assert commit is not None
    changed = tuple(replace(c, sha256="0" * 64) if c.epoch == epoch else c for c in commit.checkpoints)
    for path in store.files.listing(layout.commit_folder(trial.id)):
        store.files.delete(path)
    commits.publish(store.files, replace(commit, checkpoints=changed))


@pytest.mark.parametrize(("changed", "lost"), [(1, 1), (1, 3), (0, 2)])
def test_a_replay_that_cannot_match_says_so_and_writes_nothing(tmp_path: Path, changed: int, lost: int) -> None:
    place = Place(tmp_path / "other")
    place.train()
    commit_other_hash(place, changed)
    remove(place.path(lost))
    before = {p: p.read_bytes() for p in Path(place.store.uri).rglob("*") if p.is_file()}
    with pytest.raises(ReplayError, match=f"{place.trial.id}, epoch {changed}.*the same as when it was"):
        place.train()
    assert {p: p.read_bytes() for p in Path(place.store.uri).rglob("*") if p.is_file()} == before


def commit_junk(place: Place, epoch: int, content: bytes) -> None:
    """As if somebody had committed these bytes as a checkpoint, every hash right."""
    store = place.store
    commit = store.commit(place.trial.id)
    assert commit is not None
    entries = tuple(checkpoints.entry(c.path.split("/")[1], epoch, content) if c.epoch == epoch else c
                    for c in commit.checkpoints)  # fmt: skip
    store.files.put(entries[epoch].path, content)
    for path in store.files.listing(layout.commit_folder(place.trial.id)):
        store.files.delete(path)
    commits.publish(store.files, replace(commit, checkpoints=entries))


JUNK = {"no safetensors": b"x" * 100, "of another network": checkpoints.encode({"w": torch.zeros(3)})}


@pytest.mark.parametrize(("name", "is_gone"), [("no safetensors", False), *((name, True) for name in JUNK)])
def test_a_commit_of_what_is_no_checkpoint_is_set_aside(tmp_path: Path, name: str, is_gone: bool) -> None:
    """No training can give it. The first launch says so in a line, and the next one trains anew.

    is_gone: `verify` has set it aside.
    """
    place = Place(tmp_path / "other", stages={"evaluate": {}})
    place.train()
    before = place.path(T).read_bytes()
    commit_junk(place, T, JUNK[name])
    if is_gone:
        place.store.quarantine(layout.checkpoint(place.trial.id, T))
    outcome = carry_out([place.work], place.store, place.home, lambda event: None)
    (line,) = outcome.failures.values()
    assert f"{layout.checkpoint(place.trial.id, T)} was committed as a checkpoint, and " in line
    assert line.endswith("; it is set aside, and the same command computes it again")
    assert place.store.commit(place.trial.id) is None
    outcome = carry_out([place.work], place.store, place.home, lambda event: None)
    assert not outcome.failures
    assert place.path(T).read_bytes() == before


@pytest.mark.parametrize("what", ["another version", "a network of one's own"])
def test_a_commit_of_another_network_stays_where_the_network_may_have_been_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Its rows are those of the weights that it lists. To train anew would put them beside those of other weights."""
    place = Place(tmp_path / "other", stages={"evaluate": {}})
    place.train()
    commit_junk(place, T, JUNK["of another network"])
    place.store.quarantine(layout.checkpoint(place.trial.id, T))
    if what == "another version":
        monkeypatch.setattr(provenance, "_versions", lambda: {"timm": "0.1"})
    else:
        monkeypatch.setattr(type(place.trial.config), "model", "python:nets.py:make")
    outcome = carry_out([place.work], place.store, place.home, lambda event: None)
    (line,) = outcome.failures.values()
    assert "training again gave another checkpoint; " in line
    assert place.store.commit(place.trial.id) is not None


def test_such_a_commit_in_a_generation_names_the_way_out(tmp_path: Path) -> None:
    place = Place(tmp_path / "other", stages={"evaluate": {}})
    place.train()
    commit_junk(place, T, JUNK["no safetensors"])
    store = place.store
    assert compact(store.files) is not None
    for path in store.files.listing(layout.COMMITS):
        store.files.delete(path)
    outcome = carry_out([place.work], place.store, place.home, lambda event: None)
    (line,) = outcome.failures.values()
    assert f"; {command('store rm SWEEP', store.uri)} removes the sweep whose training it is" in line


def test_a_replay_that_cannot_match_is_a_recorded_failure(tmp_path: Path) -> None:
    place = Place(tmp_path / "other", stages={"evaluate": {}})
    place.train()
    commit_other_hash(place, 2)
    remove(place.path(2))
    events: list[Event] = []
    outcome = carry_out([place.work], place.store, place.home, events.append)
    assert list(outcome.failures) == [place.trial.id]
    assert outcome.failures[place.trial.id].startswith("ReplayError: trial")
    assert [e.kind for e in events if e.kind not in ("started", "placed", "epoch")] == ["failed", "unfinished"]
    (record,) = place.store.files.listing(layout.FAILURES)
    assert "training again gave another checkpoint" in json.loads(place.store.files.get(record))["traceback"]


# --- retention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retention", "rewind", "kept"),
    [("all", [0, 1, 3], [0, 1, 2, 3]), ("rewound", [1, 3], [0, 1, 3]), ("rewound", None, [0, 3]), ("last", [1], [3])],
)
def test_retention_keeps_what_it_says(
    tmp_path: Path, undisturbed: Callable[..., Place], retention: Retention, rewind: list[int] | None, kept: list[int]
) -> None:
    stages = {"evaluate": {}} if rewind is None else {"rewind": {"epochs": rewind}}
    place = Place(tmp_path / retention, {"augment": "none"}, stages, retention)
    place.sweep()
    assert place.epochs_here == kept
    assert not place.work.anything  # what was removed on purpose is not missed
    assert place.train() == (True, [])
    assert place.epochs_here == kept
    assert_same(place, undisturbed(augment="none"))
    keeping = Place(tmp_path / "keeping", {"augment": "none"}, stages)
    keeping.sweep()
    for name in ("rewind", "evaluation", "predictions"):
        assert place.contents(name)[name].equals(keeping.contents(name)[name])
    assert place.contents("rewind")["rewind"].num_rows == 9 * len(rewind or [])


def test_no_more_than_two_checkpoints_at_a_time_with_last(tmp_path: Path) -> None:
    place = Place(tmp_path / "last", retention="last")
    for epoch in range(T):
        place.train(should_stop=lambda: True)
        assert place.epochs_here == [epoch]
    place.train()
    assert place.epochs_here == [T]


@pytest.mark.parametrize("retention", ["last", "rewound", "all"])
def test_a_later_analysis_that_needs_a_pruned_epoch(tmp_path: Path, retention: Retention) -> None:
    """It replays the training, its rows are those of a store that kept everything, and retention holds again after it."""
    Place(tmp_path / "pruned", stages={"evaluate": {}}, retention="last").sweep()
    place = Place(tmp_path / "pruned", stages={"evaluate": {}, "rewind": {"epochs": [1]}}, retention=retention)
    assert place.epochs_here == [T]
    work = place.work
    assert work.train == "replay"
    events = place.sweep()
    trained = [e.epoch for e in events if e.kind == "epoch"]
    assert trained == list(range(work.until + 1))
    keeping = Place(tmp_path / "keeping", stages={"rewind": {"epochs": [1]}})
    keeping.sweep()
    assert place.contents("rewind")["rewind"].equals(keeping.contents("rewind")["rewind"])
    assert place.epochs_here == {"last": [3], "rewound": [0, 1, 3], "all": [0, 1, 2, 3]}[retention]
    assert not place.work.anything


def test_a_later_analysis_of_what_is_kept_needs_no_training(tmp_path: Path) -> None:
    Place(tmp_path / "pruned", retention="last").sweep()
    place = Place(tmp_path / "pruned", stages={"evaluate": {}}, retention="last")
    assert place.work.train == "done"
    assert [e.kind for e in place.sweep()] == ["started", "placed", "part", "finished"]


def test_keeping_less_removes_and_keeping_more_does_not_train(tmp_path: Path) -> None:
    place = Place(tmp_path / "one")
    place.sweep()
    place.retention = "rewound"
    assert place.work.train == "done"
    place.sweep()
    assert place.epochs_here == [0, T]
    place.retention = "last"
    place.sweep()
    assert place.epochs_here == [T]
    place.retention = "all"
    assert not place.work.anything


def test_a_kept_checkpoint_that_is_lost_is_missed_whatever_was_pruned(tmp_path: Path) -> None:
    """Among them one that was pruned in an earlier life of the training, whose tables have been lost since."""
    place = Place(tmp_path / "again", retention="last")
    place.train()
    for path in place.store.files.listing(layout.DATA):
        place.store.files.delete(path)
    place.retention = "all"
    assert place.work.train == "train"  # `pending` sets the commit aside
    assert place.train() == (True, [0, 1, 2, 3])
    assert place.epochs_here == [0, 1, 2, 3]
    content = place.path(1).read_bytes()
    remove(place.path(1))
    assert place.work.train == "replay"
    place.train()
    assert place.path(1).read_bytes() == content


def test_lost_tables_come_back_without_training(tmp_path: Path, undisturbed: Callable[..., Place]) -> None:
    place = Place(tmp_path / "tables", {"augment": "none"})
    place.train()
    (path,) = place.store.files.listing(f"{layout.DATA}/examples")
    place.store.files.delete(path)
    assert place.work.train == "train"
    assert place.train() == (True, [T])  # from the state after the last epoch
    assert_same(place, undisturbed(augment="none"))
