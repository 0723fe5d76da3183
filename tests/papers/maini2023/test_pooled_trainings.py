"""Which trainings, analyses and epochs stand behind a number where a store has several of each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from memloc.papers.claims import Case
from memloc.papers.maini2023.layers.rewinding import Rewound
from tests.papers.maini2023.simulated import Simulated

LAYERS = ("conv", "linear")


@pytest.fixture
def made(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path)


def seeds_of(made: Simulated, id: str) -> int:
    return made.judged()[id].seeds


# --- trainings ----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*training has results of several versions:memloc.errors.MemlocWarning")
def test_a_seed_counts_once_by_the_newest_version_of_training(made: Simulated) -> None:
    for version, noisy in ((1, 0.9), (2, 0.7)):
        made.gradients(made.training(seed=0, version=version), noisy=noisy)
    one = made.judged()["G1.cifar10"]
    assert (one.seeds, one.ours) == (1, pytest.approx(0.7))
    made.gradients(made.training(seed=1, version=1), noisy=0.5)  # another seed counts, whatever its version
    assert seeds_of(made, "G1.cifar10") == 2


def test_trainings_on_other_data_are_another_setting(made: Simulated) -> None:
    """As if the labels of a file had been corrected between two seeds."""
    for seed, identity in ((0, "old"), (1, "new"), (2, "new")):
        made.gradients(made.training(seed=seed, identity=identity), noisy=0.5 + 0.1 * seed)
    judged = made.judged()
    found = {name: one.seeds for name, one in judged.of("G1").items() if one.ours is not None}
    assert sorted(found.values()) == [1, 2]


def test_checkpoints_from_elsewhere_are_pooled_over_seeds(made: Simulated) -> None:
    for seed in range(3):
        made.gradients(
            made.training(seed=seed, given_from="run{seed}/e{epoch}.pt", given_epochs="[0, 50]", given_sha256=f"{seed}" * 64)
        )
    found = [one for one in made.judged().of("G1").values() if one.ours is not None]
    assert [one.seeds for one in found] == [3]
    assert "0000" not in found[0].on


# --- analyses -----------------------------------------------------------------------------------------------------------


def test_searches_of_one_set_do_not_hide_those_of_both(made: Simulated) -> None:
    """As sweep locate's, which search 150 mislabeled examples and measure no accuracy afterwards."""
    for seed in range(3):
        trial = made.training(seed=seed)
        made.flips(trial, {True: [2] * 10, False: [9] * 60}, left={True: 0.9, False: 0.5}, clean=60, noisy=60, post_eval=400)
        made.flips(trial, {True: [7] * 10, False: []}, clean=0, noisy=150, post_eval=0)
    judged = made.judged()
    assert judged["F1.ratio"].ours == pytest.approx(2 / 9)
    assert judged["F3"].ours == pytest.approx(0.4)


def test_forgetting_times_of_other_trainings_on_the_halves_are_another_setting(made: Simulated) -> None:
    """As many epochs as in the training are usual, however many those are."""
    for seed, (epochs, halves) in enumerate([(50, 50), (50, 50), (50, 5), (20, 20)]):
        trial = made.training(seed=seed, epochs=epochs, peak_epoch=10)
        times = made.analysis(
            trial, "second_split", {"epochs": halves, "batch_norm": "train"}, second_split={"example": [0]}
        )
        rows = {"score": ["second_split"], "sample": ["all"], "auc": [0.9], "auc_lo": [0.8], "auc_hi": [0.95], "n": [100]}
        made.analysis(trial, "detection", {"scores": ["second_split"]}, [times], detection=rows)
    judged = made.judged()
    found = judged._observations.settings("detection")
    assert sorted((s.config["epochs"], s.variant.get("second_split.epochs", 0), len(s.trials)) for s in found) == [
        (20, 0, 1),
        (50, 0, 2),
        (50, 5, 1),
    ]


def test_few_neurons_are_not_known_where_searches_end_before(made: Simulated) -> None:
    for limit, verdict in ((8, "not_testable"), (10, "holds")):
        for seed in range(3):
            trial = made.training(seed=seed, n=1000, lr=0.1 + limit / 100)
            counts = {True: [1 + k % 6 for k in range(100)], False: [7] * 100}
            made.flips(trial, counts, clean=100, noisy=100, max_neurons=limit)
        found = [one for one in made.judged().of("F2").values() if f"lr {0.1 + limit / 100:g}" in one.on]
        assert [one.verdict for one in found] == [verdict]


def test_retrainings_for_other_numbers_of_epochs_are_not_pooled(made: Simulated) -> None:
    """Two trainings were retrained for 20 epochs, and every group comes back; one for 5, and none does."""
    for seed, (epochs, reached) in enumerate([(20, 1.0), (5, 0.2), (20, 1.0)]):
        made.retrain(made.training(seed=seed), {layer: [0.0, reached] for layer in "abc"}, epochs=epochs)
    judged = made.judged()["R1.cifar10"]
    assert judged.ours == 1.0
    assert judged.seeds == 2


# --- epochs -------------------------------------------------------------------------------------------------------------


def test_norms_are_of_the_epochs_that_all_trainings_have(made: Simulated) -> None:
    """The ratio is 1 at even epochs and 0.2 at odd ones."""
    for seed, epochs in ((0, range(2, 12)), (1, range(2, 12, 2))):
        trial = made.training(seed=seed)
        rows: dict[str, list[Any]] = {
            name: [] for name in ("epoch", "layer", "param", "numel", "sq_clean", "sq_noisy", "dot")
        }
        for epoch in epochs:
            for layer in LAYERS:
                noisy = 0.04 if epoch % 2 else 1.0
                for name, value in zip(rows, (epoch, layer, f"{layer}.weight", 1, 1.0, noisy, 0.0), strict=True):
                    rows[name].append(value)
        rows |= {"sq_control": [0.01] * len(rows["epoch"]), "dot_control": [0.0] * len(rows["epoch"])}
        config = {"epochs": list(epochs), "bn": "batch", "at": "trajectory"}
        made.analysis(trial, "gradients", config, gradients=rows)
    assert made.judged()["G1.cifar10"].ours == pytest.approx(1.0)


def test_rewinding_is_to_the_epochs_that_all_trainings_have(made: Simulated) -> None:
    for seed, epochs in ((0, (0, 10, 20)), (1, (0,))):
        trial = made.training(seed=seed)
        columns: dict[str, list[Any]] = {"layer": [], "epoch": [], "noisy_acc": [], "clean_acc": []}
        for epoch in (*epochs, 50):
            for layer in LAYERS:
                accuracy = 1.0 if epoch else 0.1
                for name, value in zip(columns, (layer, epoch, accuracy, accuracy), strict=True):
                    columns[name].append(value)
        made.analysis(trial, "rewind", {"epochs": [*epochs, 50], "buffers": "final"}, rewind=columns)
    judged = made.judged()
    observations = judged._observations
    (setting,) = observations.settings("rewind")
    drops = Rewound.of(Case(observations, setting)).drops("noisy_acc")
    assert drops.to_numpy().ravel().tolist() == pytest.approx([0.9] * 4)


def test_the_window_of_the_paper_is_that_of_its_own_precision(made: Simulated) -> None:
    for seed in range(3):
        made.gradients(made.training(seed=seed, precision="tf32"), cosine=lambda epoch: -0.9 if epoch >= 10 else 0.0)
    assert "over epochs 10 to 30" in made.judged()["G2"].reason


def test_the_control_is_set_beside_the_rest(made: Simulated) -> None:
    """Where clean and noisy gradients cancel, the rest of a random set is far shorter than the clean gradient."""
    for seed in range(3):
        made.gradients(made.training(seed=seed), clean=1.0, noisy=0.4, cosine=-0.9)
    total = 1 + 0.16 - 2 * 0.9 * 0.4
    rest = total - 0.01  # control and rest are orthogonal here
    assert f"a random set as large has {0.1 / rest**0.5:.2f} of the rest" in made.judged()["G1.cifar10"].reason


# --- cells ----------------------------------------------------------------------------------------------------------------


def test_one_more_cell_of_one_seed_leaves_no_seed_out(made: Simulated) -> None:
    grid = [(seed, p_gen) for seed in range(3) for p_gen in (0.1, 0.2, 0.3, 0.4)]
    for seed, p_gen in [*grid, (0, 0.8)]:
        kept = 0.8 + p_gen / 10
        rows = {("own", "none"): (1.0, 1.0, 0.9), ("dropped", "none"): (kept, 0.03, kept)}
        made.training(seed=seed, dropout="example_tied", p_gen=p_gen, p_mem=0.1, evaluated=rows)
    trend = made.judged()["E2.trend"]
    assert trend.verdict == "holds"
    assert trend.seeds == 12
    assert "4 p_gen" in trend.reason


# --- what can be done about it --------------------------------------------------------------------------------------------


def test_no_epoch_of_rewinding_helps_where_none_is_before_memorization(made: Simulated) -> None:
    """Of checkpoints from elsewhere no epoch is known; a training that never memorizes has no epoch before."""
    given = {"given_from": "run{seed}/e{epoch}.pt", "given_epochs": "[0, 50]", "given_sha256": "0" * 64}
    reasons = []
    for fields in ({**given, "noisy_acc": [math.nan] * 50}, {"noisy_acc": [0.1] * 50}):
        trial = made.training(seed=0, **fields)
        columns = {"layer": ["conv", "linear"] * 2, "epoch": [0, 0, 50, 50], "noisy_acc": [0.1, 0.1, 1.0, 1.0]}
        made.analysis(trial, "rewind", {"epochs": [0, 50], "buffers": "final"}, rewind=columns)
        judged = made.judged()
        observations = judged._observations
        setting = next(s for s in observations.settings("rewind") if trial in s.trials)
        reasons.append(Rewound.of(Case(observations, setting)).nowhere().reason)
    assert not [reason for reason in reasons if "rewind.epochs" in reason]
    assert "elsewhere" in reasons[0]
    assert "never reaches 20%" in reasons[1]
