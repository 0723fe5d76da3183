"""How much of what rewinding costs comes from batch-norm statistics that do not fit the early weights.

python -m benchmarks.rewound_statistics STORE SWEEP [--epoch 0] [--images 1000]

Rewinding sets the weights of one layer back, and keeps the running statistics of the last epoch (`buffers: final`). A layer
with other weights gives its batch norm, and all those behind it, values with other means and variances. Here the network is
judged twice: with the final statistics, and with those of a pass over training images in training mode. Prints the mean over
seeds of the share of wrong and of right labels that the network still gives: of all wrong labels, and of as many right ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import memloc
from memloc.api.trial import Trial
from memloc.models.groups import Network

BATCH = 250
SHARES = ("wrong", "wrong_anew", "right", "right_anew")


def renew_statistics(model: nn.Module, x: Tensor) -> None:
    """Gives every batch norm the mean and the variance over the batches of x, in training mode. The model evaluates then."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
    model.train()
    with torch.no_grad():
        for batch in torch.split(x, BATCH):
            model(batch)
    model.eval()


def trained(trial: Trial) -> Network:
    """The network after its last epoch, with its groups."""
    return cast(Network, trial.model())


def rewound(trial: Trial, group: str, epoch: int) -> nn.Module:
    """The trained network with the weights that a group had after an epoch, in evaluation mode."""
    model, early = trained(trial), dict(trial.model(epoch).named_parameters())
    names = set(model.parameters_of(group))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in names:
                parameter.copy_(early[name])
    return model.eval()


def shares(trial: Trial, epoch: int, images: int) -> Iterator[dict[str, object]]:
    """A row for each group."""
    data = trial.data()
    noisy, stream = np.asarray(data.noisy), trial.stream("rewound statistics")
    wrong, right = np.flatnonzero(noisy), stream.permutation(np.flatnonzero(~noisy))[: noisy.sum()]
    seen = stream.permutation(len(noisy))[:images]
    for group in trained(trial).groups:
        model = rewound(trial, group, epoch)
        row: dict[str, object] = {"layer": group}
        for anew in ("", "_anew"):
            if anew:
                renew_statistics(model, data.x[seen])
            row |= {
                f"{name}{anew}": _right(model, data.x[at], data.y[at]) for name, at in (("wrong", wrong), ("right", right))
            }
        yield row


def _right(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        found = torch.cat([model(batch).argmax(1) for batch in torch.split(x, BATCH)])
    return float((found == y).double().mean())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("sweep")
    parser.add_argument("--epoch", type=int, default=0)
    parser.add_argument("--images", type=int, default=1000, help="over which statistics are taken")
    options = parser.parse_args()
    store, rows = memloc.open_store(options.store), []
    for trial in store.trials(sweep=options.sweep):
        torch.set_num_threads(trial.config.threads)
        setting = {name: trial.config.flat()[name] for name in ("dataset", "width", "seed")}
        rows += [{**setting, **row} for row in shares(trial, options.epoch, options.images)]
        print(f"{setting}: done", file=sys.stderr)
    means = pd.DataFrame(rows).groupby(["dataset", "width", "layer"], sort=False)[list(SHARES)].mean()
    print(means.round(3).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
