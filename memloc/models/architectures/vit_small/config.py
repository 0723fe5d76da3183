"""The small vision transformer's own fields, and which images it takes."""

from __future__ import annotations

from typing import Annotated, Literal

from memloc.config import ArchitectureConfig, Neutral

PATCH = 2  # pixels, the side of a patch


class ViTSmall(ArchitectureConfig):
    """A small vision transformer (paper §3)."""

    name: Literal["vit_small"] = "vit_small"
    tokens: Annotated[Literal["patch", "shifted"], Neutral("patch")] = "patch"
    """patch: a token is made of one patch. shifted: it is made of the patch and of four copies of it that are shifted.
    [patch: paper §3; shifted: published code]
    """

    def misfit(self, shape: tuple[int, int, int], classes: int) -> str | None:
        _, height, width = shape
        if height % PATCH or width % PATCH:
            return f"images of {height}×{width} pixels; vit_small cuts them in patches of {PATCH}×{PATCH}: even sides"
        return None


CONFIG = ViTSmall
