"""One picture that holds the thumbnails of many examples."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from PIL import Image

from memloc.data.arrays import U8
from memloc.report.offline import data_uri

SIDE = 48  # pixels: a larger image is shrunk
COLUMNS = 64  # tiles side by side; a picture of one row or column would be longer than a browser can show
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by channels

Source: TypeAlias = tuple[str, str]  # a data set's name and identity
Key: TypeAlias = tuple[Source, int]  # and an example


@dataclass(frozen=True)
class Sprite:
    """uri: a data URI, "" without images. cell: (width, height) of a tile. tiles: their numbers, row by row.

    sizes: (width, height) of each data set's thumbnails, also where the picture has no room for them. They lie in the upper
    left corner of their tiles.
    """

    uri: str = ""
    cell: tuple[int, int] = (0, 0)
    tiles: Mapping[Key, int] = field(default_factory=dict)
    sizes: Mapping[Source, tuple[int, int]] = field(default_factory=dict)


def sprite(images: Mapping[Key, U8], largest: int) -> Sprite:
    """The picture of the images (uint8 C×H×W, C in `MODES`): the first of them that a URI of `largest` bytes holds."""
    if not images:
        return Sprite()
    thumbnails = [_thumbnail(image) for image in images.values()]
    cell = max(t.width for t in thumbnails), max(t.height for t in thumbnails)
    n, sizes = len(thumbnails), {source: t.size for (source, _), t in zip(images, thumbnails, strict=True)}
    while n and len(uri := data_uri(_sheet(thumbnails[:n], cell))) > largest:
        n = max(0, min(n - 1, n * largest // len(uri)))
    return Sprite(uri if n else "", cell, {key: tile for tile, key in enumerate(list(images)[:n])}, sizes)


def _thumbnail(image: U8) -> Image.Image:
    picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0).copy())
    return picture.reduce(-(-max(picture.size) // SIDE))


def _sheet(thumbnails: Sequence[Image.Image], cell: tuple[int, int]) -> bytes:
    """The PNG, the same bytes for the same images."""
    mode = max((t.mode for t in thumbnails), key=list(MODES.values()).index)
    size = min(len(thumbnails), COLUMNS) * cell[0], -(-len(thumbnails) // COLUMNS) * cell[1]
    sheet, sink = Image.new(mode, size), io.BytesIO()
    for nth, thumbnail in enumerate(thumbnails):
        sheet.paste(thumbnail.convert(mode), (nth % COLUMNS * cell[0], nth // COLUMNS * cell[1]))
    sheet.save(sink, format="PNG", compress_level=9)
    return sink.getvalue()
