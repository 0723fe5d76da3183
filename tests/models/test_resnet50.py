"""ResNet-50 against torchvision's: the same function, gradients and statistics by the same weights; gates against hooks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import Bottleneck

from memloc.models.architectures import resolved
from memloc.models.architectures.resnet50 import network as resnet50
from memloc.models.build import build
from memloc.models.groups import Network
from memloc.models.recomputation import recomputing
from memloc.run.by_shape.counting import Counting
from tests.models.plain import randomise, scaled_at
from tests.models.tensors import tensors_of

CASES = [(1, 16, 16, "imagenet"), (3, 8, 8, "cifar"), (1, 7, 5, "cifar")]
B = 3


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both networks have blocks of an eighth of their width. One case and the shapes are compared at the full width."""
    stages = {name: (inner // 8, blocks, stride) for name, (inner, blocks, stride) in resnet50.STAGES.items()}
    monkeypatch.setattr(resnet50, "STAGES", stages)


class TorchvisionsResNet(torchvision.models.ResNet):
    """torchvision's network with the widths of ours."""

    def _make_layer(self, block: Any, planes: int, *more: Any, **options: Any) -> nn.Sequential:
        width = planes * resnet50.STAGES["layer1"][0] // 64
        return super()._make_layer(block, width, *more, **options)


def make(channels: int, height: int, width: int, stem: str, seed: int = 0) -> Network:
    network = build(resolved(dataset="digits", model="resnet50", stem=stem), (channels, height, width), 7)
    network.initialise(seed)
    return network


def torchvisions(network: Network, channels: int, stem: str) -> nn.Module:
    """torchvision's network, its first convolution replaced, with the tensors of ours in order."""
    with torch.device("meta"):
        other = TorchvisionsResNet(Bottleneck, [3, 4, 6, 3])
        other.fc = nn.Linear(network.fc.in_features, 7)  # type: ignore[arg-type, union-attr]
        if stem == "cifar":
            other.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            other.maxpool = nn.Identity()  # type: ignore[assignment]
        else:
            other.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    for module in other.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    other = other.to(next(network.parameters()).dtype)
    own, ours = other.state_dict(), network.state_dict()
    assert [tuple(t.shape) for t in own.values()] == [tuple(t.shape) for t in ours.values()]
    if not next(network.parameters()).is_meta:
        other.to_empty(device="cpu").load_state_dict(dict(zip(own, ours.values(), strict=True)))
    return other


def pair(channels: int, height: int, width: int, stem: str) -> tuple[Network, nn.Module, Tensor]:
    network = make(channels, height, width, stem).to(torch.float64)
    tame(network)
    x = torch.randn(B, channels, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return network, torchvisions(network, channels, stem), x


def tame(network: Network) -> None:
    """Scales, shifts and statistics as after some training; the weights stay at their initialisation, for sane sizes."""
    weights = {k: t.clone() for k, t in network.state_dict().items() if t.ndim > 1}
    randomise(network, 2)
    network.load_state_dict(weights, strict=False)


@pytest.mark.parametrize(("channels", "height", "width", "stem"), CASES)
@pytest.mark.usefixtures("narrow")
def test_the_same_function_as_torchvisions(channels: int, height: int, width: int, stem: str) -> None:
    compare(channels, height, width, stem)


def test_the_same_function_at_the_full_width() -> None:
    compare(3, 9, 12, "imagenet")


def compare(channels: int, height: int, width: int, stem: str) -> None:
    ours, other, x = pair(channels, height, width, stem)
    torch.testing.assert_close(ours.eval()(x), other.eval()(x), rtol=1e-9, atol=1e-9)
    y = torch.tensor([1, 3, 5])
    for network in (ours.train(), other.train()):
        nn.functional.cross_entropy(network(x), y).backward()
    for (name, p), q in zip(ours.named_parameters(), other.parameters(), strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-6, atol=1e-8 * float(q.grad.abs().max()), msg=name)
    for (name, s), t in zip(ours.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(s, t, rtol=1e-9, atol=1e-9, msg=name)


def test_every_tensor_is_in_one_group_and_sites_have_their_sizes() -> None:
    network = make(3, 32, 33, "imagenet").eval()
    assert network.groups == ("stem", "layer1", "layer2", "layer3", "layer4", "fc")
    assert [n for g in network.groups for n in tensors_of(network, g)] == list(network.state_dict())
    state: tuple[Tensor, ...] = (torch.zeros(1, 3, 32, 33),)
    for group in network.groups[:-1]:
        state = network.run_group(group, state)
        assert state[0].shape[1:] == network.sites[group]
    assert network.sites["layer4"] == (2048, 1, 2)
    masks = {site: torch.zeros(1, c, 1, 1) for site, (c, _, _) in network.sites.items()}
    assert torch.equal(network(torch.ones(1, 3, 32, 33), masks=masks)[0], network.fc.bias)  # type: ignore[arg-type, union-attr]


def oracle(other: nn.Module, layer: str) -> nn.Module:
    """The module of torchvision's network whose output is a layer's, but for a ReLU."""
    if layer == "stem":
        return other.get_submodule("bn1")
    block, kind = layer.rsplit(".", 1)
    return other.get_submodule(f"{block}.downsample.1" if kind == "downsample" else f"{block}.bn{kind[-1]}")


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("layer", ["stem", "layer1.0.conv1", "layer2.0.conv2", "layer3.4.conv3", "layer2.0.downsample"])
def test_closing_a_channel(layer: str) -> None:
    """In torchvision's network the channel is closed after the batch norm: before a ReLU that is the same as after."""
    ours, other, x = pair(3, 8, 8, "cifar")
    gate = torch.ones(B, *ours.neurons[layer], dtype=torch.float64)
    gate[:, ::2] = 0.0
    gate[1] = 1.0
    with scaled_at({oracle(other.eval(), layer): gate[:, :, None, None]}):
        expected = other(x)
    found = ours.eval()(x, gates={layer: gate})
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(found, ours(x))
    torch.testing.assert_close(ours.folded()(x, gates={layer: gate}), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.usefixtures("narrow")
def test_closing_weights_of_the_classifier_leaves_its_bias() -> None:
    ours, other, x = pair(1, 16, 16, "imagenet")
    gate = (torch.rand(1, 7, 256, generator=torch.Generator().manual_seed(3)) > 0.5).double()
    with torch.no_grad():
        other.fc.weight.mul_(gate[0])  # type: ignore[union-attr]
    torch.testing.assert_close(ours.eval()(x, gates={"fc": gate}), other.eval()(x), rtol=1e-9, atol=1e-9)


def test_every_convolution_has_its_channels() -> None:
    with torch.device("meta"):
        ours = build(resolved(dataset="digits", model="resnet50", stem="imagenet"), (1, 16, 16), 7)
    other = torchvisions(ours, 1, "imagenet")
    convs = [m.out_channels for m in other.modules() if isinstance(m, nn.Conv2d)]
    assert [shape[0] for layer, shape in ours.neurons.items() if layer != "fc"] == convs
    assert {ours.group_of(layer) for layer in ours.neurons} == set(ours.groups)


def test_initialisation_has_torchvisions_moments_and_streams_of_its_own() -> None:
    network, again = make(3, 8, 8, "imagenet", seed=1), make(3, 8, 8, "imagenet", seed=1)
    state, other = network.state_dict(), torchvision.models.resnet50(weights=None, num_classes=7).state_dict()
    assert all(torch.equal(t, s) for t, s in zip(state.values(), again.state_dict().values(), strict=True))
    for (name, t), s in zip(state.items(), other.values(), strict=True):
        if t.ndim > 1:
            assert abs(float(t.mean())) < 5 * float(t.std()) / t.numel() ** 0.5, name
            assert float(t.std()) == pytest.approx(float(s.std()), rel=6 * t.numel() ** -0.5), name
        elif name != "fc.bias":
            assert torch.equal(t, s), name
    assert 0 < float(state["fc.bias"].abs().max()) <= 2048**-0.5  # type: ignore[operator, union-attr]
    blocks = [state["layer1.1.conv1.conv.weight"], state["layer1.2.conv1.conv.weight"]]
    assert not torch.equal(*blocks)


def as_before(self: resnet50.Bottleneck, x: Tensor, name: str, gates: Any) -> Tensor:
    """The block with a sum of its own, beside what it adds up."""
    y = self.conv1(x, gates.get(f"{name}.conv1"))
    y = self.conv2(y, gates.get(f"{name}.conv2"))
    y = self.conv3(y, gates.get(f"{name}.conv3"))
    shortcut = x if self.downsample is None else self.downsample(x, gates.get(f"{name}.downsample"))
    return F.relu(y + shortcut)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_the_sum_in_place_changes_no_bit(
    narrow: None, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype | None, again: bool
) -> None:
    """Outputs, gradients of two backward passes, running statistics; also under autocast, whose factors are float32."""
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    site = torch.rand(4, 8, 8, 8, generator=torch.Generator().manual_seed(4))

    def seen() -> list[bytes]:
        network = make(3, 8, 8, "cifar").train()
        parameters = list(network.parameters())
        with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None), recomputing(again):
            z = network(x, masks={"layer1": site[:, :1]})
        found = [z, *network.buffers()]
        for k in range(2):
            found += torch.autograd.grad(z[:, k].sum(), parameters, retain_graph=True)
        return [t.detach().float().numpy().tobytes() for t in found]

    now = seen()
    monkeypatch.setattr(resnet50.Bottleneck, "forward", as_before)
    assert seen() == now


def test_the_largest_tensors_of_a_block(narrow: None) -> None:
    """In its forward pass three as large as its output are there at most besides the shortcut's: of conv3, of its norm,
    and while the shortcut is normed that too. The sum takes the place of one of them.
    """
    with torch.device("meta"):
        block = resnet50.Bottleneck(8, 8, 1)
        x = torch.empty(64, 8, 16, 16)
    with Counting() as counting:
        block(x, "block", {})
    one = 4 * 64 * 32 * 16 * 16
    inner = 4 * one // 4 + one // 4  # two convolutions and their norms, and x
    assert counting.counts.peak < 4 * one + inner + one // 8
