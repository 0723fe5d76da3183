"""The stage of neuron flipping: its sample, its parts, its rows. The search itself: test_flip_search.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from memloc.config import FieldError, NoDropout
from memloc.models.architectures import resolved
from memloc.stages.flips import compute
from memloc.stages.flips.compute import sample
from memloc.stages.flips.config import Flips, FlipsConfig
from memloc.stages.neurons import task
from memloc.stages.neurons.search import search
from memloc.stages.neurons.task import Task
from tests.stages.conftest import TIED, Trained, run

STAGE = Flips()
COLUMNS = [
    "example", "repeat", "noisy", "eligible", "count", "censored", "layers", "indices", "new_class",
    "clean_acc", "noisy_acc", "test_acc", "clean_se", "noisy_se", "test_se",
]  # fmt: skip


def rows_of(trained: Trained, **fields: Any) -> dict[str, list[Any]]:
    """All parts' rows, one after the other."""
    config = STAGE.resolve(FlipsConfig(**{"clean": 10, "noisy": 6, "post_eval": 0, **fields}), trained.config)
    inputs = trained.inputs()
    out: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for part in STAGE.parts(config, trained.config, trained.size):
        columns: Mapping[str, Any] = STAGE.run(config, inputs, part)["flips"]
        assert sorted(columns) == sorted(COLUMNS)
        for name in COLUMNS:
            out[name] += list(columns[name])
    return out


def test_rows(plain: Trained) -> None:
    rows = rows_of(plain, repeats=2, group_size=7)
    n = 16
    assert rows["repeat"] == [0] * n + [1] * n
    for name in ("example", "noisy", "eligible"):
        assert rows[name][:n] == rows[name][n:]
    assert rows["example"][:n] == sorted(set(rows["example"]))
    assert sum(rows["noisy"][:n]) == 6
    where = {int(e): i for i, e in enumerate(plain.data.example)}
    z = plain.inputs().network(12)(torch.stack([pixel(plain, where[int(e)]) for e in rows["example"]]))
    for k, row in enumerate(where[int(e)] for e in rows["example"]):
        right = int(z[k].argmax()) == plain.data.y[row]
        assert rows["eligible"][k] == right
        assert rows["noisy"][k] == plain.data.noisy[row]
        assert rows["count"][k] == len(rows["layers"][k]) == len(rows["indices"][k])
        assert rows["new_class"][k] != plain.data.y[row]
        if not right:
            assert (rows["count"][k], rows["new_class"][k]) == (0, int(z[k].argmax()))
    assert 0 < sum(rows["eligible"]) < 2 * n
    assert all(rows[name] == [None] * 2 * n for name in COLUMNS[-5:])


@pytest.mark.parametrize("unit", ["element", "channel"])
def test_random_dropout_is_off(unit: str) -> None:
    """Which examples are eligible, and where the searches go: those of the same weights without dropout."""
    trained = run(dropout="standard", keep=0.6, unit=unit, epochs=6, batch_size=16)
    without = replace(trained, config=trained.config.model_copy(update={"dropout": NoDropout()}))
    assert rows_of(trained) == rows_of(without)


def test_repeats_have_noise_and_references_of_their_own(memorizing: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the searches of a repeat draw. (Whether they then close other neurons is up to the network.)"""
    tasks: list[Task] = []
    monkeypatch.setattr(compute, "search", lambda task, rows: tasks.append(task) or search(task, rows))
    rows = rows_of(memorizing, repeats=2)
    n = len(rows["repeat"]) // 2
    assert rows["example"][:n] == rows["example"][n:]
    assert rows["repeat"] == [0] * n + [1] * n
    first, second = tasks
    for step in (0, 1):
        assert not torch.equal(first.noisy(np.array([0]), step), second.noisy(np.array([0]), step))
        assert first.batch(step).tolist() != second.batch(step).tolist()


def pixel(trained: Trained, row: int) -> Tensor:
    return torch.tensor(trained.data.x[row]).float() / 127.5 - 1.0


def test_an_example_alone_gives_the_same_row(memorizing: Trained) -> None:
    """In float32 rounding could choose otherwise in a near tie; at these it does not."""
    together, alone = rows_of(memorizing, group_size=16), rows_of(memorizing, group_size=1)
    same = [a == b for a, b in zip(zip(*together.values(), strict=True), zip(*alone.values(), strict=True), strict=True)]
    assert sum(same) >= 15


def test_the_sample_hangs_on_data_seed_alone_and_grows(plain: Trained) -> None:
    def chosen(data_seed: int, **fields: int) -> set[int]:
        rows = sample(plain.data, FlipsConfig(**fields), data_seed)  # type: ignore[arg-type]
        assert sorted(rows) == list(rows)
        return set(rows.tolist())

    few, more = chosen(0, clean=10, noisy=5), chosen(0, clean=20, noisy=10)
    assert few < more
    assert (len(few), sum(plain.data.noisy[sorted(few)])) == (15, 5)
    assert chosen(1, clean=10, noisy=5) != few
    assert chosen(0) == set(range(120))  # fewer than 1000: all of them


def test_parts_follow_from_the_configuration(plain: Trained) -> None:
    def parts(**fields: Any) -> list[Any]:
        return list(STAGE.parts(STAGE.resolve(FlipsConfig(**fields), plain.config), plain.config, plain.size))

    assert (plain.size.n, plain.size.n_noisy) == (120, 24)
    assert parts() == [{"repeat": 0, "group": g} for g in range(4)]  # all 120 in groups of 32
    assert parts(clean=8, noisy=8, repeats=2, group_size=8) == [{"repeat": r, "group": g} for r in (0, 1) for g in (0, 1)]
    assert parts(clean=0, noisy=50, group_size=24) == [{"repeat": 0, "group": 0}]


def test_without_noisy_examples(plain: Trained) -> None:
    trained = run(noise=0.0)
    assert not any(rows_of(trained, noisy=5)["noisy"])
    assert rows_of(trained, clean=0, noisy=5) == {name: [] for name in COLUMNS}
    accuracies = rows_of(trained, post_eval="all")
    assert accuracies["noisy_acc"] == [None] * 10
    assert all(0 <= a <= 1 for a in accuracies["clean_acc"])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"clean": 0, "noisy": 0}, "clean"),
        ({"estimator": "definition", "reference": 16}, "reference"),
        ({"estimator": "fast", "batch": 100}, "batch"),
        ({"mask_mode": "own"}, "mask_mode"),
    ],
)
def test_what_does_not_fit_is_an_error(plain: Trained, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldError) as error:
        STAGE.resolve(FlipsConfig(**fields), plain.config)
    assert error.value.field == field


def test_configurations(plain: Trained) -> None:
    config = STAGE.resolve(FlipsConfig(), plain.config)
    assert (config.clean, config.noisy, config.repeats, config.reference) == (1000, 1000, 1, 16)
    assert (config.max_neurons, config.post_eval, config.group_size, config.estimator) == (200, 2000, 32, "fast")
    assert config.batch is None
    defined = STAGE.resolve(FlipsConfig(estimator="definition"), plain.config)
    assert (defined.reference, defined.batch) == (None, 512)
    with pytest.raises(FieldError):
        STAGE.resolve(FlipsConfig(), resolved(dataset="digits", model="resnet9", **TIED))


def test_what_is_kept_for_later_searches_has_a_bound(memorizing: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of its quantities here, however many steps there are. (With a thousand classes a quantity takes megabytes.)"""
    config = STAGE.resolve(FlipsConfig(clean=6, noisy=6, repeats=2, post_eval=0), memorizing.config)
    parts = STAGE.parts(config, memorizing.config, memorizing.size)

    def searched() -> tuple[list[Any], list[int]]:
        inputs = memorizing.inputs()
        rows = [STAGE.run(config, inputs, part)["flips"] for part in parts]
        (memo,) = inputs.memo.values()
        return [{k: list(v) for k, v in of_part.items()} for of_part in rows], [t.nbytes for t in memo.values()]

    rows, sizes = searched()
    assert len(sizes) > 3
    monkeypatch.setattr(task, "KEPT", 2 * sizes[0])
    assert searched() == (rows, sizes[:2])


def test_the_same_bits_whatever_was_computed_before(memorizing: Trained) -> None:
    """The memo of a process that has searched other groups and repeats changes nothing."""
    config = STAGE.resolve(FlipsConfig(clean=10, noisy=6, repeats=2, group_size=8, post_eval=40), memorizing.config)
    parts = STAGE.parts(config, memorizing.config, memorizing.size)
    used = memorizing.inputs()
    forward = [STAGE.run(config, used, part)["flips"] for part in parts]
    for part, rows in zip(parts[::-1], forward[::-1], strict=True):
        fresh = STAGE.run(config, memorizing.inputs(), part)["flips"]
        assert {k: list(v) for k, v in fresh.items()} == {k: list(v) for k, v in rows.items()}
