"""Any image classifier of timm (`timm:NAME`), without pretrained weights, run group by group."""

from __future__ import annotations

from memloc.models.architectures.timm.config import Timm
from memloc.models.dropouts import Shape
from memloc.models.traced.network import TracedNetwork


class Architecture(TracedNetwork):
    """A timm model with timm's children."""

    @classmethod
    def build(cls, config: Timm, shape: Shape, classes: int) -> Architecture:
        """The model for images of shape (C, H, W); raises GroupingError if `config.misfit` names a problem."""
        return cls(config.origin(), shape, classes)
