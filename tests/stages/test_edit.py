"""The curvature edit against plain loops, against curvlinops' K-FAC, and against data whose eigenvectors are known."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from memloc.config import FieldError
from memloc.models.groups import Network
from memloc.models.inference import logits
from memloc.models.running_statistics import recompute_statistics
from memloc.models.weight_matrices import weight_matrices
from memloc.stages.base import NetworkFacts, Size
from memloc.stages.edit import compute
from memloc.stages.edit.config import BUDGETS, RANKS, RHO, Edit, EditConfig, ResolvedEdit
from memloc.stages.edit.covariances import Covariances, covariances
from memloc.stages.edit.kept_weights import RANKED, Layer, fewest
from memloc.stages.evaluate.config import Evaluate, EvaluateConfig
from tests.models.plain import GROUPS, Plain
from tests.stages.conftest import TIED, Trained, run_once
from tests.stages.naive import pixels

STAGE = Edit()
INNER = GROUPS[1:-1]
LAYERS = [*(f"{group}.conv" for group in GROUPS[:-1]), "linear"]
COLUMNS = STAGE.tables["edits"].names[2:]
Row = dict[str, Any]


def resolve(trained: Trained, **fields: Any) -> ResolvedEdit:
    return STAGE.resolve(EditConfig(**fields), trained.config)


def rows_of(trained: Trained, part: dict[str, Any], **fields: Any) -> list[Row]:
    columns = STAGE.run(resolve(trained, **fields), trained.inputs(), part)["edits"]
    assert list(columns) == sorted(COLUMNS, key=list(columns).index)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def edits(trained: Trained, images: str = "train", **fields: Any) -> list[Row]:
    return rows_of(trained, {"epoch": trained.config.epochs, "images": images}, images=(images,), **fields)


# --- covariances --------------------------------------------------------------------------------------------------------


@contextmanager
def shifted(module: nn.Module, shift: list[Tensor], seen: list[Tensor]) -> Iterator[None]:
    """Within it, the module's output is moved by a tensor of zeros, which then has the output's gradient."""

    def hook(_: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        seen.append(args[0].detach())
        shift.append(torch.zeros_like(output, requires_grad=True))
        return output + shift[-1]

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def plain_covariances(network: nn.Module, layer: str, x: Tensor) -> Covariances:
    """Image by image, class by class, position by position; float64."""
    module = network.get_submodule(layer)
    assert isinstance(module, nn.Conv2d | nn.Linear)
    inputs = torch.zeros(module.weight[0].numel(), module.weight[0].numel(), dtype=torch.float64)
    outputs = torch.zeros(len(module.weight), len(module.weight), dtype=torch.float64)
    count = 0
    for image in x:
        shift: list[Tensor] = []
        seen: list[Tensor] = []
        with shifted(module, shift, seen):
            log_p = network(image[None]).log_softmax(dim=1)[0]
        for patch in plain_patches(module, seen[0][0]):
            inputs += torch.outer(patch, patch)
            count += 1
        for c in range(len(log_p)):
            (gradient,) = torch.autograd.grad(-log_p[c], shift[0], retain_graph=True)
            columns = gradient[0].flatten(1).T if isinstance(module, nn.Conv2d) else gradient.reshape(-1, len(outputs))
            for g in columns:
                outputs += float(log_p[c].detach().exp()) * torch.outer(g, g)
    return Covariances(inputs / count, outputs / count)


def plain_patches(module: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """x: the layer's input of one image."""
    if isinstance(module, nn.Linear):
        yield from x.reshape(-1, module.in_features)
        return
    assert isinstance(module, nn.Conv2d)
    (high, wide), (down, right), (top, left) = module.kernel_size, module.stride, module.padding  # type: ignore[misc]
    framed = torch.zeros(x.shape[0], x.shape[1] + 2 * top, x.shape[2] + 2 * left, dtype=x.dtype)
    framed[:, top : top + x.shape[1], left : left + x.shape[2]] = x
    for i in range(0, framed.shape[1] - high + 1, down):
        for j in range(0, framed.shape[2] - wide + 1, right):
            yield framed[:, i : i + high, j : j + wide].flatten()


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found.double(), wanted.double(), rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("layer", ["conv2.conv", "res2.conv2.conv", "linear"])
def test_covariances_against_a_loop_over_patches_and_classes(plain: Trained, layer: str) -> None:
    network = plain.inputs().network(12)
    x = torch.tensor(plain.data.x[:3])
    found = covariances(network, LAYERS, x, lambda rows: None)
    wanted = plain_covariances(plain.inputs().network(12).double(), layer, pixels(plain.data.x[:3]).double())
    for mine, theirs in zip(found[layer], wanted, strict=True):
        close(mine, theirs)
    alone = covariances(network, [layer], x, lambda rows: None)[layer]
    assert all(torch.equal(a, b) for a, b in zip(alone, found[layer], strict=True))


def test_covariances_are_those_of_curvlinops(plain: Trained) -> None:
    """Its G is a sum over positions. Two groups of images here; all weights at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from curvlinops import KFACLinearOperator

    images = pixels(plain.data.x_test[:300]).double()
    other = Plain(1, 10, plain.config.architecture.width).load(plain.epochs[12].weights).double().eval()  # type: ignore[attr-defined]
    weights = [p for p in other.parameters() if p.ndim > 1]
    for p in other.parameters():
        p.requires_grad_(p.ndim > 1)
    data, loss = [(images, torch.tensor(plain.data.y_test[:300]))], nn.CrossEntropyLoss()
    kfac = KFACLinearOperator(other, loss, weights, data, fisher_type="type-2", check_deterministic=False)
    kfac.compute_kronecker_factors()
    found = covariances(plain.inputs().network(12), LAYERS, torch.tensor(plain.data.x_test[:300]), lambda rows: None)
    names = [name for name, module in other.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    positions = [256, 64, 64, 64, 64, 16, 16, 4, 1]
    for layer, name, count in zip(LAYERS, names, positions, strict=True):
        close(found[layer].inputs, kfac._input_covariances[name])
        close(found[layer].outputs * count, kfac._gradient_covariances[name])


def test_a_change_in_place_after_a_layer_does_not_reach_its_output() -> None:
    """A folded block has its ReLU in place, right after the convolution."""
    trained = run_once()
    network, x = trained.inputs().network(3).folded(), trained.data.x[:2]
    found = covariances(network, ["conv2.conv"], torch.tensor(x), lambda rows: None)["conv2.conv"]
    wanted = plain_covariances(trained.inputs().network(3).folded().double(), "conv2.conv", pixels(x).double())
    close(found.outputs, wanted.outputs)


def test_covariances_are_those_under_the_masks(tied: Trained) -> None:
    """Mode own: each example under its own mask; here as copies of the network that multiply at the sites."""
    inputs = tied.inputs()
    network, x = inputs.network(14), torch.tensor(tied.data.x[:4])
    dropout = inputs.dropout(network)
    found = covariances(network, ["conv3.conv"], x, lambda rows: dropout.evaluation("own", rows))["conv3.conv"]
    each = []
    for k in range(4):
        own = Own(inputs.network(14).double(), dropout.own(k))
        each.append(plain_covariances(own, "network.conv3.conv", pixels(tied.data.x[k : k + 1]).double()))
    close(found.inputs, torch.stack([c.inputs for c in each]).mean(dim=0))
    close(found.outputs, torch.stack([c.outputs for c in each]).mean(dim=0))


class Own(nn.Module):
    def __init__(self, network: Network, on: Any) -> None:
        super().__init__()
        self.network = network
        self.masks = {site: torch.tensor(channels).double()[None, :, None, None] for site, channels in on.items()}

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x, masks=self.masks)
        return logits


# --- what is kept -------------------------------------------------------------------------------------------------------


def orthogonal(size: int, seed: int) -> Tensor:
    return torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))[0]


MU = torch.tensor([9.0, 5.0, 2.0, 1.0, 0.5, 0.1], dtype=torch.float64)
LAMBDA = torch.tensor([4.0, 3.0, 0.7, 0.2], dtype=torch.float64)


@pytest.fixture
def known() -> tuple[Layer, Tensor, Tensor, Tensor]:
    """A layer whose covariances have known eigenvectors, in columns of no order; (layer, W, U_A, U_G)."""
    of_inputs, of_outputs = orthogonal(6, 1), orthogonal(4, 2)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    both = Covariances(
        of_inputs[:, order] @ MU[order].diag() @ of_inputs[:, order].T, of_outputs @ LAMBDA.diag() @ of_outputs.T
    )
    weight = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    shuffled = torch.randperm(24, generator=torch.Generator().manual_seed(4))
    layer = Layer.of(weight, both, shuffled)
    assert layer is not None
    return layer, weight, of_inputs, of_outputs


def sum_of_pairs(weight: Tensor, of_inputs: Tensor, of_outputs: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
    """Σ (u_iᵀ W v_j) u_i v_jᵀ over these pairs."""
    total = torch.zeros_like(weight)
    for i, j in pairs:
        u, v = of_outputs[:, i], of_inputs[:, j]
        total += (u @ weight @ v) * torch.outer(u, v)
    return total


def largest(rho: float) -> list[tuple[int, int]]:
    """The fewest pairs with the share ρ of the curvature, largest first, one by one."""
    pairs = sorted(((i, j) for i in range(4) for j in range(6)), key=lambda p: -float(LAMBDA[p[0]] * MU[p[1]]))
    total, kept, have = float(LAMBDA.sum() * MU.sum()), [], 0.0
    while have < rho * total and len(kept) < 24:
        kept.append(pairs[len(kept)])
        have += float(LAMBDA[kept[-1][0]] * MU[kept[-1][1]])
    return kept


@pytest.mark.parametrize("rho", [0.05, 0.5, 0.77, 0.9, 0.985, 1.0])
def test_kfac_keeps_the_pairs_of_most_curvature(known: Any, rho: float) -> None:
    layer, weight, of_inputs, of_outputs = known
    pairs = largest(rho)
    kept = RANKED["kfac"](layer, rho, "energy")
    torch.testing.assert_close(kept.weight, sum_of_pairs(weight, of_inputs, of_outputs, pairs))
    assert (kept.pairs, kept.kept) == (24, len(pairs))
    energy = sum(float(LAMBDA[i] * MU[j]) for i, j in pairs) / float(LAMBDA.sum() * MU.sum())
    assert kept.energy == pytest.approx(energy)
    assert kept.energy >= rho - 1e-12 or rho == 1


def number(energies: Tensor, rho: float) -> int:
    """How many of the largest have the share ρ, one after the other."""
    have, count, ordered = 0.0, 0, sorted(energies.flatten().tolist(), reverse=True)
    while have < rho * sum(ordered):
        have, count = have + ordered[count], count + 1
    return count


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("rho", [0.05, 0.77, 0.9, 0.985])
def test_directions_are_whole(known: Any, rho: float, budget: str) -> None:
    """As many as have the share ρ; or as come nearest to kfac's number of pairs."""
    layer, weight, of_inputs, of_outputs = known
    count = len(largest(rho))
    inputs, outputs = max(1, round(count / 4)), max(1, round(count / 6))
    if budget == "energy":
        inputs, outputs = number(MU, rho), number(LAMBDA, rho)
    found = RANKED["activation"](layer, rho, budget)
    pairs = [(i, j) for i in range(4) for j in range(inputs)]
    torch.testing.assert_close(found.weight, sum_of_pairs(weight, of_inputs, of_outputs, pairs))
    torch.testing.assert_close(found.weight, weight @ of_inputs[:, :inputs] @ of_inputs[:, :inputs].T)
    assert (found.kept, found.energy) == (4 * inputs, pytest.approx(float(MU[:inputs].sum() / MU.sum())))
    found = RANKED["gradient"](layer, rho, budget)
    torch.testing.assert_close(found.weight, of_outputs[:, :outputs] @ of_outputs[:, :outputs].T @ weight)
    assert (found.kept, found.energy) == (6 * outputs, pytest.approx(float(LAMBDA[:outputs].sum() / LAMBDA.sum())))


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_other_ranks(known: Any, budget: str) -> None:
    layer, weight, of_inputs, of_outputs = known
    pairs, energy = len(largest(0.9)), budget == "energy"
    found, count = RANKED["magnitude"](layer, 0.9, budget), number(weight.square(), 0.9) if energy else pairs
    least = sorted(weight.abs().flatten().tolist(), reverse=True)[count - 1]
    assert torch.equal(found.weight, torch.where(weight.abs() >= least, weight, 0.0))
    assert found.energy == pytest.approx(float(found.weight.square().sum() / weight.square().sum()))
    found, count = RANKED["random"](layer, 0.9, budget), 22 if energy else pairs  # 0.9 of 24
    chosen = [divmod(int(k), 6) for k in layer.shuffled[:count]]
    torch.testing.assert_close(found.weight, sum_of_pairs(weight, of_inputs, of_outputs, chosen))
    assert (found.kept, found.energy) == (count, count / 24)
    found = RANKED["svd"](layer, 0.9, budget)
    left, values, right = np.linalg.svd(weight.numpy(), full_matrices=False)
    count = number(torch.tensor(values**2), 0.9)
    wanted = left[:, :count] @ np.diag(values[:count]) @ right[:count]
    np.testing.assert_allclose(found.weight.numpy(), wanted, atol=1e-12)
    assert found[1:] == (4, count, pytest.approx((values[:count] ** 2).sum() / (values**2).sum()))


def test_all_of_the_energy_is_the_weights_themselves(known: Any) -> None:
    layer, weight, _, _ = known
    for rank, budget in product(RANKS, BUDGETS):
        kept = RANKED[rank](layer, 1.0, budget)
        assert torch.equal(kept.weight, weight)
        assert kept.kept == kept.pairs
        assert kept.energy == pytest.approx(1.0)


def test_pairs_without_any_energy_go_first_but_not_at_one() -> None:
    energies = torch.tensor([3.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    assert [fewest(energies, rho) for rho in (0.1, 0.75, 0.76, 0.999, 1.0)] == [1, 1, 2, 2, 4]


@pytest.mark.parametrize("spoilt", ["weight", "inputs", "outputs", "no gradient"])
def test_what_cannot_be_ranked_is_left_alone(spoilt: str) -> None:
    nan = torch.full((2, 2), float("nan"), dtype=torch.float64)
    eye, weight = torch.eye(2, dtype=torch.float64), nan if spoilt == "weight" else torch.ones(2, 2)
    outputs = nan if spoilt == "outputs" else 0 * eye if spoilt == "no gradient" else eye
    assert Layer.of(weight, Covariances(nan if spoilt == "inputs" else eye, outputs), torch.arange(4)) is None


# --- rows ---------------------------------------------------------------------------------------------------------------


def test_all_of_the_energy_is_the_network_itself(plain: Trained, tied: Trained) -> None:
    """To the last bit that of the evaluation, for every rank and selection; and the rows without an edit are that, too."""
    for trained, mode in ((plain, None), (tied, "scaled"), (tied, "own")):
        last = trained.config.epochs
        evaluated = Evaluate().resolve(EvaluateConfig(modes=(mode or "plain",)), trained.config)  # type: ignore[arg-type]
        wanted = {k: v[0] for k, v in Evaluate().run(evaluated, trained.inputs(), {"epoch": last})["evaluation"].items()}
        fields: Row = {"rho": (1.0,), "ranks": ("kfac", "svd"), "mask_mode": mode, "unedited": (1, last)}
        edited = edits(trained, groups=("inner", "conv4"), **fields)
        unedited = rows_of(trained, {"unedited": "all"}, **fields)
        assert [row["epoch"] for row in unedited] == [1, last]
        assert [(row["groups"], row["rank"]) for row in edited] == [
            (g, r) for g in ("inner", "conv4") for r in fields["ranks"]
        ]
        for row in [*edited, unedited[-1]]:
            assert {k: row[k] for k in ("clean_acc", "noisy_acc", "noisy_true_acc", "test_acc")} == {
                k: wanted[k] for k in ("clean_acc", "noisy_acc", "noisy_true_acc", "test_acc")
            }


def accuracies(trained: Trained, network: Network) -> tuple[float, float, float, float]:
    data = trained.data
    predicted = logits(network, torch.tensor(data.x)).argmax(dim=1).numpy()
    tested = logits(network, torch.tensor(data.x_test)).argmax(dim=1).numpy()
    right, noisy = predicted == data.y, data.noisy
    true = (predicted == data.true_label)[noisy].mean()
    return right[~noisy].mean(), right[noisy].mean(), true, (tested == data.y_test).mean()


@pytest.mark.parametrize("of", ["train", "test"])
def test_rows_against_one_network_at_a_time(plain: Trained, of: str) -> None:
    """Every selection, rank and ρ: a fresh network with the weights set, run over everything."""
    fields: Row = {"groups": ("inner", "linear"), "rho": (0.9,)}
    found = edits(plain, of, **fields)
    assert len(found) == 2 * 10
    x = torch.tensor(plain.data.x if of == "train" else plain.data.x_test)
    factors = covariances(plain.inputs().network(12), LAYERS, x, lambda rows: None)
    for row in found:
        network = plain.inputs().network(12)
        groups = INNER if row["groups"] == "inner" else (row["groups"],)
        names = [layer for group in groups for layer in weight_matrices(network).layers[group]]
        kept = []
        for name in names:
            weight = network.get_parameter(f"{name}.weight").data
            shuffled = compute._shuffled(plain.inputs(), network, name)
            layer = Layer.of(weight, factors[name], shuffled)
            assert layer is not None
            kept.append(RANKED[row["rank"]](layer, row["rho"], row["budget"]))
            weight.copy_(kept[-1].weight.float().reshape(weight.shape))
        assert (row["pairs"], row["pairs_kept"]) == (sum(k.pairs for k in kept), sum(k.kept for k in kept))
        assert row["energy_kept"] == pytest.approx(sum(k.energy or 0 for k in kept) / len(kept), abs=1e-12)
        found_here = tuple(row[k] for k in ("clean_acc", "noisy_acc", "noisy_true_acc", "test_acc"))
        assert found_here == accuracies(plain, network)
        assert (row["bn"], row["images"], row["epoch"]) == ("final", of, 12)


def test_a_rows_bits_do_not_depend_on_its_company(plain: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = ("kfac", "random")
    fields: Row = {"groups": ("inner", "res2.conv1"), "rho": (0.7, 0.9), "bn": ("final", "recomputed"), "ranks": ranks}
    together = edits(plain, **fields)
    assert len(together) == 2 * 3 * 2 * 2
    monkeypatch.setattr(compute, "TOGETHER", 1)
    alone = edits(plain, groups=("res2.conv1",), rho=(0.9,), bn=("recomputed",), ranks=("random",))
    assert alone == [row for row in together if any(is_like(row, one) for one in alone)]
    assert edits(plain, groups=("inner",), rho=(0.7, 0.9), ranks=("kfac",)) == [
        row for row in together if (row["groups"], row["rank"], row["bn"]) == ("inner", "kfac", "final")
    ]


def is_like(row: Row, other: Row) -> bool:
    return all(row[key] == other[key] for key in compute.KEYS)


def test_statistics_of_the_edited_network(plain: Trained) -> None:
    """Against the moments of every batch norm's input, batch by batch, in float64; nothing else of the network changes."""
    network, images = plain.inputs().network(12), plain.data.x_test  # 360 images are two batches of 180
    before = {k: t.clone() for k, t in network.state_dict().items()}
    recompute_statistics([network], network, torch.tensor(images), torch.arange(len(images)).flip(0), lambda rows: None)
    norms = {name: m for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    seen: dict[str, list[Tensor]] = {name: [] for name in norms}
    again = plain.inputs().network(12).double()
    for name, norm in again.named_modules():
        if name in norms:
            norm.train()
            norm.register_forward_pre_hook(lambda _, args, name=name: seen[name].append(args[0]))
    with torch.no_grad():
        for batch in pixels(images[::-1].copy()).double().split(180):
            again(batch)
    for name, norm in norms.items():
        assert [len(batch) for batch in seen[name]] == [180, 180]
        for found, wanted in (
            (norm.running_mean, torch.stack([batch.mean(dim=(0, 2, 3)) for batch in seen[name]]).mean(dim=0)),
            (norm.running_var, torch.stack([batch.var(dim=(0, 2, 3)) for batch in seen[name]]).mean(dim=0)),
        ):
            assert found is not None
            torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))
        assert not norm.training
    assert all(torch.equal(t, before[k]) for k, t in network.state_dict().items() if "running" not in k and "num" not in k)


def test_recomputed_statistics_are_those_of_the_images(plain: Trained) -> None:
    """Without an edit the network keeps its weights; its statistics are those of the images that are asked for."""
    for of, images in (("train", plain.data.x), ("test", plain.data.x_test)):
        (row,) = edits(plain, of, rho=(1.0,), ranks=("kfac",), bn=("recomputed",))
        network = plain.inputs().network(12)
        order = compute.stream(plain.config.seed, "edit statistics", of).permutation(len(images))
        recompute_statistics([network], network, torch.tensor(images), torch.from_numpy(order), lambda rows: None)
        assert tuple(row[k] for k in ("clean_acc", "noisy_acc", "noisy_true_acc", "test_acc")) == accuracies(plain, network)


def test_examples_by_c_score_have_no_true_label() -> None:
    trained = run_once()
    (row,) = edits(
        replace(trained, config=trained.config.model_copy(update={"noise": 0.0})),
        memorized="c_score:x",
        ranks=("svd",),
        rho=(0.9,),
    )
    assert row["noisy_true_acc"] is None
    assert row["noisy_acc"] is not None


# --- what is refused ----------------------------------------------------------------------------------------------------

NETWORK = NetworkFacts(
    neurons=1,
    sites=(),
    running_statistics=False,
    matrices={"stem": ("stem",), "a": ("a",), "b": (), "norm": (), "head": ("head",)},
    others={"b": "b.conv is a convolution in 4 groups"},
)


@pytest.mark.parametrize(
    ("fields", "field", "problem"),
    [
        ({"groups": ("c",)}, "groups", "c: no such layer group; valid: inner, each, stem, a, b, norm, head"),
        ({"groups": ("b",)}, "groups", "b.conv is a convolution in 4 groups; what can be edited is plain convolutions and "),
        ({"groups": ("norm",)}, "groups", "norm has no convolution and no linear layer"),
        ({"groups": ("each",)}, "groups", "b.conv is a convolution in 4 groups; "),
        ({}, "groups", "inner: b.conv is a convolution in 4 groups; "),
        ({"groups": ("a",), "bn": ("recomputed",)}, "bn", "recomputed: the network has no batch norms; valid: final"),
        ({"groups": ("a",), "images": ("test",)}, "images", "test: the data set has no test images; valid: train"),
    ],
)  # fmt: skip
def test_what_the_network_or_the_data_do_not_have(fields: Row, field: str, problem: str) -> None:
    trained = run_once()
    size = Size(10, 1, 0, 1, tuple(NETWORK.matrices), 10)
    misfit = STAGE.misfit(resolve(trained, **fields), trained.config, size, NETWORK)
    assert misfit is not None
    assert (misfit.field, str(misfit)[: len(problem)]) == (field, problem)
    assert "\n" not in str(misfit)
    assert STAGE.misfit(resolve(trained, groups=("stem", "a", "head")), trained.config, size, NETWORK) is None


def test_what_a_network_can_do_at_all() -> None:
    trained = run_once()
    assert STAGE.fits(trained.config, NETWORK) == {
        "": None,
        "groups: inner": "b.conv is a convolution in 4 groups; what can be edited is plain convolutions and linear layers",
    }
    two = replace(NETWORK, matrices={"a": ("a",), "b": ("b",)}, others={})
    assert STAGE.fits(trained.config, two)["groups: inner"] == (
        "the network has no layer group between the first and the last one"
    )
    none = replace(NETWORK, matrices={"a": ()}, others={})
    assert STAGE.fits(trained.config, none)[""] == "a has no convolution and no linear layer"


def test_fields_that_do_not_fit_the_training() -> None:
    trained, masked = run_once(), run_once(**TIED)
    for given, fields, field in (
        (trained, {"epochs": (4,)}, "epochs"),
        (trained, {"unedited": (9,)}, "unedited"),
        (masked, {}, "mask_mode"),
        (masked, {"mask_mode": "own", "images": ("train", "test")}, "images"),
    ):
        with pytest.raises(FieldError) as caught:
            resolve(given, **fields)  # type: ignore[arg-type]
        assert caught.value.field == field


def test_parts_checkpoints_and_price() -> None:
    trained = run_once()
    size = trained.size
    config = resolve(trained, epochs=(2, 3), images=("train", "test"), unedited=(1, 3))
    parts = STAGE.parts(config, trained.config, size)
    assert parts == [
        *({"epoch": epoch, "images": images} for epoch in (2, 3) for images in ("train", "test")),
        {"unedited": "all"},
    ]
    assert [STAGE.epochs(config, trained.config, part) for part in parts] == [[2], [2], [3], [3], (1, 3)]
    assert sorted(STAGE.keeps(config)) == [1, 2, 3, 3]
    assert resolve(trained).unedited == (1, 2, 3)
    assert (config.rho, config.ranks) == (RHO, RANKS)
    price: Callable[..., float] = lambda **fields: STAGE.passes(resolve(trained, **fields), size)  # noqa: E731
    assert price() < price(bn=("final", "recomputed")) < price(bn=("final", "recomputed"), groups=("inner", "each"))
    assert price(rho=(0.9,), ranks=("kfac",)) < price(rho=(0.9,)) < price()
