"""Which images ResNet-9 takes."""

from __future__ import annotations

# conv2 halves the side, the pool halves it again, conv4 takes 2 off: 11 leaves one pixel.
SMALLEST_SIDE = 11


def misfit(shape: tuple[int, int, int]) -> str | None:
    """Why the network cannot take images of shape (C, H, W), in one line; None if it can."""
    _, height, width = shape
    if min(height, width) >= SMALLEST_SIDE:
        return None
    return f"images of {height}×{width} pixels; resnet9 needs at least {SMALLEST_SIDE}×{SMALLEST_SIDE}"
