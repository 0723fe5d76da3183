"""Gradient accounting against autograd's full gradient, the plain way, and a loop over single examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reference.examples import Examples
from benchmarks.reference.gradients import set_gradients as plainly
from memloc.config import FieldError, NoDropout
from memloc.models.architectures import resolved
from memloc.models.groups import Network
from memloc.stages.gradients.compute import alike, set_gradients
from memloc.stages.gradients.config import Gradients, GradientsConfig
from memloc.stages.training.batches import split_into_batches
from tests.models import own_nets
from tests.models.plain import GROUPS
from tests.stages.conftest import TIED, Trained, run
from tests.stages.naive import pixels

STAGE = Gradients()
COLUMNS = ["epoch", "layer", "param", "numel", "sq_clean", "sq_noisy", "dot", "sq_control", "dot_control"]


def account(trained: Trained, epoch: int, **fields: Any) -> dict[str, list[Any]]:
    config = STAGE.resolve(GradientsConfig(**{"at": "checkpoint", **fields}), trained.config)
    return dict(STAGE.run(config, trained.inputs(), {"epoch": epoch})["gradients"])


def network_of(trained: Trained, epoch: int, batch: bool = True, dtype: torch.dtype = torch.float64) -> Network:
    network = trained.inputs().network(epoch).to(dtype)
    if batch:
        network.use_batch_statistics()
    return network


def order_of(trained: Trained, size: int = 16) -> list[Tensor]:
    return split_into_batches(np.random.default_rng(5).permutation(len(trained.data.y)), size)


def engine(
    trained: Trained, network: Network, order: Sequence[Tensor], members: Sequence[Tensor], **more: Any
) -> list[dict[str, Tensor]]:
    masks = more.pop("masks", lambda rows: None)
    sums = set_gradients(network, trained.inputs(), order, torch.stack(list(members)).numpy(), masks)
    return [dict(zip(dict(network.named_parameters()), s, strict=True)) for s in sums]


def sets_of(trained: Trained) -> list[Tensor]:
    noisy = torch.tensor(trained.data.noisy)
    third = torch.tensor(np.random.default_rng(1).random(len(noisy)) < 0.3)
    return [~noisy, noisy, third]


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], relative: float) -> None:
    assert list(found) == list(expected)
    for name, g in found.items():
        assert (g.double() - expected[name].double()).norm() <= relative * expected[name].norm(), name


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("epoch", [0, 6, 12])
def test_against_the_plain_way_in_float64(plain: Trained, epoch: int, batch: bool) -> None:
    network, order, sets = network_of(plain, epoch, batch), order_of(plain), sets_of(plain)
    x, y = pixels(plain.data.x, torch.float64), torch.tensor(plain.data.y)
    expected = plainly(network, Examples(x, y), order, sets, batch_statistics=batch)
    for found, wanted in zip(engine(plain, network, order, sets), expected, strict=True):
        assert_close(found, wanted, 1e-6)  # normalised in float32 here, in float64 there


@pytest.mark.parametrize("bn", ["batch", "running"])
def test_random_dropout_is_off(bn: str) -> None:
    """The rows are those of the same weights without dropout."""
    trained = run(dropout="standard", keep=0.6, unit="element", batch_size=16)
    without = replace(trained, config=trained.config.model_copy(update={"dropout": NoDropout()}))
    found, expected = account(trained, 3, bn=bn), account(without, 3, bn=bn)
    assert {k: list(v) for k, v in found.items()} == {k: list(v) for k, v in expected.items()}


@pytest.mark.parametrize("epoch", [0, 12])
def test_clean_and_noisy_add_up_to_autograds_gradient(plain: Trained, epoch: int) -> None:
    """In float32, as the stage computes: to 1e-5 of the larger one (science.md)."""
    network, order, sets = network_of(plain, epoch, dtype=torch.float32), order_of(plain), sets_of(plain)
    clean, noisy, _ = engine(plain, network, order, sets)
    x, y = pixels(plain.data.x), torch.tensor(plain.data.y)
    whole = [torch.zeros_like(p) for p in network.parameters()]
    for rows in order:
        loss = F.cross_entropy(network(x[rows]), y[rows], reduction="sum") / len(y)
        torch._foreach_add_(whole, list(torch.autograd.grad(loss, list(network.parameters()))))
    total = torch.cat([(c + n).flatten() for c, n in zip(clean.values(), noisy.values(), strict=True)])
    flat = torch.cat([g.flatten() for g in whole])
    larger = max(torch.cat([g.flatten() for g in s.values()]).norm() for s in (clean, noisy))
    assert (total - flat).norm() <= 1e-5 * larger
    assert larger > 1e-4


@pytest.mark.parametrize("batch", [True, False])
def test_against_a_loop_over_single_examples(plain: Trained, batch: bool) -> None:
    """∇ℓ_i one at a time: within its batch, whose statistics it shares, or all by itself with running statistics."""
    network, order, sets = network_of(plain, 6, batch), order_of(plain)[:3], sets_of(plain)
    x, y = pixels(plain.data.x, torch.float64), torch.tensor(plain.data.y)
    expected = [{k: torch.zeros_like(p) for k, p in network.named_parameters()} for _ in sets]
    for rows in order:
        for place, i in enumerate(rows.tolist()):
            z = network(x[rows])[place] if batch else network(x[i : i + 1])[0]
            loss = z.logsumexp(0) - z[y[i]]
            for (name, p), g in zip(
                network.named_parameters(), torch.autograd.grad(loss, list(network.parameters())), strict=True
            ):
                assert g.shape == p.shape
                for s, members in enumerate(sets):
                    if members[i]:
                        expected[s][name] += g / len(y)
    for found, wanted in zip(engine(plain, network, order, sets), expected, strict=True):
        assert_close(found, wanted, 1e-6)


def test_batches_without_a_member_of_one_set(plain: Trained) -> None:
    members = torch.zeros(len(plain.data.y), dtype=torch.bool)
    order = order_of(plain)
    members[order[3][:2]] = True  # one batch has them all
    network = network_of(plain, 6)
    x, y = pixels(plain.data.x, torch.float64), torch.tensor(plain.data.y)
    clean, noisy = engine(plain, network, order, [~members, members])
    only = engine(plain, network, [order[3]], [~members, members])[1]
    for name, g in noisy.items():
        assert torch.equal(g, only[name])
    for found, wanted in zip((clean, noisy), plainly(network, Examples(x, y), order, [~members, members]), strict=True):
        assert_close(found, wanted, 1e-6)


def test_examples_of_the_same_sets_go_together(plain: Trained) -> None:
    """Every row once, no batch mixed; so with running statistics each goes forward and backward once."""
    sets = torch.stack(sets_of(plain)).numpy()
    order = np.random.default_rng(5).permutation(120)
    batches = alike(order, sets, 16)
    assert sorted(torch.cat(batches).tolist()) == list(range(120))
    assert max(map(len, batches)) <= 17
    for batch in batches:
        assert len({tuple(sets[:, i]) for i in batch.tolist()}) == 1
    network = network_of(plain, 6, batch=False)
    together = engine(plain, network, batches, sets_of(plain))
    for found, wanted in zip(together, engine(plain, network, split_into_batches(order, 16), sets_of(plain)), strict=True):
        assert_close(found, wanted, 1e-9)
    passes = []
    for of in (batches, split_into_batches(order, 16)):
        counter = FlopCounterMode(display=False)
        with counter:
            engine(plain, network, of, sets_of(plain))
        passes.append(counter.get_total_flops())
    assert passes[0] < 0.55 * passes[1]


def test_running_statistics_are_left_alone(plain: Trained) -> None:
    network = network_of(plain, 6)
    before = {k: t.clone() for k, t in network.state_dict().items()}
    engine(plain, network, order_of(plain), sets_of(plain))
    assert all(torch.equal(t, before[k]) for k, t in network.state_dict().items())


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bn", ["batch", "running"])
def test_rows_against_explicit_vectors(plain: Trained, bn: str) -> None:
    found = account(plain, 12, bn=bn, epochs=(12,))
    assert list(found) == COLUMNS
    network = network_of(plain, 12, bn == "batch")
    names = [name for name, _ in network.named_parameters()]
    assert (found["layer"], found["param"]) == ([n.rsplit(".", 2)[0] if "conv" in n else "linear" for n in names], names)
    assert set(found["layer"]) == set(GROUPS)
    assert found["numel"] == [p.numel() for p in network.parameters()]
    order = drawn_order(plain, 12)
    control = drawn_control(plain)
    noisy = torch.tensor(plain.data.noisy)
    assert int(control.sum()) == int(noisy.sum())
    assert not torch.equal(control, noisy)
    x, y = pixels(plain.data.x, torch.float64), torch.tensor(plain.data.y)
    sets = [~noisy, noisy, control, ~control]
    c, n, r, rest = plainly(network, Examples(x, y), order, sets, batch_statistics=bn == "batch")
    expected = {"sq_clean": (c, c), "sq_noisy": (n, n), "dot": (c, n), "sq_control": (r, r), "dot_control": (r, rest)}
    for column, (a, b) in expected.items():
        for name, value in zip(names, found[column], strict=True):
            scale = float(a[name].norm() * b[name].norm())
            assert value == pytest.approx(float((a[name] * b[name]).sum()), abs=1e-3 * scale), (column, name)


def drawn_order(trained: Trained, epoch: int) -> list[Tensor]:
    from memloc.seeds import stream

    order = stream(trained.config.seed, "gradient order", epoch).permutation(len(trained.data.y))
    return [torch.from_numpy(b) for b in np.array_split(order, range(16, len(order), 16))]


def drawn_control(trained: Trained) -> Tensor:
    from memloc.seeds import stream

    y, noisy = trained.data.y, trained.data.noisy
    left = Counter(y[noisy].tolist())
    control = torch.zeros(len(y), dtype=torch.bool)
    for i in stream(trained.config.seed, "gradient control", 0).permutation(len(y)).tolist():
        if left[int(y[i])]:
            left[int(y[i])] -= 1
            control[i] = True
    return control


def test_the_same_bits_again_and_another_order_at_another_epoch(plain: Trained) -> None:
    first = account(plain, 6)
    assert account(plain, 6) == first
    orders = [torch.cat(drawn_order(plain, t)).tolist() for t in (6, 7)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(120))
    assert orders[0] != orders[1]


def test_a_single_example_joins_the_batch_before() -> None:
    trained = run(subset=33, epochs=1, noise=0.1)
    assert [len(b) for b in split_into_batches(np.arange(33), 32)] == [33]
    assert all(v > 0 for v in account(trained, 1)["sq_clean"])


@pytest.mark.parametrize(
    ("noise", "null"),
    [
        (0.0, {"sq_noisy", "dot", "sq_control", "dot_control"}),
        (1.0, {"sq_clean", "dot", "dot_control"}),
    ],
)
def test_what_is_about_an_empty_set_is_null(noise: float, null: set[str]) -> None:
    rows = account(run(noise=noise, epochs=1), 1)
    for name in COLUMNS[4:]:
        assert (rows[name] == [None] * len(rows["param"])) == (name in null), name
        assert name in null or all(np.isfinite(v) for v in rows[name])


@pytest.mark.parametrize("mode", ["plain", "own", "scaled", "dropped"])
def test_mask_modes(tied: Trained, mode: str) -> None:
    network, order = network_of(tied, 3, dtype=torch.float32), order_of(tied)
    dropout = tied.inputs().dropout(network)
    x, y = pixels(tied.data.x), torch.tensor(tied.data.y)
    found = engine(tied, network, order, sets_of(tied)[:2], masks=lambda rows: dropout.evaluation(mode, rows))
    examples = Examples(x, y, lambda rows: dropout.evaluation(mode, rows))
    expected = plainly(network, examples, order, sets_of(tied)[:2])
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, 2e-3)
    assert (account(tied, 3, mask_mode=mode) == account(tied, 3, mask_mode="plain")) == (mode == "plain")


def own(function: str, **fields: Any) -> Trained:
    model = f"python:{own_nets.__file__}:{function}"
    return run(**{"model": model, "width": None, "subset": 60, "epochs": 2, "batch_size": 64, **fields})


def test_a_parameter_that_is_not_trained_has_no_row() -> None:
    """One batch an epoch, without momentum and decay: an update is the rate times g_c + g_n."""
    trained = own("partly_frozen", momentum=0.0, weight_decay=0.0)
    config = STAGE.resolve(GradientsConfig(epochs=(2,)), trained.config)
    rows = STAGE.run(config, trained.inputs(), {"epoch": 2})["gradients"]
    before, after = trained.epochs[1].weights, trained.epochs[2].weights
    names = [name for name, p in trained.inputs().network(2).named_parameters() if p.requires_grad]
    assert sorted(rows["param"]) == sorted(names)
    assert not any(name.startswith("0.") for name in names)
    for name, *squares in zip(*(rows[k] for k in ("param", "sq_clean", "dot", "sq_noisy")), strict=True):
        update = (before[name].double() - after[name].double()) / trained.epochs[2].row["lr"]  # type: ignore[index]
        assert squares[0] + 2 * squares[1] + squares[2] == pytest.approx(float(update.square().sum()), rel=1e-3)
    at_checkpoint = account(trained, 2)
    assert at_checkpoint["param"] == rows["param"]


def test_what_a_network_detaches_has_no_gradient() -> None:
    trained = own("detached")
    config = STAGE.resolve(GradientsConfig(epochs=(1,)), trained.config)
    along = STAGE.run(config, trained.inputs(), {"epoch": 1})["gradients"]
    for rows in (along, account(trained, 2), account(trained, 2, bn="running")):
        assert rows["param"] == ["conv.weight", "conv.bias", "head.weight", "head.bias"]
        for name in ("sq_clean", "sq_noisy", "sq_control"):
            assert rows[name][:2] == [0.0, 0.0]
            assert min(rows[name][2:]) > 0


def test_configurations() -> None:
    train = resolved(dataset="digits", model="resnet9", epochs=4)
    config = STAGE.resolve(GradientsConfig(at="checkpoint"), train)
    assert (config.epochs, config.bn) == ((0, 1, 2, 3, 4), "batch")
    assert [STAGE.epochs(config, train, p) for p in STAGE.parts(config, train, size=None)] == [[t] for t in range(5)]  # type: ignore[arg-type]
    for field, fields in (("epochs", {"epochs": (5,)}), ("mask_mode", {"mask_mode": "own"})):
        with pytest.raises(FieldError) as error:
            STAGE.resolve(GradientsConfig(at="checkpoint", **fields), train)
        assert error.value.field == field
    with pytest.raises(FieldError):
        STAGE.resolve(GradientsConfig(at="checkpoint"), resolved(dataset="digits", model="resnet9", **TIED))


def test_statistics_of_a_frozen_training() -> None:
    """Its steps use the running statistics from epoch 2 on, so gradients do by default, and may not use the batch's."""
    frozen, usual = (resolved(dataset="digits", model="resnet9", epochs=3, batch_norm=b) for b in ("frozen", "train"))
    for at in ("checkpoint", "trajectory"):
        assert STAGE.resolve(GradientsConfig(at=at), usual).bn == "batch"
        assert STAGE.resolve(GradientsConfig(at=at), frozen).bn == "running"
        assert STAGE.resolve(GradientsConfig(at=at, bn="running"), frozen) == STAGE.resolve(GradientsConfig(at=at), frozen)
        with pytest.raises(FieldError, match=r"batch_norm: frozen .*; valid: running") as caught:
            STAGE.resolve(GradientsConfig(at=at, bn="batch"), frozen)
        assert caught.value.field == "bn"
    assert STAGE.resolve(GradientsConfig(at="checkpoint", bn="running"), usual).bn == "running"
