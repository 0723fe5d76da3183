"""From a training's configuration to its network."""

from __future__ import annotations

from importlib import import_module

from memloc.config import TrainConfig
from memloc.models.groups import Network

TIMM = "timm:"
ARCHITECTURES = "memloc.models.architectures"


def build(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> Network:
    """The network of a training for images of shape (C, H, W). `Network.initialise` fills its parameters.

    Built while the default device is `meta`, the network has shapes and no numbers.
    """
    if config.model.startswith(TIMM):
        from memloc.models.timm_model import TimmModel

        return TimmModel.build(config, shape, classes)
    architecture: type[Network] = import_module(f"{ARCHITECTURES}.{config.model}.network").Architecture
    return architecture.build(config, shape, classes)


def misfit(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> str | None:
    """Why the architecture cannot take images of shape (C, H, W), in one line; None if it can."""
    if config.model.startswith(TIMM):
        from memloc.models.timm_model import misfit as timm_misfit

        return timm_misfit(config.model.removeprefix(TIMM), shape, classes)
    problem: str | None = import_module(f"{ARCHITECTURES}.{config.model}.config").misfit(shape)
    return problem
