"""Rates of networks that no store knows, and the card of this machine. They need torch: another process may say them."""

from __future__ import annotations

from memloc.aside import aside
from memloc.run.cards import CARDS, Card, card_name
from memloc.run.cost import Rate, Shape
from memloc.run.plan import TrialPlan


def timed(trial: TrialPlan, shape: Shape, device: str) -> Rate:
    """As `training_step.timed`, on a type of device."""
    return aside(_timed, trial, shape, device)


def _timed(trial: TrialPlan, shape: Shape, device: str) -> Rate:
    import torch

    from memloc.run.training_step import timed

    return timed(trial, shape, torch.device(device))


def counted_rate(trial: TrialPlan, shape: Shape, device: str) -> Rate:
    """As `training_step.counted_rate`."""
    return aside(_counted_rate, trial, shape, device)


def _counted_rate(trial: TrialPlan, shape: Shape, device: str) -> Rate:
    from memloc.run.training_step import counted_rate

    return counted_rate(trial, shape, device)


def training_rate(trial: TrialPlan, shape: Shape, card: Card) -> Rate:
    """As `by_shape.price.training_rate`."""
    return aside(_training_rate, trial, shape, card)


def _training_rate(trial: TrialPlan, shape: Shape, card: Card) -> Rate:
    from memloc.run.by_shape.price import training_rate

    return training_rate(trial, shape, card)


def forward_rate(trial: TrialPlan, shape: Shape, card: Card) -> Rate:
    """As `by_shape.price.forward_rate`."""
    return aside(_forward_rate, trial, shape, card)


def _forward_rate(trial: TrialPlan, shape: Shape, card: Card) -> Rate:
    from memloc.run.by_shape.price import forward_rate

    return forward_rate(trial, shape, card)


def card_here() -> Card | str | None:
    """This machine's first GPU: a known card, or the name of its product; None without a GPU. No context is made on it."""
    found = aside(_name_of_card)
    if found is None:
        return None
    name = card_name(found)
    return CARDS.get(name, name)


def _name_of_card() -> str | None:
    import torch

    return torch.cuda.get_device_properties(0).name if torch.cuda.is_available() else None
