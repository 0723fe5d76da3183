"""Second-split forgetting against a bare loop over two trainings, and by hand where the answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memloc.config import FieldError, default_peak
from memloc.errors import UsageError
from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.models.dropouts import build_dropout
from memloc.seeds import torch_seed
from memloc.stages.second_split.compute import halves
from memloc.stages.second_split.config import SecondSplit, SecondSplitConfig
from memloc.stages.training.batches import batches
from memloc.stages.training.steps import learning_rate
from memloc.store import Store
from tests.conftest import planned, run_inline
from tests.models import own_nets
from tests.run.programs import contents
from tests.stages.conftest import BASE, CPU, TIED, Trained, run, run_once
from tests.stages.naive import pixels

STAGE = SecondSplit()


def times(trained: Trained, half: int, **fields: Any) -> dict[int, int]:
    config = STAGE.resolve(SecondSplitConfig(**fields), trained.config)
    rows = STAGE.run(config, trained.inputs(), {"half": half})["second_split"]
    return dict(zip(rows["example"].tolist(), rows["time"].tolist(), strict=True))


def bare_loop(trained: Trained, half: int, epochs: int, mode: str = "plain", frozen: bool = False) -> dict[int, int]:
    """The whole experiment with torch's own SGD, one epoch after the other; frozen: evaluation mode from epoch 2 on."""
    data, config = trained.data, trained.config
    one, other = halves(len(data.y), config.seed, half)
    config = config.model_copy(
        update={
            "seed": torch_seed(config.seed, "second split", half),
            "epochs": epochs,
            "peak_epoch": config.peak_epoch if epochs == config.epochs else default_peak(config.schedule, epochs),
        }
    )
    network = build(config, data.shape, data.classes)
    network.initialise(config.seed)
    x, y = pixels(data.x).contiguous(memory_format=torch.channels_last), torch.tensor(data.y)
    network.to(memory_format=torch.channels_last)
    history: list[torch.Tensor] = []
    on_one = build_dropout(config, network.sites, data.example[one], CPU)

    def look() -> None:
        network.eval()
        with torch.no_grad():
            masks = on_one.evaluation(mode, torch.arange(len(one)))
            history.append(network(x[one], masks=masks).argmax(dim=1) == y[one])

    for rows_of_phase in (one, other):
        dropout = build_dropout(config, network.sites, data.example[rows_of_phase], CPU)
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0, momentum=config.momentum, weight_decay=config.weight_decay)
        history.clear()
        look()
        for epoch in range(1, epochs + 1):
            cut = batches(config, len(rows_of_phase), epoch)
            for k, rows in enumerate(cut):
                optimizer.param_groups[0]["lr"] = learning_rate(
                    config, (epoch - 1) * len(cut) + k, epochs * len(cut), len(cut)
                )
                network.train(not frozen or epoch == 1)
                at = torch.from_numpy(rows_of_phase)[rows]
                z = network(x[at], masks=dropout.training(rows, epoch, k))
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(z, y[at]).backward()
                optimizer.step()
            look()
    found = {}
    for i, example in enumerate(data.example[one].tolist()):
        right = [bool(h[i]) for h in history]
        first = next((e for e in range(epochs + 1) if not any(right[e:])), epochs + 1)
        found[example] = first
    return found


@pytest.mark.parametrize("half", [0, 1])
def test_against_a_bare_loop(half: int) -> None:
    trained = run_once(epochs=6, batch_size=16)
    found = times(trained, half)
    assert found == bare_loop(trained, half, 6)
    assert len(set(found.values())) > 2


def test_the_trainings_own_peak() -> None:
    trained = run(epochs=6, peak_epoch=5, batch_size=16)
    assert trained.config.peak_epoch != default_peak(trained.config.schedule, 6)
    assert times(trained, 0) == bare_loop(trained, 0, 6)
    assert times(trained, 0, epochs=4) == bare_loop(trained, 0, 4)


@pytest.mark.parametrize(
    "rule", [{"stop_after_perfect": 1}, {"stop": {"noisy_acc_below": 1.0, "at_epoch": 2}}], ids=lambda rule: next(iter(rule))
)
def test_both_trainings_run_all_their_epochs(rule: dict[str, Any]) -> None:
    """Although the rule ends the training itself early. The loop knows no rule."""
    trained = run(subset=10, batch_size=5, width=0.25, noise=0.1, epochs=12, **rule)
    assert len([epoch for epoch in trained.epochs if epoch.row is not None]) < 12
    for half in (0, 1):
        assert times(trained, half) == bare_loop(trained, half, 12)


def test_fewer_epochs_and_masks(tied: Trained) -> None:
    for mode in ("own", "dropped"):
        assert times(tied, 0, epochs=4, mask_mode=mode) == bare_loop(tied, 0, 4, mode)


@pytest.mark.parametrize(
    ("training", "own", "frozen"), [("frozen", None, True), ("train", "frozen", True), ("frozen", "train", False)]
)
def test_its_own_batch_norm(training: str, own: str | None, frozen: bool) -> None:
    """By default the training's; each of the two trainings has train mode in its first epoch."""
    trained = run_once(epochs=5, batch_size=16, batch_norm=training)
    fields = {} if own is None else {"batch_norm": own}
    expected, other = (bare_loop(trained, 0, 5, frozen=f) for f in (frozen, not frozen))
    assert times(trained, 0, **fields) == expected
    assert expected != other


def test_every_example_once() -> None:
    trained = run_once(epochs=1)
    both = [times(trained, half) for half in (0, 1)]
    assert set(both[0]) | set(both[1]) == set(trained.data.example.tolist())
    assert not set(both[0]) & set(both[1])
    assert {t for of_half in both for t in of_half.values()} <= {0, 1, 2}


def test_halves_are_keyed_and_swapped() -> None:
    one, other = halves(7, 3, 0)
    assert (len(one), len(other)) == (4, 3)
    assert sorted([*one, *other]) == list(range(7))
    swapped = halves(7, 3, 1)
    assert np.array_equal(swapped[0], other)
    assert np.array_equal(swapped[1], one)
    assert not np.array_equal(halves(100, 3, 0)[0], halves(100, 4, 0)[0])


def test_resolve() -> None:
    trained = run_once(epochs=1)
    assert STAGE.resolve(SecondSplitConfig(), trained.config).epochs == 1
    with pytest.raises(FieldError, match="used only with dropout: example_tied"):
        STAGE.resolve(SecondSplitConfig(mask_mode="own"), trained.config)
    with pytest.raises(FieldError, match="required"):
        STAGE.resolve(SecondSplitConfig(), resolved(**BASE, **TIED))


def test_from_a_sweep_with_detection(tmp_path: Path) -> None:
    """Its score is minus the time, on all examples and on those of the flips."""
    text = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 60, noise: 0.3, epochs: 2, batch_size: 16}
blocks:
  b:
    stages:
      second_split: {epochs: 3}
      flips: {clean: 6, noisy: 6, max_neurons: 2, post_eval: 0}
      detection: {scores: [second_split, loss]}
"""
    run_inline(tmp_path, text, Store(str(tmp_path / "store")))
    found = contents(tmp_path / "store")
    assert found["second_split"].num_rows == 60
    rows = found["detection"].to_pylist()
    assert {(r["sample"], r["score"]) for r in rows} == {
        (sample, score) for sample in ("all", "flips") for score in ("second_split", "loss")
    }
    noisy = dict(zip(found["examples"]["example"].to_pylist(), found["examples"]["noisy"].to_pylist(), strict=True))
    pairs = [(noisy[r["example"]], r["time"]) for r in found["second_split"].to_pylist()]
    wins = [(a < b) + 0.5 * (a == b) for is_noisy, a in pairs if is_noisy for other, b in pairs if not other]
    (row,) = [r for r in rows if (r["sample"], r["score"]) == ("all", "second_split")]
    assert row["auc"] == pytest.approx(sum(wins) / len(wins))


def test_halves_of_two_examples_at_least(tmp_path: Path) -> None:
    """With batch norm behind a linear layer one example cannot be trained on, so the smallest halves have two."""
    (tmp_path / "nets.py").write_text(Path(own_nets.__file__).read_text())
    x, y = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8), np.arange(4) % 2
    np.savez(tmp_path / "few.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    text = """
defaults: {dataset: "npz:few.npz", subset: COUNT, model: "python:nets.py:mlp", noise: 0.0, epochs: 2, batch_size: 2}
blocks: {b: {stages: {second_split: {}}}}
"""
    for count in (2, 3):
        with pytest.raises(UsageError) as caught:
            planned(tmp_path, text.replace("COUNT", str(count)))
        (said,) = caught.value.problems
        assert said.endswith(
            f"blocks.b.stages.second_split: {count} training examples are cut into halves, and one of them is a single "
            "example; valid: at least 4"
        )
    run_inline(tmp_path, text.replace("COUNT", "4"), Store(str(tmp_path / "store")))
    assert contents(tmp_path / "store")["second_split"].num_rows == 4
