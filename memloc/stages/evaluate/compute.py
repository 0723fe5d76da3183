"""Evaluation of one checkpoint in every mask mode (science.md, Example-tied dropout; paper §6.2, Tables 1–3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from memloc.models.groups import Network
from memloc.models.inference import accuracy, logits, margins, set_mean
from memloc.stages.base import Part, Tables
from memloc.stages.columns import ACCURACY_NAMES, columns_of
from memloc.stages.evaluate.config import ResolvedEvaluate, variants
from memloc.stages.inputs import Inputs
from memloc.stages.training.transfer import to_device


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
    dropout, on_device = inputs.dropout(network), inputs.on_device
    z = logits(network, on_device.x, lambda rows: dropout.evaluation(mask_mode, rows, rescale))
    predicted = z.argmax(dim=1)
    correct = predicted == on_device.y
    true = predicted == to_device(torch.from_numpy(inputs.data.true_label), inputs.device)
    test_acc = None
    if mask_mode != "own" and len(on_device.y_test):
        z_test = logits(network, on_device.x_test, lambda rows: dropout.evaluation(mask_mode, rows, rescale))
        test_acc = accuracy(z_test, on_device.y_test)
    row = {
        "mode": mask_mode,
        "rescale": rescale,
        "clean_acc": set_mean(correct, ~on_device.noisy),
        "noisy_acc": set_mean(correct, on_device.noisy),
        "test_acc": test_acc,
        "noisy_true_acc": set_mean(true, on_device.noisy) if (inputs.data.true_label >= 0).all() else None,
    }
    n = len(correct)
    return row, {
        "mode": [mask_mode] * n,
        "rescale": [rescale] * n,
        "example": torch.from_numpy(inputs.data.example),
        "predicted": predicted.cpu(),
        "correct": correct.cpu(),
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
