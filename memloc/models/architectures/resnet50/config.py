"""Which images ResNet-50 takes: all of them."""

from __future__ import annotations


def misfit(shape: tuple[int, int, int]) -> str | None:
    """None: every stride is padded, so that one pixel stays one pixel. shape: (C, H, W)."""
    return None
