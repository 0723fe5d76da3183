"""What networks know of examples they did not see (science.md, Atypical examples; paper §7): the runs behind C-scores.

A block with this stage trains on parts of its data set. Each of `ratios` has so many trainings that every example is held
out `min_held_out` times. The table c_scores is computed from all of them together (store/c_scores.py).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from memloc.models.inference import logits
from memloc.stages.base import Part, Tables
from memloc.stages.held_out.config import HeldOutConfig
from memloc.stages.inputs import Inputs


def run(config: HeldOutConfig, inputs: Inputs, part: Part) -> Tables:
    """One row per example of the data set: was it trained on (`held_in`), and what does the last network say of it?

    The network is in evaluation mode. label is the label trained on (for held-out examples: the label that would have
    been); noisy: it is wrong; correct: the network predicts it; prob: its probability. alternative is the likeliest of the
    other classes. Probabilities are float64 softmax. The masks are those of test accuracy, because held-out examples have
    no masks of their own.

    Raises:
        ValueError: the training holds no examples out.
    """
    data, network = inputs.data, inputs.network(inputs.train.epochs)
    if data.held_out is None:
        raise ValueError("this training has no ratio, so it holds no examples out")
    masks = inputs.masks(network, "scaled" if inputs.train.example_tied else "plain")
    said = [
        _said(logits(network, x, masks), torch.from_numpy(y))
        for x, y in (
            (inputs.on_device.x, data.y),
            (torch.tensor(data.held_out.x, device=inputs.device), data.held_out.y),
        )
    ]
    columns = {name: np.concatenate([one[name] for one in said]) for name in said[0]}
    for name in ("example", "noisy"):
        columns[name] = np.concatenate([getattr(data, name), getattr(data.held_out, name)])
    columns["held_in"] = np.arange(len(columns["example"])) < len(data.example)
    order = np.argsort(columns["example"])
    return {"held_out": {name: values[order] for name, values in columns.items()}}


def _said(z: Tensor, y: Tensor) -> dict[str, npt.NDArray[np.generic]]:
    """What a network says of examples. z: their logits, n×K. y: their labels, int64 [n], on the CPU."""
    z, label = z.cpu(), y[:, None]
    probabilities = z.to(torch.float64).softmax(dim=1)
    others = probabilities.scatter(1, label, -1.0)
    return {
        "label": y.numpy(),
        "correct": (z.argmax(dim=1) == y).numpy(),
        "prob": probabilities.gather(1, label).squeeze(1).numpy(),
        "alternative": others.argmax(dim=1).numpy(),
        "alternative_prob": others.amax(dim=1).numpy(),
    }
