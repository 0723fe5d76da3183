"""`stop` ends trainings that will not memorize; what needs their later checkpoints is not run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from memloc import sweep
from memloc.analysis.reading import read_table, run_sql
from memloc.analysis.sweep_status import sweep_status
from memloc.api import open_store
from memloc.config.retention import Retention
from memloc.data import load, prepare
from memloc.run.events import Event
from memloc.run.parts import _stopped
from memloc.run.pending import pending
from memloc.run.plan import Plan
from memloc.run.planner import build_plan
from memloc.stages import REGISTRY
from memloc.stages.training.loop import Epoch, train
from memloc.store import Store, records
from memloc.store.compaction import compact
from memloc.store.verify import verify
from tests.conftest import carry_out
from tests.run.programs import memloc
from tests.sweep.test_sweep import problems

FIELDS = "dataset: digits, model: resnet9, width: 0.0625, subset: 100, noise: 0.1, epochs: 4, batch_size: 32"
SWEEP = """
defaults: {%s%s}
blocks:
  a:
    stages:
      rewind: {epochs: [0, 2]}
      evaluate: [{}, {epoch: 2}]
      detection: {}
      flips: {clean: 2, noisy: 2, post_eval: 0}
      gradients: {epochs: [1, 3]}
  b:
    stages: {detection: {scores: [aum, loss]}, gradients: {epochs: [1, 2]}}
"""
AT = 2


def plan(folder: Path, below: float | None) -> Plan:
    path = folder / "early.yaml"
    path.write_text(SWEEP % (FIELDS, "" if below is None else f", stop: {{noisy_acc_below: {below}, at_epoch: {AT}}}"))
    loaded = sweep.load(path, REGISTRY)
    return build_plan(loaded, loaded.entries, folder)


def carried_out(folder: Path, below: float | None, retention: Retention = "all", interrupted: bool = False) -> Store:
    folder.mkdir(exist_ok=True)
    store, planned, events = Store(str(folder / "store")), plan(folder, below), list[Event]()
    if interrupted:  # after the state of epoch 2 was written

        def reached() -> bool:
            return any(event.kind == "epoch" and event.epoch == AT for event in events)

        carry_out(pending(planned, store, store.snapshot(), retention), store, folder, events.append, should_stop=reached)
        assert planned.trials[0].id not in store.snapshot().commits
        events.clear()
    records.write_sweep(store.files, planned.name, planned.record())
    outcome = carry_out(pending(planned, store, store.snapshot(), retention), store, folder, events.append)
    assert outcome.failures == {}
    if interrupted:
        assert [event.epoch for event in events if event.kind == "epoch"] == [AT]  # from there it goes on, and ends there
    return store


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Epoch]:
    """The same training without `stop`, epoch by epoch."""
    folder = tmp_path_factory.mktemp("whole")
    (trial,) = plan(folder, None).trials
    data = prepare(load(trial.config.source, folder), trial.config)
    return list(train(trial.config, data, torch.device("cpu")))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return carried_out(tmp_path_factory.mktemp("stopped") / "run", 1.0)


def rows(whole: list[Epoch]) -> list[dict[str, float]]:
    return [epoch.row for epoch in whole if epoch.row is not None]


def test_it_is_the_same_training_up_to_the_epoch(stopped: Store, whole: list[Epoch]) -> None:
    found = read_table(stopped, "epochs").to_pylist()
    assert [{k: row[k] for k in rows(whole)[0]} for row in found] == rows(whole)[:AT]
    (commit,) = stopped.snapshot().trainings().values()
    assert [entry.epoch for entry in commit.checkpoints] == [0, 1, AT]
    assert commit.stopped == AT
    trial = open_store(stopped.uri).trials()[0]
    assert trial.epochs == (0, 1, AT)
    last = trial.model().state_dict()  # the last that there is
    assert all(torch.equal(last[name], value) for name, value in whole[AT].weights.items())
    assert read_table(stopped, "trials")["stopped"].to_pylist() == [AT]


def test_the_scores_are_of_the_epochs_that_were_trained(stopped: Store, whole: list[Epoch]) -> None:
    found = read_table(stopped, "examples").to_pandas()
    dynamics = {name: values.numpy() for name, values in whole[AT].dynamics.items()}
    assert np.array_equal(found["mean_loss"], dynamics["loss"] / AT)
    assert np.array_equal(found["aum"], dynamics["margin"] / AT)
    wrong_at_the_end = dynamics["last_wrong"] == AT
    assert wrong_at_the_end.any()
    assert (found["learning_time"][wrong_at_the_end] == 4 + 1).all()  # T + 1, with the T that was asked for
    assert np.array_equal(found["learning_time"][~wrong_at_the_end], (dynamics["last_wrong"] + 1)[~wrong_at_the_end])


def test_what_needs_a_later_checkpoint_is_not_run(stopped: Store) -> None:
    there = run_sql(stopped, "SELECT stage, config FROM analyses ORDER BY ALL").to_pylist()
    # The detection of block a reads flips, which were not run; that of block b reads the training alone.
    assert [(row["stage"], json.loads(row["config"]).get("epoch")) for row in there] == [
        ("detection", None),
        ("evaluate", AT),
        ("gradients", None),
    ]
    assert set(read_table(stopped, "gradients")["epoch"].to_pylist()) == {1, 2}  # along epoch 3 there is nothing
    assert read_table(stopped, "flips").num_rows == read_table(stopped, "rewind").num_rows == 0
    assert run_sql(stopped, "SELECT DISTINCT score FROM detection ORDER BY score")["score"].to_pylist() == ["aum", "loss"]
    status = sweep_status(stopped, "early")
    assert (status["counts"], status["failures"]) == ({"done": 1, "running": 0, "pending": 0, "failed": 0}, [])
    (trial,) = status["stopped"]
    assert (trial["epoch"], trial["not_run"]) == (AT, ["detection", "evaluate", "flips", "gradients", "rewind"])
    assert trial["rule"] == "noisy accuracy below 1 at epoch 2"


def test_a_worker_that_asks_what_is_not_run_reads_no_whole_store(
    stopped: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for each task. The store may have a hundred thousand commits."""
    monkeypatch.setattr(Store, "snapshot", lambda store: pytest.fail("it reads every commit"))
    (trial,) = plan(tmp_path, 1.0).trials
    of_stage: dict[str, list[int | None]] = {}
    for analysis in trial.analyses:
        of_stage.setdefault(analysis.stage, []).append(_stopped(stopped, trial, analysis))
    assert of_stage == {
        "rewind": [AT],
        "evaluate": [AT, None],
        "flips": [AT],
        "gradients": [AT, None],
        "detection": [AT, None],
    }


def test_it_is_said_in_words(stopped: Store) -> None:
    claims = "1 of 1 training was stopped: noisy accuracy below 1 at epoch 2. Analyses that need later checkpoints were"
    said = {"status": "after epoch 2 (noisy accuracy below 1", "trials": "stopped at epoch 2", "claims": claims}
    for command, words in said.items():
        done = memloc(Path(stopped.uri).parent, command, "early", "--store", stopped.uri)
        assert done.code == 0
        assert words in " ".join(done.out.split())


def test_nothing_is_left_to_do_also_after_a_compaction(tmp_path: Path) -> None:
    store = carried_out(tmp_path, 1.0)
    planned = plan(tmp_path, 1.0)
    before = read_table(store, "analyses")
    for _ in range(2):
        works = pending(planned, store, store.snapshot(), "all")
        assert not any(work.anything for work in works)
        assert sweep_status(store, "early")["stopped"]
        compact(store.files)
        store = Store(store.uri)
    assert read_table(store, "analyses").equals(before)
    assert verify(store.files)[0] == []


@pytest.mark.parametrize("retention", ["last", "rewound"])
def test_the_last_checkpoint_stays(tmp_path: Path, retention: Retention) -> None:
    store = carried_out(tmp_path, 1.0, retention)
    trial = open_store(store.uri).trials()[0]
    assert trial.epochs == {"last": (AT,), "rewound": (0, AT)}[retention]


def test_a_run_that_was_interrupted_at_the_epoch_ends_there(tmp_path: Path, stopped: Store) -> None:
    store = carried_out(tmp_path, 1.0, interrupted=True)
    for table in ("trials", "examples", "evaluation", "analyses"):
        assert read_table(store, table).equals(read_table(stopped, table))


def test_the_accuracy_must_be_below(tmp_path: Path, whole: list[Epoch]) -> None:
    reached = rows(whole)[AT - 1]["noisy_acc"]
    assert 0 < reached < 1
    at, above = (carried_out(tmp_path / str(b), b) for b in (reached, reached + 1e-9))
    assert [read_table(store, "epochs").num_rows for store in (at, above)] == [4, AT]
    assert read_table(at, "trials")["stopped"].to_pylist() == [None]
    assert len(read_table(at, "analyses")) == 8
    assert sweep_status(at, "early")["stopped"] == []


def test_a_rule_is_part_of_the_identity_and_none_is_not(tmp_path: Path) -> None:
    one, other, none = (plan(tmp_path, below).trials[0] for below in (0.5, 0.6, None))
    assert len({one.id, other.id, none.id}) == 3
    path = tmp_path / "null.yaml"
    path.write_text(SWEEP % (FIELDS, ", stop: null"))
    loaded = sweep.load(path, REGISTRY)
    assert build_plan(loaded, loaded.entries, tmp_path).trials[0].id == none.id


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{noisy_acc_below: 0.5, at_epoch: 4}", "the training ends at epoch 4 anyway; valid: at_epoch below 4, or null"),
        ("{noisy_acc_below: 50, at_epoch: 2}", "valid: {noisy_acc_below: 0.5, at_epoch: 20}"),
        ("{noisy_acc_below: 0.5}", "see at_epoch"),
        ("{noisy_acc: 0.5, at_epoch: 2}", "see noisy_acc_below, noisy_acc"),
        ("0.5", "valid: {noisy_acc_below: 0.5, at_epoch: 20}"),
        ("soon", "valid: {noisy_acc_below: 0.5, at_epoch: 20}"),
    ],
)
def test_what_is_wrong_with_a_rule(tmp_path: Path, rule: str, said: str) -> None:
    text = f"defaults: {{{FIELDS}}}\nblocks:\n  a:\n    set: {{stop: {rule}}}\n"
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("mine.yaml:4:blocks.a.set.stop: ")
    assert said in problem


def test_on_the_command_line_and_as_an_axis(tmp_path: Path) -> None:
    path = tmp_path / "early.yaml"
    path.write_text(SWEEP % (FIELDS, ""))
    typed = sweep.load(path, REGISTRY, ["stop={noisy_acc_below: 0.5, at_epoch: 2}"]).entries[0].config
    assert typed.stop_rule is not None
    assert typed.stop_rule.model_dump() == {"noisy_acc_below": 0.5, "at_epoch": 2}
    path.write_text(
        f"defaults: {{{FIELDS}}}\nblocks:\n  a:\n    axes: {{stop: [null, {{noisy_acc_below: 1, at_epoch: 2}}]}}\n"
    )
    assert [e.config.stop for e in sweep.load(path, REGISTRY).entries] == [None, '{"at_epoch": 2, "noisy_acc_below": 1.0}']
