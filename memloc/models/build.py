"""From a training's configuration to its network."""

from __future__ import annotations

from importlib import import_module

from memloc.config import TrainConfig
from memloc.models.groups import Network


def build(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> Network:
    """The network of a training for images of shape (C, H, W). `Network.initialise` fills its parameters.

    Built while the default device is `meta`, the network has shapes and no numbers.
    """
    package = type(config.architecture).__module__.rpartition(".")[0]  # config.py and network.py stand side by side
    network: Network = import_module(f"{package}.network").Architecture.build(config.architecture, shape, classes)
    return network
