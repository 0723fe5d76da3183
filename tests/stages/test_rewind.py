"""Rewinding against the naive way: a copy of the final network, load_state_dict of one group, a pass over everything."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.config import FieldError
from memloc.data import normalise
from memloc.models import running_statistics
from memloc.models.architectures import resolved
from memloc.models.groups import Network
from memloc.models.inference import logits
from memloc.models.kept import Masks
from memloc.stages.base import NetworkFacts, Size
from memloc.stages.evaluate.config import Evaluate, EvaluateConfig
from memloc.stages.rewind.compute import early_network, rewound_logits, run_together, statistics_order
from memloc.stages.rewind.config import Rewind, RewindConfig
from tests.models import own_nets
from tests.models.plain import GROUPS
from tests.models.tensors import tensors_of
from tests.stages.conftest import DROPOUTS, TIED, Trained, run, run_once
from tests.stages.naive import pixels

STAGE = Rewind()
COLUMNS = ["layer", "epoch", "clean_acc", "noisy_acc", "test_acc", "clean_loss", "noisy_loss"]


def rewind(trained: Trained, epoch: int, **fields: Any) -> dict[str, list[Any]]:
    config = STAGE.resolve(RewindConfig(**fields), trained.config)
    return dict(STAGE.run(config, trained.inputs(), {"epoch": epoch})["rewind"])


def naive_network(trained: Trained, group: str, epoch: int, buffers: str) -> Network:
    """θ^T with the group's parameters (and its buffers, where rewound) of θ^t."""
    network = deepcopy(trained.inputs().network(trained.config.epochs))
    parameters = {name for name, _ in network.named_parameters()}
    early = {
        name: t
        for name, t in trained.epochs[epoch].weights.items()
        if name.startswith(group + ".") and (buffers == "rewound" or name in parameters)
    }
    assert len(early) in ((1,) if group == "linear" else (6,) if buffers == "rewound" else (3,))
    _, unexpected = network.load_state_dict(early, strict=False)
    assert not unexpected
    return network


def masks_of(trained: Trained, network: Network, mode: str) -> Callable[[Tensor], Masks | None]:
    dropout = trained.inputs().dropout(network)
    return lambda rows: dropout.evaluation(mode, rows)


def naive_row(trained: Trained, group: str, epoch: int, buffers: str, mode: str) -> tuple[Any, ...]:
    return row_of(trained, naive_network(trained, group, epoch, buffers), group, epoch, mode)


def row_of(trained: Trained, network: Network, group: str, epoch: int, mode: str) -> tuple[Any, ...]:
    data = trained.data
    masks = masks_of(trained, network, mode)
    z = logits(network, torch.tensor(data.x), masks).double()
    y = torch.tensor(data.y)
    values = {"acc": [], "loss": []}  # type: ignore[var-annotated]
    for members in (~data.noisy, data.noisy):
        rows = np.flatnonzero(members)
        values["acc"].append(sum(int(z[i].argmax()) == int(y[i]) for i in rows) / len(rows))
        values["loss"].append(sum(float(F.cross_entropy(z[i], y[i])) for i in rows) / len(rows))
    test_acc = None
    if mode != "own":
        predicted = logits(network, torch.tensor(data.x_test), masks).argmax(dim=1).numpy()
        test_acc = float((predicted == data.y_test).mean())
    return (group, epoch, *values["acc"], test_acc, *values["loss"])


def assert_matches(found: dict[str, list[Any]], expected: list[tuple[Any, ...]], rel: float = 1e-6) -> None:
    assert list(found) == COLUMNS
    rows = list(zip(*found.values(), strict=True))
    assert [r[:2] for r in rows] == [r[:2] for r in expected]
    for row, wanted in zip(rows, expected, strict=True):
        assert row[2:5] == wanted[2:5], row[:2]  # the same logits but for rounding: the same accuracies, exactly
        assert row[5:] == pytest.approx(wanted[5:], rel=rel)


@pytest.mark.parametrize("buffers", ["final", "rewound"])
@pytest.mark.parametrize("epoch", [0, 2, 7, 12])
def test_every_group_against_the_naive_way(plain: Trained, epoch: int, buffers: str) -> None:
    expected = [naive_row(plain, group, epoch, buffers, "plain") for group in GROUPS]
    assert_matches(rewind(plain, epoch, buffers=buffers, epochs=(epoch,)), expected)


@pytest.mark.parametrize("mode", ["plain", "own", "scaled", "dropped"])
def test_mask_modes_against_the_naive_way(tied: Trained, mode: str) -> None:
    expected = [naive_row(tied, group, 1, "final", mode) for group in GROUPS]
    found = rewind(tied, 1, mask_mode=mode)
    assert_matches(found, expected)
    assert (found["test_acc"] == [None] * 9) == (mode == "own")


@pytest.mark.parametrize("name", ["sparse weight", "sparse element", "sparse batch_element", "standard channel"])
def test_baselines_against_the_naive_way(name: str) -> None:
    trained = run_once(**DROPOUTS[name])
    assert_matches(rewind(trained, 1), [naive_row(trained, group, 1, "final", "plain") for group in GROUPS])


@pytest.mark.parametrize("buffers", ["final", "rewound"])
@pytest.mark.parametrize("epoch", [0, 7])
def test_logits_are_the_naive_ones(plain: Trained, epoch: int, buffers: str) -> None:
    """Bit for bit without folding, to rounding with it."""
    inputs = plain.inputs()
    final, early = inputs.network(plain.config.epochs), inputs.network(epoch)
    config = STAGE.resolve(RewindConfig(epochs=(epoch,), buffers=buffers), plain.config)  # type: ignore[arg-type]
    folded = early_network(config, inputs, final, epoch)
    if buffers == "final":
        early.load_state_dict(dict(final.named_buffers()), strict=False)
    x = torch.tensor(plain.data.x_test)  # 360 images: a whole group and a partial one
    found = rewound_logits(final, [early], x, lambda rows: None)[0]
    fast = rewound_logits(final.folded(), [folded], x, lambda rows: None)[0]
    assert found.shape == (9, 360, 10)
    for i, group in enumerate(GROUPS):
        expected = logits(naive_network(plain, group, epoch, buffers), x)
        assert torch.equal(found[i], expected)
        torch.testing.assert_close(fast[i], expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch, plain: Trained) -> int:
    """Statistics are measured in so many batches."""
    monkeypatch.setattr(running_statistics, "GROUP_SIZE", len(plain.data.x) // 3)
    return 3


@pytest.mark.parametrize("epoch", [0, 7, 12])
def test_statistics_anew_against_pytorch(plain: Trained, epoch: int, batches: int) -> None:
    """PyTorch's `update_bn` measures the statistics of the naive network, over the same batches."""
    order = statistics_order(plain.config.seed, len(plain.data.x))
    loader = [normalise(torch.tensor(plain.data.x)[rows]) for rows in order.tensor_split(batches)]
    expected = []
    for group in GROUPS:
        network = naive_network(plain, group, epoch, "final")
        before = {name: t.clone() for name, t in network.named_buffers()}
        torch.optim.swa_utils.update_bn(loader, network)
        assert not all(torch.equal(t, before[name]) for name, t in network.named_buffers())
        expected.append(row_of(plain, network.eval(), group, epoch, "plain"))
    found = rewind(plain, epoch, buffers="recomputed", epochs=(epoch,))
    assert_matches(found, expected, rel=1e-4)
    if epoch == 12:
        assert len({row[2:] for row in zip(*found.values(), strict=True)}) == 1  # one network, whatever the group
    else:
        assert found["noisy_loss"] != rewind(plain, epoch, epochs=(epoch,))["noisy_loss"]


@pytest.mark.parametrize("mode", ["plain", "own", "scaled", "dropped"])
def test_statistics_anew_under_masks(tied: Trained, mode: str, batches: int) -> None:
    """A loop over the same batches: the mean of each batch norm's inputs, and their variance, by a hook."""
    expected = []
    for group in GROUPS:
        network = naive_network(tied, group, 1, "final")
        measure_by_hooks(tied, network, masks_of(tied, network, mode), batches)
        expected.append(row_of(tied, network, group, 1, mode))
    assert_matches(rewind(tied, 1, mask_mode=mode, buffers="recomputed"), expected, rel=1e-4)


def measure_by_hooks(trained: Trained, network: Network, masks: Callable[[Tensor], Masks | None], batches: int) -> None:
    """Sets running statistics to the means over batches. Each batch is normalised by its own statistics."""
    sums: dict[Any, list[Tensor]] = {m: [] for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)}

    def own(norm: torch.nn.BatchNorm2d, given: tuple[Tensor], _: Tensor) -> Tensor:
        x = given[0]
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        sums[norm].append(torch.stack([mean, x.var((0, 2, 3), unbiased=True)]))
        scale = norm.weight / (var + norm.eps).sqrt()
        return (x - mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]

    handles = [norm.register_forward_hook(own) for norm in sums]
    order = statistics_order(trained.config.seed, len(trained.data.x))
    with torch.no_grad():
        for rows in order.tensor_split(batches):
            network(normalise(torch.tensor(trained.data.x)[rows]), masks=masks(rows))
    for handle in handles:
        handle.remove()
    for norm, measured in sums.items():
        norm.running_mean, norm.running_var = torch.stack(measured).mean(0)


def test_statistics_anew_do_not_depend_on_the_other_epochs(plain: Trained) -> None:
    config = STAGE.resolve(RewindConfig(buffers="recomputed", epochs=(0, 7)), plain.config)
    together = list(run_together(config, plain.inputs(), [{"epoch": 0}, {"epoch": 7}]))
    for epoch, tables in zip((0, 7), together, strict=True):
        assert dict(tables["rewind"]) == rewind(plain, epoch, buffers="recomputed", epochs=(0, 7))


ORDER = [5, 8, 2, 6, 7, 0, 3, 9, 1, 4]  # of ten images, for seed 0


def test_the_order_in_which_statistics_are_measured() -> None:
    """Another order gives other batches and other numbers, so it is as fixed as a version is."""
    assert statistics_order(0, 10).tolist() == ORDER
    assert sorted(statistics_order(1, 10).tolist()) == list(range(10))
    assert statistics_order(1, 10).tolist() != ORDER


def test_statistics_anew_need_some(plain: Trained) -> None:
    config, size = STAGE.resolve(RewindConfig(buffers="recomputed"), plain.config), Size(1, 0, 0, 1, ("a",), 2)
    for has, problem in (
        (True, None),
        (False, "buffers: recomputed: the network has no batch norms; valid: final, rewound"),
    ):
        found = STAGE.misfit(config, plain.config, size, NetworkFacts(1, (), has, {}, {}))
        assert (found and f"{found.field}: {found}") == problem


def test_rewinding_to_the_last_epoch_is_the_identity(plain: Trained, tied: Trained) -> None:
    """To the plain evaluation's last bit (what is folded, to rounding), for every group, in every mask mode."""
    for trained, modes in ((plain, ("plain",)), (tied, ("plain", "own", "scaled", "dropped"))):
        last = trained.config.epochs
        network = trained.inputs().network(last)
        for mode in modes:
            masks = masks_of(trained, network, mode)
            whole = logits(network, torch.tensor(trained.data.x), masks)
            found = rewound_logits(network, [trained.inputs().network(last)], torch.tensor(trained.data.x), masks)[0]
            assert all(torch.equal(z, whole) for z in found)
            (skipped,) = rewound_logits(network.folded(), [None], torch.tensor(trained.data.x), masks)
            assert all(torch.equal(z, skipped[0]) for z in skipped)
            torch.testing.assert_close(skipped[0], whole, rtol=0, atol=2e-6 * float(whole.abs().max()))
            config = Evaluate().resolve(EvaluateConfig(modes=(mode,)), trained.config)  # type: ignore[arg-type]
            evaluation = Evaluate().run(config, trained.inputs(), {"epoch": last})["evaluation"]
            rows = rewind(trained, last, **({"mask_mode": mode} if trained is tied else {}))
            for name in ("clean_acc", "noisy_acc", "test_acc"):
                assert rows[name] == [evaluation[name][0]] * 9


@pytest.mark.parametrize("epoch", [0, 3, 11])
def test_all_groups_with_buffers_are_the_checkpoint(plain: Trained, epoch: int) -> None:
    inputs = plain.inputs()
    network, checkpoint = inputs.network(plain.config.epochs), inputs.network(epoch)
    early = plain.epochs[epoch].weights
    for group in network.groups:
        network.load_state_dict({name: early[name] for name in tensors_of(network, group)}, strict=False)
    assert all(torch.equal(t, early[name]) for name, t in network.state_dict().items())
    x = torch.tensor(plain.data.x)
    assert torch.equal(logits(network, x), logits(checkpoint, x))
    # With parameters alone it is not: the running statistics of the last epoch are still there.
    parameters_only = inputs.network(plain.config.epochs)
    for group in network.groups:
        names = parameters_only.parameters_of(group)
        parameters_only.load_state_dict({name: early[name] for name in names}, strict=False)
    assert not torch.equal(logits(parameters_only, x), logits(checkpoint, x))


def test_batch_norm_statistics_stay_final_by_default(plain: Trained) -> None:
    """The default is `final`, and here it makes a difference in every group that has statistics."""
    assert RewindConfig().buffers == "final"
    default, final, rewound = rewind(plain, 0), rewind(plain, 0, buffers="final"), rewind(plain, 0, buffers="rewound")
    assert default == final
    for i, group in enumerate(GROUPS):
        same = default["clean_loss"][i] == rewound["clean_loss"][i]
        assert same == (group == "linear"), group


@pytest.mark.parametrize("buffers", ["final", "rewound"])
def test_epochs_together_are_the_same_bits_as_alone(plain: Trained, buffers: str) -> None:
    config = STAGE.resolve(RewindConfig(epochs=(0, 3, 7, 12), buffers=buffers), plain.config)  # type: ignore[arg-type]
    parts = STAGE.parts(config, plain.config, plain.size)
    together = [dict(tables["rewind"]) for tables in STAGE.run_together(config, plain.inputs(), parts)]
    assert together == [rewind(plain, t, buffers=buffers) for t in (0, 3, 7, 12)]


def test_rewinding_leaves_the_checkpoints_alone(plain: Trained) -> None:
    before = [{k: t.clone() for k, t in epoch.weights.items()} for epoch in plain.epochs]
    inputs = plain.inputs()
    config = STAGE.resolve(RewindConfig(epochs=(0, 3)), plain.config)
    first = STAGE.run(config, inputs, {"epoch": 0})
    STAGE.run(config, inputs, {"epoch": 3})
    assert STAGE.run(config, inputs, {"epoch": 0}) == first  # nothing is left over in the inputs
    for weights, epoch in zip(before, plain.epochs, strict=True):
        assert all(torch.equal(weights[k], t) for k, t in epoch.weights.items())


@pytest.mark.parametrize(("noise", "empty", "full"), [(0.0, "noisy", "clean"), (1.0, "clean", "noisy")])
def test_an_empty_set_is_null_never_zero_or_nan(noise: float, empty: str, full: str) -> None:
    rows = rewind(run(noise=noise, epochs=1), 0)
    assert rows[f"{empty}_acc"] == rows[f"{empty}_loss"] == [None] * 9
    assert all(np.isfinite(v) for name in ("acc", "loss") for v in rows[f"{full}_{name}"])


def test_a_parameter_of_two_names_is_rewound_under_both() -> None:
    """Against the user's own module, with every tensor of the group from the early checkpoint."""
    trained = run(model=f"python:{own_nets.__file__}:shared", width=None, subset=60, epochs=1)
    data, (first, last) = trained.data, trained.epochs
    early, final = first.weights, {k: 3 * t for k, t in first.weights.items()}  # one epoch of training changes little
    trained = replace(trained, epochs=[first, replace(last, weights=final)])
    expected = {}
    for group, prefixes in {"first": ("first.",), "one+two": ("one.", "two."), "head": ("head.",)}.items():
        module = own_nets.shared(1, 16, 16, 10).eval()
        module.load_state_dict({k: early[k] if k.startswith(prefixes) else t for k, t in final.items()})
        with torch.no_grad():
            losses = F.cross_entropy(module(pixels(data.x)).double(), torch.tensor(data.y), reduction="none").numpy()
        expected[group] = losses[~data.noisy].mean(), losses[data.noisy].mean()
    unchanged = rewind(trained, 1)["clean_loss"][0]
    assert all(abs(clean - unchanged) > 0.01 for clean, _ in expected.values())
    for buffers in ("final", "rewound"):
        rows = rewind(trained, 0, buffers=buffers)
        assert rows["layer"] == list(expected)
        assert rows["clean_loss"] == pytest.approx([clean for clean, _ in expected.values()], rel=1e-5)
        assert rows["noisy_loss"] == pytest.approx([noisy for _, noisy in expected.values()], rel=1e-5)


# --- configurations ---------------------------------------------------------------------------------------------------


def test_default_epochs_and_parts() -> None:
    size = Size(n=100, n_noisy=10, n_test=10, parameters=1, groups=GROUPS, classes=10)
    for epochs, expected in ((50, (0, 10, 20, 30, 40, 50)), (25, (0, 10, 20, 25)), (10, (0, 10)), (3, (0, 3))):
        train = resolved(dataset="digits", model="resnet9", epochs=epochs)
        config = STAGE.resolve(RewindConfig(), train)
        assert config.epochs == expected
        assert STAGE.parts(config, train, size) == [{"epoch": t} for t in expected]
        assert set(STAGE.epochs(config, train, {"epoch": 0})) == {0, epochs}
        assert STAGE.rows(config, size) == {"rewind": 9}


@pytest.mark.parametrize(
    ("dropout", "fields", "field"),
    [
        ({}, {"epochs": (0, 5)}, "epochs"),
        ({}, {"mask_mode": "plain"}, "mask_mode"),
        (TIED, {}, "mask_mode"),
        (DROPOUTS["sparse weight"], {"mask_mode": "own"}, "mask_mode"),
    ],
)
def test_what_does_not_fit_the_training_is_an_error(dropout: dict[str, Any], fields: dict[str, Any], field: str) -> None:
    train = resolved(dataset="digits", model="resnet9", epochs=4, **dropout)
    with pytest.raises(FieldError) as error:
        STAGE.resolve(RewindConfig(**fields), train)
    assert error.value.field == field
