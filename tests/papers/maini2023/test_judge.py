"""The scorecard as a whole: in which settings a claim is judged, what can be tested, what would run what was not run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from memloc import sweep
from memloc.analysis.reading import run_sql
from memloc.errors import UsageError
from memloc.papers.judging import judge
from memloc.papers.registry import paper
from memloc.stages import REGISTRY
from memloc.store import Store
from tests.papers.maini2023.simulated import Simulated

FLIPS = {True: [3] * 10, False: [12] * 20}


@pytest.fixture
def simulated(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path)


def run(simulated: Simulated) -> set[str]:
    return {name for name, j in simulated.judged().items() if j.verdict != "not_run"}


def test_a_store_without_anything(simulated: Simulated) -> None:
    """Every number of the paper is there, once, and not run."""
    simulated.training(noise=0.0, evaluated=None)
    found = simulated.judged()
    assert {j.verdict for j in found.values()} == {"not_run"}
    assert len(found) == sum(len(numbers) for claim in paper().claims for numbers in claim.scopes.values()) == 181
    for name in (
        "D1.flips",
        "E1.cifar10.after.noisy",
        "E2.p_gen0.3.p_mem0.2.clean",
        "G1.mnist.vit_small.noise0.05",
        "W3.mnist.resnet50",
    ):
        assert found[name].ours is found[name].lo is found[name].hi is None
        assert found[name].seeds == 0
    assert [c.id for c in paper().claims] == list(dict.fromkeys(name.split(".")[0] for name in found))


def test_what_would_run_them(simulated: Simulated) -> None:
    """Every command selects trainings of a shipped sweep that have the stage."""
    simulated.training(noise=0.0, evaluated=None)
    loaded = {name: sweep.load(path, REGISTRY) for name, path in sweep.shipped().items()}
    stages = {claim.id: claim.stage for claim in paper().claims}
    commands: dict[str, str] = {}
    for j in simulated.judged().values():
        if j.command:
            first, _, then = j.command.rpartition(" && ")
            assert (first == "memloc sweep cscore") == (j.id.startswith("A1") or j.id == "E5.c_score")
            commands[then] = stages[j.id.split(".")[0]]
    assert all(j.command for j in simulated.judged().values())
    assert len(commands) > 60
    for command, stage in commands.items():
        words = shlex.split(command)
        assert words[:2] == ["memloc", "sweep"]
        entries = sweep.only(loaded[words[2]].entries, words[4::2], REGISTRY)
        assert entries
        assert all(stage in {r.stage for r in e.requests} for e in entries)


def test_a_command_runs_what_its_number_is_of(simulated: Simulated) -> None:
    found = simulated.judged()
    assert (
        found["E2.p_gen0.3.p_mem0.2.clean"].command
        == "memloc sweep paper-grid --only block=tied --only p_gen=0.3 --only p_mem=0.2"
    )
    assert found["E1.mnist.after.test"].command == "memloc sweep paper-grid --only block=tied_other --only dataset=mnist"
    assert found["D1.second_split"].command == "memloc sweep paper-grid --only block=forgetting"
    assert found["G3.trend"].command == "memloc sweep paper-grid --only block=noise_curve"
    expected = "memloc sweep paper-grid --only block=baselines --only dropout=sparse --only keep=0.6"
    assert found["E3.sparse.keep0.6.noisy"].command == expected
    tied = "memloc sweep paper-grid --only block=tied --only p_gen=0.3 --only p_mem=0.2"
    assert (found["E5.learning_time"].command, found["E5.c_score"].command) == (tied, f"memloc sweep cscore && {tied}")
    atypical = "memloc sweep cscore && memloc sweep atypical --only block=atypical --only dataset=mnist"
    assert found["A1.mnist.rewind"].command == atypical


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("G1.mnist.vit_small.noise0.05", "needs gradients on mnist, vit_small, noise 0.05"),
        ("G3.noise0.01", "needs gradients on cifar10, resnet9, noise 0.01"),
        ("G3.noise0.99", "needs gradients on cifar10, resnet9, noise 0.01 and 0.99"),
        ("G3.trend", "needs gradients on cifar10, resnet9, noise 0.01, 0.1 and 0.99"),
        ("D1.second_split", "needs detection and second_split on cifar10, resnet9, noise 0.1"),
        ("E1.svhn.after.test", "needs evaluate on svhn, resnet9, noise 0.1, dropout example_tied, p_gen 0.3, p_mem 0.2"),
        (
            "E2.p_gen0.6.p_mem0.1.clean",
            "needs evaluate on cifar10, resnet9, noise 0.1, dropout example_tied, p_gen 0.6, p_mem 0.1",
        ),
        (
            "E2.trend",
            "needs evaluate on cifar10, resnet9, noise 0.1, dropout example_tied, p_gen 0.1, 0.2, 0.3, 0.4, 0.5 and 0.6",
        ),
        ("E3.sparse.keep0.6.noisy", "needs evaluate on cifar10, resnet9, noise 0.1, dropout sparse, keep 0.6"),
        (
            "E3.example_tied.clean",
            "needs evaluate on cifar10, resnet9, noise 0.1, dropout example_tied, p_gen 0.4, p_mem 0.2",
        ),
        (
            "E5.c_score",
            "needs evaluate on cifar10, resnet9, noise 0.1, dropout example_tied, p_gen 0.3, p_mem 0.2, and C-scores of its "
            "data set: `memloc sweep cscore` comes first",
        ),
        (
            "A1.mnist.retrain",
            "needs retrain with `memorized: c_score` on mnist, resnet9, noise 0, and C-scores of its data set: "
            "`memloc sweep cscore` comes first",
        ),
    ],
)
def test_what_a_number_needs(simulated: Simulated, name: str, reason: str) -> None:
    simulated.training(noise=0.0, evaluated=None)
    assert simulated.judged()[name].reason == reason


def test_the_trainings_a_command_runs_are_those_its_reason_names(simulated: Simulated) -> None:
    """Data set, model, noise rate, dropout and its fields, read back from the words; every one of them is selected."""
    simulated.training(noise=0.0, evaluated=None)
    loaded = {name: sweep.load(path, REGISTRY) for name, path in sweep.shipped().items()}
    for j in simulated.judged().values():
        assert j.command
        words = shlex.split(j.command.split(" && ")[-1])
        entries = sweep.only(loaded[words[2]].entries, words[4::2], REGISTRY)
        said = j.reason.split(" on ", 1)[1].split(", and C-scores")[0]
        dataset, model, rest = said.split(", ", 2)
        named = dict(re.findall(r"([a-z_]+) ((?:[\d.]+(?:, | and )?)+|\w+)", rest))
        for field, text in {"dropout": "none", **named}.items():
            values = re.split(r", | and ", text.removesuffix(", "))
            got = {e.config.flat()[field] for e in entries}
            assert {str(v) if field == "dropout" else f"{v:g}" for v in got} >= set(values), (j.id, field)
            assert len(values) > 1 or len(got) == 1, (j.id, field)
        assert {(e.config.dataset, e.config.model) for e in entries} == {(dataset, model)}


# --- settings ---------------------------------------------------------------------------------------------------------


def test_the_nearest_setting_stands_in_where_the_paper_has_one(simulated: Simulated) -> None:
    simulated.flips(simulated.training(dataset="fashion_mnist", width=0.5), FLIPS)
    found = simulated.judged()
    assert (found["F2"].leans, found["F2"].paper) == ("for", 0.9)
    assert found["F2"].on == "fashion_mnist, resnet9, noise 0.1, width 0.5"
    simulated.flips(simulated.training(), {True: [20] * 10, False: [30] * 20})
    found = simulated.judged()
    assert (found["F2"].leans, found["F2"].on) == ("against", "cifar10, resnet9, noise 0.1")
    assert (found["F2.fashion_mnist"].leans, found["F2.fashion_mnist"].paper) == ("for", None)


def test_numbers_of_a_data_set_are_of_that_data_set(simulated: Simulated) -> None:
    simulated.rewind(simulated.training(dataset="digits"), {"a": 1.0, "b": 0.95})
    found = simulated.judged()
    assert found["W1.cifar10"].verdict == "not_run"
    assert (found["W1.digits"].verdict, found["W1.digits"].paper) == ("inconclusive", None)


def test_settings_are_never_pooled(simulated: Simulated) -> None:
    """What differs in anything but seeds has numbers of its own; the one nearest to the paper's has the plain name."""
    for fields in (
        {},
        {"seed": 1},
        {"data_seed": 1},
        {"width": 0.25},
        {"epochs": 40},
        {"noise": 0.2},
        {"dataset": "npz:/a/my images.npz"},
    ):
        trial = simulated.training(**fields)  # type: ignore[arg-type]
        simulated.rewind(trial, {"a": 1.0, "b": 1.0}, last=fields.get("epochs", 50))  # type: ignore[arg-type]
    found = {name: j.seeds for name, j in simulated.judged().of("W1").items() if j.verdict != "not_run"}
    assert found == {
        "W1.cifar10": 3,
        "W1.cifar10.width0.25": 1,
        "W1.cifar10.epochs40": 1,
        "W1.cifar10.noise0.2": 1,
        "W1.my_images": 1,
    }


def test_ids_say_how_settings_differ_from_the_nearest_one(simulated: Simulated) -> None:
    """Not what all of them have in common: here their width and the number of epochs."""
    common = {"dataset": "digits", "width": 0.25, "epochs": 40}
    for fields in ({}, {"lr": 0.01}, {"lr": 0.01, "momentum": 0.5}):
        simulated.gradients(simulated.training(**{**common, **fields}), epochs=range(1, 41))  # type: ignore[arg-type]
    judged = simulated.judged()
    for claim, plain in (("G1", "G1.digits"), ("G4", "G4")):
        found = [name for name, j in judged.of(claim).items() if j.verdict != "not_run"]
        more = f"{claim}.digits" if claim == "G4" else plain
        assert found == [plain, f"{more}.lr0.01", f"{more}.lr0.01.momentum0.5"], claim


def test_the_networks_own_fields_are_the_papers_unless_changed(simulated: Simulated) -> None:
    """ResNet-50's stem is no deviation; another one is."""
    for stem in ("imagenet", "cifar"):
        simulated.rewind(simulated.training(model="resnet50", stem=stem), {"layer3": 0.2, "layer1": 0.9})
    found = simulated.judged()
    assert (found["W3.cifar10.resnet50"].seeds, found["W3.cifar10.resnet50"].on) == (1, "cifar10, resnet50, noise 0.1")
    assert found["W1.cifar10.resnet50.stemcifar"].on == "cifar10, resnet50, noise 0.1, stem cifar"


def test_files_of_one_name_have_ids_of_their_own(simulated: Simulated) -> None:
    for path in ("npz:/a/x.npz", "npz:/b/x.npz"):
        simulated.rewind(simulated.training(dataset=path), {"a": 1.0, "b": 1.0})
    assert {"W1.x", "W1.x.2"} <= run(simulated)


def test_the_largest_of_several_analyses_of_a_training(simulated: Simulated) -> None:
    trial = simulated.training()
    simulated.flips(trial, {True: [50] * 2, False: [50] * 2})
    simulated.flips(trial, FLIPS)
    simulated.flips(trial, {True: [70] * 3, False: [70] * 3})
    assert simulated.judged()["F1.clean"].ours == 12


def test_masks_other_dropouts_and_clean_trainings_are_no_evidence(simulated: Simulated) -> None:
    simulated.flips(simulated.training(noise=0.0), FLIPS)
    simulated.flips(simulated.training(dropout="standard", keep=0.4), FLIPS)
    simulated.flips(simulated.training(dropout="example_tied", p_gen=0.3, p_mem=0.2), FLIPS, mask_mode="dropped")
    assert not {name for name in run(simulated) if name.startswith("F")}


# --- what can be tested -----------------------------------------------------------------------------------------------


def test_without_memorization_nothing_that_needs_it_is_tested(simulated: Simulated) -> None:
    trial = simulated.training(evaluated=0.94)
    simulated.flips(trial, FLIPS)
    simulated.gradients(trial)
    simulated.rewind(trial, {"a": 1.0, "b": 1.0})
    simulated.retrain(trial, {"a": [0, 1.0], "res2.conv1": [0, 1.0]})
    found = {name: j for name, j in simulated.judged().items() if j.verdict != "not_run"}
    assert {j.verdict for j in found.values()} == {"not_testable"}
    assert {name.split(".")[0] for name in found} == {
        "G1",
        "G2",
        "G4",
        "G5",
        "L1",
        "W1",
        "W2",
        "R1",
        "R2",
        "F1",
        "F2",
        "F3",
        "F4",
        "F5",
    }
    assert all("0.940, below 0.95" in j.reason and j.ours is None for j in found.values())


def test_trainings_that_did_not_memorize_are_left_out(simulated: Simulated) -> None:
    simulated.flips(simulated.training(seed=0), FLIPS)
    simulated.flips(simulated.training(seed=1, evaluated=0.5), {True: [90] * 10, False: [90] * 20})
    found = simulated.judged()["F1.clean"]
    assert (found.ours, found.seeds) == (12, 1)
    assert found.reason.endswith(
        "without 1 of 2 trainings: noisy accuracy at the last epoch is 0.500, below 0.95: not memorized"
    )


def test_memorization_is_known_from_rewinding_and_from_flips_too(simulated: Simulated) -> None:
    """Rewinding to T is the network itself; a noisy example is eligible when the network predicts its label."""
    rewound, flipped = simulated.training(seed=0, evaluated=None), simulated.training(seed=1, evaluated=None)
    for trial in (rewound, flipped):
        simulated.flips(trial, {True: [3] * 20, False: [12] * 20}, eligible=0.95 if trial == flipped else 0.5)
    simulated.rewind(rewound, {"a": 1.0, "b": 1.0})
    assert simulated.judged()["F1.clean"].seeds == 2


@pytest.mark.parametrize(("eligible", "verdict"), [(0.95, "inconclusive"), (0.9, "not_testable")])
def test_of_eligible_noisy_examples_at_least_95_in_100(simulated: Simulated, eligible: float, verdict: str) -> None:
    simulated.flips(simulated.training(evaluated=None), {True: [3] * 20, False: [12] * 20}, eligible=eligible)
    assert simulated.judged()["F1.ratio"].verdict == verdict


def test_where_it_is_not_known_what_to_add(simulated: Simulated) -> None:
    simulated.gradients(simulated.training(evaluated=None))
    found = simulated.judged()["G1.cifar10"]
    assert found.verdict == "not_testable"
    assert found.reason == (
        "evaluation-mode noisy accuracy is not known (in the training pass it is 1.000): add `evaluate: {}` to the block's "
        "stages"
    )


def test_the_query_has_the_accuracies_that_the_reason_names(simulated: Simulated) -> None:
    """Each from where it was taken: the training pass of those that were measured says 1. Earlier epochs do not count."""
    of_epochs = {"layer": ["a"] * 2, "epoch": [30, 50]}
    expected = set()
    for seed, source in enumerate(("evaluation", "rewind", "flips", "epochs")):
        trial = simulated.training(seed=seed, evaluated=0.5 if source == "evaluation" else None)
        simulated.gradients(trial)
        early = {"mode": ["plain"], "rescale": ["none"], "noisy_acc": [1.0]}
        simulated.analysis(trial, "evaluate", {"epoch": 30, "modes": ["plain"]}, evaluation=early)
        if source == "rewind":
            simulated.analysis(trial, "rewind", {"epochs": [30, 50]}, rewind={**of_epochs, "noisy_acc": [0.9, 0.625]})
        if source == "flips":
            simulated.flips(trial, {True: [3] * 20, False: [12] * 20}, eligible=0.75)
        expected.add((trial, source, {"evaluation": 0.5, "rewind": 0.625, "flips": 0.75, "epochs": 1.0}[source]))
    found = simulated.judged()["G1.cifar10"]
    assert "is 0.500 to 0.750, below 0.95" in found.reason
    assert {(row["trial"], row["source"], row["noisy_acc"]) for row in simulated.rows(found.sql)} == expected


def test_an_evaluation_of_an_earlier_epoch_says_nothing(simulated: Simulated) -> None:
    trial = simulated.training(evaluated=None)
    early = {"mode": ["plain"], "rescale": ["none"], "noisy_acc": [1.0]}
    simulated.analysis(trial, "evaluate", {"epoch": 30, "modes": ["plain"]}, evaluation=early)
    simulated.gradients(trial)
    assert simulated.judged()["G1.cifar10"].verdict == "not_testable"


# --- a real store -----------------------------------------------------------------------------------------------------


def test_every_query_runs_and_gives_rows(simulated: Simulated, tiny: Path) -> None:
    trial = simulated.training()
    simulated.flips(trial, FLIPS, left={True: 0.9, False: 0.8})
    simulated.gradients(trial)
    simulated.rewind(trial, {"a": 1.0, "b": 1.0})
    simulated.retrain(trial, {"a": [0, 1.0], "res2.conv1": [0, 1.0]})
    for store in (simulated.store, Store(str(tiny))):
        for sql, missing in {j.sql: j.verdict == "not_run" for j in judge(store, paper())}.items():
            assert run_sql(store, sql).num_rows > 0 or missing, sql


def test_a_sweep_that_is_not_there(tiny: Path) -> None:
    with pytest.raises(UsageError, match="no such sweep"):
        judge(Store(str(tiny)), paper(), "tinny")


def test_two_epochs_memorize_nothing(tiny: Path) -> None:
    found = {j.id: j for j in judge(Store(str(tiny)), paper(), "tiny") if j.verdict != "not_run"}
    assert found["W1.digits"].verdict == found["E1.digits.after.noisy"].verdict == "not_testable"
    assert found["E1.digits.before.noisy"].leans == "against"
    evaluation = run_sql(Store(str(tiny)), "SELECT noisy_acc FROM evaluation WHERE mode = 'own'").to_pylist()
    assert found["E1.digits.before.noisy"].ours == evaluation[0]["noisy_acc"]


def test_the_same_twice(simulated: Simulated) -> None:
    for seed in (0, 1):
        simulated.flips(
            simulated.training(seed=seed), {True: [3, 5] * 5, False: [9, 14, 30] * 4}, left={True: 0.9, False: 0.8}
        )
    first, second = (json.dumps([asdict(j) for j in judge(Store(simulated.store.uri), paper())]) for _ in range(2))
    assert first == second


EMPTY: Mapping[str, Mapping[str, object]] = {
    "gradients": {"epochs": [1, 2, 3], "bn": "batch", "at": "trajectory"},
    "rewind": {"epochs": [0, 50], "buffers": "final"},
    "retrain": {"epochs": 20, "peak_epoch": 10, "lr": 0.1},
    "flips": {"estimator": "fast", "reference": 16, "ablate": "activation", "max_neurons": 200, "repeats": 1},
    "evaluate": {"epoch": 50, "modes": ["plain"]},
    "detection": {"scores": ["learning_time"]},
}


@pytest.mark.parametrize("stage", EMPTY)
def test_an_analysis_without_rows_is_no_number_and_no_traceback(simulated: Simulated, stage: str) -> None:
    """memloc writes none; whoever else writes into the store can."""
    for seed in range(2):
        trial = simulated.training(seed=seed)
        table = "evaluation" if stage == "evaluate" else stage
        simulated.analysis(trial, stage, EMPTY[stage], **{table: {"trial": []}})
    judged = simulated.judged()
    assert {j.ours for j in judged.values() if j.claim_id in ("G1", "G2", "G4", "L1", "R1", "F1", "D1")} == {None}
    for section in simulated.paper.sections:
        for exhibit in section.exhibits:
            simulated.shown(exhibit)
