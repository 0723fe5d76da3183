"""ResNet-9's own fields, and which images it takes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from memloc.config import ArchitectureConfig

# conv2 halves the side, the pool halves it again, conv4 takes 2 off: 11 leaves one pixel.
SMALLEST_SIDE = 11


class ResNet9(ArchitectureConfig):
    """ResNet-9 (paper §3)."""

    # All of its weights are in ConvBlocks and in a gated linear layer.
    WEIGHT_GATES: ClassVar[bool] = True

    name: Literal["resnet9"] = "resnet9"
    width: Annotated[float, Field(gt=0, le=16)] = 1.0
    """Channels of every layer, as a multiple of the paper's 64, 128, 256, 128. [paper: 1]"""

    def misfit(self, shape: tuple[int, int, int], classes: int) -> str | None:
        _, height, width = shape
        if min(height, width) >= SMALLEST_SIDE:
            return None
        return f"images of {height}×{width} pixels; resnet9 needs at least {SMALLEST_SIDE}×{SMALLEST_SIDE}"


CONFIG = ResNet9
