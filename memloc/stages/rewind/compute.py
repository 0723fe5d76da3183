"""Layer rewinding (science.md, Layer rewinding; paper §5.1): one group's weights from an earlier epoch, the rest final.

All groups of all epochs of a task are rewound in one pass over the data. The final network's state before every group is
computed once per batch. Each version then runs its own group with the early weights and the rest of the network. Rewinding
to the last epoch changes nothing and costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.data.device import images
from memloc.models.groups import Network, State
from memloc.models.inference import MaskSource, accuracy, groups_of, set_mean
from memloc.models.kept import Masks
from memloc.stages.base import Part, Tables
from memloc.stages.inputs import Inputs
from memloc.stages.rewind.config import RewindConfig


def run_together(config: RewindConfig, inputs: Inputs, parts: Sequence[Part]) -> Iterator[Tables]:
    """One row per group at each part's epoch t: accuracy and mean loss on S_c and S_n, accuracy on test."""
    final = inputs.network(inputs.train.epochs)
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
