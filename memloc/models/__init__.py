"""Architectures as chains of named layer groups, their gates, and the dropouts that act between groups."""

from __future__ import annotations

from memloc.config import TrainConfig
from memloc.models.base import Network
from memloc.models.dropout import Dropout, OwnDropouts, build_dropout
from memloc.models.resnet9 import ResNet9
from memloc.models.resnet50 import ResNet50
from memloc.models.timm_model import PREFIX, TimmModel
from memloc.models.vit_small import ViTSmall

__all__ = ["Dropout", "Network", "OwnDropouts", "build", "build_dropout", "misfit"]

ARCHITECTURES: dict[str, type[Network]] = {"resnet9": ResNet9, "resnet50": ResNet50, "vit_small": ViTSmall}


def build(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> Network:
    """The uninitialised network of a training for images C×H×W; `Network.initialise` fills its parameters."""
    return _architecture(config).build(config, shape, classes)


def misfit(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> str | None:
    """Why the architecture cannot take images of C×H×W, in one line; None if it can."""
    return _architecture(config).misfit(config, shape, classes)


def _architecture(config: TrainConfig) -> type[Network]:
    return TimmModel if config.model.startswith(PREFIX) else ARCHITECTURES[config.model]
