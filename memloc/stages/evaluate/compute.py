"""Evaluation of one checkpoint in every mask mode (science.md, Example-tied dropout; paper §6.2, Tables 1–3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from memloc.models.groups import Network
from memloc.models.inference import accuracy, logits, margins
from memloc.stages.base import Part, Tables
from memloc.stages.columns import ACCURACY_NAMES, columns_of
from memloc.stages.evaluate.config import ResolvedEvaluate, variants
from memloc.stages.inputs import Inputs
from memloc.stages.set_accuracies import set_accuracies


def run(config: ResolvedEvaluate, inputs: Inputs, part: Part) -> Tables:
    """Rows of `evaluation` and `predictions`, one mode × rescale after the other.

    noisy_true_acc: the share of the mislabeled examples that are predicted as their true class.
    """
    names = ("mode", "rescale", *ACCURACY_NAMES, "noisy_true_acc")
    network = inputs.network(config.epoch)
    summary: list[dict[str, Any]] = []
    details: list[dict[str, Tensor | list[str]]] = []
    for mask_mode, rescale in variants(config):
        row, examples = _evaluated(network, inputs, mask_mode, rescale)
        summary.append(row)
        details.append(examples)
    return {"evaluation": columns_of(summary, names), "predictions": _concatenate(details)}


def _evaluated(
    network: Network, inputs: Inputs, mask_mode: str, rescale: str
) -> tuple[dict[str, Any], dict[str, Tensor | list[str]]]:
    """(the row of `evaluation`, the columns of `predictions`) of one mode and rescaling."""
    masks, on_device = inputs.masks(network, mask_mode, rescale), inputs.on_device
    z = logits(network, on_device.x, masks)
    predicted = z.argmax(dim=1)
    test_acc = None
    if mask_mode != "own" and len(on_device.y_test):
        test_acc = accuracy(logits(network, on_device.x_test, masks), on_device.y_test)
    row = {
        "mode": mask_mode,
        "rescale": rescale,
        **set_accuracies(inputs, predicted),
        "test_acc": test_acc,
    }
    n = len(predicted)
    return row, {
        "mode": [mask_mode] * n,
        "rescale": [rescale] * n,
        "example": torch.from_numpy(inputs.data.example),
        "predicted": predicted.cpu(),
        "correct": (predicted == on_device.y).cpu(),
        "margin": margins(z, on_device.y).cpu(),
    }


def _concatenate(chunks: list[dict[str, Tensor | list[str]]]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, first in chunks[0].items():
        if isinstance(first, Tensor):
            columns[name] = torch.cat([chunk[name] for chunk in chunks]).numpy()  # type: ignore[misc]
        else:
            columns[name] = [value for chunk in chunks for value in chunk[name]]
    return columns
