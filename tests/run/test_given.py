"""Checkpoints of a training that memloc did not make: the stages that need only checkpoints run on them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import memloc
from memloc.errors import UsageError
from memloc.own_weights import carrying
from memloc.run.carried import content_of, to_carry
from memloc.run.cost import Rate
from memloc.run.estimate import cost_model
from memloc.run.given import given_files
from memloc.run.pending import pending
from memloc.run.quantities import train_passes
from memloc.store import Store
from tests.conftest import carry_out, planned, run_inline
from tests.models import own_nets
from tests.run import programs

EPOCHS = (0, 2, 5)
TEXT = """
defaults: {dataset: digits, model: "python:nets.py:make", subset: 60, noise: 0.1, epochs: 30, batch_size: 20}
blocks:
  a:
    train: {from: FROM, epochs: [0, 2, 5]}
    stages: {STAGES}
"""
ALL = "rewind: {}, retrain: {epochs: 1}, evaluate: {}, gradients: {at: checkpoint}, detection: {}, " + (
    "flips: {clean: 2, noisy: 2, max_neurons: 2, post_eval: 0}"
)


def text(stages: str = "evaluate: {}", origin: str = "others") -> str:
    return TEXT.replace("FROM", origin).replace("STAGES", stages)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three checkpoints as a script of somebody else's would leave them."""
    (tmp_path / "nets.py").write_text(Path(own_nets.__file__).read_text())
    others = tmp_path / "others"
    others.mkdir()
    for epoch in EPOCHS:
        torch.save({"epoch": epoch, "model": weights(epoch)}, others / f"net-{epoch:03d}.pth")
    return tmp_path


def weights(epoch: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(epoch)
    state: dict[str, torch.Tensor] = own_nets.make(1, 16, 16, 10).state_dict()
    return state


def test_every_stage_that_needs_only_checkpoints(folder: Path) -> None:
    store = Store(str(folder / "store"))
    plan = run_inline(folder, text(ALL), store)
    (trial,) = plan.trials
    assert trial.config.epochs == 5
    assert set(trial.part_ids) == set(store.snapshot().commits)
    opened = memloc.open_store(str(folder / "store")).trial(trial.id)
    assert opened.epochs == EPOCHS
    assert sorted(opened.pandas("rewind")["epoch"].unique()) == list(EPOCHS)
    assert sorted(opened.pandas("gradients")["epoch"].unique()) == list(EPOCHS)
    assert opened.pandas("epochs").empty
    assert opened.pandas("detection")["score"].unique().tolist() == ["flips"]
    examples = opened.pandas("examples")
    data = opened.data()
    assert examples["label"].tolist() == data.y.tolist()
    assert examples["noisy"].sum() == 6
    assert examples["learning_time"].isna().all()
    # The accuracies of the weights, by the module itself.
    module = own_nets.make(1, 16, 16, 10).eval()
    module.load_state_dict(weights(5))
    with torch.no_grad():
        right = module(data.x).argmax(dim=1) == data.y
        test = module(data.x_test).argmax(dim=1) == data.y_test
    (row,) = opened.pandas("evaluation").to_dict("records")
    assert row["clean_acc"] == pytest.approx(float(right[~data.noisy].double().mean()))
    assert row["test_acc"] == pytest.approx(float(test.double().mean()))
    for epoch in EPOCHS:
        state = opened.with_source(folder / "nets.py").model(epoch).state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in weights(epoch).items())


def test_what_was_copied_says_nothing_of_how_long_a_training_takes(folder: Path) -> None:
    store = Store(str(folder / "store"))
    run_inline(folder, text(), store)
    assert [c.passes for c in store.snapshot().commits.values() if c.stage == "train"] == [0]
    trains = text("rewind: {}").replace("train: {from: others, epochs: [0, 2, 5]}", "set: {epochs: 5}")
    works = pending(planned(folder, trains), store, store.snapshot(), "all")
    model = cost_model(works, store.snapshot(), folder, None, lambda trial, shape: Rate(0.5, "timed"))
    assert [model.train(work) for work in works] == [0.5 * train_passes(works[0].trial)]
    assert model.basis() == "timed"
    run_inline(folder, trains, store)
    (trained,) = [c for c in store.snapshot().commits.values() if c.stage == "train" and c.passes]
    works = pending(planned(folder, trains.replace("epochs: 5", "epochs: 5, seed: 1")), store, store.snapshot(), "all")
    model = cost_model(works, store.snapshot(), folder, None, lambda trial, shape: Rate(0.5, "timed"))
    assert [model.train(work) for work in works] == [pytest.approx(trained.seconds)]
    copies = pending(planned(folder, text("rewind: {}")), Store(str(folder / "other")), store.snapshot(), "all")
    assert [model.train(work) for work in copies] == [0]


def test_identity_is_the_content_and_not_the_place(folder: Path) -> None:
    (one,) = planned(folder, text()).trials
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    for epoch in EPOCHS:
        save = weights(epoch) if epoch else weights(7)
        torch.save({"epoch": epoch, "model": save}, elsewhere / f"e{epoch}.pt")
        shutil.copy(folder / "others" / f"net-{epoch:03d}.pth", folder / f"copy{epoch}.pth")
    (copy,) = planned(folder, text(origin="'copy{epoch}.pth'")).trials
    (other,) = planned(folder, text(origin="elsewhere")).trials
    assert one.id == copy.id != other.id
    assert other.config.given_from == str(elsewhere.resolve())


def test_a_lost_checkpoint_is_copied_again(folder: Path) -> None:
    store = Store(str(folder / "store"))
    (trial,) = run_inline(folder, text(), store).trials
    path = folder / "store" / "checkpoints" / trial.id / "epoch-0002.safetensors"
    before = path.read_bytes()
    path.unlink()
    run_inline(folder, text("evaluate: {}, rewind: {}"), store)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("stages", "problem"),
    [
        ("gradients: {}", "6:blocks.a.stages.gradients.at: trajectory needs the training pass"),
        ("rewind: {epochs: [0, 1]}", "6:blocks.a.stages.rewind.epochs: 1: there is no such checkpoint; given: 0, 2, 5"),
        ("detection: {}", "6:blocks.a.stages.detection.scores: every score of this block needs the epochs of the training"),
        (
            "detection: {scores: [aum]}, flips: {}",
            "6:blocks.a.stages.detection.scores: aum needs the epochs of the training",
        ),
        ("held_out: {}", "5:blocks.a.train.from: checkpoints from elsewhere are of one training"),
    ],
)
def test_what_needs_the_training_pass_is_refused(folder: Path, stages: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        planned(folder, text(stages))
    assert {said.split(f"{folder}/tiny.yaml:")[1][: len(problem)] for said in caught.value.problems} == {problem}


def changed(folder: Path, **tensors: Any) -> None:
    state = {name: tensor for name, tensor in {**weights(5), **tensors}.items() if tensor is not None}
    (folder / "others" / "net-005.pth").unlink()
    save_file(state, folder / "others" / "net-005.safetensors")


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"fc2.bias": None}, "net-005.safetensors: has no fc2.bias: it is of another network"),
        ({"more": torch.zeros(1)}, "net-005.safetensors: has more, which the network has not: it is of another network"),
        ({"fc2.bias": torch.zeros(3)}, "net-005.safetensors: fc2.bias is of shape [3], the network's of [10]: other images"),
    ],
)
def test_weights_of_another_network(folder: Path, tensors: dict[str, Any], problem: str) -> None:
    changed(folder, **tensors)
    with pytest.raises(UsageError) as caught:
        planned(folder, text())
    (said,) = caught.value.problems
    assert f"blocks.a.train.from: {folder.resolve()}/others/{problem}" in said


@pytest.mark.parametrize("same", [True, False])
def test_the_names_of_one_parameter_have_one_value(folder: Path, same: bool) -> None:
    torch.manual_seed(0)
    state = own_nets.shared(1, 16, 16, 10).state_dict()
    if not same:
        state = {**state, "two.weight": state["two.weight"] + 1}
    for epoch in EPOCHS:
        (folder / "others" / f"net-{epoch:03d}.pth").unlink()
        save_file({name: tensor.clone() for name, tensor in state.items()}, folder / f"others/net-{epoch}.safetensors")
    written = text().replace("nets.py:make", "nets.py:shared")
    if same:
        assert planned(folder, written).trials
        return
    with pytest.raises(UsageError) as caught:
        planned(folder, written)
    (said,) = caught.value.problems
    assert said.endswith("one.weight and two.weight are one parameter of the network, and have two values here")


def test_a_count_of_batches_may_be_absent(folder: Path) -> None:
    changed(folder, **{"bn1.num_batches_tracked": None})
    assert planned(folder, text()).trials


@pytest.mark.parametrize(
    ("train", "problem"),
    [
        ("{from: nowhere, epochs: [0]}", "train.epochs: [0] is only the initialisation"),
        ("{from: nowhere, epochs: [5]}", "train.from: {}/nowhere: no such folder; name one, or a path with {{epoch}} in it"),
        (f"{{from: {300 * 'n'}, epochs: [5]}}", f"train.from: {{}}/{300 * 'n'}: no such folder; name one"),
        ("{from: others, epochs: [0, 4]}", "train.from: {}/others: no file of epoch 4; there: net-000.pth, net-002.pth"),
        ("{from: 'others/net-{epoch:03d}.pt', epochs: [5]}", "train.from: {}/others/net-005.pt: no such file"),
        ("{from: 'others/{epoch.n}.pt', epochs: [5]}", "train.from: {}/others/{{epoch.n}}.pt: valid in braces: {{epoch}}"),
        ("{from: 'others/{epoch[0]}.pt', epochs: [5]}", "train.from: {}/others/{{epoch[0]}}.pt: valid in braces: {{epoch}}"),
        ("{from: 'others/{n}.pt', epochs: [5]}", "train.from: {}/others/{{n}}.pt: valid in braces: {{epoch}}"),
        (
            "{from: others, epochs: [5]}\n    set: {stop: {noisy_acc_below: 0.5, at_epoch: 1}}",
            "set.stop: with given_from: there is",
        ),
        ("{from: others}", "train: epochs is required beside from; valid: the epochs of its files, such as [0, 10]"),
        ("{epochs: [5]}", "train: from is required beside epochs; valid: a folder, or a path with {{epoch}}"),
        ("{from: others, epochs: [5, 5]}", "train.epochs: [5, 5] is not valid; valid: a list of epochs"),
        ("{frm: others, epochs: [5]}", "train.frm: unknown key (did you mean 'from'?); valid: from, epochs"),
    ],
)
def test_bad_values(folder: Path, train: str, problem: str) -> None:
    written = text().replace("{from: others, epochs: [0, 2, 5]}", train)
    with pytest.raises(UsageError) as caught:
        planned(folder, written)
    said = problem.format(folder.resolve())
    line = 6 if said.startswith("set.") else 5
    assert f"{folder}/tiny.yaml:{line}:blocks.a.{said}" in "\n".join(caught.value.problems)


def test_the_seed_may_stand_in_the_path(folder: Path) -> None:
    for seed in (0, 1):
        for epoch in EPOCHS:
            save_file(weights(10 * seed + epoch), folder / f"s{seed}e{epoch}.safetensors")
    written = text(origin="'s{seed}e{epoch}.safetensors'").replace("    stages", "    axes: {seed: [0, 1]}\n    stages")
    one, other = planned(folder, written).trials
    assert one.config.given_sha256 != other.config.given_sha256


def test_files_that_change_after_the_plan_are_not_taken(folder: Path) -> None:
    (trial,) = planned(folder, text()).trials
    assert list(given_files(trial.config)) == list(EPOCHS)
    torch.save({"epoch": 2, "model": weights(3)}, folder / "others" / "net-002.pth")
    with pytest.raises(UsageError, match="these checkpoints have changed since the sweep was planned"):
        given_files(trial.config)


def test_where_the_files_cannot_be_seen_they_are_what_the_launch_has_carried(folder: Path) -> None:
    """On a node of a cluster. The checkpoints are the same to the last bit, also when one is copied again."""
    stores = [Store(str(folder / name)) for name in ("here", "there")]
    plan = run_inline(folder, text(), stores[0])
    (work,) = pending(plan, stores[1], stores[1].snapshot(), "all")
    files = to_carry(work)
    contents = {sha256: content_of(sha256, file) for sha256, file in files.items()}
    assert len(contents) == len(EPOCHS) + 1
    assert sum(len(content) for content in contents.values()) > 30_000
    with pytest.raises(UsageError, match="has changed since the sweep was planned"):
        content_of("0" * 64, next(iter(files.values())))
    (done,) = pending(plan, stores[0], stores[0].snapshot(), "all")
    assert to_carry(done) == {}
    (folder / "others").rename(folder / "away")
    outcome = carry_out([work], stores[1], folder)
    assert "others: no such folder" in outcome.failures[work.trial.id]
    with carrying(contents.get):
        assert carry_out([work], stores[1], folder).failures == {}
        one, other = (store.snapshot().commits[work.trial.id] for store in stores)
        assert other.checkpoints == one.checkpoints
        lost = folder / "there" / one.checkpoints[1].path
        before = lost.read_bytes()
        lost.unlink()
        (again,) = pending(plan, stores[1], stores[1].snapshot(), "all")
        assert carry_out([replace(again, write={2})], stores[1], folder).failures == {}
        assert lost.read_bytes() == before


def test_a_job_elsewhere_that_would_lack_the_files_is_refused(folder: Path) -> None:
    (folder / "mine.yaml").write_text(text().replace("nets.py", "tests.models.own_nets"))
    options = ("--kuberay", "--image", "memloc:1", "--store", "s3://bucket/runs", "--print")
    refused = programs.memloc(folder, "submit", str(folder / "mine.yaml"), *options)
    assert refused.code == 2
    assert f"{folder}/others: lies on this machine, and only the sweep's file goes along with the job" in refused.err
