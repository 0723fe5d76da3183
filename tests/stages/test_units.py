"""UnitMem and ClassMem against a plain loop over examples; closed units against channels that are zeroed for real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from memloc.data.augment import shifts
from memloc.data.device import images
from memloc.models import inference
from memloc.models.architectures import resolved
from memloc.models.blocks import ConvBlock
from memloc.models.build import build
from memloc.models.groups import Network
from memloc.models.inference import logits
from memloc.models.units import unit_activity, unit_layers
from memloc.seeds import torch_seed
from memloc.stages.units import compute
from memloc.stages.units.compute import Activity, _like
from memloc.stages.units.config import DRAWS, STAGE, UnitsConfig
from tests.stages.conftest import TIED, Trained, run_once

T = 6


@pytest.fixture(scope="module")
def trained() -> Trained:
    return run_once(epochs=T, batch_size=16)


def units(trained: Trained, **fields: Any) -> dict[str, dict[str, Any]]:
    """The tables, as their schemas take them."""
    config = STAGE.resolve(UnitsConfig(**fields), trained.config)
    tables = STAGE.run(config, trained.inputs(), {"epoch": trained.config.epochs})
    made = {}
    for name, columns in tables.items():
        schema = pa.schema(list(STAGE.tables[name])[2:])
        assert list(columns) == schema.names
        made[name] = pa.table(dict(columns), schema).to_pydict()
    return made


@pytest.fixture(scope="module")
def tables(trained: Trained) -> dict[str, dict[str, Any]]:
    return units(trained, copies=2, close=0.1)


def hooked(network: Network, x: Tensor) -> dict[str, np.ndarray]:
    """{layer: mean |output| of each image and channel} of the convolutions, by hooks."""
    found: dict[str, np.ndarray] = {}
    blocks = [(name, module) for name, module in network.named_modules() if isinstance(module, ConvBlock)]
    hooks = [
        m.register_forward_hook(lambda _, __, y, name=name: found.update({name: y.abs().double().mean(dim=(2, 3)).numpy()}))
        for name, m in blocks
    ]
    with torch.inference_mode():
        network(x)
    for hook in hooks:
        hook.remove()
    return found


def moved(x: np.ndarray, down: int, right: int) -> np.ndarray:
    """An image (C×H×W) shifted; what enters is black."""
    _, h, w = x.shape
    wide = np.zeros((x.shape[0], 3 * h, 3 * w), x.dtype)
    wide[:, h + down : 2 * h + down, w + right : 2 * w + right] = x
    return wide[:, h : 2 * h, w : 2 * w]


def test_activity_is_that_of_the_outputs() -> None:
    network = build(resolved(dataset="digits", model="resnet9", width=0.0625), (1, 16, 16), 10)
    network.initialise(1)
    network.eval()
    x = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = unit_activity(network, x)
        assert torch.equal(network(x), network(x, {}))
    assert {layer: of.shape[1] for layer, of in found.items()} == unit_layers(network)
    for layer, expected in hooked(network, x).items():
        assert found[layer].numpy() == pytest.approx(expected, rel=1e-5)
    assert "linear" not in found


def test_heads_and_hidden_units_of_a_transformer() -> None:
    network: Any = build(resolved(dataset="digits", model="vit_small"), (1, 8, 8), 10)
    network.initialise(1)
    network.eval()
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    given: dict[str, Tensor] = {}
    for name, module in (("heads", network.block1.proj), ("mlp", network.block1.fc2)):
        module.register_forward_pre_hook(lambda _, args, name=name: given.update({name: args[0].abs()}))
    with torch.inference_mode():
        found = unit_activity(network, x)
    assert found["block1.mlp"].numpy() == pytest.approx(given["mlp"].mean(dim=1).numpy(), rel=1e-4)
    heads = given["heads"].unflatten(-1, (8, 64)).mean(dim=(1, 3))
    assert found["block1.heads"].numpy() == pytest.approx(heads.numpy(), rel=1e-4)


def test_scores_by_a_plain_loop(trained: Trained, tables: Mapping[str, Any]) -> None:
    data, seed = trained.data, torch_seed(trained.config.seed, "units")
    network = trained.inputs().network(T)
    drawn = [shifts("crop", data.example, 16, 16, seed, copy).numpy() for copy in range(2)]
    assert any((one != 0).any() for one in drawn)
    copies = [np.stack([moved(x, s[0], s[1]) for x, s in zip(data.x, shift, strict=True)]) for shift in drawn]
    of_copies = [hooked(network, images(torch.tensor(x))) for x in copies]
    rows, expected = tables["units"], []
    for layer in of_copies[0]:
        mean = np.mean([of[layer] for of in of_copies], axis=0)  # examples × units
        for unit in range(mean.shape[1]):
            of, at = mean[:, unit], int(mean[:, unit].argmax())
            rest = np.delete(of, at).mean()
            by_class = np.array([of[data.y == label].mean() for label in range(10)])
            top = int(by_class.argmax())
            others = np.delete(by_class, top).mean()
            scores = (of[at] - rest) / (of[at] + rest), (by_class[top] - others) / (by_class[top] + others)
            expected.append((layer, unit, *scores, int(data.example[at]), bool(data.noisy[at])))
    assert list(zip(rows["layer"], rows["unit"], strict=True)) == [row[:2] for row in expected]
    alive = [k for k, row in enumerate(expected) if np.isfinite(row[2])]
    assert len(alive) > len(expected) / 2
    for column, place in (("unit_mem", 2), ("class_mem", 3)):
        assert [rows[column][k] for k in alive] == pytest.approx([expected[k][place] for k in alive], rel=1e-4)
    same = [rows["example"][k] == expected[k][4] and rows["noisy"][k] == expected[k][5] for k in alive]
    assert np.mean(same) > 0.95  # of two nearly equal activities rounding chooses


def test_a_unit_that_is_never_active_answers_to_no_example(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = compute.measured

    def first_is_silent(*given: Any) -> Activity:
        of = measured(*given)
        alive = torch.arange(len(of.largest)) > 0
        return replace(of, largest=of.largest * alive, sums=of.sums * alive)

    monkeypatch.setattr(compute, "measured", first_is_silent)
    rows = units(trained, copies=1, close=0.1)["units"]
    assert [rows[name][0] for name in ("unit_mem", "class_mem", "example", "noisy")] == [None] * 4
    assert None not in rows["example"][1:2]


def zeroed(trained: Trained, closed: Mapping[str, list[int]]) -> tuple[float, float, float]:
    """(clean, noisy, test) accuracy with these channels zeroed for real: their batch norm gives nothing."""
    network, data = trained.inputs().network(T), trained.data
    with torch.no_grad():
        for layer, channels in closed.items():
            bn: Any = network.get_submodule(layer).bn
            bn.weight[channels], bn.bias[channels] = 0.0, 0.0
    correct = logits(network, torch.tensor(data.x)).argmax(dim=1).numpy() == data.y
    tested = logits(network, torch.tensor(data.x_test)).argmax(dim=1).numpy() == data.y_test
    return float(correct[~data.noisy].mean()), float(correct[data.noisy].mean()), float(tested.mean())


def test_closing_and_its_random_draws(trained: Trained, tables: Mapping[str, Any]) -> None:
    rows, closings = tables["units"], tables["unit_closings"]
    assert list(closings["draw"]) == [None, *range(DRAWS)] * 2
    count = closings["closed"][0]
    assert count == round(0.1 * len(rows["unit"]))
    for name in ("unit_mem", "class_mem"):
        ranked = sorted(
            range(len(rows["unit"])), key=lambda k: -1.0 if rows[name][k] is None else rows[name][k], reverse=True
        )
        closed: dict[str, list[int]] = {}
        for k in ranked[:count]:
            closed.setdefault(rows["layer"][k], []).append(rows["unit"][k])
        at = closings["score"].index(name)
        found = tuple(closings[column][at] for column in ("clean_acc", "noisy_acc", "test_acc"))
        assert found == pytest.approx(zeroed(trained, closed))
    whole = zeroed(trained, {})
    assert any(closings["clean_acc"][k] != whole[0] for k in range(len(closings["draw"])))


def test_a_random_set_has_as_many_of_each_layer() -> None:
    layer = np.repeat([0, 1, 2], [4, 10, 6])
    closed = np.isin(np.arange(20), [0, 5, 6, 7])
    drawn = [_like(closed, layer, np.random.default_rng(k)) for k in range(30)]
    assert all(np.bincount(layer[one], minlength=3).tolist() == [1, 3, 0] for one in drawn)
    assert len({one.tobytes() for one in drawn}) > 20


def test_a_unit_that_is_never_active() -> None:
    nothing = torch.zeros(2, dtype=torch.float64)
    activity = Activity(
        nothing, nothing.long(), torch.zeros(3, 2, dtype=torch.float64), torch.tensor([2.0, 0.0, 1.0]).double()
    )
    assert activity.unit_mem.isnan().all()
    assert activity.class_mem.isnan().all()


def test_copies_are_keyed(trained: Trained, tables: Mapping[str, Any]) -> None:
    assert units(trained, copies=2, close=0.1) == tables
    plain = units(trained, copies=1, close=0.1, augment="none")["units"]
    assert plain["unit_mem"] != tables["units"]["unit_mem"]


def test_groups_of_examples_make_no_difference(trained: Trained, tables: Mapping[str, Any], monkeypatch: Any) -> None:
    """But for rounding: of two nearly equal activities it chooses."""
    monkeypatch.setattr(inference, "GROUP_SIZE", 50)
    found, expected = units(trained, copies=2, close=0.1)["units"], tables["units"]
    assert np.mean([a == b for a, b in zip(found["example"], expected["example"], strict=True)]) > 0.95
    alive = [k for k, value in enumerate(expected["unit_mem"]) if value is not None]
    assert [found["unit_mem"][k] for k in alive] == pytest.approx([expected["unit_mem"][k] for k in alive], rel=1e-4)


def test_masks_of_a_tied_training() -> None:
    own = units(run_once(**TIED), mask_mode="own", copies=1)["unit_closings"]
    assert own["test_acc"] == [None] * 22


def test_windows_of_an_image_are_its_own() -> None:
    """A Swin transformer computes them as more rows of a batch: in company an image has the activity that it has alone."""
    train = resolved(dataset="digits", model="timm:swin_tiny_patch4_window7_224")
    network = build(train, (3, 32, 32), 2).eval()
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together = unit_activity(network, x)
        alone = [unit_activity(network, x[k : k + 1]) for k in range(3)]
    assert together["layers.0.blocks.0.attn"].shape == (3, 3)
    for layer, found in together.items():
        torch.testing.assert_close(found, torch.cat([one[layer] for one in alone]), rtol=1e-4, atol=1e-6)
