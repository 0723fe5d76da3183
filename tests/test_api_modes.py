"""`trial.model(mode=…)` against table `evaluation`, row by row, on an example-tied training that has learned something."""

from __future__ import annotations

import pytest
import torch

import memloc
from memloc.api import OpenStore, Trial
from memloc.api.masked import FixedMasks, OwnMasks, PositionMasks
from memloc.errors import UsageError
from memloc.models.groups import Network
from memloc.store import Store
from tests.conftest import run_inline

SWEEP = """
defaults: {dataset: digits, model: resnet9, width: 0.125, subset: 200, noise: 0.1, epochs: 6, batch_size: 20, lr: 0.05}
blocks:
  tied: {set: {dropout: example_tied, p_gen: 0.4, p_mem: 0.2}, stages: {evaluate: {}}}
  middle: {set: {dropout: example_tied, p_gen: 0.4, p_mem: 0.2}, stages: {evaluate: {epoch: 4}}}
  fixed: {set: {dropout: sparse, keep: 0.6, unit: channel, epochs: 2}, stages: {evaluate: {}}}
  positions: {set: {dropout: sparse, keep: 0.6, unit: batch_element, epochs: 2}, stages: {evaluate: {}}}
  random: {set: {dropout: standard, keep: 0.8, epochs: 1}, stages: {evaluate: {}}}
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenStore:
    folder = tmp_path_factory.mktemp("modes")
    run_inline(folder, SWEEP, Store(str(folder / "store")))
    return memloc.open_store(folder / "store")


def the(opened: OpenStore, dropout: str, **fields: str) -> Trial:
    (trial,) = opened.trials(dropout=dropout, **fields)
    return trial


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


VARIANTS = [
    ("plain", "none"),
    ("own", "none"),
    ("scaled", "none"),
    ("dropped", "none"),
    ("dropped", "authors"),
    ("dropped", "consistent"),
]


@torch.no_grad()
@pytest.mark.parametrize("epoch", [4, 6])
@pytest.mark.parametrize(("mode", "rescale"), VARIANTS)
def test_each_mode_is_the_tables(opened: OpenStore, mode: str, rescale: str, epoch: int) -> None:
    trial = the(opened, "example_tied")
    data, model = trial.data(), trial.model(epoch, mode, rescale)
    logits = model(data.x, data.example) if mode == "own" else model(data.x)
    where = f"mode = '{mode}' AND rescale = '{rescale}' AND CAST(a.config->>'epoch' AS INTEGER) = {epoch}"
    rows = opened.sql(f"SELECT e.* FROM evaluation AS e JOIN analyses AS a USING (analysis, trial) WHERE {where}")
    (row,) = rows.to_dict("records")
    assert accuracy(logits[~data.noisy], data.y[~data.noisy]) == row["clean_acc"]
    assert accuracy(logits[data.noisy], data.y[data.noisy]) == row["noisy_acc"]
    if mode != "own":
        assert accuracy(model(data.x_test), data.y_test) == row["test_acc"]
    stored = opened.sql(
        f"SELECT p.* FROM predictions AS p JOIN analyses AS a USING (analysis, trial) WHERE {where} ORDER BY example"
    )
    assert stored["example"].tolist() == data.example.tolist()
    assert stored["predicted"].tolist() == logits.argmax(1).tolist()
    right = logits.gather(1, data.y[:, None])[:, 0]
    others = logits.scatter(1, data.y[:, None], -torch.inf).amax(1)
    assert torch.allclose(torch.tensor(stored["margin"].to_numpy()), right - others, atol=1e-5)


@torch.no_grad()
def test_the_modes_differ_and_the_network_has_learned(opened: OpenStore) -> None:
    trial = the(opened, "example_tied")
    data = trial.data()
    test = {(m, r): accuracy(trial.model(None, m, r)(data.x_test), data.y_test) for m, r in VARIANTS if m != "own"}
    own = accuracy(trial.model(mode="own")(data.x, data.example), data.y)
    assert own > 0.4
    assert test["scaled", "none"] > 0.3
    logits = [trial.model(mode=m, rescale=r)(data.x_test) for m, r in VARIANTS if m != "own"]
    for k, first in enumerate(logits):
        assert not any(torch.equal(first, other) for other in logits[k + 1 :])


@torch.no_grad()
@pytest.mark.parametrize(
    ("dropout", "unit", "kind"),
    [("sparse", "channel", FixedMasks), ("sparse", "batch_element", PositionMasks), ("standard", "element", Network)],
)
def test_plain_of_the_other_dropouts_is_the_tables(opened: OpenStore, dropout: str, unit: str, kind: type) -> None:
    """Sparse dropout's masks belong to the network: without them it would be another one."""
    trial = the(opened, dropout, unit=unit)
    data, model = trial.data(), trial.model()
    (row,) = [r for r in opened.table("evaluation").to_pylist() if r["trial"] == trial.id]
    assert accuracy(model(data.x_test), data.y_test) == row["test_acc"]
    assert accuracy(model(data.x)[data.noisy], data.y[data.noisy]) == row["noisy_acc"]
    assert isinstance(model, kind)
    with pytest.raises(UsageError, match=f"mode scaled: trial {trial.id} has dropout: {dropout}; valid here: plain"):
        trial.model(mode="scaled")


@torch.no_grad()
def test_own_goes_by_example_and_not_by_row(opened: OpenStore) -> None:
    trial = the(opened, "example_tied")
    data, model = trial.data(), trial.model(mode="own")
    assert isinstance(model, OwnMasks)
    together = model(data.x, data.example)
    order = torch.randperm(len(data.y), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model(data.x[order], data.example[order]), together[order], atol=1e-5)
    assert torch.allclose(model(data.x[3:5], data.example[3:5].tolist()), together[3:5], atol=1e-5)
    assert torch.allclose(model(data.x[7:8], int(data.example[7])), together[7:8], atol=1e-5)
    assert not torch.allclose(model(data.x[7:8], int(data.example[8])), together[7:8], atol=1e-3)
    with pytest.raises(UsageError, match="2 images and 1 examples; valid: an example for each image"):
        model(data.x[:2], data.example[:1])
    absent = next(i for i in range(1437) if i not in data.example.tolist())
    with pytest.raises(UsageError, match=rf"example {absent}: is not among the training examples"):
        model(data.x[:1], absent)
    with pytest.raises(UsageError, match=r"^mode own: has no examples"):
        model(data.x)


@torch.no_grad()
def test_masks_are_part_of_the_module(opened: OpenStore) -> None:
    """They move with it, are no parameters and no checkpoint, and training mode does not change them."""
    trial = the(opened, "example_tied")
    model = trial.model(mode="dropped", rescale="authors")
    assert isinstance(model, FixedMasks)
    assert list(model.sites) == list(model.network.sites)
    for site, factor in model.factors.items():
        channels = model.network.sites[site][0]
        kept = max(1, int(0.4 * channels + 1e-9))
        assert factor.flatten().tolist() == pytest.approx([(0.4 + 0.2) / 0.4] * kept + [0.0] * (channels - kept))
        assert torch.equal(factor.flatten() > 0, trial.mask(int(trial.data().example[0]))[site] & (factor.flatten() > 0))
    assert {n.removeprefix("network.") for n in model.state_dict()} == set(trial.model().state_dict())
    assert all(f.dtype == torch.float64 for f in model.double().factors.values())
    assert not model.training
    assert not model.network.training


@pytest.mark.parametrize(
    ("mode", "rescale", "words"),
    [
        ("scale", "none", "mode 'scale': valid: plain, own, scaled, dropped (did you mean 'scaled'?)"),
        ("dropped", "author", "rescale 'author': valid: none, authors, consistent (did you mean 'authors'?)"),
        ("scaled", "authors", "rescale authors: applies to mode dropped only; here mode is scaled"),
    ],
)
def test_what_is_no_mode(opened: OpenStore, mode: str, rescale: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        the(opened, "example_tied").model(mode=mode, rescale=rescale)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (None, "has no examples"),
        ([0.5, 1.0], "examples are of type float64"),
        ([True, False], "examples are of type bool"),
        (["0", "1"], "examples are of type <U1"),
        ([[0, 1]], r"examples have the shape \[1, 2\]"),
        (torch.zeros(2, 2, dtype=torch.int64), r"examples have the shape \[2, 2\]"),
        ([[0], [0, 1]], r"example: \[\[0\], \[0, 1\]\] is of type list"),
    ],
)
def test_mode_own_wants_whole_numbers(opened: OpenStore, example: object, said: str) -> None:
    trial = the(opened, "example_tied")
    model = trial.model(mode="own")
    with pytest.raises(UsageError, match=rf"^mode own: {said}.*; valid: model\(x, example\) with whole numbers"):
        model(trial.data().x[:2], example)
