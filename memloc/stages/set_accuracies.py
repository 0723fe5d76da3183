"""The accuracies of predictions on the clean and on the mislabeled training examples, by given and by true label."""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor

from memloc.models.inference import set_mean
from memloc.stages.inputs import Inputs
from memloc.stages.training.transfer import to_device


def set_accuracies(inputs: Inputs, predicted: Int64[Tensor, " n"]) -> dict[str, float | None]:
    """{clean_acc, noisy_acc, noisy_true_acc} of the predicted classes of all training examples, float64.

    None over an empty set. noisy_true_acc: of the mislabeled examples, predicted as their true class; None where the true
    labels are not known.
    """
    data, true = inputs.on_device, to_device(torch.from_numpy(inputs.data.true_label), inputs.device)
    known = bool((inputs.data.true_label >= 0).all())
    correct = predicted == data.y
    return {
        "clean_acc": set_mean(correct, ~data.noisy),
        "noisy_acc": set_mean(correct, data.noisy),
        "noisy_true_acc": set_mean(predicted == true, data.noisy) if known else None,
    }
