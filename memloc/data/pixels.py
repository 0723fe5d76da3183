"""Pixels in arrays as people have them, as uint8: converted where nothing is lost, else refused with what to write."""

from __future__ import annotations

from typing import Any

import numpy as np

CHANNELS = (1, 3, 4)  # of images as people have them: grey, RGB, RGBA
MOST_CHANNELS = 16
SLIGHTLY_ABOVE = 2.0  # numbers up to this one are meant to be from 0 to 1


class PixelError(ValueError):
    """What is wrong with images, in a phrase."""


def as_uint8(images: Any, unit: bool | None = None) -> tuple[Any, str]:
    """(the same images as uint8, what was converted in a phrase, or "").

    Takes uint8; booleans (0 and 255); whole numbers from 0 to 255; 16 bits that are 257 times 8 bits; numbers that are
    0..255, or multiples of 1/255 from 0 to 1 up to their own precision.

    Args:
        images: an array.
        unit: numbers with a point are from 0 to 1; None: if none is above 1.

    Raises:
        PixelError: something would be lost, or there are no pixels.
    """
    kind = images.dtype.kind
    if images.dtype == np.uint8:
        return images, ""
    if kind == "b":
        return images.astype(np.uint8) * np.uint8(255), "pixels true and false become 255 and 0"
    if kind in "iu":
        return _of_whole_numbers(images)
    if kind == "f":
        return _of_numbers(images, unit)
    raise PixelError(f"images are {images.dtype}; must be uint8, 0..255")


def _of_whole_numbers(images: Any) -> tuple[Any, str]:
    low, high = (int(images.min()), int(images.max())) if images.size else (0, 0)
    if low >= 0 and high <= 255:
        return images.astype(np.uint8), f"{images.dtype} pixels, all 0..255, become uint8"
    if images.dtype == np.uint16 and not (images % 257).any():
        return (images // 257).astype(np.uint8), "uint16 pixels, all multiples of 257, become uint8"
    how = ": (x // 257).astype('uint8')" if images.dtype == np.uint16 else ""
    raise PixelError(f"images are {images.dtype}, {low}..{high}; must be uint8, 0..255{how}")


def is_unit(images: Any) -> bool:
    """Are these numbers with a point of which none is above 1?"""
    return images.dtype.kind == "f" and bool(images.size) and bool(images.max() <= 1)


def _of_numbers(images: Any, unit: bool | None) -> tuple[Any, str]:
    if not np.isfinite(images).all():
        what = "NaN" if np.isnan(images).any() else "infinities"
        raise PixelError(f"images are {images.dtype} with {what}; must be uint8, 0..255")
    unit = is_unit(images) if unit is None else unit
    factor = 255 if unit else 1
    low, high = (float(images.min()), float(images.max())) if images.size else (0.0, 0.0)
    if low < 0 or factor * high > 255:
        valid = "0..1, or uint8" if unit and high > 1 else "0..255, or 0..1"
        raise PixelError(f"images are {images.dtype} from {low:g} to {high:g}; must be {valid}")
    scaled = images.astype(np.float64) * factor
    whole = scaled.round()
    if (np.abs(scaled - whole) > 255 * np.finfo(images.dtype).eps).any():
        how = "(255 * x).round().astype('uint8')" if unit else "x.round().astype('uint8')"
        if not unit and high <= SLIGHTLY_ABOVE:  # rounding would leave black images
            how = f"they are from {low:g} to {high:.6g}; if 1 is white: (255 * x.clip(0, 1)).round().astype('uint8')"
        raise PixelError(f"images are {images.dtype} between the 256 grey levels; must be uint8, 0..255: {how}")
    return whole.astype(np.uint8), f"{images.dtype} pixels, {'0..1' if unit else '0..255'}, become uint8, all without a loss"


def channels_first(images: Any) -> Any:
    """N×H×W or N×H×W×C as N×C×H×W, contiguous.

    Raises:
        PixelError: they have another shape.
    """
    if images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise PixelError(f"images have shape {images.shape}; must be N×H×W or N×H×W×C, none empty")
    if images.ndim == 4 and images.shape[1] in CHANNELS and images.shape[3] not in CHANNELS:
        raise PixelError(
            f"images have shape {images.shape}, which looks like N×C×H×W; must be N×H×W×C: x.transpose(0, 2, 3, 1)"
        )
    if images.ndim == 4 and images.shape[3] > MOST_CHANNELS:
        raise PixelError(f"images have shape {images.shape}; must be N×H×W×C with at most {MOST_CHANNELS} channels last")
    return np.ascontiguousarray(images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2))
