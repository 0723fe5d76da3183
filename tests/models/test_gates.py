"""Gates: what closing one does, their gradients, and that they cost nothing where they are not used."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from memloc.models.groups import Network
from tests.models.plain import CONVS, GROUPS, Plain, scaled_at

B = 4


@pytest.fixture
def x() -> Tensor:
    return torch.randn((B, 1, 16, 16), dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def ones(network: Network) -> dict[str, Tensor]:
    return {layer: torch.ones(B, *shape, dtype=torch.float64) for layer, shape in network.neurons.items()}


def test_gates_of_one_are_the_identity(pair: tuple[Network, Plain], x: Tensor) -> None:
    ours, _ = pair
    gates, plain = ones(ours), ours(x)
    convolutions = {layer: gate for layer, gate in gates.items() if layer != "linear"}
    assert torch.equal(ours(x, gates=convolutions), plain)  # a product with 1 rounds to the same bits
    torch.testing.assert_close(ours(x, gates=gates), plain, rtol=1e-12, atol=1e-14)  # einsum adds in its own order
    assert torch.equal(ours(x, gates={}), plain)


@pytest.mark.parametrize("layer", CONVS)
def test_closing_a_channel_zeroes_its_map_before_the_residual_sum(
    pair: tuple[Network, Plain], x: Tensor, layer: str
) -> None:
    """Every example has another channel closed; the oracle zeroes the maps of the plain network by a forward hook."""
    ours, plain = pair
    (channels,) = ours.neurons[layer]
    gate = torch.ones(B, channels, dtype=torch.float64)
    for channel in range(0, channels, 3):
        gate[torch.arange(B), (torch.arange(B) + channel) % channels] = 0.0
        with scaled_at({plain.layer(layer): gate[:, :, None, None]}):
            expected = plain(x)
        torch.testing.assert_close(ours(x, gates={layer: gate}), expected, rtol=1e-10, atol=1e-13)
    assert not torch.allclose(ours(x, gates={layer: gate}), ours(x))


def test_a_linear_weight_gate_edits_that_weight_for_that_example(pair: tuple[Network, Plain], x: Tensor) -> None:
    ours, plain = pair
    gate = torch.rand((B, *ours.neurons["linear"]), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    gate[gate < 0.3] = 0.0
    rows = []
    for i in range(B):
        edited = deepcopy(plain)
        with torch.no_grad():
            edited[9].weight *= gate[i]
        rows.append(edited(x[i : i + 1]))
    torch.testing.assert_close(ours(x, gates={"linear": gate}), torch.cat(rows), rtol=1e-10, atol=1e-13)


def test_all_gates_together(pair: tuple[Network, Plain], x: Tensor) -> None:
    ours, plain = pair
    generator = torch.Generator().manual_seed(3)
    gates = {layer: torch.rand(g.shape, dtype=torch.float64, generator=generator) for layer, g in ones(ours).items()}
    expected = []
    for i in range(B):
        edited = deepcopy(plain)
        with torch.no_grad():
            edited[9].weight *= gates["linear"][i]
        with scaled_at({edited.layer(layer): gates[layer][i : i + 1, :, None, None] for layer in CONVS}):
            expected.append(edited(x[i : i + 1]))
    torch.testing.assert_close(ours(x, gates=gates), torch.cat(expected), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_against_finite_differences(pair: tuple[Network, Plain], x: Tensor, masked: bool) -> None:
    """Every open gate of every layer, by central differences, with one gate closed in each layer.

    (At a closed gate before a max pool the function has a kink, and no derivative.)
    """
    ours, _ = pair
    y = torch.tensor([1, 3, 5, 7])
    generator = torch.Generator().manual_seed(4)

    def between(*shape: int) -> Tensor:
        return torch.rand(shape, dtype=torch.float64, generator=generator) + 0.5

    masks = {site: between(1, c, 1, 1) for site, (c, _, _) in ours.sites.items()} if masked else None
    gates = {layer: between(*g.shape) for layer, g in ones(ours).items()}
    for gate in gates.values():
        gate.flatten(1)[:, 0] = 0.0

    def losses(with_gates: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(ours(x, gates=with_gates, masks=masks), y, reduction="none")

    leaves = {layer: gate.clone().requires_grad_() for layer, gate in gates.items()}
    found = torch.autograd.grad(losses(leaves).sum(), list(leaves.values()))
    step = 1e-6
    with torch.no_grad():
        for (layer, gate), gradient in zip(gates.items(), found, strict=True):
            numeric = gradient.clone()
            for k in range(1, gate[0].numel()):  # the examples are independent of each other: one perturbation for all
                up, down = gate.clone(), gate.clone()
                up.flatten(1)[:, k] += step
                down.flatten(1)[:, k] -= step
                difference = losses({**gates, layer: up}) - losses({**gates, layer: down})
                numeric.flatten(1)[:, k] = difference / (2 * step)
            torch.testing.assert_close(gradient, numeric, rtol=1e-5, atol=1e-8, msg=lambda m, layer=layer: f"{layer}: {m}")
            assert gradient.abs().max() > 1e-6, layer


def test_a_gate_concerns_its_own_example_only(pair: tuple[Network, Plain], x: Tensor) -> None:
    ours, _ = pair
    gates = {layer: g.requires_grad_() for layer, g in ones(ours).items()}
    z = ours(x, gates=gates)
    for gradient in torch.autograd.grad(z[2].sum(), list(gates.values())):
        assert gradient[[0, 1, 3]].abs().max() == 0
        assert gradient[2].abs().max() > 0


# --- no cost when unused ----------------------------------------------------------------------------------------------


class Operations(TorchDispatchMode):
    """Counts the operations that reach the backend."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def operations(network: torch.nn.Module, x: Tensor, **arguments: Any) -> Counter[str]:
    with torch.no_grad(), Operations() as mode:
        network(x, **arguments)
    return mode.counts


def test_without_gates_and_masks_nothing_is_computed_for_them(pair: tuple[Network, Plain], x: Tensor) -> None:
    ours, _ = pair
    counts = operations(ours, x)
    free = ("t", "transpose", "view", "detach", "alias", "empty")  # views, and what batch norm allocates
    work = {k: n for k, n in counts.items() if k not in free}
    assert work == {
        "convolution": 8,
        "native_batch_norm": 8,
        "relu_": 8,
        "add": 2,
        "max_pool2d_with_indices": 1,
        "amax": 1,
        "mm": 1,
        "mul": 1,  # the ×0.2 of the logits
    }
    assert operations(ours, x, gates={}) == counts


def test_as_many_flops_as_the_plain_network(pair: tuple[Network, Plain], x: Tensor) -> None:
    found = []
    for network in pair:
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            network(x)
        found.append(counter.get_total_flops())
    assert found[0] == found[1] > 0


@pytest.mark.parametrize("layer", GROUPS[:-1])
def test_one_gate_costs_one_product(pair: tuple[Network, Plain], x: Tensor, layer: str) -> None:
    ours, _ = pair
    extra = operations(ours, x, gates={layer: ones(ours)[layer]}) - operations(ours, x)
    assert {k: n for k, n in extra.items() if k not in ("alias", "slice", "unsqueeze", "view")} == {"mul": 1}
