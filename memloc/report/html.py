"""The page: one file that needs no other file."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import altair
import jinja2
import vl_convert

from memloc.papers.maini2023 import Judgement
from memloc.papers.maini2023.judgement import WORDS
from memloc.report import draw, scorecard
from memloc.report.chart_tables import as_table, gist
from memloc.report.charts import Chart, Exhibit, Gallery
from memloc.report.exhibits import SECTIONS, section_of
from memloc.report.interactive import spec
from memloc.sweep import shipped
from memloc.version import VERSION

FOLDER = Path(__file__).with_name("page")

_ID = re.compile(r' id="([^"]+)"')
_USED = re.compile(r'(?:url\(#|href="#)([^)"]+)')


@dataclass(frozen=True)
class Panel:
    """A chart on the page. spec: its index among the specifications. images: (data URI, caption) of a gallery."""

    title: str
    svg: str = ""
    spec: int | None = None
    images: Sequence[tuple[str, str]] = ()


def page(
    judgements: Sequence[Judgement],
    exhibits: Sequence[Exhibit],
    sweep: str | None,
    examples: Sequence[tuple[str, str]] = (),
) -> str:
    """The report as HTML, the same for the same arguments; examples: [(title, SQL)] of the closing summary."""
    specs: list[dict[str, Any]] = []
    with draw.style(**{"svg.fonttype": "none"}):
        shown = [_shown(e, specs) for e in exhibits]
    keys = [section_of(e) for e in exhibits]
    by_section = {key: [e for e, own in zip(shown, keys, strict=True) if own == key] for key in SECTIONS}
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string((FOLDER / "page.html.j2").read_text(encoding="utf-8"))
    run = sum(e.run for e in exhibits)
    return template.render(
        title=f"memloc report: {sweep or 'all sweeps'}",
        extent=f"{run} of {len(exhibits)} have data here.",
        option=f" --sweep {sweep}" if sweep else "",
        version=VERSION,
        exhibits=shown,
        examples=examples,
        sections=[(SECTIONS[key], f"section-{key.replace('.', '-')}", members) for key, members in by_section.items()],
        families=scorecard.families(judgements),
        tally=scorecard.tally(judgements),
        verdicts=WORDS,
        signs=scorecard.SIGNS,
        number=scorecard.number,
        ours=scorecard.ours,
        lines=lines,
        specs=_script(json.dumps(specs, separators=(",", ":"), allow_nan=False)),
        bundle=_bundle(),
        style=(FOLDER / "style.css").read_text(encoding="utf-8"),
        script=(FOLDER / "script.js").read_text(encoding="utf-8"),
    )


def _shown(exhibit: Exhibit, specs: list[dict[str, Any]]) -> dict[str, Any]:
    """The values of an exhibit that the template uses."""
    panels = []
    for k, chart in enumerate(exhibit.charts):
        if isinstance(chart, Gallery):
            panels.append(Panel(chart.title, images=[(_uri(p.png), p.words) for p in chart.pictures]))
        else:
            panels.append(Panel(chart.title, inline(chart, f"{exhibit.id}-{k}"), len(specs)))
            specs.append(spec(chart) or {})
    minis = [f"memloc sweep {c.split()[2]}-mini" for c in (exhibit.first, exhibit.command) if c]
    return {
        **{name: getattr(exhibit, name) for name in exhibit.__dataclass_fields__},
        "run": exhibit.run,
        "stands_in": exhibit.stands_in,
        "commands": [c for c in (exhibit.first, exhibit.command) if c],
        "minis": minis if all(c.split()[2] in shipped() for c in minis) else [],
        "panels": panels,
        "points": [table for chart in exhibit.charts if (table := as_table(chart)) is not None],
    }


def lines(cell: str) -> str:
    """Splits a cell with two values and intervals into two lines: six such columns would be wider than a page."""
    return re.sub(r", (?![^\[]*\])", ",\n", cell) if "[" in cell else cell


def inline(chart: Chart, name: str) -> str:
    """The chart's SVG as part of a page: in the page's colours, with unique ids. Call it within `draw.style()`."""
    text = draw.svg(draw.figure(chart))
    used = set(_USED.findall(text))
    text = _ID.sub(lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = _USED.sub(lambda m: m[0].replace(m[1], f"{name}-{m[1]}"), text)
    text = text.replace(draw.INK, "currentColor").replace(draw.LINE, "var(--line)")
    label = jinja2.filters.do_forceescape(gist(chart))
    box = text.partition('viewBox="')[2].partition('"')[0]
    return f'<svg role="img" aria-label="{label}" viewBox="{box}">{text[text.index(">") + 1 :]}'


@cache
def _bundle() -> str:
    """Vega-Lite with all that it needs, as a script. To put it together takes over a second."""
    return _script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=_version()))


def _version() -> str:
    """The version of Vega-Lite, as altair writes it: `6.4`."""
    return ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _script(text: str) -> str:
    """Text that ends no script element and opens no comment in one."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")
