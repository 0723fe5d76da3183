"""Example-tied dropout and its baselines: what is dropped, how often, independently of what, and when."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from torch import Tensor

from memloc.config import TrainConfig
from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.models.dropouts import Dropout, ExampleTied, build_dropout
from memloc.models.groups import Network
from memloc.models.kept import floats
from tests.models.plain import SITES

CPU = torch.device("cpu")
N = 1000
ALPHA = 1e-4  # of every statistical test here; the draws are keyed, so a pass stays a pass


def make(width: float = 0.25, example: npt.NDArray[np.int64] | None = None, **fields: Any) -> tuple[Dropout, Network]:
    config = resolved(dataset="digits", model="resnet9", width=width, **fields)
    network = build(config, (1, 16, 16), 10)
    return build_dropout(config, network.sites, np.arange(N) if example is None else example, CPU), network


def tied(example: npt.NDArray[np.int64] | None = None, **fields: Any) -> ExampleTied:
    dropout, _ = make(example=example, **{"dropout": "example_tied", "p_gen": 0.2, "p_mem": 0.1, **fields})
    assert isinstance(dropout, ExampleTied)
    return dropout


def all_masks(dropout: Dropout, n: int = N) -> dict[str, npt.NDArray[np.bool_]]:
    """{site: bool n×C}."""
    masks = floats(dropout.training(torch.arange(n), 1, 0))
    assert masks is not None
    return {site: m[:, :, 0, 0].numpy().astype(bool) for site, m in masks.items()}


def memorization(dropout: ExampleTied, n: int = N) -> dict[str, npt.NDArray[np.bool_]]:
    return {site: m[:, dropout.generalization(site) :] for site, m in all_masks(dropout, n).items()}


# --- example-tied: the masks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p_gen", [0.01, 0.1, 0.2, 0.29, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0])
def test_the_first_g_channels_are_always_on(p_gen: float) -> None:
    """G = max(1, ⌊p_gen·C⌋), in exact decimal arithmetic."""
    dropout = tied(p_gen=p_gen, p_mem=0.0)
    for site, masks in all_masks(dropout).items():
        channels = masks.shape[1]
        g = max(1, round(p_gen * 100) * channels // 100)
        assert dropout.generalization(site) == g
        assert masks[:, :g].all()
        assert not masks[:, g:].any()  # p_mem is 0


def test_g_is_exact_for_every_number_of_channels() -> None:
    """⌊0.6·5⌋ is 3, although 0.6·5 is 2.999… for some such pairs in binary floating point."""
    sites = {str(c): (c, 1, 1) for c in range(1, 301)}
    for hundredths in range(1, 101):
        p_gen = float(f"{hundredths / 100:.2f}")
        config = resolved(dataset="digits", model="resnet9", dropout="example_tied", p_gen=p_gen, p_mem=0.1)
        dropout = ExampleTied(config.dropout, 0, sites, np.arange(1), CPU)
        assert [dropout.generalization(s) for s in sites] == [max(1, hundredths * c // 100) for c in range(1, 301)]


@pytest.mark.parametrize("p_mem", [0.05, 0.1, 0.2, 0.5, 0.9])
def test_the_share_of_memorization_channels_is_p_mem(p_mem: float) -> None:
    for site, masks in memorization(tied(p_mem=p_mem)).items():
        test = stats.binomtest(int(masks.sum()), masks.size, p_mem)
        assert test.pvalue > ALPHA, (site, masks.mean())


@pytest.mark.parametrize("p_mem", [0.1, 0.5])
def test_channels_and_examples_have_the_spread_of_independent_draws(p_mem: float) -> None:
    """Chi-square of the counts per channel, and per example, against the binomial: neither clumped nor even."""
    for site, masks in memorization(tied(p_mem=p_mem)).items():
        for axis in (0, 1):
            counts, trials = masks.sum(axis=axis), masks.shape[axis]
            chi2 = float(((counts - trials * p_mem) ** 2 / (trials * p_mem * (1 - p_mem))).sum())
            tails = stats.chi2.cdf(chi2, len(counts)), stats.chi2.sf(chi2, len(counts))
            assert min(tails) > ALPHA, (site, axis)


def agreement(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    """The p-value of Fisher's exact test of independence between two sets of draws, paired element by element."""
    a, b = a.ravel(), b.ravel()
    table = [[int((a & b).sum()), int((a & ~b).sum())], [int((~a & b).sum()), int((~a & ~b).sum())]]
    return float(stats.fisher_exact(table).pvalue)


def test_independent_across_sites() -> None:
    """The same (example, channel) at two sites; the published code has one mask for all of them."""
    masks = all_masks(tied(p_mem=0.3))
    for one, other in itertools.combinations(SITES, 2):
        fewer, more = sorted((masks[one].shape[1], masks[other].shape[1]))
        common = slice(math.floor(0.2 * more), fewer)  # memorization channels at both sites
        a, b = masks[one][:, common], masks[other][:, common]
        assert a.size >= 4 * N
        assert agreement(a, b) > ALPHA, (one, other)


@pytest.mark.parametrize("lag", [1, 2, 3, 7, 64, 256])
def test_independent_across_examples_and_channels(lag: int) -> None:
    for site, masks in memorization(tied(p_mem=0.3)).items():
        assert agreement(masks[lag:], masks[:-lag]) > ALPHA, site
        if lag < masks.shape[1]:
            assert agreement(masks[:, lag:], masks[:, :-lag]) > ALPHA, site


def test_pairs_of_examples_overlap_as_independent_ones_do() -> None:
    """The correlation of every two of 200 examples' masks over all sites: mean 0, variance 1/#channels."""
    masks = np.concatenate([m[:200] for m in memorization(tied(p_mem=0.3)).values()], axis=1).astype(float)
    masks = (masks - masks.mean(axis=0)) / masks.std(axis=0)
    correlations = (masks @ masks.T / masks.shape[1])[np.triu_indices(200, 1)]
    assert abs(correlations.mean()) < 0.01
    assert correlations.std() == pytest.approx(masks.shape[1] ** -0.5, rel=0.1)
    assert np.abs(correlations).max() < 6 * masks.shape[1] ** -0.5


def test_another_seed_is_another_draw() -> None:
    one, other = memorization(tied(seed=0, p_mem=0.3)), memorization(tied(seed=1, p_mem=0.3))
    for site in SITES:
        assert agreement(one[site], other[site]) > ALPHA


def test_a_larger_p_mem_gives_an_example_more_channels() -> None:
    small, large = all_masks(tied(p_mem=0.1)), all_masks(tied(p_mem=0.2))
    assert all((large[site] >= small[site]).all() for site in SITES)


def test_same_mask_in_every_epoch_step_and_batch() -> None:
    dropout, masks = tied(), all_masks(tied())
    order = np.random.default_rng(0).permutation(N)
    for epoch, step, rows in [(1, 0, order[:7]), (30, 5, order[3:4]), (2, 999, order), (9, 1, np.array([5, 5, 6, 5]))]:
        found = floats(dropout.training(torch.from_numpy(rows), epoch, step))
        assert found is not None
        for site in SITES:
            assert found[site].shape == (len(rows), masks[site].shape[1], 1, 1)
            assert np.array_equal(found[site][:, :, 0, 0].numpy(), masks[site][rows].astype(np.float32))


def test_same_mask_in_every_subset() -> None:
    """It belongs to the index in the data set's own training array, not to the row."""
    masks = all_masks(tied())
    example = np.sort(np.random.default_rng(1).choice(N, 120, replace=False))
    subset = all_masks(tied(example), 120)
    beyond = all_masks(tied(np.arange(2 * N)), 2 * N)
    for site in SITES:
        assert np.array_equal(subset[site], masks[site][example])
        assert np.array_equal(beyond[site][:N], masks[site])


def test_own_is_the_mask_of_one_row() -> None:
    dropout, masks = tied(), all_masks(tied())
    for row in (0, 17, N - 1):
        own = dropout.own(row)
        assert list(own) == list(SITES)
        for site in SITES:
            assert own[site].dtype == np.bool_
            assert np.array_equal(own[site], masks[site][row])
    plain, _ = make()
    with pytest.raises(ValueError, match="example-tied"):
        plain.own(0)


@pytest.mark.parametrize("width", [0.0625, 0.3, 1.0])
def test_one_bit_per_example_and_channel(width: float) -> None:
    dropout, network = make(width, np.arange(50), dropout="example_tied", p_gen=0.2, p_mem=0.1)
    assert isinstance(dropout, ExampleTied)
    held = [v for k, v in vars(dropout).items() if k != "packed" and not isinstance(v, float | torch.device)]
    assert held == [dropout.channels, dropout.shifts]  # nothing beside `packed` grows with the examples
    assert dropout.shifts.numel() == 8
    for site, (channels, _, _) in network.sites.items():
        packed = dropout.packed[site]
        assert packed.dtype == torch.uint8
        assert packed.numel() == 50 * math.ceil(channels / 8)  # whole bytes per example


def test_no_global_generator_is_touched() -> None:
    def state() -> list[Any]:
        return [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()]

    for fields in [
        {"dropout": "example_tied", "p_gen": 0.2, "p_mem": 0.1},
        {"dropout": "standard", "keep": 0.4},
        *({"dropout": "sparse", "keep": 0.4, "unit": u} for u in ("weight", "element", "channel", "batch_element")),
    ]:
        network = make()[1]
        before = state()
        dropout = build_dropout(resolved(dataset="digits", model="resnet9", **fields), network.sites, np.arange(N), CPU)
        floats(dropout.training(torch.arange(4), 1, 0))
        dropout.constrain(network)
        assert state() == before
        torch.manual_seed(123)
        again = build_dropout(resolved(dataset="digits", model="resnet9", **fields), network.sites, np.arange(N), CPU)
        for a, b in zip(
            *(list((floats(d.training(torch.arange(4), 1, 0)) or {}).values()) for d in (dropout, again)), strict=True
        ):
            assert torch.equal(a, b)


# --- example-tied: evaluation -----------------------------------------------------------------------------------------


def expected_factor(channels: int, p_gen: float, p_mem: float, mode: str, rescale: str) -> npt.NDArray[np.float64]:
    """science.md, Example-tied dropout, written out for one site."""
    g = max(1, math.floor(round(p_gen * channels, 6)))
    factor = np.ones(channels)
    if mode == "scaled":
        factor[g:] *= p_mem
    if mode == "dropped":
        factor[g:] = 0
        share = g / channels
        if rescale == "authors":
            factor *= (p_gen + p_mem) / p_gen
        if rescale == "consistent":
            factor *= (share + p_mem * (1 - share)) / share
    return factor


@pytest.mark.parametrize(("p_gen", "p_mem"), [(0.2, 0.1), (0.6, 0.2), (0.01, 0.3), (0.3, 0.0), (0.3, 1.0), (1.0, 0.5)])
@pytest.mark.parametrize(
    ("mode", "rescale"), [("scaled", "none"), ("dropped", "none"), ("dropped", "authors"), ("dropped", "consistent")]
)
def test_fixed_factors(p_gen: float, p_mem: float, mode: str, rescale: str) -> None:
    dropout = tied(p_gen=p_gen, p_mem=p_mem)
    for rows in (None, torch.tensor([3, 1])):  # they are the same for every example
        factors = dropout.evaluation(mode, rows, rescale)
        assert factors is not None
        assert list(factors) == list(SITES)
        for site, channels in dropout.channels.items():
            found = factors[site]
            assert found.shape == (1, channels, 1, 1)
            assert found.dtype == torch.float32
            expected = expected_factor(channels, p_gen, p_mem, mode, rescale)
            assert found.flatten().tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_plain_is_no_factor_and_own_is_the_training_mask() -> None:
    dropout = tied()
    rows = torch.tensor([8, 2, 8])
    assert dropout.evaluation("plain", rows) is None
    own, training = dropout.evaluation("own", rows), floats(dropout.training(rows, 4, 2))
    assert own is not None
    assert training is not None
    assert all(torch.equal(own[site], training[site]) for site in SITES)
    with pytest.raises(ValueError, match="training examples only"):
        dropout.evaluation("own")


def test_p_mem_at_its_ends() -> None:
    never, always = tied(p_mem=0.0), tied(p_mem=1.0)
    rows = torch.arange(5)
    for site, channels in never.channels.items():
        dropped = never.evaluation("dropped")
        assert dropped is not None
        for mode in ("own", "scaled"):
            factors = never.evaluation(mode, rows)
            assert factors is not None
            assert torch.equal(factors[site].expand(5, -1, 1, 1), dropped[site].expand(5, -1, 1, 1))
            factors = always.evaluation(mode, rows)
            assert factors is not None
            assert torch.equal(factors[site].expand(5, -1, 1, 1), torch.ones(5, channels, 1, 1))


def test_the_expected_mask_is_the_scaled_factor() -> None:
    """What makes mode scaled the counterpart of training: the mean of the masks over many examples."""
    dropout = tied(np.arange(20_000), p_mem=0.2)
    scaled = dropout.evaluation("scaled")
    assert scaled is not None
    for site, masks in all_masks(dropout, 20_000).items():
        assert masks.mean(axis=0).tolist() == pytest.approx(scaled[site].flatten().tolist(), abs=0.02)


# --- standard ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["element", "channel"])
@pytest.mark.parametrize("keep", [0.4, 0.6, 1.0])
def test_standard_dropout_keeps_each_unit_with_probability_keep(unit: str, keep: float) -> None:
    dropout, network = make(dropout="standard", keep=keep, unit=unit)
    masks = floats(dropout.training(torch.arange(64), 3, 1))
    assert masks is not None
    assert list(masks) == list(SITES)
    for site, shape in network.sites.items():
        mask = masks[site]
        assert mask.shape == ((64, *shape) if unit == "element" else (64, shape[0], 1, 1))
        kept = mask != 0
        assert torch.equal(mask, kept / keep)  # scaled by 1/keep: the mean stays
        assert stats.binomtest(int(kept.sum()), kept.numel(), keep).pvalue > ALPHA


@pytest.mark.parametrize("unit", ["element", "channel"])
def test_standard_dropout_is_keyed_by_the_step(unit: str) -> None:
    dropout, _ = make(dropout="standard", keep=0.5, unit=unit)
    again, _ = make(dropout="standard", keep=0.5, unit=unit)
    other, _ = make(dropout="standard", keep=0.5, unit=unit, seed=2)
    rows = torch.arange(32)
    steps = [(1, 0), (1, 1), (2, 0), (2, 1)]
    drawn = [floats(dropout.training(rows, *step)) for step in steps]
    repeated = [floats(again.training(rows, *step)) for step in reversed(steps)][::-1]  # in another order: no hidden state
    for i, (one, two) in enumerate(zip(drawn, repeated, strict=True)):
        assert one is not None
        assert two is not None
        assert all(torch.equal(one[site], two[site]) for site in SITES)
        rest = [d for j, d in enumerate(drawn) if j != i] + [floats(other.training(rows, *steps[i]))]
        for different in rest:
            assert different is not None
            for site in SITES:
                assert agreement(one[site].numpy() > 0, different[site].numpy() > 0) > ALPHA
    first = drawn[0]
    assert first is not None
    for one_site, other_site in (("conv2", "res1"), ("conv3", "res2")):  # independent between sites and examples
        a, b = first[one_site].numpy() > 0, first[other_site].numpy() > 0
        side = min(a.shape[2], b.shape[2])
        assert agreement(a[:, :, :side, :side], b[:, :, :side, :side]) > ALPHA
        assert agreement(a[1:], a[:-1]) > ALPHA


@pytest.mark.parametrize("unit", ["element", "channel"])
def test_standard_dropout_of_a_site_does_not_depend_on_the_other_sites(unit: str) -> None:
    """Nor on their order, nor on where else the step's masks are drawn: a site's stream is its own."""
    config = resolved(dataset="digits", model="resnet9", dropout="standard", keep=0.5, unit=unit, seed=3)
    sites = make(0.25)[1].sites
    whole = masks_of(config, sites)
    assert list(whole) == list(SITES)
    for other in (dict(reversed(sites.items())), {"first": (7, 3, 3), **sites, "last": (5, 1, 1)}):
        found = masks_of(config, other)
        assert list(found) == list(other)
        assert all(torch.equal(found[site], whole[site]) for site in sites)
    for site in sites:
        assert torch.equal(masks_of(config, {site: sites[site]})[site], whole[site])


def test_sites_of_one_shape_have_masks_of_their_own() -> None:
    config = resolved(dataset="digits", model="resnet9", dropout="standard", keep=0.5)
    masks = masks_of(config, dict.fromkeys(("a", "b", "ab"), (8, 4, 4)))
    for one, other in (("a", "b"), ("a", "ab"), ("b", "ab")):
        assert agreement(masks[one].numpy() > 0, masks[other].numpy() > 0) > ALPHA


def masks_of(config: TrainConfig, sites: Mapping[str, tuple[int, int, int]]) -> Mapping[str, Tensor]:
    masks = floats(build_dropout(config, sites, np.arange(N), CPU).training(torch.arange(16), 2, 5))
    assert masks is not None
    return masks


def test_standard_dropout_is_off_in_evaluation() -> None:
    dropout, _ = make(dropout="standard", keep=0.4)
    assert dropout.evaluation("plain") is None
    assert dropout.evaluation("plain", torch.arange(3)) is None
    assert dropout.mask_modes == ("plain",)


# --- sparse -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["element", "channel"])
@pytest.mark.parametrize("keep", [0.4, 1.0])
def test_sparse_activations_are_one_fixed_mask(unit: str, keep: float) -> None:
    dropout, network = make(1.0, dropout="sparse", keep=keep, unit=unit)
    training, test = floats(dropout.training(torch.arange(7), 1, 0)), dropout.evaluation("plain")
    later, own_rows = floats(dropout.training(torch.arange(3), 9, 4)), dropout.evaluation("plain", torch.arange(5))
    assert training is not None
    assert test is not None
    for site, (c, h, w) in network.sites.items():
        mask = training[site]
        assert mask.shape == ((1, c, h, w) if unit == "element" else (1, c, 1, 1))
        kept = mask != 0
        assert torch.equal(mask, kept / keep)
        assert stats.binomtest(int(kept.sum()), kept.numel(), keep).pvalue > ALPHA
        for same in (test, later, own_rows):  # training and test, every epoch, every example
            assert same is not None
            assert torch.equal(same[site], mask)
    if keep < 1:
        assert not torch.equal(training["conv2"], training["res1"])  # drawn for each site
        other = floats(make(1.0, dropout="sparse", keep=keep, unit=unit, seed=1)[0].training(torch.arange(1), 1, 0))
        assert other is not None
        assert not torch.equal(other["conv3"], training["conv3"])


def test_sparse_masks_by_position_in_the_batch() -> None:
    """A mask of its own for each position: in training of the step's batch, in evaluation of the data cut into batches."""
    dropout, network = make(batch_size=7, dropout="sparse", keep=0.4, unit="batch_element")
    assert (dropout.by_position, dropout.mask_modes) == (True, ("plain",))
    rows = torch.tensor([9, 3, 3, 3, 70, 1, 2, 4])  # eight: a single example joins the batch before
    masks = floats(dropout.training(rows, 1, 0))
    assert masks is not None
    for site, (c, h, w) in network.sites.items():
        mask = masks[site]
        assert mask.shape == (8, c, h, w)
        kept = mask != 0
        assert torch.equal(mask, kept / 0.4)
        assert stats.binomtest(int(kept.sum()), kept.numel(), 0.4).pvalue > ALPHA
        for a, b in itertools.combinations(kept.flatten(1).numpy(), 2):
            assert agreement(a, b) > ALPHA
    assert agreement((masks["conv2"] != 0).numpy(), (masks["res1"] != 0).numpy()) > ALPHA  # drawn for each site
    later = floats(dropout.training(torch.tensor([5, 6]), 9, 4))  # other examples, another step: the same positions
    own_order = floats(dropout.evaluation("plain", torch.tensor([0, 6, 7, 15, 20])))
    again = floats(make(batch_size=7, dropout="sparse", keep=0.4, unit="batch_element")[0].fixed(torch.arange(3)))
    other = floats(make(batch_size=7, dropout="sparse", keep=0.4, unit="batch_element", seed=1)[0].fixed(torch.arange(3)))
    assert later is not None
    assert own_order is not None
    assert again is not None
    assert other is not None
    for site, mask in masks.items():
        assert torch.equal(later[site], mask[:2])
        assert torch.equal(own_order[site], mask[[0, 6, 0, 1, 6]])
        assert torch.equal(again[site], mask[:3])
        assert not torch.equal(other[site], mask[:3])
    with pytest.raises(ValueError, match="need rows"):
        dropout.evaluation("plain")


def test_sparse_weights_zero_a_fixed_share_of_every_weight_tensor() -> None:
    dropout, network = make(1.0, dropout="sparse", keep=0.4, unit="weight")
    assert floats(dropout.training(torch.arange(3), 1, 0)) is None
    assert dropout.evaluation("plain") is None
    network.initialise(0)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    dropout.constrain(network)
    zeros = {}
    for name, p in network.named_parameters():
        if p.ndim == 1:
            assert torch.equal(p, before[name])  # batch norm is not among the conv and linear weights
            continue
        kept = p != 0
        zeros[name] = ~kept
        assert torch.equal(p[kept], before[name][kept])  # no rescaling
        assert stats.binomtest(int(kept.sum()), kept.numel(), 0.4).pvalue > ALPHA, name
    assert len(zeros) == 9
    same_shape = "res2.conv1.conv.weight", "res2.conv2.conv.weight"
    assert agreement(*(zeros[name].numpy() for name in same_shape)) > ALPHA
    again, twin = make(1.0, dropout="sparse", keep=0.4, unit="weight")
    twin.initialise(7)  # other weights, another process: the same mask
    again.constrain(twin)
    assert all(torch.equal(p == 0, zeros[name]) for name, p in twin.named_parameters() if p.ndim > 1)


def test_without_dropout_there_is_nothing() -> None:
    dropout, network = make()
    network.initialise(0)
    before = {k: t.clone() for k, t in network.state_dict().items()}
    dropout.constrain(network)
    assert floats(dropout.training(torch.arange(3), 1, 0)) is None
    assert dropout.evaluation("plain", torch.arange(3)) is None
    assert all(torch.equal(before[k], t) for k, t in network.state_dict().items())


# --- masks: shared ----------------------------------------------------------------------------------------------------


def test_shared_masks_hang_on_example_and_channel_alone() -> None:
    """The same at every site, as far as it has channels, and under every seed; the first G channels are on as ever."""
    one, other = (all_masks(tied(masks="shared", p_mem=0.3, seed=seed)) for seed in (0, 5))
    widest = max(one.values(), key=lambda m: m.shape[1])
    for site, mask in one.items():
        assert (mask == other[site]).all()
        g = tied(masks="shared").generalization(site)
        assert mask[:, :g].all()
        beyond = max(g, tied(masks="shared").generalization("conv3"))
        assert (mask[:, beyond:] == widest[:, beyond : mask.shape[1]]).all()
    apart = all_masks(tied(p_mem=0.3))
    assert (apart["conv2"][:, 20:] != apart["res1"][:, 20:]).any()
    drawn = widest[:, tied().generalization("conv3") :]
    assert stats.binomtest(int(drawn.sum()), drawn.size, 0.3).pvalue > ALPHA
    # By the example's id, not by its place.
    few = all_masks(tied(masks="shared", p_mem=0.3, example=np.array([7, 3])), 2)
    assert all((m == one[site][[7, 3]]).all() for site, m in few.items())
