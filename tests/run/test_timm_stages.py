"""Every stage on timm's networks, of many kinds, on images of 32×32; and those that do not fit are refused when planned.

Only the smallest of each kind, as timm has it. `make test` has one of them.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from memloc.errors import UsageError
from memloc.models.architectures import resolved
from memloc.run.network_facts import built
from memloc.stages import STAGES
from memloc.store import Store
from tests.conftest import planned, run_inline
from tests.every_stage import blocks

TEXT = """
defaults: {dataset: "npz:images.npz", model: "timm:NAME", noise: 0.25, epochs: 1, batch_size: 8, lr: 0.01}
BLOCKS  tied: {set: {dropout: example_tied, p_gen: 0.5, p_mem: 0.2}, stages: {evaluate: {}}}
"""
# Stages that need one chain of convolutions, as resnet9 is.
CHAINS = {"inject", "locate"}
STAGES_HERE = sorted(set(STAGES) - CHAINS)
# Convolutional: residual, depthwise, with squeeze and excitation, dense, aggregated. Transformers: plain, distilled, in
# windows, with pyramids, mixed with convolutions. Networks of MLPs, and of pools.
NETWORKS = (
    "resnet10t", "mobilenetv3_small_050", "ghostnet_050", "regnetx_002", "convnext_atto", "densenet121", "dla46_c",
    "tinynet_e", "starnet_s1", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224",
    "pit_ti_224", "levit_128s", "edgenext_xx_small", "mobilevit_xxs", "tiny_vit_5m_224", "mixer_s32_224", "poolformerv2_s12",
)  # fmt: skip
REFUSED = {"crossvit_tiny_240": "timm says: The size of tensor a (5) must match the size of tensor b (6)"}
QUICK = ("mobilenetv3_small_050",)


def text(folder: Path, name: str, stages: Collection[str] = STAGES_HERE) -> str:
    draws = np.random.default_rng(0)
    y = np.arange(20) % 2
    x = (draws.integers(0, 128, (20, 32, 32, 3)) + 100 * y[:, None, None, None]).astype(np.uint8)
    np.savez(folder / "images.npz", x_train=x[:16], y_train=y[:16], x_test=x[16:], y_test=y[16:])
    return TEXT.replace("NAME", name).replace("BLOCKS", blocks(stages, editable(name)))


def editable(name: str) -> list[str]:
    """The groups whose weights stage edit can change: all those between the first and the last one, or those that it can."""
    train = resolved(dataset="digits", model=f"timm:{name}")
    if train.architecture.misfits((3, 32, 32), 2):
        return ["inner"]
    facts = built(train, (3, 32, 32), 2).facts
    if STAGES["edit"].fits(train, facts)["groups: inner"] is None:
        return ["inner"]
    return [group for group, layers in facts.matrices.items() if layers and group not in facts.others]


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS])
def test_every_stage_runs(tmp_path: Path, name: str) -> None:
    store = Store(str(tmp_path / "store"))
    plan = run_inline(tmp_path, text(tmp_path, name), store)
    commits = store.snapshot().commits
    assert {part for trial in plan.trials for part in trial.part_ids} == set(commits)
    assert {commit.stage for commit in commits.values()} == {"train", *STAGES_HERE}


@pytest.mark.parametrize("stage", sorted(CHAINS))
def test_a_stage_for_chains_is_refused_when_planned(tmp_path: Path, stage: str) -> None:
    with pytest.raises(UsageError, match=r"model: timm:\S+ is not one chain of convolutions; valid here: resnet9"):
        planned(tmp_path, text(tmp_path, QUICK[0], [stage]).replace("noise: 0.25, ", ""))


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_when_planned(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        planned(tmp_path, text(tmp_path, name))
    (said,) = caught.value.problems
    assert f"timm:{name} with images of 32×32 pixels: {REFUSED[name]}" in said
    assert said.endswith("; timm made it for images of 240×240")


def test_there_are_twenty() -> None:
    assert len({*NETWORKS, *REFUSED}) == 20
