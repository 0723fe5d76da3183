"""The small transformer against timm's and vit-pytorch's: the same function and gradients by the same weights; its gates,
sites and own dropouts against hooks on theirs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from memloc.config import canonical
from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.models.dropouts import OwnDropouts, build_dropout
from memloc.models.groups import Network
from memloc.models.kept import floats
from tests.models.tensors import tensors_of

B, CLASSES, SHAPE = 3, 7, (3, 6, 8)
TOKENS = ("patch", "shifted")
COUNT = 13


def make(tokens: str, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Network:
    network = build(resolved(dataset="digits", model="vit_small", tokens=tokens), shape, CLASSES)
    network.initialise(seed)
    return network


def packages(tokens: str) -> nn.Module:
    if tokens == "patch":
        return timm.models.VisionTransformer(
            img_size=SHAPE[1:], patch_size=2, in_chans=3, num_classes=CLASSES, embed_dim=512, depth=6, num_heads=8,
            mlp_ratio=1.0, qkv_bias=False, pos_drop_rate=0.1, proj_drop_rate=0.1, attn_drop_rate=0.1,
        )  # fmt: skip
    from vit_pytorch.vit_for_small_dataset import ViT

    return ViT(  # type: ignore[no-any-return]
        image_size=SHAPE[1:], patch_size=2, num_classes=CLASSES, dim=512, depth=6, heads=8, mlp_dim=512, channels=3,
        dropout=0.1, emb_dropout=0.1,
    )  # fmt: skip


RENAMED = {
    "patch": [
        (r"^embed\.proj", "patch_embed.proj"), (r"^embed\.", ""), (r"^block", "blocks."), (r"\.(fc\d)", r".mlp.\1"),
        (r"\.(qkv|proj)\.", r".attn.\1."), (r"patch_embed\.attn\.", "patch_embed."), (r"^head\.norm", "norm"),
        (r"^head\.(mlp\.)?fc", "head"),
    ],
    "shifted": [
        (r"^embed\.norm", "to_patch_embedding.to_patch_tokens.1"), (r"^embed\.proj", "to_patch_embedding.to_patch_tokens.2"),
        (r"^embed\.pos_embed", "pos_embedding"), (r"^embed\.", ""), (r"^head\.norm", "mlp_head.0"),
        (r"^head\.fc", "mlp_head.1"), (r"^block(\d)", r"transformer.layers.\1"), (r"\.temperature", ".0.temperature"),
        (r"\.norm1", ".0.norm"), (r"\.qkv", ".0.to_qkv"), (r"(\d)\.proj", r"\1.0.to_out.0"), (r"\.norm2", ".1.net.0"),
        (r"\.fc1", ".1.net.1"), (r"\.fc2", ".1.net.4"),
    ],
}  # fmt: skip


def renamed(tokens: str, name: str) -> str:
    for pattern, by in RENAMED[tokens]:
        name = re.sub(pattern, by, name)
    return name


@pytest.fixture(params=TOKENS)
def trio(request: pytest.FixtureRequest) -> tuple[str, Network, nn.Module]:
    """(tokens, ours, the package's), float64, evaluation mode, the same weights, none of them at 0 or 1."""
    tokens = str(request.param)
    ours, other = make(tokens).double(), packages(tokens).double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in ours.parameters():
            p.add_(torch.empty(p.shape, dtype=p.dtype).uniform_(-0.05, 0.05, generator=generator))
    other.load_state_dict({renamed(tokens, name): t for name, t in ours.state_dict().items()})
    return tokens, ours.eval(), other.eval()


def images(count: int = B) -> Tensor:
    return torch.randn(count, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_the_same_function_and_gradients(trio: tuple[str, Network, nn.Module]) -> None:
    tokens, ours, other = trio
    x, y = images(), torch.tensor([1, 3, 5])
    close(ours(x), other(x))
    assert torch.equal(ours.train()(x), ours.eval()(x))  # its dropouts are factors, which nobody has handed in
    for network in (ours, other):
        nn.functional.cross_entropy(network(x), y).backward()
    theirs = dict(other.named_parameters())
    for name, p in ours.named_parameters():
        assert p.grad is not None
        close(p.grad, theirs[renamed(tokens, name)].grad)


def test_groups_sites_and_neurons(trio: tuple[str, Network, nn.Module]) -> None:
    _, ours, _ = trio
    assert ours.groups == ("embed", *(f"block{k}" for k in range(6)), "head")
    assert sorted(n for g in ours.groups for n in tensors_of(ours, g)) == sorted(ours.state_dict())
    assert ours.sites == dict.fromkeys(ours.groups[:-1], (512, COUNT, 1))
    assert Counter(shape for shape in ours.neurons.values()) == {(8,): 6, (512,): 6, (CLASSES, 512): 1}
    assert {ours.group_of(layer) for layer in ours.neurons} == set(ours.groups[1:])


# --- what acts inside, by hooks on the package's modules ------------------------------------------------------------


@contextmanager
def altered(module: nn.Module, change: Callable[[Tensor], Tensor], inputs: bool = False) -> Iterator[None]:
    if inputs:
        handle = module.register_forward_pre_hook(lambda _, args: (change(args[0]),))
    else:
        handle = module.register_forward_hook(lambda _, __, out: change(out))
    try:
        yield
    finally:
        handle.remove()


def place(tokens: str, other: Any, block: int, what: str) -> nn.Module:
    if tokens == "patch":
        b = other.blocks[block]
        found = {"proj": b.attn.proj, "hidden": b.mlp.act, "mlp": b.mlp.fc2}
    else:
        attention, mlp = other.transformer.layers[block]
        found = {"proj": attention.to_out[0], "hidden": mlp.net[2], "mlp": mlp.net[4]}
    return found[what]


def test_closing_heads(trio: tuple[str, Network, nn.Module]) -> None:
    tokens, ours, other = trio
    gate = torch.ones(B, 8, dtype=torch.float64)
    gate[0, 3] = gate[1, :2] = 0.0
    with altered(place(tokens, other, 2, "proj"), lambda x: x * gate.repeat_interleave(64, 1)[:, None], inputs=True):
        expected = other(images())
    found = ours(images(), gates={"block2.heads": gate})
    close(found, expected)
    assert not torch.allclose(found[:2], ours(images())[:2])
    close(found[2], ours(images())[2])


def test_closing_hidden_units(trio: tuple[str, Network, nn.Module]) -> None:
    tokens, ours, other = trio
    gate = (torch.rand(B, 512, generator=torch.Generator().manual_seed(2)) > 0.3).double()
    with altered(place(tokens, other, 5, "hidden"), lambda x: x * gate[:, None]):
        expected = other(images())
    close(ours(images(), gates={"block5.mlp": gate}), expected)


def test_closing_weights_of_the_classifier(trio: tuple[str, Network, nn.Module]) -> None:
    tokens, ours, other = trio
    gate = (torch.rand(1, CLASSES, 512, generator=torch.Generator().manual_seed(3)) > 0.5).double()
    classifier = other.get_submodule(renamed(tokens, "head.fc"))
    with torch.no_grad():
        classifier.weight.mul_(gate[0])  # type: ignore[operator, union-attr]
    close(ours(images(), gates={"head.fc": gate}), other(images()))


def test_gradients_of_gates_by_central_differences(trio: tuple[str, Network, nn.Module]) -> None:
    _, ours, _ = trio
    gates = {layer: torch.ones(1, *shape, dtype=torch.float64) for layer, shape in ours.neurons.items()}
    for layer, at in (("block0.heads", 5), ("block3.mlp", 100), ("head.fc", 900)):
        leaf = gates[layer].clone().requires_grad_()
        (found,) = torch.autograd.grad(ours(images(), gates={**gates, layer: leaf}).square().sum(), leaf)
        values = []
        for step in (1e-5, -1e-5):
            moved = gates[layer].clone()
            moved.flatten()[at] += step
            values.append(float(ours(images(), gates={**gates, layer: moved}).detach().square().sum()))
        assert float(found.flatten()[at]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-7)


def test_own_dropouts_are_the_packages(trio: tuple[str, Network, nn.Module]) -> None:
    """Every factor that is handed in, multiplied in by hooks: on attention weights as the argument of the product."""
    _, ours, other = trio
    own = floats(OwnDropouts(ours, 3, torch.device("cpu")).training(B, 1, 0))
    assert own is not None
    masks = {site: mask.double() for site, mask in own.items()}
    assert set(masks) == set(ours.stochastic())
    rates = {p.p for p in other.modules() if isinstance(p, nn.Dropout) and p.p > 0}
    assert rates == {rate for _, rate in ours.stochastic().values()}
    dropouts = [m for m in other.modules() if isinstance(m, nn.Dropout) and m.p > 0]
    assert len(dropouts) == len(masks)
    for m in other.modules():
        if hasattr(m, "fused_attn"):
            m.fused_attn = False  # so that the module is called
    factors = list(masks.values())  # in forward order, as the package's modules are called
    called: list[nn.Module] = []

    def multiply(module: nn.Module, _: object, out: Tensor) -> Tensor:
        called.append(module)
        return out * factors[len(called) - 1]

    handles = [m.register_forward_hook(multiply) for m in dropouts]
    expected = other(images())
    for handle in handles:
        handle.remove()
    assert len(called) == len(factors)
    close(ours(images(), masks=masks), expected)


def test_own_dropouts_are_keyed_by_seed_epoch_and_step() -> None:
    network, cpu = make("patch"), torch.device("cpu")
    own = OwnDropouts(network, 3, cpu)
    before = torch.get_rng_state()
    first, other = floats(own.training(4, 1, 0)), floats(own.training(4, 1, 1))
    again, epoch, seed = (
        floats(own.training(4, 1, 0)),
        floats(own.training(4, 2, 0)),
        floats(OwnDropouts(network, 4, cpu).training(4, 1, 0)),
    )
    assert torch.equal(before, torch.get_rng_state())
    assert first is not None
    for site, mask in first.items():
        assert set(mask.unique().tolist()) == {0.0, float(torch.tensor(1.0) / 0.9)}
        assert float((mask == 0).float().mean()) == pytest.approx(0.1, abs=5 * (0.09 / mask.numel()) ** 0.5)
        assert again is not None
        assert torch.equal(mask, again[site])
        for changed in (other, epoch, seed):
            assert changed is not None
            assert not torch.equal(mask, changed[site])


def test_own_dropouts_of_a_site_do_not_depend_on_the_other_sites() -> None:
    network, cpu = make("patch"), torch.device("cpu")
    whole = floats(OwnDropouts(network, 3, cpu).training(4, 2, 5))
    assert whole is not None
    sites = network.stochastic()
    for kept in (dict(reversed(sites.items())), {"before": ((3, 5), 0.5), **sites}, *({s: sites[s]} for s in sites)):
        own = OwnDropouts(network, 3, cpu)
        own.sites = kept
        found = floats(own.training(4, 2, 5))
        assert found is not None
        assert all(torch.equal(found[site], whole[site]) for site in sites if site in kept)
    same_shape = [whole[site] for site, (shape, _) in sites.items() if site.endswith("proj_drop")]
    assert all(not torch.equal(one, other) for one, other in pairwise(same_shape))


def test_example_tied_masks_act_on_token_channels(trio: tuple[str, Network, Any]) -> None:
    tokens, ours, other = trio
    config = resolved(dataset="digits", model="vit_small", dropout="example_tied", p_gen=0.2, p_mem=0.3)
    dropout = build_dropout(config, ours.sites, torch.arange(9).numpy(), torch.device("cpu"))
    rows = torch.tensor([2, 5, 8])
    masks = dropout.evaluation("own", rows)
    assert masks is not None
    found = ours(images(), masks=masks)
    handles = []
    for site, factor in masks.items():
        by = factor[:, None, :, 0, 0]
        if tokens == "patch":
            module = other.norm_pre if site == "embed" else other.blocks[int(site[5:])]
            handles.append(module.register_forward_hook(lambda _, __, out, f=by: out * f))
        elif site == "embed":
            handles.append(other.dropout.register_forward_hook(lambda _, __, out, f=by: out * f))
        else:  # no module gives the sum: the MLP makes up the difference between what it is given and the masked sum
            mlp = other.transformer.layers[int(site[5:])][1]
            handles.append(mlp.register_forward_hook(lambda _, args, out, f=by: (out + args[0]) * f - args[0]))
    close(found, other(images()))
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("tokens", TOKENS)
def test_initialisation_has_the_packages_moments(tokens: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = packages(tokens).state_dict()
    ours, again = make(tokens, seed=1).state_dict(), make(tokens, seed=1).state_dict()
    for name, t in ours.items():
        s = theirs[renamed(tokens, name)]
        assert t.shape == s.shape
        assert torch.equal(t, again[name])
        if float(s.float().var(correction=0)) == 0:
            torch.testing.assert_close(t, s, msg=name)
        else:
            noise = t.numel() ** -0.5
            assert float(t.mean()) == pytest.approx(float(s.mean()), abs=8 * float(s.std()) * noise), name
            assert float(t.std()) == pytest.approx(float(s.std()), rel=6 * noise), name
    assert not torch.equal(ours["block1.fc1.weight"], ours["block2.fc1.weight"])


def test_images_that_patches_do_not_cut_are_refused() -> None:
    config = resolved(dataset="digits", model="vit_small")
    assert config.architecture.misfit((1, 16, 14), 10) is None
    assert (
        config.architecture.misfit((1, 16, 15), 10)
        == "images of 16×15 pixels; vit_small cuts them in patches of 2×2: even sides"
    )


def test_tokens_patch_is_the_same_training() -> None:
    config = resolved(dataset="digits", model="vit_small", tokens="patch")
    assert config == resolved(dataset="digits", model="vit_small")
    assert config.architecture.tokens == "patch"
    assert "tokens" not in canonical(config)
