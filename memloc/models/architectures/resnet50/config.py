"""ResNet-50's own fields. It takes images of every size: each stride is padded, so that one pixel stays one pixel."""

from __future__ import annotations

from typing import Literal

from memloc.config import ArchitectureConfig


class ResNet50(ArchitectureConfig):
    """stem: a convolution of 7×7 with stride 2 and a pool (imagenet), or of 3×3 (cifar)."""

    name: Literal["resnet50"] = "resnet50"
    stem: Literal["imagenet", "cifar"] = "imagenet"


CONFIG = ResNet50
