"""Architectures as chains of named layer groups, their gates, and the dropouts that act between groups."""

from __future__ import annotations

from memloc.config import TrainConfig
from memloc.models.base import Network
from memloc.models.dropout import Dropout, build_dropout
from memloc.models.resnet9 import ResNet9
from memloc.models.resnet50 import ResNet50

__all__ = ["Dropout", "Network", "build", "build_dropout", "smallest_side"]

ARCHITECTURES: dict[str, type[Network]] = {"resnet9": ResNet9, "resnet50": ResNet50}


def build(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> Network:
    """The uninitialised network of a training for images C×H×W; `Network.initialise` fills its parameters."""
    return ARCHITECTURES[config.model].build(config, shape, classes)


def smallest_side(config: TrainConfig) -> int:
    """The smallest image height and width, in pixels, that the architecture can take."""
    return ARCHITECTURES[config.model].smallest_side
