"""Evaluation of a checkpoint against a loop over examples through the plain network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from memloc.config import FieldError
from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.models.dropouts import Dropout, build_dropout
from memloc.models.groups import Network
from memloc.models.kept import floats
from memloc.stages.evaluate.config import Evaluate, EvaluateConfig, variants
from tests.models.plain import Plain, scaled_at
from tests.stages.conftest import CPU, DROPOUTS, TIED, Trained, run
from tests.stages.naive import pixels

STAGE = Evaluate()
TIED_VARIANTS = [("plain", "none"), ("own", "none"), ("scaled", "none")] + [
    ("dropped", rescale) for rescale in ("none", "authors", "consistent")
]


def evaluate(trained: Trained, **fields: Any) -> dict[str, dict[str, Any]]:
    config = STAGE.resolve(EvaluateConfig(**fields), trained.config)
    (part,) = STAGE.parts(config, trained.config, trained.size)
    return {k: dict(v) for k, v in STAGE.run(config, trained.inputs(), part).items()}


def factors_of(
    trained: Trained, network: Network, dropout: Dropout, mode: str, rescale: str, row: int | None
) -> dict[str, npt.NDArray[np.float64]]:
    """{site: one factor per channel}, written out from science.md; row: the training example, None on test."""
    p_gen, p_mem = trained.config.dropout.p_gen, trained.config.dropout.p_mem
    factors = {}
    for site, (channels, _, _) in network.sites.items():
        g = max(1, int(p_gen * channels + 1e-9))
        factor = np.ones(channels)
        if mode == "own":
            assert row is not None
            factor = dropout.own(row)[site].astype(float)
        elif mode == "scaled":
            factor[g:] = p_mem
        elif mode == "dropped":
            share = g / channels
            gain = {"none": 1.0, "authors": (p_gen + p_mem) / p_gen, "consistent": (share + p_mem * (1 - share)) / share}
            factor = np.r_[np.full(g, gain[rescale]), np.zeros(channels - g)]
        factors[site] = factor
    return factors


def naive_logits(trained: Trained, epoch: int, mode: str, rescale: str, test: bool) -> list[list[float]]:
    """In float64, every example with the factors of its own."""
    data, config = trained.data, trained.config
    plain = Plain(1, data.classes, config.architecture.width).load(trained.epochs[epoch].weights).double().eval()
    network = build(config, data.shape, data.classes)
    dropout = build_dropout(config, network.sites, data.example, CPU)
    out: list[list[float]] = []
    x = pixels(data.x_test if test else data.x).double()
    for rows in np.array_split(np.arange(len(x)), 10):
        at = {}
        if mode != "plain":
            factors = [factors_of(trained, network, dropout, mode, rescale, None if test else int(row)) for row in rows]
            at = {plain.site(s): torch.from_numpy(np.stack([f[s] for f in factors])) for s in network.sites}
        with scaled_at({site: f[:, :, None, None] for site, f in at.items()}), torch.no_grad():
            out += plain(x[rows]).tolist()
    return out


def expected_accuracy(z: list[list[float]], y: list[int], members: list[bool]) -> float | None:
    right = [max(range(len(v)), key=v.__getitem__) == t for v, t, m in zip(z, y, members, strict=True) if m]
    return sum(right) / len(right) if right else None


def check_against_loop(trained: Trained, mode: str, rescale: str, epoch: int, tables: dict[str, dict[str, Any]]) -> None:
    data, summary, details = trained.data, tables["evaluation"], tables["predictions"]
    at = list(zip(summary["mode"], summary["rescale"], strict=True)).index((mode, rescale))
    z = naive_logits(trained, epoch, mode, rescale, test=False)
    y, noisy = data.y.tolist(), data.noisy.tolist()
    assert summary["clean_acc"][at] == expected_accuracy(z, y, [not m for m in noisy])
    assert summary["noisy_acc"][at] == expected_accuracy(z, y, noisy)
    assert summary["noisy_true_acc"][at] == expected_accuracy(z, data.true_label.tolist(), noisy)
    if mode == "own":
        assert summary["test_acc"][at] is None
    else:
        z_test = naive_logits(trained, epoch, mode, rescale, test=True)
        y_test = data.y_test.tolist()
        assert summary["test_acc"][at] == expected_accuracy(z_test, y_test, [True] * len(y_test))
    mine = slice(at * len(y), (at + 1) * len(y))
    assert set(details["mode"][mine]) == {mode}
    assert set(details["rescale"][mine]) == {rescale}
    assert details["example"][mine].tolist() == data.example.tolist()
    predicted = [max(range(len(v)), key=v.__getitem__) for v in z]
    assert details["predicted"][mine].tolist() == predicted
    assert details["correct"][mine].tolist() == [p == t for p, t in zip(predicted, y, strict=True)]
    margins = [v[t] - max(w for k, w in enumerate(v) if k != t) for v, t in zip(z, y, strict=True)]
    assert details["margin"][mine].tolist() == pytest.approx(margins, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("epoch", [0, 5, None])
def test_plain_against_a_loop(plain: Trained, epoch: int | None) -> None:
    tables = evaluate(plain, epoch=epoch)
    assert tables["evaluation"]["mode"] == ["plain"]
    check_against_loop(plain, "plain", "none", plain.config.epochs if epoch is None else epoch, tables)


@pytest.fixture(scope="module")
def tied_tables(tied: Trained) -> dict[str, dict[str, Any]]:
    return evaluate(tied)


@pytest.mark.parametrize(("mode", "rescale"), TIED_VARIANTS)
def test_every_mode_against_a_loop(tied: Trained, tied_tables: dict[str, dict[str, Any]], mode: str, rescale: str) -> None:
    check_against_loop(tied, mode, rescale, tied.config.epochs, tied_tables)


def test_modes_differ(tied: Trained, tied_tables: dict[str, dict[str, Any]]) -> None:
    """What the modes multiply in matters here: no two of them give the same margins."""
    margins = tied_tables["predictions"]["margin"].reshape(6, len(tied.data.y))
    for i in range(6):
        for j in range(i):
            assert np.abs(margins[i] - margins[j]).max() > 0.01
    test = [acc for acc in tied_tables["evaluation"]["test_acc"] if acc is not None]
    assert len(set(test)) == len(test) == 5  # so that a mode or a rescaling left out on test would show


def test_rows_come_in_the_order_of_the_variants(tied: Trained, tied_tables: dict[str, dict[str, Any]]) -> None:
    config = STAGE.resolve(EvaluateConfig(), tied.config)
    assert variants(config) == TIED_VARIANTS
    assert list(zip(tied_tables["evaluation"]["mode"], tied_tables["evaluation"]["rescale"], strict=True)) == TIED_VARIANTS
    size = tied.size
    for table, columns in tied_tables.items():
        assert {len(values) for values in columns.values()} == {STAGE.rows(config, size)[table]}


def test_a_mode_alone_is_the_mode_among_others(tied: Trained, tied_tables: dict[str, dict[str, Any]]) -> None:
    few = evaluate(tied, modes=("dropped", "own"), rescale=("consistent",))
    assert few["evaluation"]["mode"] == ["own", "dropped"]
    assert few["evaluation"]["rescale"] == ["none", "consistent"]
    for name in ("clean_acc", "noisy_acc", "test_acc"):
        assert few["evaluation"][name] == [tied_tables["evaluation"][name][i] for i in (1, 5)]
    n = len(tied.data.y)
    assert np.array_equal(few["predictions"]["margin"][n:], tied_tables["predictions"]["margin"][5 * n :])


@pytest.mark.parametrize("name", [n for n in DROPOUTS if n.startswith("sparse")])
def test_sparse_keeps_its_mask_in_evaluation(name: str) -> None:
    trained = run(**DROPOUTS[name], epochs=2)
    network = build(trained.config, trained.data.shape, trained.data.classes)
    dropout = build_dropout(trained.config, network.sites, trained.data.example, CPU)
    size, n = trained.config.batch_size, len(trained.data.y)
    of_batch = floats(dropout.training(torch.arange(size), 1, 0)) or {}
    # In a batch of training size, in the order of the data, each example is at a position of its own.
    masks = {s: m if len(m) == 1 else torch.cat([m] * (n // size + 1))[:n] for s, m in of_batch.items()}
    plain = Plain(1, 10, trained.config.architecture.width).load(trained.epochs[-1].weights).eval()
    found = evaluate(trained)["predictions"]["margin"]

    def margins(at: dict[Any, Tensor]) -> Tensor:
        with scaled_at(at), torch.no_grad():
            z = plain(pixels(trained.data.x))
        y = torch.tensor(trained.data.y)[:, None]
        return z.gather(1, y)[:, 0] - z.scatter(1, y, -math.inf).amax(dim=1)

    torch.testing.assert_close(
        torch.from_numpy(found), margins({plain.site(s): m for s, m in masks.items()}), rtol=1e-4, atol=1e-5
    )
    if masks:
        assert (torch.from_numpy(found) - margins({})).abs().max() > 0.01


def test_standard_dropout_is_off() -> None:
    trained = run(**DROPOUTS["standard element"], epochs=2)
    tables = evaluate(trained)
    assert tables["evaluation"]["mode"] == ["plain"]
    check_against_loop(trained, "plain", "none", 2, tables)


@pytest.mark.parametrize(("noise", "empty", "full"), [(0.0, "noisy_acc", "clean_acc"), (1.0, "clean_acc", "noisy_acc")])
def test_an_empty_set_is_null_never_zero_or_nan(noise: float, empty: str, full: str) -> None:
    trained = run(**TIED, noise=noise, epochs=1)
    tables = evaluate(trained)
    assert tables["evaluation"][empty] == [None] * 6
    assert all(isinstance(v, float) and 0 <= v <= 1 for v in tables["evaluation"][full])
    assert [v is None for v in tables["evaluation"]["test_acc"]] == [False, True, False, False, False, False]
    assert not np.isnan(tables["predictions"]["margin"]).any()
    for epoch in trained.epochs[1:]:
        assert epoch.row is not None
        assert epoch.row[empty] is None
        assert 0 <= epoch.row[full] <= 1


# --- configurations ---------------------------------------------------------------------------------------------------


def resolve(dropout: str, **fields: Any) -> EvaluateConfig:
    chosen = {"none": {}, "tied": TIED, "standard": DROPOUTS["standard element"]}[dropout]
    train = resolved(dataset="digits", model="resnet9", epochs=4, **chosen)
    return STAGE.resolve(EvaluateConfig(**fields), train)


def test_defaults_are_all_that_applies() -> None:
    for dropout in ("none", "standard"):
        assert resolve(dropout).model_dump() == {"epoch": 4, "modes": ("plain",), "rescale": None}
    whole = resolve("tied")
    assert (whole.epoch, whole.modes) == (4, ("plain", "own", "scaled", "dropped"))
    assert whole.rescale == ("none", "authors", "consistent")
    assert resolve("tied", modes=("scaled",)).rescale is None
    assert resolve("tied", modes=("dropped", "plain"), rescale=("authors", "none")).model_dump() == {
        "epoch": 4,
        "modes": ("plain", "dropped"),
        "rescale": ("none", "authors"),
    }
    assert list(STAGE.epochs(resolve("none", epoch=2), resolved(dataset="digits", model="resnet9"), {"epoch": 2})) == [2]


@pytest.mark.parametrize(
    ("dropout", "fields", "field"),
    [
        ("none", {"epoch": 5}, "epoch"),
        ("none", {"modes": ("own",)}, "modes"),
        ("standard", {"modes": ("plain", "dropped")}, "modes"),
        ("none", {"rescale": ("none",)}, "rescale"),
        ("tied", {"modes": ("own",), "rescale": ("authors",)}, "rescale"),
    ],
)
def test_what_does_not_fit_the_training_is_an_error(dropout: str, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldError, match=r"valid|used only") as error:
        resolve(dropout, **fields)
    assert error.value.field == field
