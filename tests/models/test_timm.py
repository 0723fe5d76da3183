"""timm's models cut into groups, against the models themselves: function, gradients, gates by hooks, sites, beginnings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import timm
import torch
from timm.models import register_model
from timm.models.densenet import DenseNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vgg import VGG
from torch import Tensor, nn
from torch.nn import functional as F

from memloc.errors import UsageError
from memloc.models.architectures import resolved
from memloc.models.architectures.timm.network import Architecture
from memloc.models.build import build
from memloc.models.dropouts import build_dropout
from memloc.models.groups import Network
from memloc.models.memory_format import channels_last
from memloc.models.traced.cut import split_into_groups
from memloc.models.traced.opened import opened
from memloc.models.traced.program import GroupingError
from memloc.models.traced.trace import traced
from tests.models.plain import randomise

SHAPE, CLASSES, B = (1, 32, 32), 7, 3
# Batch norms; batch norms that activate, and depthwise convolutions; layer norms, NHWC inside; attention; blocks that
# timm marks as not to be traced, and that multiply in place.
NAMES = ("test_resnet", "test_efficientnet", "test_convnext", "test_vit", "test_nfnet")


def registered(name: str, create: Callable[..., nn.Module]) -> str:
    """The name under which timm knows a network of one of its classes from now on."""

    def entry(**options: Any) -> nn.Module:
        return create(**{name: v for name, v in options.items() if not name.startswith(("pretrained", "cache_dir"))})

    entry.__name__ = name
    if not timm.is_model(name):
        register_model(entry)
    return name


# The classes of densenet121, vgg11_bn, swin_tiny and swinv2_tiny, with fewer and narrower layers.
DENSENET = registered("small_densenet", partial(DenseNet, growth_rate=4, block_config=(2, 2)))
VGG_BN = registered("small_vgg_bn", partial(VGG, cfg=[8, "M", 8, "M"], mlp_ratio=2**-7, norm_layer=nn.BatchNorm2d))
SWIN, SWIN_V2 = (
    registered(name, partial(swin, window_size=2, embed_dim=8, depths=(2, 2), num_heads=(1, 2)))
    for name, swin in (("small_swin", SwinTransformer), ("small_swinv2", SwinTransformerV2))
)


def make(name: str, seed: int = 0) -> Network:
    network = build(resolved(dataset="digits", model=f"timm:{name}"), SHAPE, CLASSES)
    network.initialise(seed)
    return network


def timms(name: str) -> Any:
    options = {"img_size": SHAPE[1:]} if "vit" in name else {}
    return timm.create_model(name, in_chans=1, num_classes=CLASSES, **options)


def pair(name: str) -> tuple[Network, Any]:
    """(ours, timm's), float64, evaluation mode, the same weights: those of an initialisation, moved, none of them zero."""
    ours, other = make(name).double(), timms(name).double()
    with torch.no_grad():
        weights = {k: t.clone() for k, t in ours.state_dict().items() if t.ndim > 1 and t.any()}
        randomise(ours, 3)
        ours.load_state_dict(weights, strict=False)
    other.load_state_dict(ours.state_dict())  # by name: tensors have timm's names
    return ours.eval(), other.eval()


def images(count: int = B) -> Tensor:
    return torch.randn(count, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_function_gradients_and_statistics(name: str) -> None:
    ours, other = pair(name)
    close(ours(images()), other(images()))
    y = torch.tensor([1, 3, 5])
    for network in (ours.train(), other.train()):
        nn.functional.cross_entropy(network(images()), y).backward()
    theirs = dict(other.named_parameters())
    for key, p in ours.named_parameters():
        assert p.grad is not None, key
        close(p.grad, theirs[key].grad)
    for key, b in ours.named_buffers():
        close(b.double(), dict(other.named_buffers())[key].double())


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_in_one_group_and_states_carry_on(name: str) -> None:
    ours, _ = pair(name)
    assert isinstance(ours, Architecture)
    assert {ours.opened.tensors[name] for name in ours.state_dict()} == set(ours.groups)
    parameters = [n for g in ours.groups for n in ours.parameters_of(g)]
    assert sorted(parameters) == sorted(n for n, _ in ours.named_parameters())
    assert all(ours.parameters_of(g) for g in ours.groups)
    x, state = images(), (images(),)
    before = x.clone()
    whole = ours(x)
    for group in ours.groups:
        kept = state[0].clone()
        assert torch.equal(ours.run_from(group, state), whole)
        assert torch.equal(state[0], kept)  # nothing works in place
        state = ours.run_group(group, state)
    assert torch.equal(state[0], whole)
    assert torch.equal(x, before)
    assert {ours.group_of(layer) for layer in ours.neurons} <= set(ours.groups)


def test_groups_of_a_convolutional_network_and_of_a_transformer() -> None:
    conv, vit = make("test_resnet"), make("test_vit")
    assert conv.groups == ("stem", "layer1", "layer2", "layer3", "layer4", "head")
    assert conv.parameters_of("head") == ["fc.weight", "fc.bias"]
    assert "conv1.0.weight" in conv.parameters_of("stem")
    assert vit.groups == ("stem", *(f"blocks.{k}" for k in range(6)), "head")
    assert vit.parameters_of("stem") == ["cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"]
    assert vit.parameters_of("head") == ["norm.weight", "norm.bias", "head.weight", "head.bias"]
    assert vit.sites == dict.fromkeys(vit.groups[:-1], (64, 5, 1))
    assert conv.sites["layer4"] == (96, 1, 1)


# --- gates ------------------------------------------------------------------------------------------------------------


@contextmanager
def multiplied(module: nn.Module, factor: Tensor, inputs: bool = False) -> Iterator[None]:
    if inputs:
        handle = module.register_forward_pre_hook(lambda _, args: (args[0] * factor,))
    else:
        handle = module.register_forward_hook(lambda _, __, out: out * factor)
    try:
        yield
    finally:
        handle.remove()


# layer -> timm's module whose value it is, and how a gate of B×C broadcasts against it
CHANNELS = [
    ("test_resnet", "layer1.0.conv1", "layer1.0.act1", "nchw"),
    ("test_resnet", "layer2.0.conv2", "layer2.0.bn2", "nchw"),
    ("test_resnet", "layer3.0.downsample.1", "layer3.0.downsample.2", "nchw"),
    ("test_efficientnet", "conv_stem", "bn1", "nchw"),
    ("test_efficientnet", "blocks.3.0.conv_pwl", "blocks.3.0.bn3", "nchw"),
    ("test_convnext", "stages.1.blocks.0.conv_dw", "stages.1.blocks.0.conv_dw", "nchw"),
    ("test_convnext", "stages.2.blocks.1.mlp.fc1", "stages.2.blocks.1.mlp.act", "last"),
    ("test_vit", "blocks.2.mlp.fc1", "blocks.2.mlp.act", "last"),
    ("test_nfnet", "stages.1.0.conv2", "stages.1.0.act2b", "nchw"),
]


@pytest.mark.parametrize(("name", "layer", "module", "layout"), CHANNELS)
def test_closing_channels_and_hidden_units(name: str, layer: str, module: str, layout: str) -> None:
    ours, other = pair(name)
    (channels,) = ours.neurons[layer]
    gate = (torch.rand(B, channels, generator=torch.Generator().manual_seed(2)) > 0.3).double()
    gate[0] = 1.0
    value = other.get_submodule(module)
    ndim = []
    value.register_forward_hook(lambda _, __, out: ndim.append(out.ndim))
    plain = other(images())
    shape = (B, *[1] * (ndim[0] - 2), channels) if layout == "last" else (B, channels, *[1] * (ndim[0] - 2))
    with multiplied(value, gate.reshape(shape)):
        expected = other(images())
    found = ours(images(), gates={layer: gate})
    close(found, expected)
    close(found[0], plain[0])
    assert not torch.allclose(found[1:], plain[1:])


def test_closing_heads_and_weights_of_the_classifier() -> None:
    ours, other = pair("test_vit")
    (heads,) = ours.neurons["blocks.1.attn"]
    assert heads == other.blocks[1].attn.num_heads
    gate = torch.ones(B, heads, dtype=torch.float64)
    gate[0, 1] = gate[2, 0] = 0.0
    other.blocks[1].attn.fused_attn = False
    with multiplied(other.blocks[1].attn.proj, gate.repeat_interleave(64 // heads, 1)[:, None], inputs=True):
        expected = other(images())
    close(ours(images(), gates={"blocks.1.attn": gate}), expected)
    weights = (torch.rand(1, CLASSES, 64, generator=torch.Generator().manual_seed(3)) > 0.5).double()
    with torch.no_grad():
        other.head.weight.mul_(weights[0])
    close(ours(images(), gates={"head": weights}), other(images()))


@pytest.mark.parametrize("name", NAMES)
def test_which_neurons_there_are(name: str) -> None:
    """Counted on timm's modules: all convolutions but patch embeddings, layers before a GELU, heads, the classifier."""
    ours, other = pair(name)
    expected = 0
    for key, m in other.named_modules():
        if isinstance(m, nn.Conv2d) and "patch_embed" not in key:
            expected += m.out_channels
        elif key.endswith("mlp.fc1") and isinstance(m, nn.Linear):
            expected += m.out_features
        elif key.endswith("attn"):
            expected += m.num_heads
    expected += other.get_classifier().weight.numel()
    assert sum(torch.Size(shape).numel() for shape in ours.neurons.values()) == expected


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_statistics_of_the_batch(name: str) -> None:
    ours, other = pair(name)
    expected = other.train()(images())
    parameters = [n for n, _ in ours.named_parameters()]
    ours.use_batch_statistics()
    close(ours(images()), expected)
    assert [n for n, _ in ours.named_parameters()] == parameters


@pytest.mark.parametrize("name", NAMES)
def test_example_tied_masks_are_per_channel(name: str) -> None:
    """A site's factor against a hook on the module whose value the next group gets."""
    ours, other = pair(name)
    config = resolved(dataset="digits", model=f"timm:{name}", dropout="example_tied", p_gen=0.2, p_mem=0.3)
    dropout = build_dropout(config, ours.sites, torch.arange(9).numpy(), torch.device("cpu"))
    masks = dropout.evaluation("own", torch.tensor([2, 5, 8]))
    assert masks is not None
    site = ours.groups[2]
    factor = masks[site][:, None, :, 0, 0] if "vit" in name else masks[site]
    with multiplied(other.get_submodule(site), factor):
        expected = other(images())
    close(ours(images(), masks={site: masks[site]}), expected)
    assert set(masks) == set(ours.groups[:-1])


# --- initialisation, names, what cannot be cut ------------------------------------------------------------------------


def test_initialisation_is_timms_from_a_keyed_stream() -> None:
    one, again, other = (make("test_vit", seed=s).state_dict() for s in (3, 3, 4))
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert not torch.equal(one["blocks.0.attn.qkv.weight"], other["blocks.0.attn.qkv.weight"])
    assert float(one["blocks.0.attn.qkv.weight"].std()) == pytest.approx(0.02, rel=0.05)
    network = make("test_vit")
    before = torch.get_rng_state()
    network.initialise(9)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("timm:resnet_18", " (did you mean 'resnet18'?)"),
        ("timm:resnet18.a1_in1k", "valid: timm:resnet18: what follows the point names weights, and none are loaded"),
        ("timm:", "valid: timm:NAME, NAME a model of timm"),
        ("resnet5", "did you mean 'resnet50'?"),
    ],
)
def test_bad_names(model: str, message: str) -> None:
    with pytest.raises(UsageError, match=r"model: ") as caught:
        resolved(dataset="digits", model=model)
    assert message in caught.value.problems[0]
    assert len(caught.value.problems) == 1


def test_images_that_a_model_cannot_take() -> None:
    config = resolved(dataset="digits", model="timm:test_vit")
    problem = config.architecture.misfits((1, 8, 8), 10)["dataset"]
    assert problem.startswith("timm:test_vit with images of 8×8 pixels: timm says: ")
    assert "\n" not in problem
    assert config.architecture.misfits((1, 32, 32), 10) == {}


class Straight(nn.Module):
    """Two stages, run in the order given."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        for k in self.order:
            x = self.stages[k](x)
        return x


class InPlace(Straight):
    """Changes what it has named, in statements whose value is not used."""

    def forward(self, x: Tensor) -> Tensor:
        same = y = self.stages[0](x)
        y.mul_(2.0)
        F.relu(y, inplace=True)
        z: Tensor = self.stages[1](y) + same
        return z


class Undecided(Straight):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else x


def test_what_works_in_place_is_done_for_all_that_follows() -> None:
    network, x = InPlace(()), torch.randn(3, 4)
    graph, _ = traced(network, (), ())
    program = split_into_groups(graph, network, ["stages.0", "stages.1"])
    state: tuple[Any, ...] = (x,)
    for group in program.groups:
        before = [t.clone() for t in state]
        after = program.run(network, group, state)
        assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))  # a state can be used again
        state = after
    assert torch.equal(state[0], network(x))


def test_stages_that_do_not_run_in_turn_are_refused() -> None:
    for order, problem in (
        ((0, 1, 0), r"stages\.0 is used again after stages\.1 has begun"),
        ((0,), r"stages\.1 runs without parameters of its own"),
    ):
        network = Straight(order)
        graph, _ = traced(network, (), ())
        with pytest.raises(GroupingError, match=problem):
            split_into_groups(graph, network, ["stages.0", "stages.1"])
    with pytest.raises(GroupingError, match="cannot be traced"):
        traced(Undecided((0, 1)), (), ())


class Framed(Straight):
    """Scales its images before the first stage and squashes after the last one; a parameter on either side, if asked for."""

    def __init__(self, before: bool, after: bool) -> None:
        super().__init__((0, 1))
        self.before = nn.Parameter(torch.tensor(2.0)) if before else 2.0
        self.after = nn.Parameter(torch.tensor(3.0)) if after else 3.0

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(super().forward(x * self.before)) * self.after


@pytest.mark.parametrize(
    ("before", "after", "groups"),
    [
        (True, True, ("stem", "stages.0", "stages.1", "head")),
        (False, True, ("stages.0", "stages.1", "head")),
        (True, False, ("stem", "stages.0", "stages.1")),
        (False, False, ("stages.0", "stages.1")),
    ],
)
def test_every_group_has_parameters(before: bool, after: bool, groups: tuple[str, ...]) -> None:
    network, x = Framed(before, after), torch.randn(3, 4)
    graph, _ = traced(network, (), ())
    program = split_into_groups(graph, network, ["stages.0", "stages.1"])
    assert program.groups == groups
    state: tuple[Any, ...] = (x,)
    for group in program.groups:
        state = program.run(network, group, state)
    assert torch.equal(state[0], network(x))


@pytest.mark.parametrize("name", [DENSENET, VGG_BN])
def test_models_without_parameters_before_their_first_stage(name: str) -> None:
    """Retraining a group without parameters is an error, so there is none."""
    network = build(resolved(dataset="cifar10", model=f"timm:{name}"), (3, 32, 32), 10)
    assert network.groups[0].startswith("features.")
    assert all(network.parameters_of(group) for group in network.groups)
    owned = [parameter for group in network.groups for parameter in network.parameters_of(group)]
    assert sorted(owned) == sorted(name for name, _ in network.named_parameters())


def test_layers_that_make_a_table_of_positions_have_no_neurons() -> None:
    """swinv2's biases by position come from a small MLP, the same for all images."""
    network = build(resolved(dataset="cifar10", model=f"timm:{SWIN_V2}"), (3, 32, 32), 10)
    assert any("cpb_mlp" in name for name, _ in network.named_parameters())
    assert not any("cpb_mlp" in layer for layer in network.neurons)
    assert sum("mlp.fc1" in layer for layer in network.neurons) == sum(len(stage.blocks) for stage in network.layers)


def test_whatever_goes_wrong_is_said_when_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("shape '[2, 0]' is invalid\nand more")

    opened.cache_clear()
    monkeypatch.setattr("memloc.models.traced.program.Program.shapes", broken)
    config = resolved(dataset="cifar10", model="timm:test_vit")
    problem = config.architecture.misfits((3, 32, 32), 10)["dataset"]
    where = "timm:test_vit with images of 32×32 pixels"
    problem_of_it = "operation by operation it does not run: shape '[2, 0]' is invalid"
    assert problem == f"{where}: {problem_of_it}; timm made it for images of 160×160"


def test_tensors_of_rank_five_stay_as_they_are() -> None:
    """swin has such buffers; PyTorch's own channels_last ends in an error there."""
    network = build(resolved(dataset="cifar10", model=f"timm:{SWIN}"), (3, 32, 32), 10)
    assert any(buffer.ndim == 5 for buffer in network.buffers())
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = network.eval()(x)
    last = channels_last(network)
    weights = [p for p in last.parameters() if p.ndim == 4]
    assert weights
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    torch.testing.assert_close(last(x.to(memory_format=torch.channels_last)), before, rtol=1e-4, atol=1e-5)


def test_channels_last_is_pytorchs_own_where_that_works() -> None:
    ours, theirs = make("test_resnet"), make("test_resnet")
    channels_last(ours)
    theirs.to(memory_format=torch.channels_last)
    strides = [{name: t.stride() for name, t in network.state_dict().items()} for network in (ours, theirs)]
    assert strides[0] == strides[1]
