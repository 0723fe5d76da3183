"""ResNet-50's own fields. It takes images of every size: each stride is padded, so that one pixel stays one pixel."""

from __future__ import annotations

from typing import Literal

from memloc.config import ArchitectureConfig


class ResNet50(ArchitectureConfig):
    """ResNet-50 (paper §3)."""

    name: Literal["resnet50"] = "resnet50"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    """imagenet: the network begins with a convolution of 7×7, stride 2, and a max pool. cifar: it begins with a
    convolution of 3×3. [paper: not said]
    """


CONFIG = ResNet50
