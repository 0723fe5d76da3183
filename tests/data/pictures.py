"""Small encoded images for tests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def pixels(k: int, height: int = 12, width: int = 16, channels: int | None = 3) -> Any:
    """Random pixels that tell images apart, uint8 H×W or H×W×C."""
    shape = (height, width) if channels is None else (height, width, channels)
    return np.random.default_rng(k).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file of an image format; image: pixels, or an image of Pillow."""
    sink = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(sink, kind, **options)
    return sink.getvalue()


def write(path: Path, content: bytes) -> None:
    """A file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def classes(folder: Path, names: tuple[str, ...] = ("cat", "dog"), n: int = 5, **size: Any) -> dict[str, Any]:
    """A folder per class with n images each; returns {relative path: its pixels}."""
    made = {}
    for k, name in enumerate(names):
        for i in range(n):
            image = pixels(100 * k + i, **size)
            write(folder / name / f"{i}.png", encoded(image))
            made[f"{name}/{i}.png"] = image
    return made
