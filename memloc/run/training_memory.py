"""About how much memory of a GPU a training takes, from its network and its batch. Nothing is trained for it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from memloc.models.build import build
from memloc.models.memory_format import channels_last
from memloc.run.cost import Shape
from memloc.run.plan import TrialPlan

CONTEXT = 800 << 20  # bytes of CUDA's context, of its libraries' kernels and of their workspaces, about
COPIES = 4  # of the weights: themselves, gradients, momentum, the state that is being written
FEW, MORE = 2, 4  # images; batch norms need two


def training_bytes(trial: TrialPlan, shape: Shape) -> int:
    """Bytes of memory at the peak of a training step in single precision; mixed precision takes less.

    What the forward pass keeps for the backward pass is counted for two and for four images. The difference is what an image
    adds. The gradients of the two largest of these tensors come on top, then the weights and their copies, the data, and
    CUDA itself.
    """
    few, more = (_kept(trial, shape, images) for images in (FEW, MORE))
    an_image = (sum(more) - sum(few)) / (MORE - FEW)
    gradients = 2 * (max(more) - max(few)) / (MORE - FEW)
    pixels = shape[0] * shape[1] * shape[2]
    data = (trial.size.n + trial.size.n_test) * pixels
    batch = min(trial.config.batch_size, trial.size.n)
    copies = COPIES + (trial.config.optimizer == "adamw")  # it has a second moment
    return int(batch * (an_image + gradients) + copies * 4 * trial.size.parameters + data + CONTEXT)


def _kept(trial: TrialPlan, shape: Shape, images: int) -> list[int]:
    """The bytes of each tensor that a forward pass keeps for the backward pass. Weights are among them, once."""
    alive: dict[int, torch.UntypedStorage] = {}  # by identity, which no other has while it is alive

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        alive[storage._cdata] = storage
        return tensor

    with torch.device("meta"):  # shapes alone: nothing is computed
        network = channels_last(build(trial.config, shape, trial.size.classes).train())
        x = torch.zeros(images, *shape).contiguous(memory_format=torch.channels_last)
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            network(x).float().square().mean()
    return [storage.nbytes() for storage in alive.values()]
