"""What a notebook is given, against what training and evaluation really did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import memloc
from memloc.api import OpenStore, Trial
from memloc.data import load, prepare
from memloc.errors import StoreError
from memloc.models.gates import Gates
from memloc.models.groups import Network
from memloc.models.kept import Masks
from memloc.stages.training.batches import batches
from memloc.stages.training.loop import train
from memloc.store import Store, layout
from tests.conftest import TINY, run_inline


@pytest.fixture(scope="module")
def opened(tiny: Path) -> OpenStore:
    return memloc.open_store(str(tiny))


def only(opened: OpenStore, dropout: str) -> Trial:
    (trial,) = opened.trials(dropout=dropout)
    return trial


LEARNS = """
defaults: {dataset: digits, model: resnet9, width: 0.125, subset: 300, noise: 0.1, epochs: 4, batch_size: 20}
blocks: {a: {}}
"""


def test_every_epochs_model_gives_its_test_accuracy(tmp_path: Path) -> None:
    run_inline(tmp_path, LEARNS, Store(str(tmp_path / "store")))
    opened = memloc.open_store(str(tmp_path / "store"))
    (trial,) = opened.trials()
    data = trial.data()
    stored = opened.sql("SELECT epoch, test_acc FROM epochs ORDER BY epoch")["test_acc"].tolist()
    with torch.no_grad():
        found = [float((trial.model(t)(data.x_test).argmax(1) == data.y_test).double().mean()) for t in (1, 2, 3, 4)]
    assert found == stored
    assert len(set(found)) >= 3
    assert found[-1] > 0.5


@torch.no_grad()
@pytest.mark.parametrize("mode", ["plain", "own", "scaled", "dropped"])
def test_masks_and_models_give_the_stored_predictions(opened: OpenStore, mode: str) -> None:
    """Each mode of science.md from the model, the masks and two lines of arithmetic, example by example."""
    trial = only(opened, "example_tied")
    model, data = trial.model(), trial.data()
    sql = f"""SELECT example, predicted, margin FROM predictions
              WHERE trial = '{trial.id}' AND mode = '{mode}' AND rescale = 'none' ORDER BY example"""
    stored = opened.sql(sql)
    assert stored["example"].tolist() == data.example.tolist()
    for row in range(0, 100, 7):
        masks: dict[str, torch.Tensor] | None = None
        if mode != "plain":
            masks = {}
            for site, (channels, _, _) in model.sites.items():
                general = torch.arange(channels) < max(1, int(0.4 * channels + 1e-9))
                factor = {
                    "own": trial.mask(int(data.example[row]))[site].float(),
                    "scaled": torch.where(general, 1.0, 0.1),
                    "dropped": general.float(),
                }[mode]
                masks[site] = factor[None, :, None, None]
        z = model(data.x[row : row + 1], masks=masks)[0]
        others = torch.cat([z[: data.y[row]], z[data.y[row] + 1 :]])
        assert float(z[data.y[row]] - others.max()) == pytest.approx(stored["margin"][row], abs=1e-4)
        assert int(z.argmax()) == stored["predicted"][row]


def test_the_masks_are_those_that_the_training_multiplied_in(opened: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watched in the forward passes of the training itself, batch by batch, in both epochs."""
    trial = only(opened, "example_tied")
    c = trial.config
    data = prepare(load("digits"), c)
    passes: list[Masks] = []
    forward = Network.forward

    def watched(self: Network, x: torch.Tensor, gates: Gates | None = None, masks: Masks | None = None) -> torch.Tensor:
        if self.training:
            assert masks is not None
            passes.append(masks)
        return forward(self, x, gates, masks)

    monkeypatch.setattr(Network, "forward", watched)
    assert len(list(train(c, data, torch.device("cpu")))) == 3
    expected = [rows for epoch in (1, 2) for rows in batches(c, len(data.y), epoch)]
    assert len(passes) == len(expected)
    assert sorted(torch.cat(expected).tolist()) == sorted([*range(100)] * 2)
    own = [trial.mask(int(example)) for example in data.example]
    for rows, masks in zip(expected, passes, strict=True):
        for site, factors in masks.items():
            assert torch.equal(factors.flatten(1).bool(), torch.stack([own[row][site] for row in rows]))
    assert len({tuple(torch.cat(list(mask.values())).tolist()) for mask in own}) > 50


def test_data_are_those_of_the_tables(opened: OpenStore) -> None:
    for trial in opened.trials():
        data = trial.data()
        rows = opened.sql(f"SELECT * FROM examples WHERE trial = '{trial.id}' ORDER BY example")
        for name in ("example", "true_label", "noisy"):
            assert rows[name].tolist() == getattr(data, name).tolist()
        assert rows["label"].tolist() == data.y.tolist()
        dtypes = [t.dtype for t in (data.x, data.y, data.true_label, data.noisy, data.example, data.x_test, data.y_test)]
        assert dtypes == [torch.float32, torch.int64, torch.int64, torch.bool, torch.int64, torch.float32, torch.int64]
        assert data.x_test.shape == (360, 1, 16, 16)
        assert data.x.shape == (100, 1, 16, 16)
        assert (float(data.x.min()), float(data.x.max())) == (-1.0, 1.0)
        assert np.unique(data.example).size == 100


def test_a_model_whose_checkpoint_is_gone_or_damaged(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    plan = run_inline(tmp_path, TINY, store)
    (trial,) = memloc.open_store(store.uri).trials(dropout="none")
    assert trial.id in [t.id for t in plan.trials]
    store.files.delete(layout.checkpoint(trial.id, 0))
    with pytest.raises(
        StoreError, match=r"epoch-0000\.safetensors is missing: it was pruned, as a sweep was told, or it is lost"
    ):
        trial.model(0)
    content = bytearray(store.files.get(layout.checkpoint(trial.id, 1)))
    content[-1] ^= 1
    store.files.put(layout.checkpoint(trial.id, 1), bytes(content))
    with pytest.raises(
        StoreError,
        match=r"epoch-0001\.safetensors was changed .*; run `.*memloc store verify --store ",
    ):
        trial.model(1)
    assert trial.model().linear is not None
