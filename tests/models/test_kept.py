"""Factors of one byte against plain products with float32 factors, bit for bit; made when a site is asked for."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from memloc.models.kept import Factor, Kept, Masks, OnDemand, scale_of, times
from memloc.models.random_masks import RandomMasks
from memloc.models.recomputation import recomputing
from memloc.seeds import stream
from memloc.stages.training.loop import Training
from memloc.stages.training.mode import StepMasks
from tests.stages.conftest import CPU, DROPOUTS, settings

B, C, H, W = 4, 6, 5, 3
ODD = [0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-45, -3.4e38]


def filled(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Numbers with both zeros, infinities, NaN, a subnormal and one that overflows when it is scaled."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    x.view(-1)[: 2 * len(ODD)] = torch.tensor(ODD + ODD)
    return x


def mask_of(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.5


def bits(x: Tensor) -> tuple[Any, ...]:
    return x.dtype, x.stride(), x.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def tokens(factor: Tensor) -> Tensor:
    return factor.flatten(2).transpose(1, 2)


def last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


CASES: dict[str, tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]] = {
    "element": (filled((B, C, H, W)), mask_of(B, C, H, W), lambda f: f),
    "channels last": (last(filled((B, C, H, W))), last(mask_of(B, C, H, W)), lambda f: f),
    "another layout": (last(filled((B, C, H, W))), mask_of(B, C, H, W), lambda f: f),
    "channel": (last(filled((B, C, H, W))), mask_of(B, C, 1, 1), lambda f: f),
    "one for all": (last(filled((B, C, H, W))), mask_of(1, C, H, W), lambda f: f),
    "tokens": (filled((B, H, C)), mask_of(B, C, H, 1), tokens),
    "tokens that are not contiguous": (filled((H, B, C)).transpose(0, 1), mask_of(B, C, 1, 1), tokens),
    "NHWC": (filled((B, H, W, C)), mask_of(B, C, H, W), lambda f: f.permute(0, 2, 3, 1)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("keep", [0.6, 0.9, 1 / 3])
@pytest.mark.parametrize("case", CASES)
def test_a_product_has_the_bits_of_the_plain_one(case: str, keep: float, dtype: torch.dtype) -> None:
    """Values, gradients, types and layouts."""
    x, mask, arranged = CASES[case]
    kept = Kept(mask, scale_of(keep))
    plain = mask.to(torch.float32) / keep
    assert bits(kept.float()) == bits(plain)

    def both(product: Callable[[Tensor], Tensor]) -> list[Any]:
        leaf = x.to(dtype, copy=True).requires_grad_()
        y = product(leaf)
        (gradient,) = torch.autograd.grad(y, leaf, filled(tuple(y.shape), 2).to(y.dtype))
        return [bits(y), bits(gradient)]

    assert both(lambda t: times(t, kept, arranged)) == both(lambda t: t * arranged(plain))
    assert both(lambda t: times(t, plain, arranged)) == both(lambda t: t * arranged(plain))


@pytest.mark.parametrize("keep", [*np.linspace(0.001, 1, 97).tolist(), 1 - 0.1, 1 - 0.25])
def test_the_scale_is_the_quotient_in_float32(keep: float) -> None:
    assert np.float32(scale_of(keep)) == scale_of(keep) == np.float32(1) / np.float32(keep)
    assert scale_of(keep) == float((torch.ones(64) / keep)[5])  # in a vector, which other instructions divide


def test_the_backward_pass_keeps_a_byte_per_factor() -> None:
    x, mask, _ = CASES["element"]
    kept: list[Tensor] = []
    leaf = x.clone().requires_grad_()
    with saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        times(leaf, Kept(mask, 2.0))
    assert sum(t.nbytes for t in kept) == mask.numel()


# --- when they are made -----------------------------------------------------------------------------------------------


def test_factors_are_made_when_they_are_asked_for() -> None:
    asked: list[str] = []

    def make(site: str) -> Factor:
        asked.append(site)
        return torch.ones(1)

    kept, again = (OnDemand({"a": 0, "b": 0}, make, keep) for keep in (True, False))
    assert "a" in kept
    assert "c" not in kept
    assert list(kept) == ["a", "b"]
    assert len(kept) == 2
    with pytest.raises(KeyError):
        kept["c"]
    assert asked == []
    assert kept["b"] is kept["b"]
    assert asked == ["b"]
    assert again["a"] is not again["a"]
    assert asked == ["b", "a", "a"]


def plainly(training: Training) -> Callable[..., Masks]:
    """`StepMasks.at` written out: float32 factors of all sites, drawn before the forward pass."""
    config, network = training.config, training.network

    def factors(seed: int, purpose: str, site: str, keep: float, shape: tuple[int, ...], epoch: int, step: int) -> Tensor:
        drawn = stream(seed, purpose, site, epoch, step).random(shape, dtype=np.float32)
        return torch.from_numpy(np.where(drawn < np.float32(keep), np.float32(1) / np.float32(keep), np.float32(0)))

    def at(_: object, mode: object, rows: Tensor, epoch: int, step: int) -> Masks:
        made: dict[str, Factor] = {}
        if config.dropout.kind == "standard":
            for site, (c, h, w) in network.sites.items():
                shape = (len(rows), c, h, w) if config.flat()["unit"] == "element" else (len(rows), c, 1, 1)
                keep = float(config.flat()["keep"])
                factor = factors(config.seed, "dropout", site, keep, shape, epoch, step)
                made[site] = last(factor) if config.flat()["unit"] == "element" else factor
        else:
            made |= training.dropout.training(rows, epoch, step) or {}
        for site, (shape, rate) in network.stochastic().items():
            made[site] = factors(config.seed, "own dropout", site, 1 - rate, (len(rows), *shape), epoch, step)
        return {site: factor.float() for site, factor in made.items()}

    return at


def small(model: str, **fields: Any) -> Training:
    more: dict[str, Any] = {"model": model, "width": None, "lr": 0.01} if model == "vit_small" else {"model": model}
    return Training(*settings(subset=20, batch_size=10, **more, **fields), CPU)


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    from memloc.models.architectures.vit_small import network

    monkeypatch.setattr(network, "DIM", 128)
    monkeypatch.setattr(network, "DEPTH", 2)


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "kind", ["none", "tied", "standard element", "standard channel", "sparse element", "sparse batch_element"]
)
@pytest.mark.parametrize("model", ["vit_small", "resnet9"])
def test_a_training_has_the_bits_of_plain_factors(
    model: str, kind: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(training: Training) -> dict[str, Any]:
        for epoch in (1, 2):
            training.pass_over(epoch)
        return {name: bits(t) for name, t in training.network.state_dict().items()}

    found = trained(small(model, precision=precision, **DROPOUTS[kind]))
    plain = small(model, precision=precision, **DROPOUTS[kind])
    monkeypatch.setattr(StepMasks, "at", plainly(plain))
    assert found == trained(plain)


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, weakref.ref[Tensor]]]:
    """{site: the mask drawn last}, while it is there."""
    masks: dict[str, weakref.ref[Tensor]] = {}
    drawn = RandomMasks.drawn

    def remembered(self: RandomMasks, shape: Any, keep: float, site: str, *more: Any) -> Kept:
        kept = drawn(self, shape, keep, site, *more)
        masks[site] = weakref.ref(kept.mask)
        return kept

    monkeypatch.setattr(RandomMasks, "drawn", remembered)
    gc.disable()
    yield masks
    gc.enable()


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("again", [False, True])
def test_masks_are_drawn_where_they_are_needed(again: bool, alive: dict[str, weakref.ref[Tensor]]) -> None:
    """In the forward pass of a transformer: those of later blocks are not there yet; if they are computed again, those of
    earlier blocks are gone.
    """
    training = small("vit_small")
    network, seen, drawn = training.network, dict[str, set[str]](), dict[str, set[str]]()
    run_group = network.run_group

    def watched(group: str, *given: Any, **more: Any) -> Any:
        if group not in seen:
            drawn[group] = set(alive)
            seen[group] = {site for site, mask in alive.items() if mask() is not None}
        return run_group(group, *given, **more)

    network.run_group = watched  # type: ignore[method-assign]
    with recomputing(again):
        training.pass_over(1)
    before = {"embed": set(), "block0": {"embed_drop"}}
    before["block1"] = before["block0"] | {site for site in network.stochastic() if site.startswith("block0.")}
    assert len(before["block1"]) == 5
    assert {group: drawn[group] for group in before} == before
    assert [seen[group] for group in before] == ([set()] * 3 if again else list(before.values()))
