"""Pages that need no other file: their templates, the data of their scripts, images as text."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from memloc.version import VERSION

FOLDER = Path(__file__).with_name("page")


def rendered(template: str, **values: Any) -> str:
    """A page, the same for the same values. `read` gives its template a file of page/, such as a script."""
    loader, undefined = jinja2.FileSystemLoader(FOLDER), jinja2.StrictUndefined
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=undefined, keep_trailing_newline=True, trim_blocks=True
    )
    environment.globals |= {"version": VERSION, "read": _read}
    return environment.get_template(template).render(**values)


def _read(name: str) -> Markup:
    return Markup((FOLDER / name).read_text(encoding="utf-8"))


def for_script(data: Any) -> Markup:
    """JSON that ends no script element."""
    return Markup(json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False).replace("<", "\\u003c"))


def data_uri(png: bytes) -> str:
    """An image as a link that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
