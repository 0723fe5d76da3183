"""What a notebook uses, on a small finished store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import memloc
from memloc.api import OpenStore, data_dir, store_uri
from memloc.data import load
from memloc.errors import StoreError, UsageError
from memloc.models.dropouts import build_dropout
from memloc.store import Store
from tests.conftest import run_inline


@pytest.fixture(scope="module")
def store(tiny: Path) -> OpenStore:
    return memloc.open_store(str(tiny))


def test_tables_three_ways(store: OpenStore) -> None:
    arrow = store.table("rewind")
    assert isinstance(arrow, pa.Table)
    frame = store.pandas("rewind")
    assert isinstance(frame, pd.DataFrame)
    assert arrow.num_rows == len(frame) == 27
    assert store.sql("SELECT count(*) AS n FROM rewind")["n"].tolist() == [27]
    assert store.table("rewind", sweep="tiny").equals(arrow)
    with pytest.raises(UsageError, match=r"no such table or view \(did you mean 'rewind'"):
        store.table("rewinds")
    with pytest.raises(UsageError, match="no such sweep"):
        store.table("rewind", sweep="..")


def test_trials(store: OpenStore) -> None:
    everything = store.trials()
    assert len(everything) == 2
    (tied,) = store.trials(dropout="example_tied", p_gen=0.4)
    assert tied.config.example_tied.p_mem == 0.1
    assert store.trials(noise=0.5) == []
    (plain,) = store.trials(p_gen=None)  # it does not use the field
    assert plain.config.dropout.kind == "none"
    assert store.trials(p_gen=[None, 0.4]) == everything
    assert store.trials(p_gen=None, dropout="example_tied") == []
    assert store.trials(sweep="tiny", dropout="example_tied") == [tied]
    with pytest.raises(UsageError, match=r"^tinny: no such sweep in store .* \(did you mean 'tiny'\?\)"):
        store.trials(sweep="tinny")
    with pytest.raises(UsageError, match=r"^sweep: 3 is of type int"):
        store.trials(sweep=3)
    assert store.trial(tied.id[:6]).id == tied.id
    assert tied.id in repr(tied)
    with pytest.raises(UsageError, match=r"^trial .*: none of .* in the store begins so"):
        store.trial("zz")
    with pytest.raises(UsageError, match="is empty; valid: the id of a trial"):
        store.trial("")
    with pytest.raises(UsageError, match="did you mean 'noise'"):
        store.trials(nois=0.1)


def test_data_as_the_training_saw_it(store: OpenStore) -> None:
    trial = store.trials(dropout="none")[0]
    data = trial.data()
    assert data.x.dtype == torch.float32
    assert data.x.shape == (100, 1, 16, 16)
    raw = load("digits")
    pixels = torch.tensor(raw.x_train[data.example.numpy()])
    assert torch.allclose(data.x, (pixels / 255 - 0.5) / 0.5, atol=1e-6)
    assert torch.equal(data.noisy, data.y != data.true_label)
    assert int(data.noisy.sum()) == 10
    examples = store.table("examples").filter(pa.compute.equal(store.table("examples")["trial"], trial.id))
    assert examples["label"].to_pylist() == data.y.tolist()
    assert examples["example"].to_pylist() == data.example.tolist()


def test_a_model_gives_the_stored_numbers(store: OpenStore) -> None:
    trial = store.trials(dropout="none")[0]
    data = trial.data()
    evaluation = next(r for r in store.table("evaluation").to_pylist() if r["trial"] == trial.id)
    model = trial.model()
    assert not model.training
    with torch.no_grad():
        correct = model(data.x).argmax(1) == data.y
        test = model(data.x_test).argmax(1) == data.y_test
    assert float(correct[~data.noisy].double().mean()) == evaluation["clean_acc"]
    assert float(correct[data.noisy].double().mean()) == evaluation["noisy_acc"]
    assert float(test.double().mean()) == pytest.approx(evaluation["test_acc"])
    first = trial.model(epoch=0)
    assert not torch.equal(first.linear.weight, model.linear.weight)  # type: ignore[union-attr, arg-type]
    with pytest.raises(UsageError, match=r"epoch 3: trial .* has none; valid: 0 to 2"):
        trial.model(3)


def test_a_mask_is_the_one_of_the_training(store: OpenStore) -> None:
    (trial,) = store.trials(dropout="example_tied")
    data, model = trial.data(), trial.model()
    dropout = build_dropout(trial.config, model.sites, data.example.numpy(), torch.device("cpu"))
    row = 7
    masks = dropout.training(torch.tensor([row]), epoch=1, step=0)
    assert masks is not None
    mine = trial.mask(int(data.example[row]))
    assert mine.keys() == masks.keys()
    for site, mask in mine.items():
        assert mask.dtype == torch.bool
        assert torch.equal(mask, masks[site].flatten().bool())
    absent = next(i for i in range(1437) if i not in data.example.tolist())
    with pytest.raises(UsageError, match="is not among the training examples"):
        trial.mask(absent)
    with pytest.raises(UsageError, match="only example_tied has a mask per example"):
        store.trials(dropout="none")[0].mask(int(data.example[row]))


def test_where_things_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MEMLOC_STORE", raising=False)
    assert store_uri() == "./memloc-store"
    monkeypatch.setenv("MEMLOC_STORE", "s3://bucket/x")
    assert store_uri() == "s3://bucket/x"
    assert store_uri("mine") == "mine"
    monkeypatch.setenv("MEMLOC_DATA", str(tmp_path))
    assert data_dir() == tmp_path
    with pytest.raises(StoreError, match=r"does not exist; .* makes one, open_store\(URI\) or MEMLOC_STORE names another$"):
        memloc.open_store(str(tmp_path / "none"))


def test_data_that_changed_since_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 16, 16), dtype=np.uint8), np.arange(40) % 4
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    text = 'defaults: {dataset: "npz:mine.npz", model: resnet9, width: 0.0625, epochs: 1}\nblocks: {a: {}}\n'
    run_inline(tmp_path, text, Store(str(tmp_path / "store")))
    opened = memloc.open_store(str(tmp_path / "store"))
    assert opened.trials()[0].data().x.shape == (40, 1, 16, 16)
    np.savez(tmp_path / "mine.npz", x_train=x[::-1], y_train=y, x_test=x, y_test=y)
    load.cache_clear()  # a new process reads anew
    with pytest.raises(UsageError, match="its content is not what the trial was planned or trained with"):
        opened.trials()[0].data()
