"""Every stage on timm's networks, of many kinds, on images of 32×32; and those that do not fit are refused when planned.

Only the smallest of each kind, as timm has it. `make test` has one of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memloc.errors import UsageError
from memloc.store import Store
from tests.conftest import planned, run_inline

TEXT = """
defaults: {dataset: "npz:images.npz", model: "timm:NAME", noise: 0.25, epochs: 1, batch_size: 8, lr: 0.01}
blocks:
  all:
    stages:
     {gradients: {}, rewind: {epochs: [0]}, retrain: {epochs: 1}, evaluate: {}, detection: {}, second_split: {epochs: 1},
      flips: {clean: 1, noisy: 1, max_neurons: 1, reference: 2, post_eval: 0}}
  tied: {set: {dropout: example_tied, p_gen: 0.5, p_mem: 0.2}, stages: {evaluate: {}}}
"""
# Convolutional: residual, depthwise, with squeeze and excitation, dense, aggregated. Transformers: plain, distilled, in
# windows, with pyramids, mixed with convolutions. Networks of MLPs, and of pools.
NETWORKS = (
    "resnet10t", "mobilenetv3_small_050", "ghostnet_050", "regnetx_002", "convnext_atto", "densenet121", "dla46_c",
    "tinynet_e", "starnet_s1", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224",
    "pit_ti_224", "levit_128s", "edgenext_xx_small", "mobilevit_xxs", "tiny_vit_5m_224", "mixer_s32_224", "poolformerv2_s12",
)  # fmt: skip
REFUSED = {"crossvit_tiny_240": "timm says: The size of tensor a (5) must match the size of tensor b (6)"}
QUICK = ("mobilenetv3_small_050",)


def text(folder: Path, name: str) -> str:
    draws = np.random.default_rng(0)
    y = np.arange(20) % 2
    x = (draws.integers(0, 128, (20, 32, 32, 3)) + 100 * y[:, None, None, None]).astype(np.uint8)
    np.savez(folder / "images.npz", x_train=x[:16], y_train=y[:16], x_test=x[16:], y_test=y[16:])
    return TEXT.replace("NAME", name)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS])
def test_every_stage_runs(tmp_path: Path, name: str) -> None:
    store = Store(str(tmp_path / "store"))
    plan = run_inline(tmp_path, text(tmp_path, name), store)
    assert len(plan.trials) == 2
    commits = store.snapshot().commits
    assert {part for trial in plan.trials for part in trial.part_ids} == set(commits)
    stages = {commit.stage for commit in commits.values()}
    assert stages == {"train", "gradients", "rewind", "retrain", "evaluate", "detection", "second_split", "flips"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_when_planned(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        planned(tmp_path, text(tmp_path, name))
    (said,) = caught.value.problems
    assert f"timm:{name} with images of 32×32 pixels: {REFUSED[name]}" in said
    assert said.endswith("; timm made it for images of 240×240")


def test_there_are_twenty() -> None:
    assert len({*NETWORKS, *REFUSED}) == 20
