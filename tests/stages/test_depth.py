"""Prediction depth against scikit-learn's neighbours, MASC against a plain loop over explicit principal directions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional as F

from memloc.analysis.reading import run_sql
from memloc.config import FieldError
from memloc.data.device import images
from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.models.probe_sites import block_name
from memloc.models.probes import activations
from memloc.stages.depth import compute
from memloc.stages.depth.compute import Support, depths, packed
from memloc.stages.depth.config import STAGE, DepthConfig
from memloc.stages.depth.nearest import votes
from memloc.stages.depth.scores import SCORES
from memloc.stages.depth.subspaces import FOLDS, VARIANCE
from memloc.store import Store
from tests.conftest import run_inline
from tests.models import own_nets
from tests.stages.conftest import TIED, Trained, run_once

SITES = ["input", "conv1", "conv2", "res1", "conv3", "res2", "conv4", "softmax"]
Floats = np.ndarray


def depth(trained: Trained, **fields: Any) -> dict[str, dict[str, Any]]:
    config = STAGE.resolve(DepthConfig(**fields), trained.config)
    tables = STAGE.run(config, trained.inputs(), {"epoch": trained.config.epochs})
    return {name: {column: np.asarray(values) for column, values in of.items()} for name, of in tables.items()}


def by_hand(trained: Trained, x: np.ndarray) -> dict[str, Floats]:
    """float64 activations of ResNet-9, module after module, in one group."""
    network: Any = trained.inputs().network(trained.config.epochs)
    with torch.inference_mode():
        first = images(torch.tensor(x))
        of = {"input": first, "conv1": network.conv1(first)}
        of["conv2"] = network.conv2(of["conv1"])
        of["res1"] = of["conv2"] + network.res1.conv2(network.res1.conv1(of["conv2"]))
        of["conv3"] = F.max_pool2d(network.conv3(of["res1"]), 2)
        of["res2"] = of["conv3"] + network.res2.conv2(network.res2.conv1(of["conv3"]))
        of["conv4"] = network.conv4(of["res2"]).amax(dim=(2, 3))
        of["softmax"] = (network.linear(of["conv4"]) * 0.2).double().softmax(dim=1)
    return {site: one.flatten(1).double().numpy() for site, one in of.items()}


def sklearn_counts(
    support: Floats, y: np.ndarray, k: int, queries: Floats | None = None, classes: int = 10
) -> tuple[Floats, np.ndarray]:
    """(votes of the k nearest, whether the k-th is clearly nearer than the next). queries: None: the support, each without
    itself.
    """
    distances, rows = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(support).kneighbors(queries)
    lengths = ((support if queries is None else queries) ** 2).sum(axis=1)
    clear = distances[:, k] ** 2 - distances[:, k - 1] ** 2 > 1e-9 * lengths
    return np.stack([np.bincount(y[of[:k]], minlength=classes) for of in rows]), clear


@pytest.fixture(scope="module")
def trained() -> Trained:
    return run_once(epochs=6, batch_size=16)


@pytest.fixture(scope="module")
def tables(trained: Trained) -> dict[str, dict[str, Any]]:
    return depth(trained)


# --- neighbours -------------------------------------------------------------------------------------------------------


def test_prediction_depth_by_scikit_learns_neighbours(trained: Trained, tables: Mapping[str, Any]) -> None:
    data, of = trained.data, by_hand(trained, trained.data.x)
    n = len(data.y)
    assert len(data.y) <= 256  # one group, as by hand
    predicted, shares, clear = [], [], []
    for site in SITES:
        counts, sure = sklearn_counts(of[site], data.y, 10)
        predicted.append(counts.argmax(axis=1))
        shares.append(counts[np.arange(n), data.y] / 10)
        clear.append(sure)
    of_network = of["softmax"].argmax(axis=1)
    expected = []
    for i in range(n):
        last = len(SITES)
        while last > 0 and predicted[last - 1][i] == of_network[i]:
            last -= 1
        expected.append(last)
    known = np.all(clear, axis=0)
    assert known.sum() > 0.9 * n
    rows = tables["depth"]
    assert rows["example"].tolist() == data.example.tolist()
    assert rows["depth"][known].tolist() == np.array(expected)[known].tolist()
    assert len(set(expected)) > 4
    assert rows["agreement"][known] == pytest.approx(np.mean(shares, axis=0)[known])
    assert rows["input_agreement"][known] == pytest.approx(shares[0][known])
    knn = tables["probes"]["probe"] == "knn"
    for site, own, sure in zip(SITES, predicted, clear, strict=True):
        (row,) = np.flatnonzero(knn & (tables["probes"]["site"] == site))
        assert sure.all() or site not in ("conv1", "conv2")
        if sure.all():
            found = {name: tables["probes"][name][row] for name in ("clean_acc", "noisy_acc", "noisy_true_acc", "dim")}
            assert found == {
                "clean_acc": pytest.approx(np.mean((own == data.y)[~data.noisy])),
                "noisy_acc": pytest.approx(np.mean((own == data.y)[data.noisy])),
                "noisy_true_acc": pytest.approx(np.mean((own == data.true_label)[data.noisy])),
                "dim": of[site].shape[1],
            }


def test_the_test_set_and_a_smaller_support(trained: Trained) -> None:
    """A query that is not in the support loses no neighbour."""
    data, found = trained.data, depth(trained, support=50, neighbours=5)["probes"]
    support = Support.drawn(trained.inputs(), 50)
    assert len(support.rows) == 50
    of, of_test = by_hand(trained, data.x), by_hand(trained, data.x_test)
    for site in ("conv1", "res1"):
        counts, clear = sklearn_counts(of[site][support.rows], data.y[support.rows], 5, of_test[site])
        (row,) = np.flatnonzero((found["probe"] == "knn") & (found["site"] == site))
        assert clear.all()
        assert found["test_acc"][row] == pytest.approx(np.mean(counts.argmax(axis=1) == data.y_test))


def test_equal_distances_and_equal_votes() -> None:
    """Of equally distant neighbours the first rows vote, one's own row never does; of equal votes the lowest label wins."""
    support = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [3.0, 0.0]], dtype=torch.float64)
    labels = F.one_hot(torch.tensor([2, 1, 0, 0]), 3).double()
    squares = support.square().sum(dim=1)
    own = torch.arange(4)
    two = votes(support @ support.T, (squares, squares), own, labels, 2)
    assert two.tolist() == [[1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 1, 1]]
    assert two.argmax(dim=1).tolist() == [0, 0, 1, 1]
    elsewhere = votes(support @ support.T, (squares, squares), torch.full((4,), 4), labels, 2)
    assert elsewhere[0].tolist() == [0, 1, 1]
    assert votes(support @ support.T, (squares, squares), None, labels, 2).equal(elsewhere)
    nearly = support @ support.T
    nearly[:3, :2] -= 1e-15  # rounding makes no order: the third row is no nearer than the first ones
    assert votes(nearly, (squares, squares), None, labels, 2).equal(elsewhere)


def test_depths() -> None:
    predicted = torch.tensor([[1, 1, 0, 1], [1, 0, 1, 1], [1, 1, 1, 0]])
    assert depths(predicted, torch.ones(4, dtype=torch.int64)).tolist() == [0, 2, 1, 3]


# --- MASC -------------------------------------------------------------------------------------------------------------


def directions(of: Floats) -> Floats:
    """The leading principal directions of these rows, by their singular value decomposition."""
    _, values, found = np.linalg.svd(of, full_matrices=False)
    shares = np.cumsum(values**2) / (values**2).sum()
    return found[: int(np.flatnonzero(shares >= VARIANCE)[0]) + 1]


def plain_masc(of: Floats, y: np.ndarray, groups: np.ndarray | None, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """(classes, whether clearly), example by example.

    groups: the fold of each example, which is left out when it is judged; None: nothing is left out.
    """
    kept = {0: np.ones(len(of), bool)} if groups is None else {fold: groups != fold for fold in range(FOLDS)}
    spans = {fold: [directions(of[rows & (y == label)]) for label in range(classes)] for fold, rows in kept.items()}
    found, clear = [], []
    for i, row in enumerate(of):
        spanned = spans[0 if groups is None else int(groups[i])]
        cosines = np.array([np.linalg.norm(span @ row) for span in spanned]) / np.linalg.norm(row)
        angles = np.arccos(np.clip(cosines, -1, 1))
        found.append(int(angles.argmin()))
        clear.append(np.diff(np.sort(cosines)[-2:])[0] > 1e-9)
    return np.array(found), np.array(clear)


def test_masc_by_a_plain_loop_over_principal_directions(trained: Trained, tables: Mapping[str, Any]) -> None:
    data, of, probes = trained.data, by_hand(trained, trained.data.x), tables["probes"]
    groups = Support.drawn(trained.inputs(), 5000).fold
    assert np.bincount(groups).tolist() == [24] * FOLDS
    for site in ("res1", "conv4", "softmax"):
        expected, clear = plain_masc(of[site], data.y, groups)
        assert clear.all()
        (row,) = np.flatnonzero((probes["probe"] == "masc") & (probes["site"] == site))
        assert probes["clean_acc"][row] == pytest.approx(np.mean((expected == data.y)[~data.noisy]))
        assert probes["noisy_acc"][row] == pytest.approx(np.mean((expected == data.y)[data.noisy]))
        assert probes["noisy_true_acc"][row] == pytest.approx(np.mean((expected == data.true_label)[data.noisy]))


def test_no_example_is_judged_by_subspaces_that_have_seen_it(trained: Trained, tables: Mapping[str, Any]) -> None:
    """With its own activations in, an example is always given the label that it has: its true label would never be found."""
    data, probes = trained.data, tables["probes"]
    seen, _ = plain_masc(by_hand(trained, data.x)["conv1"], data.y, None)
    assert np.mean((seen == data.true_label)[data.noisy]) < 0.1
    (row,) = np.flatnonzero((probes["probe"] == "masc") & (probes["site"] == "conv1"))
    assert probes["noisy_true_acc"][row] > 0.5


def test_subspaces_of_an_absent_class_and_of_nothing() -> None:
    """A class without members, or one whose activations are zero, is nearest to nothing but zero."""
    gram = torch.zeros(4, 4, dtype=torch.float64)
    gram[2:, 2:] = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    fitted = compute.Subspaces.fit(gram, np.array([0, 0, 2, 2]), np.ones(4, bool), 3)
    assert [of.shape[1] for of in fitted.directions] == [0, 0, 2]
    assert fitted.nearest(torch.tensor([[0.0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.float64)).tolist() == [2, 0]


# --- probes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model": "resnet9", "width": 0.0625}, SITES[1:-1]),
        ({"model": "resnet50", "stem": "imagenet"}, ["stem", "layer1", "layer2", "layer3", "layer4"]),
        ({"model": "vit_small"}, ["embed", *(f"block{k}" for k in range(6))]),
        ({"model": "timm:test_vit"}, None),
        ({"model": f"python:{own_nets.__file__}:make"}, None),
    ],
    ids=lambda v: v["model"].partition("/")[0] if isinstance(v, dict) else "",
)
def test_the_probes_of_every_architecture(fields: dict[str, Any], expected: list[str] | None) -> None:
    network = build(resolved(dataset="digits", **fields), (1, 16, 16), 10)
    network.initialise(3)
    network.eval()
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = dict(activations(network, x))
        assert torch.equal(found["softmax"], network(x).double().softmax(dim=1))
    assert torch.equal(found["input"], x.flatten(1))
    blocks = list(found)[1:-1]
    assert blocks == (list(network.sites) if expected is None else expected)
    if fields["model"] != "resnet9":  # there two blocks end with a pool
        sizes = {site: int(np.prod(shape)) for site, shape in network.sites.items()}
        assert {site: found[site].shape[1] for site in blocks} == sizes
        assert all(len(of) == 2 for of in found.values())


def test_names_of_blocks() -> None:
    assert block_name(["res1.conv1", "res1.conv2"]) == "res1"
    assert block_name(["stage.1"]) == "stage.1"
    assert block_name(["a", "b"]) == "b"


# --- the stage --------------------------------------------------------------------------------------------------------


def test_memory_is_bounded_and_changes_no_bit(trained: Trained, tables: Mapping[str, Any], monkeypatch: Any) -> None:
    assert packed([5, 3, 2, 9, 4], 8) == [[0, 1], [2], [3], [4]]
    passes = []
    original = compute.Probed._held

    def held(self: compute.Probed, chosen: Any) -> Any:
        passes.append(list(chosen))
        return original(self, chosen)

    monkeypatch.setattr(compute.Probed, "_held", held)
    monkeypatch.setattr(compute, "HELD", 120 * 1500)
    again = depth(trained)
    assert len(passes) > 2
    for name, columns in tables.items():
        assert {k: v.tolist() for k, v in again[name].items()} == {k: v.tolist() for k, v in columns.items()}


def test_the_support_is_keyed_by_the_data(trained: Trained) -> None:
    inputs = trained.inputs()
    few, more = (set(Support.drawn(inputs, count).rows) for count in (30, 60))
    assert few < more
    inputs.train = trained.config.model_copy(update={"seed": 9})
    assert set(Support.drawn(inputs, 30).rows) == few
    inputs.train = trained.config.model_copy(update={"data_seed": 9})
    assert set(Support.drawn(inputs, 30).rows) != few


def test_masks_of_a_tied_training() -> None:
    trained = run_once(**TIED)
    with pytest.raises(FieldError, match="required on a training with dropout: example_tied"):
        depth(trained)
    own, plain = (depth(trained, mask_mode=mode)["probes"] for mode in ("own", "plain"))
    assert own["test_acc"].tolist() == [None] * 16
    assert plain["test_acc"][0] is not None
    first = own["site"] == "input"
    assert (own["clean_acc"][first] == plain["clean_acc"][first]).all()
    assert (own["clean_acc"] != plain["clean_acc"]).any()


def test_a_training_that_diverged_has_rows(trained: Trained) -> None:
    inputs = trained.inputs()
    weights = {
        name: torch.full_like(of, float("nan")) if of.is_floating_point() else of for name, of in inputs.weights(6).items()
    }
    inputs.weights = lambda epoch: weights
    config = STAGE.resolve(DepthConfig(), trained.config)
    rows = STAGE.run(config, inputs, {"epoch": 6})
    assert len(rows["depth"]["example"]) == 120
    assert np.isfinite(np.asarray(rows["probes"]["clean_acc"], dtype=float)).all()


def test_what_is_asked_must_fit(trained: Trained) -> None:
    with pytest.raises(FieldError, match="7 beyond the last epoch"):
        STAGE.resolve(DepthConfig(epochs=(7,)), trained.config)
    config = STAGE.resolve(DepthConfig(epochs=(0, 6)), trained.config)
    assert STAGE.parts(config, trained.config, trained.size) == [{"epoch": 0}, {"epoch": 6}]
    assert STAGE.epochs(config, trained.config, {"epoch": 0}) == [0]


def test_scores_are_of_the_last_checkpoint_and_the_mean_over_analyses() -> None:
    rows = {
        "analysis": ["a", "a", "a", "a", "b", "b"],
        "epoch": [0, 0, 3, 3, 2, 2],
        "example": [7, 4, 4, 7, 7, 4],
        "depth": [9, 9, 1, 2, 4, 5],
        "agreement": [0.0, 0.0, 0.25, 0.5, 0.75, 1.0],
        "input_agreement": [0.5, 0.5, 0.1, 0.2, 0.3, 0.4],
    }
    tables: Any = {"depth": rows, "examples": {"example": [4, 7]}}
    values = {score.name: score.values(tables) for score in SCORES}
    assert values == {
        "depth": [3.0, 3.0],
        "neighbours": [pytest.approx(-0.625), pytest.approx(-0.625)],
        "input_neighbours": [pytest.approx(-0.25), pytest.approx(-0.25)],
    }
    assert {score.stage for score in SCORES} == {"depth"}


SWEEP = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 100, noise: 0.2, epochs: 2, batch_size: 32}
blocks:
  probed:
    stages: {depth: {epochs: [0, 2]}, detection: {}}
"""


def test_scores_join_detection_and_the_leaderboard(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    run_inline(tmp_path, SWEEP, store)
    counts = run_sql(store, "SELECT epoch, count(*) AS n FROM depth GROUP BY epoch ORDER BY epoch").to_pylist()
    assert counts == [{"epoch": 0, "n": 100}, {"epoch": 2, "n": 100}]
    joined = run_sql(
        store,
        "SELECT l.noisy, l.depth AS score, d.depth, l.neighbours, -d.agreement AS agreement FROM leaderboard AS l "
        "JOIN depth AS d USING (trial, example) WHERE d.epoch = 2",
    ).to_pandas()
    assert (joined["score"] == joined["depth"]).all()
    assert (joined["neighbours"] == joined["agreement"]).all()
    aucs = {row["score"]: row["auc"] for row in run_sql(store, "SELECT score, auc FROM detection").to_pylist()}
    assert aucs["depth"] == pytest.approx(roc_auc_score(joined["noisy"], joined["depth"]))
    assert aucs["neighbours"] == pytest.approx(roc_auc_score(joined["noisy"], joined["neighbours"]))
    assert {"input_neighbours", "aum"} < set(aucs)
