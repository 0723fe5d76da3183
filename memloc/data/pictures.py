"""Encoded images (JPEG, PNG, …) as one uint8 array: decoded by Pillow, turned as EXIF says, of one size, grey or RGB."""

from __future__ import annotations

import io
import itertools
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memloc.counts import counted
from memloc.data.arrays import U8
from memloc.data.declared import check_fits
from memloc.errors import UsageError, error_line, setting

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 89_478_485  # of an image; beyond that Pillow warns of a decompression bomb
MOST_BYTES = 2**28  # of an image's file
TOGETHER, TASK = 512, 32  # images that wait for a thread at a time; images of one task
SHOWN = 5  # broken images that a message names
ORIENTATION = 0x0112  # EXIF
TRANSPARENT = "with transparent parts, which become white"
DEEP = "with 16 bits, which are rounded to 8"
CUT = "with 16 bits per colour, of which the upper 8 are kept"
UNREADABLE = "with broken EXIF data, which are left out"
SEVERAL = "with several pictures, of which the first is taken"
CONVERTED = "with another colour space, which becomes RGB"


class PictureError(ValueError):
    """Why an image cannot be read, in a phrase."""


@dataclass(frozen=True)
class Picture:
    """pixels: uint8 H×W (grey) or H×W×3. sides: height and width before the size was changed. said: what was converted."""

    pixels: U8
    sides: tuple[int, int]
    said: tuple[str, ...] = ()


def decoded(content: bytes | Image, sides: tuple[int, int] | None = None) -> Picture:
    """An image, grey or RGB.

    A JPEG that is much larger than `sides` is decoded at a fraction of its size first, at least twice as large as they are.

    Args:
        content: of the image's file; or an image of Pillow, decoded or not.
        sides: height and width to which it is brought; None: it stays as it is.

    Raises:
        PictureError: it is no image that Pillow reads, it is damaged, or larger than MOST_PIXELS.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        if not isinstance(content, bytes):
            return _picture(content, sides)
        with Image.open(io.BytesIO(content)) as image:
            return _picture(image, sides)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError("is no image that Pillow reads" if content else "is empty") from None
    except Exception as error:  # a file can be wrong in any way
        raise PictureError(f"is damaged: {error_line(error, with_type=False)}") from None


def _picture(image: Image, sides: tuple[int, int] | None) -> Picture:
    if image.width * image.height > MOST_PIXELS:
        raise PictureError(f"has {image.height}×{image.width} pixels; must be at most {MOST_PIXELS:,}")
    of_file = image.height, image.width
    deep = _depth(image)
    if sides is not None and image.format == "JPEG":
        image.draft(image.mode, (2 * max(sides), 2 * max(sides)))
    turned, orientation = _turned(image)
    if image.format != "JPEG":  # of which one may be decoded at a fraction of its size
        of_file = turned.height, turned.width
    elif orientation in (5, 6, 7, 8):
        of_file = of_file[::-1]
    plain, said = _plain(turned)
    return Picture(
        np.asarray(plain if sides is None else _resized(plain, sides)),
        of_file,
        (*said, *deep, *((UNREADABLE,) if orientation is None else ())),
    )


def _depth(image: Image) -> tuple[str, ...]:
    """What Pillow does to colours of 16 bits; () to others. Only an image that is not decoded yet tells."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return ()
    args = [tile[3] for tile in getattr(image, "tile", ())]
    if image.format == "PPM":
        return (DEEP,) if any(isinstance(a, tuple) and isinstance(a[-1], int) and a[-1] > 255 for a in args) else ()
    return (CUT,) if any(";16" in str(a[0] if isinstance(a, tuple) else a) for a in args) else ()


def _turned(image: Image) -> tuple[Image, int | None]:
    """(the image as its EXIF says it is to be seen, the orientation that EXIF gives; None: it cannot be read)."""
    from PIL import ImageOps

    if image.format == "JPEG" and "exif" not in image.info:  # looking for it would take as long as decoding
        return image, 1
    image.load()  # outside of what follows: damaged pixels are an error, damaged metadata are not
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
        return (image if orientation == 1 else ImageOps.exif_transpose(image)), orientation
    except Exception:  # metadata can be wrong in any way
        return image, None


def _plain(image: Image) -> tuple[Image, tuple[str, ...]]:
    """The image as grey (L) or RGB, and what was converted."""
    said = (SEVERAL,) if image.format not in ("JPEG", "MPO") and getattr(image, "is_animated", False) else ()
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image, said
    if image.mode == "1":
        return image.convert("L"), said
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG")):
        from PIL import Image

        deep = np.asarray(image).astype(np.uint32)  # Pillow has a PGM of 16 bits as 32
        lossy = (DEEP,) if (deep % 257).any() else ()
        return Image.fromarray(((deep + 128) // 257).astype(np.uint8)), said + lossy
    if image.mode in ("I", "F"):
        raise PictureError(f"has pixels of 32 bits (mode {image.mode}); must have 8")
    if image.has_transparency_data:
        return _on_white(image, said)
    colour = (CONVERTED,) if image.mode not in ("P", "RGB") else ()
    return _grey_if_all_is(image.convert("RGB")) if image.mode == "P" else image.convert("RGB"), said + colour


def _grey_if_all_is(image: Image) -> Image:
    """An image that had a palette: whether that is grey does not show in its mode."""
    from PIL import Image

    pixels = np.asarray(image)
    return Image.fromarray(pixels[:, :, 0].copy()) if (pixels == pixels[:, :, :1]).all() else image


def _on_white(image: Image, said: tuple[str, ...]) -> tuple[Image, tuple[str, ...]]:
    from PIL import Image

    is_grey = image.mode in ("L", "LA", "La")
    with_alpha = image.convert("RGBA")
    if with_alpha.getchannel("A").getextrema() != (255, 255):
        white = Image.new("RGBA", with_alpha.size, "white")
        with_alpha, said = Image.alpha_composite(white, with_alpha), (*said, TRANSPARENT)
    colours = with_alpha.convert("RGB")
    return colours.convert("L") if is_grey else _grey_if_all_is(colours) if image.mode == "P" else colours, said


def _resized(image: Image, sides: tuple[int, int]) -> Any:
    from torchvision.transforms.v2 import functional

    if (image.height, image.width) == sides:
        return image
    return functional.resize(image, list(sides), antialias=True)  # bilinear; the proportions are not kept


@dataclass
class Unified:
    """The images of a source. x: uint8 n×C×H×W, C 1 if all are grey, else 3. kept: which of the encoded ones these are.

    notes: what was converted or left out.
    """

    x: U8
    kept: Sequence[int]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Encoded:
    """An image before it is decoded. name: for messages. content: gives the bytes of its file, or an image of Pillow."""

    name: str
    content: Callable[[], bytes | Image]


def unified(images: Iterable[Encoded], n: int, where: str, sides: tuple[int, int] | None, skip_broken: bool) -> Unified:
    """All images as one array.

    Args:
        images: n of them.
        where: what they are, for messages.
        sides: height and width to which they are brought; None: they must have one size already.
        skip_broken: those that cannot be read are left out.

    Raises:
        UsageError: some cannot be read, or have unlike sizes, or all of them together do not fit into the memory.
    """
    x: U8 | None = None
    kept, broken = list[int](), list[str]()
    sizes, said = Counter[tuple[int, int]](), Counter[str]()
    is_grey = True
    for k, (name, picture) in enumerate(_in_threads(images, sides)):
        if isinstance(picture, PictureError):
            broken.append(f"{name} {picture}")
            continue
        sizes[picture.sides] += 1
        said.update(picture.said)
        shape = picture.pixels.shape[:2]
        if x is None:
            _check_memory(n, shape, where)
            x = np.empty((n, 3, *shape), dtype=np.uint8)
        if shape == x.shape[2:]:
            x[len(kept)] = picture.pixels if picture.pixels.ndim == 2 else picture.pixels.transpose(2, 0, 1)
        is_grey = is_grey and picture.pixels.ndim == 2
        kept.append(k)
    _check_readable(where, n, broken, skip_broken)
    if x is None:
        raise UsageError(f"{where}: has no image")
    if sides is None and len(sizes) > 1:
        raise UsageError(f"{where}: {_unlike(sizes)}; {setting('image', '32x32')} brings them to one size")
    notes = [f"{counted(times, 'image')} {what}" for what, times in sorted(said.items())]
    notes += [f"{counted(len(broken), 'image')} left out: {_first(broken)}"] if broken else []
    x = x[: len(kept)]
    return Unified(np.ascontiguousarray(x[:, :1]) if is_grey else x, kept, notes)


def _in_threads(images: Iterable[Encoded], sides: tuple[int, int] | None) -> Iterator[tuple[str, Picture | PictureError]]:
    """The name and the picture of each, in order. Pillow decodes without holding Python's lock."""

    def one(encoded: Encoded) -> tuple[str, Picture | PictureError]:
        try:
            return encoded.name, decoded(encoded.content(), sides)
        except PictureError as error:
            return encoded.name, error

    rest = iter(images)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS lacks it
    with warnings.catch_warnings(), ThreadPoolExecutor(min(cores, 8)) as pool:
        warnings.simplefilter("ignore")  # of Pillow, about sizes that are checked here, and about odd metadata
        while together := list(itertools.islice(rest, TOGETHER)):
            tasks = [together[k : k + TASK] for k in range(0, len(together), TASK)]
            yield from itertools.chain.from_iterable(pool.map(lambda task: list(map(one, task)), tasks))


def _check_memory(n: int, sides: tuple[int, ...], where: str) -> None:
    try:
        check_fits(3 * n * sides[0] * sides[1])
    except ValueError as error:
        raise UsageError(f"{where}: {n:,} images of {sides[0]}×{sides[1]} pixels: {error}; choose a smaller image") from None


def _check_readable(where: str, n: int, broken: list[str], skip_broken: bool) -> None:
    if broken and not skip_broken:
        raise UsageError(
            f"{where}: {len(broken):,} of {n:,} images cannot be read: {_first(broken)}; mend or remove them; "
            f"{setting('skip_broken', 'true')} leaves them out"
        )


def _first(lines: Sequence[str]) -> str:
    return ", ".join(lines[:SHOWN]) + (f", and {len(lines) - SHOWN} more" if len(lines) > SHOWN else "")


def _unlike(sizes: Counter[tuple[int, int]]) -> str:
    (low, high), ((common, times),) = (min(sizes), max(sizes)), sizes.most_common(1)
    return (
        f"the images have {len(sizes)} sizes, from {low[0]}×{low[1]} to {high[0]}×{high[1]} pixels, most often "
        f"{common[0]}×{common[1]} ({times:,} of {sizes.total():,})"
    )


def file_content(path: Path) -> bytes:
    """The bytes of an image's file; raises PictureError if there is none, if it may not be read, or is too large."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise PictureError(
                "is a link to nowhere" if path.is_symlink() else "is no regular file" if path.exists() else "is missing"
            )
        if (size := path.stat().st_size) > MOST_BYTES:
            raise PictureError(f"has {size:,} bytes; must have at most {MOST_BYTES:,}")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def shown_name(path: os.PathLike[str] | str) -> str:
    """A file's name as text that can be written: bytes that are no UTF-8 as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
