"""Layer rewinding (science.md, Layer rewinding; paper §5.1): one group's weights from an earlier epoch, the rest final.

All groups of all epochs of a task are rewound in one pass over the data. The final network's state before every group is
computed once per batch. Each version then runs its own group with the early weights and the rest of the network. Rewinding
to the last epoch changes nothing and costs nothing.

With `buffers: recomputed` each rewound network first gets the statistics that belong to its weights, so nothing is shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.data.device import images
from memloc.models.groups import Network, State
from memloc.models.inference import MaskSource, accuracy, groups_of, set_mean
from memloc.models.kept import Masks
from memloc.models.running_statistics import recompute_statistics
from memloc.seeds import stream
from memloc.stages.base import Part, Tables
from memloc.stages.inputs import Inputs
from memloc.stages.rewind.config import RewindConfig
from memloc.stages.training.transfer import to_device


def run_together(config: RewindConfig, inputs: Inputs, parts: Sequence[Part]) -> Iterator[Tables]:
    """One row per group at each part's epoch t: accuracy and mean loss on S_c and S_n, accuracy on test."""
    final = inputs.network(inputs.train.epochs)
    if config.buffers == "recomputed":
        for part in parts:
            z = _recomputed_logits(config, inputs, final, int(part["epoch"]))
            yield {"rewind": _columns(final.groups, int(part["epoch"]), inputs, *z)}
        return
    early = [early_network(config, inputs, final, int(part["epoch"])) for part in parts]
    masks, on_device = inputs.masks(final, config.mask_mode), inputs.on_device
    final = final.folded()
    train_z = rewound_logits(final, early, on_device.x, masks)
    test_z = None
    if config.mask_mode != "own" and len(on_device.y_test):
        test_z = rewound_logits(final, early, on_device.x_test, masks)
    for k, part in enumerate(parts):
        of_part = train_z[k], None if test_z is None else test_z[k]
        yield {"rewind": _columns(final.groups, int(part["epoch"]), inputs, *of_part)}


def early_network(config: RewindConfig, inputs: Inputs, final: Network, epoch: int) -> Network | None:
    """θ^t, with the final statistics unless `buffers: rewound`, its batch norms folded; None for the last epoch."""
    if epoch == inputs.train.epochs:
        return None
    early = inputs.network(epoch)
    if config.buffers == "final":
        # A parameter may have a second name, under which the final value would come back.
        parameters = dict(final.named_parameters(remove_duplicate=False))
        early.load_state_dict({k: v for k, v in final.state_dict().items() if k not in parameters}, strict=False)
    return early.folded()


@dataclass(frozen=True)
class Rewound:
    """The final network with one group of another one, which has the same groups. It is called as a network is."""

    final: Network
    early: Network
    group: str

    def __call__(self, x: Tensor, masks: Masks | None = None) -> Tensor:
        """Logits, float32 B×classes, of normalised images B×C×H×W."""
        state: State = (x,)
        for name in self.final.groups:
            state = (self.early if name == self.group else self.final).run_group(name, state, masks=masks)
        return state[0]

    def measure_statistics(self, x: Tensor, order: Tensor, masks: MaskSource) -> None:
        """Sets the running statistics to those of these images (uint8 n×C×H×W) in this order (int64 [n])."""
        recompute_statistics([self.final, self.early], self, x, order, masks)

    def folded(self) -> Rewound:
        """A copy for evaluation mode whose batch norms are folded."""
        return Rewound(self.final.folded(), self.early.folded(), self.group)

    @torch.inference_mode()
    def logits(self, x: Tensor, masks: MaskSource) -> Tensor:
        """Logits of uint8 images n×C×H×W."""
        return torch.cat([self(images(x[rows]), masks(rows)) for rows in groups_of(len(x), x.device)])


def statistics_order(seed: int, n: int) -> Tensor:
    """The order of the n training images in which statistics are measured, int64 [n]. seed: of the training."""
    return torch.from_numpy(stream(seed, "rewind statistics").permutation(n))


def _recomputed_logits(config: RewindConfig, inputs: Inputs, final: Network, epoch: int) -> tuple[Tensor, Tensor | None]:
    """[groups, n, classes] of the training images and of the test images, each with the statistics of its own weights."""
    data, masks = inputs.on_device, inputs.masks(final, config.mask_mode)
    order = to_device(statistics_order(inputs.train.seed, len(data.x)), inputs.device)
    early = inputs.network(epoch)
    with_test = config.mask_mode != "own" and len(data.y_test) > 0
    train_z, test_z = list[Tensor](), list[Tensor]()
    for group in final.groups[:1] if epoch == inputs.train.epochs else final.groups:  # all of epoch T are one network
        rewound = Rewound(deepcopy(final), deepcopy(early), group)
        rewound.measure_statistics(data.x, order, masks)
        rewound = rewound.folded()
        train_z.append(rewound.logits(data.x, masks))
        if with_test:
            test_z.append(rewound.logits(data.x_test, masks))
    of_all = [torch.stack(z).expand(len(final.groups), -1, -1) if z else None for z in (train_z, test_z)]
    assert of_all[0] is not None
    return of_all[0], of_all[1]


def _columns(
    groups: Sequence[str], epoch: int, inputs: Inputs, train_z: Tensor, test_z: Tensor | None
) -> dict[str, list[Any]]:
    """The rows of one epoch; train_z, test_z: logits, [groups, n, classes]."""
    data = inputs.on_device
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for i, group in enumerate(groups):
        z = train_z[i].to(torch.float64)
        correct = z.argmax(dim=1) == data.y
        loss = F.cross_entropy(z, data.y, reduction="none")
        clean, noisy = ~data.noisy, data.noisy
        test = None if test_z is None else accuracy(test_z[i], data.y_test)
        accuracies = set_mean(correct, clean), set_mean(correct, noisy), test
        row = (group, epoch, *accuracies, set_mean(loss, clean), set_mean(loss, noisy))
        for name, value in zip(_COLUMNS, row, strict=True):
            columns[name].append(value)
    return columns


_COLUMNS = ("layer", "epoch", "clean_acc", "noisy_acc", "test_acc", "clean_loss", "noisy_loss")


@torch.inference_mode()
def rewound_logits(final: Network, early: Sequence[Network | None], x: Tensor, masks: MaskSource) -> Tensor:
    """Logits of `final` with each group in turn taken from each of `early`: float32 [early, groups, n, classes].

    final, early: networks in evaluation mode; None in early stands for `final`. x: uint8 n×C×H×W. masks: the dropout factors
    of the rows.
    """
    out: list[list[list[Tensor]]] = [[[] for _ in final.groups] for _ in early]
    for rows in groups_of(len(x), x.device):
        factors = masks(rows)
        before: list[State] = []
        state: State = (images(x[rows]),)
        for group in final.groups:
            before.append(state)
            state = final.run_group(group, state, masks=factors)
        own = state[0]
        for k, network in enumerate(early):
            for i, group in enumerate(final.groups):
                out[k][i].append(own if network is None else _rewound(final, network, group, before[i], factors))
    return torch.stack([torch.stack([torch.cat(chunks) for chunks in of_network]) for of_network in out])


def _rewound(final: Network, early: Network, group: str, before: State, masks: Masks | None) -> Tensor:
    """Logits from the state before `group`: that group of `early`, then the rest of `final`."""
    state = early.run_group(group, before, masks=masks)
    rest = final.groups[final.groups.index(group) + 1 :]
    return final.run_from(rest[0], state, masks=masks) if rest else state[0]
