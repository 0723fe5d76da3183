"""Still pictures: charts as SVG by vl-convert, put together, and as PDF. The same charts and fonts give the same bytes."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import altair
import pypdf
import vl_convert

from memloc.report.vega import CONFIG, Drawing

VERSION = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])  # of Vega-Lite, as vl-convert wants it: `6.4`
LEAST, TIGHT = 190, 68  # pixels: the narrowest facet on a page, and in print
GAP, MARGIN = 16, 56  # pixels: the space between two facets, and the axis on the left
SANS = "Liberation Sans, Arial, sans-serif"
FONTS = {"sans": SANS, "serif": "Liberation Serif, Times New Roman, serif", "mono": "Liberation Mono, monospace"}
_ID = re.compile(r' id="([^"]+)"')
_USED = re.compile(r'(url\(#|href="#)([^)"]+)')
_NOISE = re.compile(
    r' (?:role|class|pointer-events|aria-[a-z]+)="[^"]*"|<path[^>]* (?:opacity="0"|display="none")/>'
    r'|<text[^>]* font-size="0px"[^>]*>[^<]*</text>'  # the numbers of cells that are too narrow for them
)
_PLACE = re.compile(r' (?:transform|d|x|y|x2|y2)="[^"]*"')
_LONG = re.compile(r"-?\d+\.\d{3,}(?:e-\d+)?")
_SIZE = re.compile(r'<svg[^>]* width="([\d.]+)" height="([\d.]+)"[^>]*>')


@dataclass(frozen=True)
class Still:
    """A part of a picture. body: SVG elements. width, height: pixels."""

    body: str
    width: float
    height: float

    def svg(self, width: str = "", height: str = "") -> str:
        """A whole SVG. width, height: with a unit; "" for as many pixels as it has."""
        space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        size = f'width="{width or f"{self.width:g}"}" height="{height or f"{self.height:g}"}"'
        return f'<svg {space} {size} viewBox="0 0 {self.width:g} {self.height:g}">{self.body}</svg>'


def grid(panels: int, width: float, least: float = LEAST) -> tuple[int, float]:
    """(columns, width of a facet) of facets that fill a width and are not narrower than `least`; script.js does the same."""
    most = max(1, math.floor((width - MARGIN + GAP) / (least + GAP)))
    columns = math.ceil(panels / math.ceil(panels / most))
    return columns, (width - MARGIN - GAP * (columns - 1)) / columns


def drawn(drawing: Drawing, width: float, name: str = "c", font: str = SANS, exact: bool = True) -> Still:
    """The chart in a width. name: ids begin with it. exact: to a pixel; it may be drawn twice for that."""
    columns, inner = grid(drawing.panels, width, TIGHT if exact and drawing.flat else LEAST)
    still = _drawn(drawing.whole(inner, columns), name, font)
    if exact and abs(still.width - width) > 1:  # the axis and the names of lines took more or less than the margin
        still = _drawn(drawing.whole(max(40.0, inner + (width - still.width) / columns), columns), name, font)
    return still


def _drawn(specification: dict[str, Any], name: str, font: str) -> Still:
    text = vl_convert.vegalite_to_svg(specification, vl_version=VERSION, config={**CONFIG, "font": font})
    size = _SIZE.search(text)
    if size is None:
        raise ValueError(f"vl-convert wrote no size: {text[:200]}")
    return Still(_renamed(text[size.end() : text.rindex("</svg>")], name), float(size[1]), float(size[2]))


def _renamed(text: str, name: str) -> str:
    """Ids that do not depend on what the process drew before, places to 1/100 pixel, and nothing that is not seen."""
    text = _PLACE.sub(lambda m: _LONG.sub(lambda n: f"{float(n[0]):.2f}", m[0]), _NOISE.sub("", text))
    used = list(dict.fromkeys(m[2] for m in _USED.finditer(text)))
    names = {old: f"{name}-{k}" for k, old in enumerate(used)}
    text = _ID.sub(lambda m: f' id="{names[m[1]]}"' if m[1] in names else "", text)
    return _USED.sub(lambda m: m[1] + names[m[2]], text)


def words(text: str, width: float, size: float = 12, bold: bool = False) -> Still:
    """A paragraph, wrapped."""
    lines = textwrap.wrap(text, math.floor(width / size * 1.95))
    weight = ' font-weight="bold"' if bold else ""
    rows = "".join(
        f'<text x="4" y="{size * (1.2 + 1.3 * k):g}" font-size="{size:g}"{weight}>{escape(line)}</text>'
        for k, line in enumerate(lines)
    )
    return Still(rows, width, size * (1.3 * len(lines) + 0.4))


def beside(columns: Sequence[tuple[float, str]], size: float = 11) -> Still:
    """A line of a table: (place, text) from left to right."""
    cells = "".join(f'<text x="{x:g}" y="{size * 1.2:g}" font-size="{size:g}">{escape(text)}</text>' for x, text in columns)
    return Still(cells, 0, size * 1.5)


def stack(parts: Sequence[Still], font: str = SANS, width: float = 0.0) -> Still:
    """Parts below each other, in black on white. width: of the whole; 0: that of the widest part."""
    y, bodies = 0.0, []
    for part in parts:
        bodies.append(f'<g transform="translate(0,{y:g})">{part.body}</g>')
        y += part.height
    width = width or max((part.width for part in parts), default=1.0)
    ground = f'<rect width="{width:g}" height="{y:g}" fill="#ffffff"/>'
    return Still(f'{ground}<g font-family="{font}" color="#000000" fill="#000000">{"".join(bodies)}</g>', width, y)


def pdf(pages: Sequence[Still]) -> bytes:
    """A document with a page for each picture; a pixel is 3/4 point."""
    writer = pypdf.PdfWriter()
    for page in pages:
        width, height = 0.75 * page.width, 0.75 * page.height
        read = pypdf.PdfReader(io.BytesIO(vl_convert.svg_to_pdf(page.svg(f"{width:g}", f"{height:g}"))))
        _sort(read.trailer["/Root"], set())  # vl-convert's order of fonts and images changes from call to call
        writer.append(read)
        for box in (writer.pages[-1].mediabox, writer.pages[-1].cropbox):
            box.upper_right = (width, height)
    writer.metadata = None
    sink = io.BytesIO()
    writer.write(sink)
    return sink.getvalue()


def _sort(node: Any, seen: set[int]) -> None:
    """Sorts the keys of every dictionary of a document, so that objects are written in one order."""
    node = node.get_object()
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, dict):
        for key in sorted(node):
            dict.__setitem__(node, key, dict.pop(node, key))  # a reference stays a reference
    for value in list(dict.values(node)) if isinstance(node, dict) else node if isinstance(node, list) else ():
        if hasattr(value, "get_object"):
            _sort(value, seen)
