"""Why input curvature is no detection score: what its estimate depends on, and how well it finds mislabeled examples.

python -m benchmarks.input_curvature STORE TRIAL [--epochs 5 10 15 20 25 30]

Garg, Ravikumar and Roy (2024) score an example by the curvature of its loss in the input. It is the mean over random
sign vectors v of ‖∇ℓ(x + h·v) − ∇ℓ(x)‖² / h². A network of ReLUs is piecewise linear, so its gradient jumps where h·v
crosses a kink. The size of a jump does not depend on h, and the chance of a crossing grows with h. So the estimate is
proportional to 1/h where jumps outweigh the curvature of the softmax, and it has no limit for small h.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import cross_entropy

import memloc
from memloc.api.trial import Trial

STEPS = (1e-1, 1e-2, 1e-3)  # h, in pixels of which the range is 2
DRAWS, BATCH = 4, 500


def gradients(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The gradient of each example's loss in its pixels, float64 [n, pixels]. The model must be in evaluation mode."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(model(x).double(), y, reduction="sum"), x)
    return gradient.flatten(1).double()


def curvature(model: nn.Module, x: torch.Tensor, y: torch.Tensor, step: float, signs: torch.Tensor) -> torch.Tensor:
    """The estimate for each example, float64 [n]. signs: [draws, *one image], ±1, the same for all examples."""
    plain = gradients(model, x, y)
    squares = [((gradients(model, x + step * v, y) - plain) ** 2).sum(1) for v in signs.to(x)]
    return torch.stack(squares).mean(0) / step**2


def table(trial: Trial, epochs: list[int]) -> list[tuple[str, float, float, float]]:
    """[(score, mean over clean, over noisy examples, AUC)]. A score of several epochs is the mean over them."""
    torch.set_num_threads(trial.config.threads)
    data, last = trial.data(), trial.config.epochs
    drawn = trial.stream("input curvature").integers(0, 2, size=(DRAWS, *data.x.shape[1:]))
    signs = torch.from_numpy(2.0 * drawn - 1)
    noisy = np.asarray(data.noisy)
    rows = []
    for step in STEPS:
        by_epoch = {}
        for epoch in sorted({*epochs, last}):
            model, batches = trial.model(epoch).eval(), torch.split(torch.arange(len(data.y)), BATCH)
            by_epoch[epoch] = torch.cat([curvature(model, data.x[b], data.y[b], step, signs) for b in batches]).numpy()
        rows.append((f"curvature, h = {step:g}, epoch {last}", by_epoch[last]))
        rows.append((f"curvature, h = {step:g}, mean of epochs", np.mean([by_epoch[e] for e in epochs], axis=0)))
    examples = trial.pandas("examples").set_index("example").loc[np.asarray(data.example)]
    rows.append(("mean loss of the training", examples["mean_loss"].to_numpy()))
    return [(name, v[~noisy].mean(), v[noisy].mean(), roc_auc_score(noisy, v)) for name, v in rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("trial")
    parser.add_argument("--epochs", type=int, nargs="+", default=[5, 10, 15, 20, 25, 30])
    asked = parser.parse_args()
    found = table(memloc.open_store(asked.store).trial(asked.trial), asked.epochs)
    print(f"{'score':45} {'clean':>10} {'noisy':>10} {'AUC':>6}")
    for name, clean, noisy, auc in found:
        print(f"{name:45} {clean:10.3g} {noisy:10.3g} {auc:6.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
