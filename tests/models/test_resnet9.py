"""ResNet-9 against a plain network written with nn.Sequential; its groups, its states in between, its initialisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.models.groups import Network
from tests.models.plain import CONVS, GROUPS, SITES, Plain, randomise, scaled_at
from tests.models.tensors import tensors_of

SHAPES = [(1, 16, 16, 10, 0.0625), (3, 32, 32, 10, 0.125), (3, 11, 14, 4, 0.125), (1, 28, 28, 2, 0.25)]


def make(
    channels: int = 1, height: int = 16, width: int = 16, classes: int = 10, factor: float = 0.125, seed: int = 0
) -> Network:
    network = build(resolved(dataset="digits", model="resnet9", width=factor), (channels, height, width), classes)
    network.initialise(seed)
    return network


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("channels", "height", "width", "classes", "factor"), SHAPES)
def test_same_function_gradients_and_statistics_as_the_plain_network(
    channels: int, height: int, width: int, classes: int, factor: float
) -> None:
    ours = make(channels, height, width, classes, factor).to(torch.float64)
    randomise(ours, 1)
    plain = Plain(channels, classes, factor).to(torch.float64).load(ours.state_dict())
    x, y = normal(6, channels, height, width), torch.arange(6) % classes
    for network in (ours.train(), plain.train()):
        nn.functional.cross_entropy(network(x), y).backward()
    for (name, p), q in zip(ours.named_parameters(), plain.parameters(), strict=True):
        assert p.grad is not None
        assert p.grad.abs().max() > 0, name
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-12)
    for (name, s), t in zip(ours.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(s, t, rtol=1e-12, atol=1e-12, msg=name)
    assert int(ours.state_dict()["conv1.bn.num_batches_tracked"]) == 1
    z = ours.eval()(x)
    assert z.shape == (6, classes)
    torch.testing.assert_close(z, plain.eval()(x), rtol=1e-10, atol=1e-12)


def test_channels_at_width_one() -> None:
    sizes = [tuple(p.shape) for name, p in make(3, 32, 32, factor=1.0).named_parameters() if p.ndim > 1]
    assert sizes == [
        (64, 3, 3, 3),
        (128, 64, 5, 5),
        (128, 128, 3, 3),
        (128, 128, 3, 3),
        (256, 128, 3, 3),
        (256, 256, 3, 3),
        (256, 256, 3, 3),
        (128, 256, 3, 3),
        (10, 128),
    ]
    assert len(make(factor=0.001).state_dict()) == len(make().state_dict())  # never a layer without channels


@pytest.mark.parametrize(("channels", "height", "width", "classes", "factor"), SHAPES)
def test_sites_are_the_shapes_of_the_activations_there(
    channels: int, height: int, width: int, classes: int, factor: float
) -> None:
    ours, plain = make(channels, height, width, classes, factor), Plain(channels, classes, factor).eval()
    found: dict[str, tuple[int, ...]] = {}
    for site in SITES:
        plain.site(site).register_forward_hook(lambda _, __, out, site=site: found.update({site: tuple(out.shape[1:])}))
    plain(torch.zeros(2, channels, height, width))
    assert ours.sites == found
    assert list(ours.sites) == list(SITES)  # in forward order


def test_masks_multiply_the_activations_at_their_sites(pair: tuple[Network, Plain]) -> None:
    ours, plain = pair
    x = normal(3, 1, 16, 16)
    masks = {site: normal(3, *shape, seed=i).abs() for i, (site, shape) in enumerate(ours.sites.items())}
    for chosen in [[site] for site in SITES] + [list(SITES)]:
        with scaled_at({plain.site(site): masks[site] for site in chosen}):
            expected = plain(x)
        found = ours(x, masks={site: masks[site] for site in chosen})
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        assert not torch.allclose(found, ours(x))
    fixed = {site: mask[:1, :, :1, :1] for site, mask in masks.items()}  # 1×C×1×1: the same factor for the whole batch
    with scaled_at({plain.site(site): mask.expand(3, -1, -1, -1) for site, mask in fixed.items()}):
        torch.testing.assert_close(ours(x, masks=fixed), plain(x), rtol=1e-10, atol=1e-12)


# --- groups -----------------------------------------------------------------------------------------------------------


def test_nine_groups_that_part_the_tensors() -> None:
    network = make()
    assert network.groups == GROUPS
    parameters = [name for group in network.groups for name in network.parameters_of(group)]
    assert sorted(parameters) == sorted(name for name, _ in network.named_parameters())  # every one, and none twice
    tensors = [name for group in network.groups for name in tensors_of(network, group)]
    assert sorted(tensors) == sorted(network.state_dict())
    assert network.parameters_of("res2.conv1") == ["res2.conv1.conv.weight", "res2.conv1.bn.weight", "res2.conv1.bn.bias"]
    assert len(tensors_of(network, "res2.conv1")) == 6


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_exactly_the_tensors_that_its_part_of_the_pass_uses(group: str) -> None:
    """Poisoning every other group with NaN changes nothing in `run_group`; poisoning the group itself does."""
    network, other = make().eval(), make().eval()
    state: tuple[Tensor, ...] = (normal(2, 1, 16, 16).float(),)
    for name in GROUPS[: GROUPS.index(group)]:
        state = network.run_group(name, state)
    expected = network.run_group(group, state)
    poison = {k: torch.full_like(t, float("nan")) if t.is_floating_point() else t for k, t in network.state_dict().items()}
    own = set(tensors_of(network, group))
    other.load_state_dict({k: t if k in own else poison[k] for k, t in network.state_dict().items()})
    assert all(torch.equal(a, b) for a, b in zip(other.run_group(group, state), expected, strict=True))
    for name in network.parameters_of(group):
        other.load_state_dict(network.state_dict() | {name: poison[name]})
        assert other.run_group(group, state)[0].isnan().any(), name


def test_going_on_from_any_state_is_the_whole_pass() -> None:
    network, x = make().eval(), normal(3, 1, 16, 16).float()
    masks = {site: normal(1, c, 1, 1).float() for site, (c, _, _) in network.sites.items()}
    expected = network(x, masks=masks)
    state: tuple[Tensor, ...] = (x,)
    for group in network.groups:
        kept = [t.clone() for t in state]
        assert torch.equal(network.run_from(group, state, masks=masks), expected)
        assert all(torch.equal(a, b) for a, b in zip(state, kept, strict=True)), f"{group} changed its input"
        state = network.run_group(group, state, masks=masks)
    assert torch.equal(state[0], expected)


def test_neurons_are_conv_channels_and_linear_weights() -> None:
    network = make(factor=0.25)
    state = network.state_dict()
    expected = {name: (state[f"{name}.conv.weight"].shape[0],) for name in CONVS} | {"linear": (10, 32)}
    assert network.neurons == expected
    assert list(network.neurons) == list(GROUPS)
    assert tuple(state["linear.weight"].shape) == network.neurons["linear"]


def test_smallest_side_is_the_smallest_that_works() -> None:
    config = resolved(dataset="digits", model="resnet9")
    side = next(n for n in range(1, 99) if config.architecture.misfit((1, n, n), 10) is None)
    assert (
        config.architecture.misfit((1, side, side - 1), 10)
        == f"images of {side}×{side - 1} pixels; resnet9 needs at least 11×11"
    )
    assert make(1, side, side).eval()(torch.zeros(2, 1, side, side)).shape == (2, 10)
    network = make(1, side - 1, side - 1).eval()
    with pytest.raises(RuntimeError, match="size"):
        network(torch.zeros(2, 1, side - 1, side - 1))


# --- initialisation ---------------------------------------------------------------------------------------------------


def test_initialisation_is_keyed_by_seed_and_name_alone() -> None:
    one = make(seed=3).state_dict()
    with torch.random.fork_rng():
        torch.manual_seed(99)  # nn's constructors draw from the global generator; none of it may remain
        two = make(seed=3).state_dict()
        fewer = make(classes=7, seed=3).state_dict()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert all(torch.equal(one[k], fewer[k]) for k in one if not k.startswith("linear"))
    other = make(seed=4).state_dict()
    assert not any(torch.equal(one[k], other[k]) for k in one if one[k].ndim > 1)
    assert not torch.equal(one["res1.conv1.conv.weight"], one["res1.conv2.conv.weight"])
    network = make()
    before = torch.get_rng_state()
    network.initialise(5)
    assert torch.equal(before, torch.get_rng_state())


def test_initialisation_has_the_distribution_of_nn() -> None:
    """nn.Conv2d's default weights, U(−1/√fan_in, 1/√fan_in): Kolmogorov–Smirnov, and the variance of nn's own draw."""
    for name, parameter in make(3, 32, 32, factor=0.5).named_parameters():
        values = parameter.detach().numpy().ravel()
        if parameter.ndim == 1:
            assert (values == (1.0 if name.endswith("weight") else 0.0)).all(), name
            continue
        bound = 1 / np.sqrt(np.prod(parameter.shape[1:]))
        assert stats.kstest(values, stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-4, name
        o, i = parameter.shape[:2]
        twin = nn.Linear(i, o) if parameter.ndim == 2 else nn.Conv2d(i, o, parameter.shape[2])
        assert values.std() == pytest.approx(float(twin.weight.detach().std()), rel=0.15), name
