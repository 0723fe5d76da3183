"""Every stage on every architecture, against the plain way: 20 images of 16×16, an epoch or two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.config import TrainConfig
from memloc.data import Data
from memloc.models.architectures.resnet50 import network as resnet50
from memloc.models.architectures.vit_small import network as vit_small
from memloc.models.groups import Network
from memloc.models.kept import floats
from memloc.models.weight_matrices import weight_matrices
from memloc.stages.edit.config import Edit, EditConfig
from memloc.stages.edit.covariances import covariances
from memloc.stages.evaluate.config import Evaluate, EvaluateConfig
from memloc.stages.gradients.compute import alike, set_gradients
from memloc.stages.neurons.search import search
from memloc.stages.retrain.compute import retrain
from memloc.stages.retrain.config import RetrainConfig
from memloc.stages.rewind.compute import rewound_logits
from memloc.stages.training.batches import split_into_batches
from memloc.stages.training.loop import train
from tests.models import own_nets
from tests.stages.conftest import CPU, Trained, settings
from tests.stages.naive import pixels
from tests.stages.test_edit import plain_covariances
from tests.stages.test_flip_search import as_outcome, plainly, predicted, task_of

MODELS: dict[str, dict[str, Any]] = {
    "resnet50": {"model": "resnet50"},
    "resnet50 cifar": {"model": "resnet50", "stem": "cifar"},
    "vit_small": {"model": "vit_small"},
    "vit_small shifted": {"model": "vit_small", "tokens": "shifted"},
    "timm convolutions": {"model": "timm:test_efficientnet"},
    "timm transformer": {"model": "timm:test_vit"},
    "own": {"model": f"python:{own_nets.__file__}:with_dropout"},
}
SMALL = {"subset": 20, "noise": 0.25, "epochs": 2, "batch_size": 10, "lr": 0.01}


@dataclass(frozen=True)
class Made(Trained):
    def network(self, epoch: int = 2) -> Network:
        return self.inputs().network(epoch)


def given(name: str, **more: Any) -> tuple[TrainConfig, Data]:
    fields = {**SMALL, **MODELS[name], **more}
    config, data = settings(**fields, width=None)
    return config, replace(data, x_test=data.x_test[:8], y_test=data.y_test[:8])


@lru_cache(maxsize=1)  # one at a time: a ResNet-50 and its momentum are 200 MB an epoch
def made(name: str) -> Made:
    config, data = given(name)
    return Made(config, data, list(train(config, data, CPU)))


# Every stage on the large networks takes a minute, so it is not in every `make test`: there the two small networks of timm
# stand for convolutions and tokens, and the large ones, narrower, train and are evaluated with their dropouts.
SLOW = ("resnet50", "resnet50 cifar", "vit_small", "vit_small shifted")


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MODELS], scope="module"
)
def trained(request: pytest.FixtureRequest) -> Made:
    return made(str(request.param))


def test_training_goes_on_to_the_last_bit(trained: Made) -> None:
    """From the state after the first epoch; the global generator is elsewhere than it was."""
    torch.manual_seed(77)
    (again,) = train(trained.config, trained.data, CPU, after=trained.epochs[1])
    last = trained.epochs[2]
    for found, wanted in ((again.weights, last.weights), (again.momentum, last.momentum), (again.dynamics, last.dynamics)):
        assert found.keys() == wanted.keys()
        assert all(torch.equal(t, wanted[k]) for k, t in found.items())
    assert again.row == last.row
    assert not torch.equal(*(next(iter(trained.epochs[t].momentum.values())) for t in (1, 2)))


@pytest.mark.parametrize("bn", ["batch", "running"])
def test_gradients_of_the_sets_add_up_to_autograds(trained: Made, bn: str) -> None:
    data = trained.data
    network, other = (trained.network().double() for _ in range(2))
    order = np.random.default_rng(1).permutation(len(data.y))
    members = np.stack([~data.noisy, data.noisy])
    batches = split_into_batches(order, 12) if bn == "batch" else alike(order, members, 12)
    if bn == "batch":
        network.use_batch_statistics()
        other.train()
    found = set_gradients(network, trained.inputs(), batches, members, lambda rows: None)
    x, y = pixels(data.x).double(), torch.tensor(data.y)  # normalised in float32, as the engine does
    loss = torch.stack([F.cross_entropy(other(x[rows]), y[rows], reduction="sum") for rows in batches]).sum() / len(y)
    wanted = torch.autograd.grad(loss, list(other.parameters()))
    largest = max(float(w.abs().max()) for w in wanted)
    for clean, noisy, w in zip(*found, wanted, strict=True):
        torch.testing.assert_close(clean + noisy, w, rtol=1e-7, atol=1e-9 * largest)
    assert all(any(bool(t.abs().max() > 0) for t in of_set) for of_set in found)


def test_rewinding_is_loading_the_groups_parameters(trained: Made) -> None:
    final, early = trained.network(), trained.network(0)
    early.load_state_dict(dict(final.named_buffers()), strict=False)
    x = torch.tensor(trained.data.x_test)
    found = rewound_logits(final.folded(), [early.folded()], x, lambda rows: None)[0]
    for i, group in enumerate(final.groups):
        state = {**final.state_dict(), **{n: trained.epochs[0].weights[n] for n in final.parameters_of(group)}}
        plain = trained.network()
        plain.load_state_dict(state)
        with torch.inference_mode():
            wanted = plain(pixels(trained.data.x_test))
        torch.testing.assert_close(found[i], wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_retraining_leaves_the_other_groups_alone(trained: Made) -> None:
    final = trained.network()
    groups = [final.groups[0], final.groups[2], final.groups[-1]]
    config = RetrainConfig(epochs=1, peak_epoch=1, lr=0.01)
    together = retrain(config, trained.inputs(), groups)
    (alone,) = retrain(config, trained.inputs(), groups[1:2])
    assert alone.rows == together[1].rows
    own = alone.network.state_dict()
    assert all(torch.equal(t, own[k]) for k, t in together[1].network.state_dict().items())
    for variant in together:
        mine = set(final.parameters_of(variant.group))
        moved = {n for n, p in variant.network.named_parameters() if not torch.equal(p, final.state_dict()[n])}
        assert moved == mine
        assert any(not torch.equal(variant.network.state_dict()[n], trained.epochs[0].weights[n]) for n in mine)
        assert [row["clean_acc"] is not None for row in variant.rows] == [True, True]


@pytest.mark.parametrize("estimator", [pytest.param(None, marks=pytest.mark.slow), 4])
def test_flips_choose_as_the_plain_search(trained: Made, estimator: int | None) -> None:
    task = task_of(trained, estimator, folded=True, max_neurons=2)
    rows = predicted(task)[: 2 if estimator else 1]
    assert rows
    found = search(task, rows)
    assert [as_outcome(task, s) for s in found] == [plainly(task, row) for row in rows]


def test_evaluation(trained: Made) -> None:
    stage = Evaluate()
    config = stage.resolve(EvaluateConfig(), trained.config)
    tables = stage.run(config, trained.inputs(), {"epoch": 2})
    with torch.inference_mode():
        correct = (trained.network()(pixels(trained.data.x)).argmax(dim=1) == torch.tensor(trained.data.y)).numpy()
    assert list(tables["predictions"]["correct"]) == correct.tolist()
    assert tables["evaluation"]["noisy_acc"] == [correct[trained.data.noisy].mean()]


def test_covariances_and_edits(trained: Made) -> None:
    """Of a layer in the second group that can be edited: A and G by loops, and all of the energy is the network itself."""
    network, x = trained.network(), trained.data.x[:2]
    matrices = weight_matrices(network)
    group = [g for g in network.groups if matrices.layers[g] and g not in matrices.others][1]
    layer = matrices.layers[group][-1]
    found = covariances(network, [layer], torch.tensor(x), lambda rows: None)[layer]
    wanted = plain_covariances(trained.network().double(), layer, pixels(x).double())
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))
    stage, evaluate = Edit(), Evaluate()
    config = stage.resolve(EditConfig(groups=(group,), ranks=("kfac",), rho=(1.0,)), trained.config)
    rows = stage.run(config, trained.inputs(), {"epoch": 2, "images": "train"})["edits"]
    evaluated = evaluate.run(evaluate.resolve(EvaluateConfig(), trained.config), trained.inputs(), {"epoch": 2})
    for name in ("clean_acc", "noisy_acc", "noisy_true_acc", "test_acc"):
        assert rows[name] == evaluated["evaluation"][name]


DROPOUTS = [
    {"dropout": "example_tied", "p_gen": 0.3, "p_mem": 0.2},
    {"dropout": "standard", "keep": 0.6},
    {"dropout": "sparse", "keep": 0.6},
    {"dropout": "sparse", "keep": 0.6, "unit": "element"},
]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ResNet-50 of an eighth of its width, a transformer of a quarter and with a third of its blocks."""
    stages = {name: (inner // 8, blocks, stride) for name, (inner, blocks, stride) in resnet50.STAGES.items()}
    monkeypatch.setattr(resnet50, "STAGES", stages)
    for name, small in (("DIM", 128), ("DEPTH", 2)):
        monkeypatch.setattr(vit_small, name, small)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("dropout", DROPOUTS, ids=lambda d: f"{d['dropout']} {d.get('unit', '')}".strip())
@pytest.mark.parametrize("name", [n for n in MODELS if n not in ("resnet50", "vit_small shifted")])
def test_dropouts_train_and_evaluate(name: str, dropout: dict[str, Any]) -> None:
    config, data = given(name, **{**dropout, "epochs": 1})
    tied = Made(config, data, list(train(config, data, CPU)))
    stage = Evaluate()
    summary = stage.run(stage.resolve(EvaluateConfig(), config), tied.inputs(), {"epoch": 1})["evaluation"]
    assert len(summary["mode"]) == (6 if config.example_tied else 1)
    network = tied.network(1)
    if config.flat().get("unit") == "weight":
        shares = {n: float((t == 0).float().mean()) for n, t in network.state_dict().items() if n.endswith("weight")}
        weights = [n for n, m in network.named_modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
        assert all(0.2 < shares[f"{n}.weight"] < 0.6 for n in weights if network.get_submodule(n).weight.numel() > 200)  # type: ignore[operator, union-attr]
        return
    masks = floats(tied.inputs().dropout(network).training(torch.arange(3), 1, 0))
    assert masks is not None
    assert set(masks) == set(network.groups[:-1])
    x = pixels(data.x[:3])
    with torch.no_grad():
        state: tuple[Tensor, ...] = (x,)
        for group in network.groups[:-1]:
            open_state = network.run_group(group, state)[0]
            state = network.run_group(group, state, masks=masks)
            by_rank = {4: masks[group], 3: masks[group].flatten(2).transpose(1, 2), 2: masks[group].flatten(1)}
            mask = by_rank[open_state.ndim]
            assert torch.equal(state[0], open_state * mask)
