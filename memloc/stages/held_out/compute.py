"""What networks know of examples they did not see (science.md, Atypical examples; paper §7): the runs behind C-scores.

A block with this stage trains on parts of its data set. Each of `ratios` has so many trainings that every example is held
out `min_held_out` times. The table c_scores is computed from all of them together (store/c_scores.py).
"""

from __future__ import annotations

import numpy as np
import torch

from memloc.models.inference import logits
from memloc.stages.base import Part, Tables
from memloc.stages.held_out.config import HeldOutConfig
from memloc.stages.inputs import Inputs


def run(config: HeldOutConfig, inputs: Inputs, part: Part) -> Tables:
    """One row per example of the data set: was it trained on (`held_in`), and is the last network right about it?

    The network is in evaluation mode. Right means: as the label trained on (for held-out examples: the label that would have
    been). The masks are those of test accuracy, because held-out examples have no masks of their own.

    Raises:
        ValueError: the training holds no examples out.
    """
    data, network = inputs.data, inputs.network(inputs.train.epochs)
    if data.held_out is None:
        raise ValueError("this training has no ratio, so it holds no examples out")
    dropout = inputs.dropout(network)
    mask_mode = "scaled" if inputs.train.example_tied else "plain"
    correct = []
    for x, y in ((inputs.on_device.x, data.y), (torch.tensor(data.held_out.x, device=inputs.device), data.held_out.y)):
        z = logits(network, x, lambda rows: dropout.evaluation(mask_mode, rows))
        correct.append(z.argmax(dim=1).cpu().numpy() == y)
    example = np.concatenate([data.example, data.held_out.example])
    held_in = np.arange(len(example)) < len(data.example)
    order = np.argsort(example)
    columns = {"example": example, "held_in": held_in, "correct": np.concatenate(correct)}
    return {"held_out": {name: values[order] for name, values in columns.items()}}
