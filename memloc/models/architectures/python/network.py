"""A network that a function of the user's makes, run group by group."""

from __future__ import annotations

from memloc.models.architectures.python.config import Python
from memloc.models.dropouts import Shape
from memloc.models.traced.network import TracedNetwork


class Architecture(TracedNetwork):
    """The user's module: its children, its tensors, its names."""

    @classmethod
    def build(cls, config: Python, shape: Shape, classes: int) -> Architecture:
        """The network for images of shape (C, H, W); raises GroupingError if `config.misfits` names a problem."""
        return cls(config.origin(), shape, classes)
