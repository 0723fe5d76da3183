"""Architectures as chains of named layer groups, their gates, and the dropouts that act between groups."""

from __future__ import annotations

from importlib import import_module

from memloc.config import TrainConfig
from memloc.models.base import Network
from memloc.models.dropout import Dropout, OwnDropouts, build_dropout
from memloc.models.timm_model import PREFIX, TimmModel

__all__ = ["Dropout", "Network", "OwnDropouts", "build", "build_dropout", "misfit"]


def build(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> Network:
    """The uninitialised network of a training for images C×H×W; `Network.initialise` fills its parameters."""
    return _architecture(config).build(config, shape, classes)


def misfit(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> str | None:
    """Why the architecture cannot take images of C×H×W, in one line; None if it can."""
    return _architecture(config).misfit(config, shape, classes)


def _architecture(config: TrainConfig) -> type[Network]:
    if config.model.startswith(PREFIX):
        return TimmModel
    architecture: type[Network] = import_module(f"memloc.models.architectures.{config.model}").Architecture
    return architecture
