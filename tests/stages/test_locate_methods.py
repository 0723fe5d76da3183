"""Each method against an independent computation, on a network whose item has known channels."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.models.channels import channels_of
from memloc.models.groups import Network
from memloc.stages.locate import learned_gates
from memloc.stages.locate.config import METHODS
from memloc.stages.locate.item import Examples, Item, margins_of
from memloc.stages.neurons.task import Neurons
from tests.models.plain import randomise

BY_NAME = {method.name: method for method in METHODS}
OWN = [3, 11, 40, 61]  # the channels without which the item has another label


def small(seed: int) -> Network:
    """A folded ResNet-9 of width 1/16 with random weights and statistics, and gates on its channels."""
    network = build(resolved(dataset="digits", model="resnet9", width=0.0625), (1, 16, 16), 10)
    randomise(network, seed)
    return channels_of(network)


def never() -> tuple[list[int], Tensor]:
    raise AssertionError("no search is wanted")


@pytest.fixture(scope="module")
def item() -> Item:
    """An item in a small folded network with random weights, which nobody has trained."""
    torch.manual_seed(0)
    network, before = (small(seed) for seed in (0, 1))
    x = torch.randn(24, 1, 16, 16).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (24,))
    sets = [Examples(x[a:b], y[a:b]) for a, b in ((0, 1), (1, 19), (19, 22), (22, 23))]
    return Item(network, before, *sets, (0, 0, 7), never)


class Known(Network):
    """Two "layers" of gates that scale the example's margin by hand: only the gates of OWN count for the item."""

    groups, sites = ("one",), {}

    def __init__(self) -> None:
        super().__init__()
        self.neurons = {"one": (64,)}
        self.one = nn.Identity()

    def run_group(self, group, state, gates=None, masks=None):  # type: ignore[no-untyped-def]
        """An item's image is all 1: z_0 = 4·Σ own gates − 8. Any other image is all 0: z_0 = 3 if gate 50 is open."""
        x = state[0]
        runs = gates["one"] if gates else torch.ones(1, 64)
        each = runs.repeat_interleave(len(x) // len(runs), dim=0)
        is_item = x.flatten(1)[:, 0]
        own = 4 * each[:, OWN].sum(dim=1) - 8
        other = 3 - 2 * (1 - each[:, 50])
        z = torch.where(is_item > 0.5, own, other)
        return (torch.stack([z, torch.zeros_like(z)], dim=1),)


@pytest.fixture
def known() -> Item:
    network = Known()
    ones, zeros = torch.ones(1, 1, 2, 2), torch.zeros(16, 1, 2, 2)
    own = Examples(ones, torch.tensor([0]))
    rest = Examples(zeros, torch.zeros(16, dtype=torch.int64))
    return Item(network, network, own, rest, rest, own, (0, 0, 1), never)


@pytest.mark.parametrize(
    "name",
    ["gradient", "activation_gradient", "integrated_gradients", "zero_out", "contrast", "contrast_label", "fisher",
     "hard_concrete_drop", "hard_concrete_keep", "slimming_keep"],
)  # fmt: skip
def test_known_channels_come_first(known: Item, name: str) -> None:
    scores = BY_NAME[name].scores(known)
    first = scores.argsort(descending=True)[: len(OWN)].tolist()
    assert sorted(first) == OWN
    assert float(scores[OWN].min()) > float(np.delete(scores.numpy(), OWN).max())


def test_dropping_closes_no_channel_of_the_references(known: Item) -> None:
    scores = learned_gates.slimming(known, drop=True)
    assert float(scores[50]) == 0.0
    assert float(scores[OWN].min()) > 0.2


# --- one by one, on the random network ----------------------------------------------------------------------------------


def m_of(network: Network, x: Tensor, y: int, gates: Tensor) -> float:
    """The margin of one image, by its own forward pass in float64."""
    z = network(x, gates=Neurons(network).split(gates)).double()[0]
    others = torch.cat([z[:y], z[y + 1 :]])
    return float(z[y] - others.logsumexp(dim=0))


def test_the_margin_is_minus_the_logarithm_of_the_odds(item: Item) -> None:
    z, y = torch.randn(5, 10, dtype=torch.float64), torch.arange(5)
    assert torch.allclose(F.softplus(-margins_of(z, y)), F.cross_entropy(z, y, reduction="none"))


def test_zero_out_against_a_loop(item: Item) -> None:
    y, whole = int(item.own.y), m_of(item.network, item.own.x, int(item.own.y), item.open())
    expected = []
    for neuron in range(item.total):
        gates = item.open()
        gates[0, neuron] = 0
        expected.append(whole - m_of(item.network, item.own.x, y, gates))
    assert np.allclose(BY_NAME["zero_out"].scores(item).numpy(), expected, atol=1e-5)


def test_gradients_against_differences(item: Item) -> None:
    y, h, network = int(item.own.y), 1e-4, deepcopy(item.network).double()
    x = item.own.x.double()
    scores = replace(item, network=network).sensitivities(Examples(x, item.own.y))[0]
    for neuron in (0, 17, 50, 83):
        both = []
        for step in (h, -h):
            gates = item.open().double()
            gates[0, neuron] += step
            both.append(m_of(network, x, y, gates))
        assert float(scores[neuron]) == pytest.approx((both[0] - both[1]) / (2 * h), rel=1e-3, abs=1e-6)


def test_every_reference_has_its_own_gradient(item: Item) -> None:
    together = item.sensitivities(item.references)
    alone = [item.sensitivities(Examples(item.references.x[[k]], item.references.y[[k]]))[0] for k in (0, 5)]
    assert torch.allclose(together[[0, 5]], torch.stack(alone), atol=1e-6)


def test_integrated_gradients_are_complete(item: Item) -> None:
    """Their sum is what the margin loses between all gates open and all closed, up to the rule of midpoints."""
    y = int(item.own.y)
    lost = m_of(item.network, item.own.x, y, item.open()) - m_of(item.network, item.own.x, y, 0 * item.open())
    assert float(BY_NAME["integrated_gradients"].scores(item).sum()) == pytest.approx(lost, rel=0.05)


def test_what_is_said_of_activations_and_weights(item: Item) -> None:
    seen: dict[str, Tensor] = {}
    blocks = list(item.network.neurons)
    hooks = [
        item.network.get_submodule(name).register_forward_hook(lambda _, __, y, name=name: seen.update({name: y}))
        for name in blocks
    ]
    with torch.no_grad():
        item.network(item.own.x)
    for hook in hooks:
        hook.remove()
    mean = torch.cat([seen[name].abs().mean(dim=(0, 2, 3)) for name in blocks])
    assert torch.allclose(BY_NAME["activation"].scores(item).float(), mean, atol=1e-6)
    readers = {**dict(pairwise(blocks)), blocks[-1]: "linear"}
    norms, moved = [], []
    for name in blocks:
        pair = []
        for network in (item.network, item.before):
            reader = network.get_submodule(readers[name])
            weight = reader.weight if readers[name] == "linear" else reader.conv.weight
            writer = network.get_submodule(name).conv.weight
            pair.append([(writer[c], weight[:, c]) for c in range(len(writer))])
        norms += [float(out.norm()) for _, out in pair[0]]
        moved += [
            float(((w1 - w0).square().sum() + (o1 - o0).square().sum()).sqrt())
            for (w1, o1), (w0, o0) in zip(*pair, strict=True)
        ]
    assert np.allclose(BY_NAME["norm_out"].scores(item).numpy(), norms, atol=1e-5)
    assert np.allclose(BY_NAME["activation_norm"].scores(item).numpy(), mean.numpy() * np.array(norms), atol=1e-5)
    assert np.allclose(BY_NAME["weight_change"].scores(item).numpy(), moved, atol=1e-5)


def test_references_alone(item: Item) -> None:
    gates = item.open().requires_grad_()
    z = item.network(item.references.x, gates=Neurons(item.network).split(gates)).double()
    expected = torch.autograd.grad(F.cross_entropy(z, item.references.y), gates)[0][0]
    assert torch.allclose(BY_NAME["reference_only"].scores(item), expected, atol=1e-6)


def formula(name: str) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """A method in terms of e of the example, of the references, of those with its label, and of the other item."""
    return {
        "gradient": lambda e, r, s, o: e,
        "activation_gradient": lambda e, r, s, o: e.abs(),
        "contrast": lambda e, r, s, o: e - r.sum(dim=0) / len(r),
        "contrast_label": lambda e, r, s, o: e - s.sum(dim=0) / len(s),
        "fisher": lambda e, r, s, o: e**2 / ((r**2).mean(dim=0) + 1e-3 * (r**2).mean()),
        "other_item": lambda e, r, s, o: o,
    }[name]


@pytest.mark.parametrize("name", ["gradient", "activation_gradient", "contrast", "contrast_label", "fisher", "other_item"])
def test_formulas(item: Item, name: str) -> None:
    e, r, s, o = (item.sensitivities(each) for each in (item.own, item.references, item.same_label, item.other))
    assert torch.allclose(BY_NAME[name].scores(item), formula(name)(e[0], r, s, o[0]))


def test_flips_come_in_their_order_then_by_the_gradient(item: Item) -> None:
    gradient = torch.linspace(-1, 1, item.total)
    scores = BY_NAME["flips"].scores(replace(item, search=lambda: ([5, 2, 80], gradient)))
    rest = [k for k in reversed(range(item.total)) if k not in (5, 2, 80)]
    assert scores.argsort(descending=True).tolist() == [5, 2, 80, *rest]


def test_chance_is_keyed(item: Item) -> None:
    one, same, other = (BY_NAME["random"].scores(replace(item, key=key)) for key in ((0, 0, 7), (0, 0, 7), (0, 1, 7)))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


# --- hard concrete ------------------------------------------------------------------------------------------------------


def test_samples_follow_the_stretched_distribution() -> None:
    """P(gate = 0) in closed form (Louizos et al. 2018, equation 12), and the clipped mean by quadrature."""
    u = (torch.arange(200_000) + 0.5).double() / 200_000
    for log_alpha in (-1.0, 0.5, 2.0):
        gates = learned_gates.sampled(torch.tensor(log_alpha).double(), u)
        open_share = torch.sigmoid(torch.tensor(log_alpha - 2 / 3 * np.log(0.1 / 1.1)))
        assert float((gates > 0).double().mean()) == pytest.approx(float(open_share), abs=1e-4)
        assert float(gates.max()) == 1.0


def test_hard_concrete_agrees_with_an_optimisation_without_gates(known: Item) -> None:
    """The fewest channels that lose the item: the exhaustive search over sets says which; hard concrete ranks them first."""
    losing = [k for k in range(64) if _loses(known, [k])]
    assert losing == []  # m is 8 with all of them, 4 with three, 0 with two
    pairs = [(i, j) for i in range(64) for j in range(i) if _loses(known, [i, j])]
    assert {k for pair in pairs for k in pair} == set()
    triples = [[i for i in OWN if i != left] for left in OWN]
    assert all(_loses(known, triple) for triple in triples)
    first = learned_gates.hard_concrete(known, drop=True).argsort(descending=True)[:3].tolist()
    assert sorted(first) in [sorted(triple) for triple in triples]


def _loses(item: Item, closed: list[int]) -> bool:
    gates = item.open()
    gates[0, closed] = 0
    return float(item.closed_margins(gates)[0]) < 0
