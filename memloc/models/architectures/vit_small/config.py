"""Which images the small vision transformer takes."""

from __future__ import annotations

PATCH = 2  # pixels, the side of a patch


def misfit(shape: tuple[int, int, int]) -> str | None:
    """Why the network cannot take images of shape (C, H, W), in one line; None if it can."""
    _, height, width = shape
    if height % PATCH or width % PATCH:
        return f"images of {height}×{width} pixels; vit_small cuts them in patches of {PATCH}×{PATCH}: even sides"
    return None
