"""Options of the published code in retraining, each against a loop of its own over a copy of the whole network."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from memloc.config import UnusedFieldError, canonical
from memloc.models.groups import Network
from memloc.models.inference import logits
from memloc.seeds import stream
from memloc.stages.retrain.compute import Variant, _perfect, retrain
from memloc.stages.retrain.config import Retrain, RetrainConfig
from tests.models import own_nets
from tests.models.plain import GROUPS
from tests.stages.conftest import Trained, run
from tests.stages.naive import one_cycle, pixels, split_into_batches

STAGE = Retrain()


def config_of(trained: Trained, **fields: Any) -> RetrainConfig:
    return STAGE.resolve(RetrainConfig(**{"epochs": 3, **fields}), trained.config)


def order_of(trained: Trained, epoch: int, filtered: bool) -> list[list[int]]:
    """The batches of an epoch, clean rows alone; as many as the learning rate counts."""
    c, noisy = trained.config, trained.data.noisy
    draw = stream(c.seed, "retrain order", epoch)
    if filtered:
        whole = split_into_batches(list(draw.permutation(len(noisy))), c.batch_size)
        return [[i for i in batch if not noisy[i]] for batch in whole]
    clean = np.flatnonzero(~noisy)
    return split_into_batches(list(clean[draw.permutation(len(clean))]), c.batch_size)


def plainly(
    trained: Trained,
    group: str,
    epochs: int = 3,
    freeze: bool = True,
    filtered: bool = False,
    ends: Callable[[str], bool] = lambda history: False,
) -> tuple[Network, list[tuple[float, float, float]]]:
    """(the network at the end, [(clean, noisy, test) accuracy] before the first and after each epoch trained).

    ends: is it over after these epochs? An epoch is `p` if every training pass in it was right, else `w`.
    """
    c, data = trained.config, trained.data
    network = deepcopy(trained.inputs().network(c.epochs))
    own = {name for name, _ in network.named_parameters() if name.startswith(group + ".")}
    start = {name: t for name, t in trained.epochs[0].weights.items() if name in own}
    network.load_state_dict({**network.state_dict(), **start})
    trains = [p for name, p in network.named_parameters() if name in own or not freeze]
    optimizer = torch.optim.SGD(trains, lr=1.0, momentum=c.momentum, weight_decay=c.weight_decay, foreach=True)
    x, y = pixels(data.x), torch.tensor(data.y)
    seen = [watch(network, trained)]
    history = ""
    for epoch in range(1, epochs + 1):
        batches = order_of(trained, epoch, filtered)
        right = True
        network.train()
        for k, rows in enumerate(batches):
            if len(rows) < 2:
                continue
            step, steps = (epoch - 1) * len(batches) + k, epochs * len(batches)
            optimizer.param_groups[0]["lr"] = one_cycle(step, steps, len(batches), max(1, round(epochs / 2)), 0.1)
            z = network(x[rows])
            right = right and bool((z.argmax(dim=1) == y[rows]).all())
            optimizer.zero_grad()
            F.cross_entropy(z, y[rows]).backward()
            optimizer.step()
        seen.append(watch(network, trained))
        history += "p" if right else "w"
        if ends(history):
            break
    return network, seen


def watch(network: Network, trained: Trained) -> tuple[float, float, float]:
    data = trained.data
    right = logits(network, torch.tensor(data.x)).argmax(dim=1).numpy() == data.y
    test = logits(network, torch.tensor(data.x_test)).argmax(dim=1).numpy() == data.y_test
    return float(right[~data.noisy].mean()), float(right[data.noisy].mean()), float(test.mean())


def assert_same(found: Variant, expected: Network, seen: list[tuple[float, float, float]], epochs: int = 3) -> None:
    """Weights behind the group to rounding; every accuracy; what comes after the last epoch trained repeats it."""
    behind = tuple(f"{g}." for g in GROUPS[GROUPS.index(found.start) :])
    ours = found.network.state_dict()
    for name, wanted in expected.state_dict().items():
        if name.startswith(behind):
            torch.testing.assert_close(ours[name], wanted, rtol=1e-3, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
    rows = [(r["clean_acc"], r["noisy_acc"]) for r in found.rows]
    assert rows == [s[:2] for s in seen + [seen[-1]] * (epochs + 1 - len(seen))]
    assert [r["test_acc"] for r in found.rows] == [None] * epochs + [seen[-1][2]]


@pytest.mark.parametrize("group", ["conv1", "res2.conv1", "linear"])
def test_nothing_frozen(plain: Trained, group: str) -> None:
    expected, seen = plainly(plain, group, freeze=False)
    (variant,) = retrain(config_of(plain, freeze="none"), plain.inputs(), [group])
    assert variant.start == "conv1"
    assert_same(variant, expected, seen)
    final = plain.epochs[-1].weights
    assert all(not torch.equal(p, final[name]) for name, p in variant.network.named_parameters())


@pytest.mark.parametrize("group", ["conv1", "conv3", "linear"])
def test_batches_cut_from_everything_then_filtered(plain: Trained, group: str) -> None:
    expected, seen = plainly(plain, group, filtered=True)
    (variant,) = retrain(config_of(plain, batches="filtered"), plain.inputs(), [group])
    assert_same(variant, expected, seen)
    sizes = [len(b) for b in order_of(plain, 1, True)]
    assert sum(sizes) == int((~plain.data.noisy).sum())
    assert len(sizes) == 8 > len(order_of(plain, 1, False))  # the rate goes by the batches of S


def test_filtered_batches_of_one_or_none_are_left_out() -> None:
    trained = run(noise=0.9, batch_size=4, epochs=1)
    assert {0, 1} <= {len(b) for b in order_of(trained, 1, True)}
    expected, seen = plainly(trained, "conv4", epochs=2, filtered=True)
    (variant,) = retrain(config_of(trained, batches="filtered", epochs=2), trained.inputs(), ["conv4"])
    assert_same(variant, expected, seen, epochs=2)


def in_a_row(history: str) -> bool:
    return history.endswith("ppp")


def in_all(history: str) -> bool:
    return history.count("p") == 3


@pytest.mark.parametrize(("perfect", "ends"), [("in_a_row", in_a_row), ("in_all", in_all)])
def test_which_perfect_epochs_count(perfect: Any, ends: Callable[[str], bool]) -> None:
    """On drawn histories of two groups: each ends at the first epoch at which its own history ends."""
    config: Any = SimpleNamespace(stop_after_perfect=3, perfect=perfect)
    drawn, lengths = np.random.default_rng(0), set()
    for _ in range(100):
        history = drawn.random((12, 2)) < 0.7
        groups: list[Any] = [SimpleNamespace(perfect=0, group=k) for k in range(2)]
        going, ended = list(groups), {}
        for epoch, right in enumerate(history, 1):
            if not going:
                break
            over = _perfect(config, going, [torch.tensor(0 if right[v.group] else 2) for v in going])
            ended.update({v.group: epoch for v in over})
            going = [v for v in going if v.group not in ended]
        for group in range(2):
            letters = "".join("p" if right else "w" for right in history[:, group])
            assert ended.get(group) == next((n for n in range(1, 13) if ends(letters[:n])), None)
        lengths.add(len(set(ended.values())))
    assert lengths >= {1, 2}  # groups that end together, and apart


@pytest.mark.parametrize("ends", [in_a_row, in_all])
def test_stopped_after_perfect_epochs(memorizing: Trained, ends: Callable[[str], bool]) -> None:
    """Groups that stop at different epochs run together; each ends as if it were alone, its test accuracy included."""
    perfect: Any = {"perfect": "in_all"} if ends is in_all else {}
    config = config_of(memorizing, epochs=8, stop_after_perfect=3, **perfect)
    together = retrain(config, memorizing.inputs(), ["conv1", "conv2", "res2.conv2", "linear"])
    trained = {}
    for variant in together:
        expected, seen = plainly(memorizing, variant.group, epochs=8, ends=ends)
        assert_same(variant, expected, seen, epochs=8)
        trained[variant.group] = len(seen) - 1
    assert min(trained.values()) < 8  # how many epochs each takes depends on the processor's rounding
    for variant in (v for v in together if trained[v.group] < 8):
        (alone,) = retrain(config, memorizing.inputs(), [variant.group])
        assert alone.rows == variant.rows


@pytest.mark.parametrize("fields", [{"freeze": "none"}, {"batches": "filtered", "stop_after_perfect": 1, "freeze": "none"}])
def test_a_groups_result_does_not_depend_on_its_company(memorizing: Trained, fields: dict[str, Any]) -> None:
    config = config_of(memorizing, **fields)
    groups = ["conv1", "conv3", "linear"]
    together = retrain(config, memorizing.inputs(), groups)
    for variant, group in zip(together, groups, strict=True):
        (alone,) = retrain(config, memorizing.inputs(), [group])
        assert alone.rows == variant.rows
        theirs = alone.network.state_dict()
        assert all(torch.equal(t, theirs[name]) for name, t in variant.network.state_dict().items())


def test_the_papers_way_by_name_is_the_default() -> None:
    assert RetrainConfig(freeze="others", batches="clean") == RetrainConfig()
    assert RetrainConfig(freeze="none").freeze == "none"


def test_perfect_epochs_in_a_row_are_in_no_id(plain: Trained) -> None:
    """Analyses from before the field keep their ids, and with nothing to count the field is an error."""
    before = {"epochs": 3, "peak_epoch": 2, "lr": 0.1, "memorized": "labels"}
    cases: list[dict[str, Any]] = [{}, {"stop_after_perfect": 3}, {"stop_after_perfect": 3, "perfect": "in_a_row"}]
    for fields in cases:
        counted = {k: v for k, v in fields.items() if k != "perfect"}
        assert canonical(config_of(plain, **fields)) == before | counted
    in_all = canonical(config_of(plain, stop_after_perfect=3, perfect="in_all"))
    assert in_all.pop("perfect") == "in_all"
    assert in_all == canonical(config_of(plain, stop_after_perfect=3))
    with pytest.raises(UnusedFieldError, match="used only with stop_after_perfect") as caught:
        config_of(plain, perfect="in_all")
    assert caught.value.field == "perfect"


def test_rows_of_the_stage(memorizing: Trained) -> None:
    config = config_of(memorizing, epochs=8, stop_after_perfect=1, freeze="none")
    rows = STAGE.run(config, memorizing.inputs(), {"layer": "linear"})["retrain"]
    assert rows["epoch"] == list(range(9))
    assert rows["test_acc"][:-1] == [None] * 8
    assert rows["test_acc"][-1] is not None


def test_own_masks_have_no_test_accuracy(tied: Trained) -> None:
    config = config_of(tied, epochs=2, stop_after_perfect=1, mask_mode="own")
    for variant in retrain(config, tied.inputs(), ["conv1", "linear"]):
        assert [r["test_acc"] for r in variant.rows] == [None] * 3


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(("name", "group"), [("partly_frozen", "0"), ("partly_frozen", "8"), ("frozen_layer", "0")])
@pytest.mark.parametrize("freeze", ["others", "none"])
def test_what_the_network_freezes_is_not_trained(name: str, group: str, freeze: str, optimizer: str) -> None:
    """Against the user's own module, whose optimizer has the parameters that ask for a gradient."""
    trained = run(model=f"python:{own_nets.__file__}:{name}", width=None, subset=60, batch_size=16, optimizer=optimizer)
    c, data = trained.config, trained.data
    first, last = trained.epochs[0].weights, trained.epochs[-1].weights
    own = {"0": ("0.", "1."), "8": ("8.",)}[group]
    module = getattr(own_nets, name)(1, 16, 16, 10).to(memory_format=torch.channels_last)
    parameters = dict(module.named_parameters())
    module.load_state_dict({k: first[k] if k.startswith(own) and k in parameters else t for k, t in last.items()})
    trains = [p for k, p in parameters.items() if p.requires_grad and (freeze == "none" or k.startswith(own))]
    settings = {"lr": 1.0, "weight_decay": c.weight_decay}
    plain: torch.optim.Optimizer | None = None
    if trains and optimizer == "sgd":
        plain = torch.optim.SGD(trains, momentum=c.momentum, **settings)
    elif trains:
        plain = torch.optim.AdamW(trains, betas=(c.momentum, 0.999), **settings)
    x, y = pixels(data.x).contiguous(memory_format=torch.channels_last), torch.tensor(data.y)
    config = config_of(trained, freeze=freeze)
    module.train()
    for epoch in range(1, 4):
        cut = order_of(trained, epoch, filtered=False)
        for k, rows in enumerate(cut):
            rate = one_cycle((epoch - 1) * len(cut) + k, 3 * len(cut), len(cut), 2, config.lr)
            loss = F.cross_entropy(module(x[rows]), y[rows])
            if plain is not None:
                plain.param_groups[0]["lr"] = rate
                plain.zero_grad()
                loss.backward()
                plain.step()
    (variant,) = retrain(config, trained.inputs(), [next(g for g in trained.inputs().network(3).groups if g[0] == group)])
    found = dict(variant.network.named_parameters())
    for k, parameter in parameters.items():
        torch.testing.assert_close(found[k].data, parameter.data, rtol=1e-3, atol=1e-5, msg=lambda m, k=k: f"{k}: {m}")
        assert parameter.requires_grad or torch.equal(found[k], last[k])
