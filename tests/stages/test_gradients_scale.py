"""`gradients.scale: batch` against a loop over batches, whose gradients are means over each batch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from memloc.stages.gradients.compute import batch_factors
from memloc.stages.gradients.config import GradientsConfig
from tests.stages.conftest import Trained, run
from tests.stages.naive import pixels, split_into_batches
from tests.stages.test_gradients import account, drawn_control, network_of


@pytest.mark.parametrize("bn", ["batch", "running"])
def test_sums_of_batch_means(bn: str) -> None:
    """Seven batches of 16 and one of 8: the last one's examples weigh twice as much."""
    from memloc.seeds import stream

    trained = run(epochs=2, batch_size=16)
    noisy, n = torch.tensor(trained.data.noisy), len(trained.data.y)
    order = split_into_batches(list(stream(trained.config.seed, "gradient order", 2).permutation(n)), 16)
    assert [len(b) for b in order] == [16] * 7 + [8]
    network = network_of(trained, 2, bn == "batch")
    names = [name for name, _ in network.named_parameters()]
    x, y = pixels(trained.data.x, torch.float64), torch.tensor(trained.data.y)
    sums = {}
    for what, members in (("clean", ~noisy), ("noisy", noisy), ("control", drawn_control(trained))):
        sums[what] = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
        for rows in order:
            losses = F.cross_entropy(network(x[rows]), y[rows], reduction="none")
            chosen = losses[members[rows]].sum() / len(rows)
            for (name, g), p in zip(
                sums[what].items(), torch.autograd.grad(chosen, list(network.parameters())), strict=True
            ):
                sums[what][name] = g + p
    sums["rest"] = {k: sums["clean"][k] + sums["noisy"][k] - sums["control"][k] for k in names}
    found = account(trained, 2, bn=bn, scale="batch")
    pairs = {"sq_clean": ("clean", "clean"), "sq_noisy": ("noisy", "noisy"), "dot": ("clean", "noisy")}
    pairs |= {"sq_control": ("control", "control"), "dot_control": ("control", "rest")}
    for column, (a, b) in pairs.items():
        for name, value in zip(names, found[column], strict=True):
            scale = float(sums[a][name].norm() * sums[b][name].norm())
            assert value == pytest.approx(float((sums[a][name] * sums[b][name]).sum()), abs=2e-3 * scale), (column, name)


def test_with_batches_of_one_size_it_is_their_number_times_the_other(plain: Trained) -> None:
    """120 examples in batches of 15: 8·(1/n) = 1/15."""
    trained = Trained(plain.config.model_copy(update={"batch_size": 15}), plain.data, plain.epochs)
    one, other = account(trained, 6, scale="batch"), account(trained, 6)
    for name in ("sq_clean", "sq_noisy", "sq_control"):
        assert one[name] == pytest.approx([64 * v for v in other[name]], rel=1e-4)


def test_factors() -> None:
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0)).numpy()
    factors = batch_factors(order, 5)  # 5 and 6: a single example joins the batch before
    assert [factors[i] for i in order] == [1 / 5] * 5 + [1 / 6] * 6


def test_the_papers_scale_by_name_is_the_default() -> None:
    assert GradientsConfig(scale="n") == GradientsConfig()
