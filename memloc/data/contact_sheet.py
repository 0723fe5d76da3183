"""A contact sheet: some training images of every class on one picture. Those whose label is wrong have a red frame."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from memloc.data.arrays import U8, Raw
from memloc.data.overview import names_of
from memloc.seeds import hashed

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS, ROWS = 12, 40  # images of a class, classes
SIDE = 64  # pixels of a thumbnail, about
MARGIN, NAME = 4, 130  # pixels between images, and for a class's name
RED, BLACK = (208, 32, 32), (0, 0, 0)


def contact_sheet(raw: Raw) -> bytes:
    """A picture as PNG: a row of training images for every class, drawn by a constant key. The same bytes every time."""
    from PIL import Image, ImageDraw

    names = names_of(raw)[:ROWS]
    height, width = (_side(side, max(raw.shape[1:])) for side in raw.shape[1:])
    cell = width + MARGIN, height + MARGIN
    sheet = Image.new("RGB", (NAME + COLUMNS * cell[0] + MARGIN, len(names) * cell[1] + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(names):
        top = MARGIN + row * cell[1]
        draw.text((MARGIN, top + height // 2 - 6), _shortened(f"{name} ({int((raw.y_train == row).sum()):,})"), fill=BLACK)
        for column, example in enumerate(drawn(raw, row)):
            left = NAME + column * cell[0]
            sheet.paste(_picture(raw.x_train[example]).resize((width, height), Image.Resampling.NEAREST), (left, top))
            if raw.given_wrong is not None and raw.given_wrong[example]:
                draw.rectangle((left - 2, top - 2, left + width + 1, top + height + 1), outline=RED, width=2)
    sink = io.BytesIO()
    sheet.save(sink, "PNG")
    return sink.getvalue()


def drawn(raw: Raw, label: int) -> list[int]:
    """The training examples of a class that the sheet shows, in order."""
    members = np.flatnonzero(raw.y_train == label)
    rank = hashed(0, "contact sheet", i=members)
    return sorted(members[np.argsort(rank, kind="stable")[:COLUMNS]].tolist())


def _side(side: int, longest: int) -> int:
    """Of a thumbnail: small images are magnified by a whole number, large ones fit into SIDE."""
    return side * max(1, SIDE // longest) if longest <= SIDE else max(1, math.ceil(side * SIDE / longest))


def _picture(image: U8) -> Image:
    """image: uint8 C×H×W; of a number of channels that is no picture's, the first one."""
    from PIL import Image

    plane: Any = image.transpose(1, 2, 0) if len(image) in (3, 4) else image[0]
    return Image.fromarray(np.ascontiguousarray(plane)).convert("RGB")


def _shortened(text: str) -> str:
    return text if len(text) <= 20 else text[:12] + "…" + text[-7:]
