"""Trainings on parts of the data set, and what they know of the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from memloc import sweep
from memloc.config import TrainConfig
from memloc.data import load, normalise, prepare
from memloc.errors import UsageError
from memloc.models.architectures import resolved
from memloc.stages import REGISTRY, STAGES
from memloc.stages.held_out.config import HeldOutConfig
from memloc.stages.inputs import Inputs
from memloc.stages.training.loop import train
from tests.stages.conftest import BASE, CPU, TIED

STAGE = STAGES["held_out"]


@pytest.mark.parametrize("fields", [{}, TIED, {"dropout": "standard", "keep": 0.6}], ids=["none", "tied", "standard"])
def test_every_example_once_with_what_the_network_says(fields: dict[str, object]) -> None:
    config = resolved(**{**BASE, **fields, "ratio": 0.7, "cut": 2})
    c, raw = config, load("digits")
    data = prepare(raw, c)
    epochs = list(train(config, data, CPU))
    inputs = Inputs(config, data, CPU, lambda t: epochs[t].weights)
    assert STAGE.parts(HeldOutConfig(), config, None) == [{"all": "all"}]  # type: ignore[arg-type]
    columns = STAGE.run(HeldOutConfig(), inputs, {"all": "all"})["held_out"]
    assert data.held_out is not None
    whole = prepare(raw, c.model_copy(update={"held_out": None}))
    assert columns["example"].tolist() == whole.example.tolist()
    assert set(columns["example"][columns["held_in"]]) == set(data.example.tolist())
    # One at a time, through the network itself.
    network = inputs.network(c.epochs)
    dropout = inputs.dropout(network)
    masks = dropout.evaluation("scaled" if c.example_tied else "plain")
    with torch.no_grad():
        for row in range(0, 120, 7):
            z = network(normalise(torch.from_numpy(whole.x[row : row + 1])), masks=masks)
            label = int(whole.y[row])
            assert bool(z.argmax() == label) == bool(columns["correct"][row])
            assert (columns["label"][row], columns["noisy"][row]) == (label, whole.noisy[row])
            probabilities = dict(enumerate(z[0].double().softmax(0).tolist()))
            assert columns["prob"][row] == pytest.approx(probabilities.pop(label), rel=1e-4, abs=1e-9)
            assert columns["alternative"][row] == max(probabilities, key=probabilities.__getitem__)
            assert columns["alternative_prob"][row] == pytest.approx(max(probabilities.values()), rel=1e-4)
    assert 0 < columns["correct"].mean() < 1


def expand(folder: Path, block: str, *overrides: str) -> list[TrainConfig]:
    text = "defaults: {dataset: digits, model: resnet9, width: 0.0625, epochs: 2}\nblocks:\n  a:\n"
    (folder / "a.yaml").write_text(text + block)
    return [entry.config for entry in sweep.load(folder / "a.yaml", REGISTRY, overrides).entries]


def test_a_block_with_the_stage_trains_once_for_every_ratio_and_cut(tmp_path: Path) -> None:
    block = (
        "    axes: {noise: [0, 0.1]}\n    set: {seed: 10}\n    stages: {held_out: {ratios: [0.7, 0.3], min_held_out: 2}}\n"
    )
    found = [(c.noise, c.held_out.ratio, c.held_out.cut, c.seed) for c in expand(tmp_path, block) if c.held_out]
    # 1437 examples: held out are 1437 − 431 = 1006, ⌈2874 / 1006⌉ = 3 times, and 431, ⌈2874 / 431⌉ = 7 times.
    cuts = [(0.3, 3), (0.7, 7)]
    assert found == [(noise, ratio, cut, 10 + cut) for noise in (0, 0.1) for ratio, n in cuts for cut in range(n)]
    assert len(expand(tmp_path, block, "noise=0", "held_out.ratios=[0.7]")) == 7
    assert len(expand(tmp_path, block, "noise=0", "subset=100", "held_out.min_held_out=1")) == 2 + 4
    fewer = {str(c) for c in expand(tmp_path, block, "held_out.min_held_out=1")}
    assert fewer < {str(c) for c in expand(tmp_path, block)}  # more runs are more trainings, not others
    default = expand(tmp_path, "    stages: {held_out: {}}\n", "dataset=cifar10")
    assert len(default) == 23 + 25 + 29 + 34 + 40 + 50 + 67 + 100 + 200


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("    stages: {held_out: {ratios: [0.3, 1]}}\n", "held_out.ratios.1: 1 is not valid; valid: a number > 0 and < 1"),
        ("    stages: {held_out: {ratios: [0.3, 0.3]}}\n", "ratios: [0.3, 0.3] is not valid: the same value twice"),
        ("    stages: {held_out: {min_held_out: 0}}\n", "min_held_out: 0 is not valid; valid: a whole number >= 1"),
        ("    set: {ratio: 0.3, cut: 1}\n    stages: {held_out: {}}\n", "held_out.ratios: the block gives a ratio itself"),
        ("    set: {ratio: 0.3}\n", "a.yaml:3:blocks.a.cut: required with ratio; valid: a whole number >= 0"),
        ("    set: {ratio: 1.5, cut: 0}\n", "ratio: 1.5 is not valid; valid: a number > 0 and < 1"),
        ('    set: {dataset: "npz:none.npz"}\n    stages: {held_out: {}}\n', "a.yaml:4:blocks.a.set.dataset: "),
    ],
)  # fmt: skip
def test_errors_at_their_place(tmp_path: Path, block: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        expand(tmp_path, block)
    (line,) = caught.value.problems
    assert problem in line


def test_a_training_without_ratio_is_what_it_was() -> None:
    config = resolved(**BASE)
    assert config.held_out is None
    assert config.flat().keys().isdisjoint({"ratio", "cut"})
    data = prepare(load("digits"), config)
    assert data.held_out is None
    assert np.array_equal(data.example, np.sort(data.example))
