"""The page: one file that needs no other file."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from memloc.papers.charts import Chart, Gallery
from memloc.papers.exhibits import Shown
from memloc.papers.judgement import WORDS
from memloc.report import scorecard, still, tables, vega
from memloc.report.content import Report, general
from memloc.report.drawing import drawing
from memloc.sweep import shipped
from memloc.version import VERSION

FOLDER = Path(__file__).with_name("page")
WIDTH, SMALL = 760, 380  # pixels of a still picture: of an exhibit, and of the first screen
SYSTEM = "system-ui, -apple-system, 'Segoe UI', sans-serif"


@dataclass
class Charts:
    """The charts of a page, in its order. all: what the page's script draws."""

    shared: list[str]
    all: list[dict[str, Any]] = field(default_factory=list)

    def exhibit(self, shown: Shown, prefix: str = "", width: int = WIDTH) -> dict[str, Any]:
        """What the template needs of an exhibit. prefix: of ids, because an exhibit may be on the page twice."""
        exhibit = shown.exhibit
        commands = [c for c in (exhibit.first, exhibit.command) if c]
        minis = [f"memloc sweep {c.split()[2]}-mini" for c in commands]
        return {
            "shown": shown,
            "exhibit": exhibit,
            "own": [words for words in shown.differences if general(words) not in self.shared],
            "commands": commands,
            "minis": minis if all(c.split()[2] in shipped() for c in minis) else [],
            "panels": [self._panel(chart, f"{prefix}{exhibit.id}", k, width) for k, chart in enumerate(shown.charts)],
        }

    def _panel(self, chart: Chart, exhibit: str, k: int, width: int) -> dict[str, Any]:
        """images: (source, caption, example) of a gallery. chart: the place among all charts."""
        if isinstance(chart, Gallery):
            return {"title": chart.title, "images": [(_uri(p.png), p.words, p.example) for p in chart.pictures]}
        made, name = drawing(chart), f"{exhibit}-{k + 1}"
        self.all.append({"spec": made.spec, "fields": made.fields, "rows": made.rows, "panels": made.panels, "name": name})
        picture = still.drawn(made, width, name, SYSTEM, exact=False)
        label, box = Markup.escape(tables.gist(chart)), f"0 0 {picture.width:g} {picture.height:g}"
        svg = Markup(f'<svg role="img" aria-label="{label}" viewBox="{box}">{picture.body}</svg>')
        return {"title": chart.title, "svg": svg, "chart": len(self.all) - 1, "wide": made.panels > 2} | {
            "points": tables.as_table(chart.title, made)
        }


def page(report: Report) -> str:
    """The report as HTML, the same for the same report."""
    loader = jinja2.FileSystemLoader(FOLDER)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    charts = Charts(report.shared)
    pictures = [charts.exhibit(shown, "at-a-glance-", SMALL) for shown in report.pictures]
    sections = [(section, [charts.exhibit(shown) for shown in exhibits]) for section, exhibits in report.sections]
    drawings = {"config": {**vega.CONFIG, "font": SYSTEM}, "charts": charts.all}
    return environment.get_template("page.html.j2").render(
        report=report,
        title=f"memloc report: {report.sweep or 'all sweeps'}",
        option=f" --sweep {report.sweep}" if report.sweep else "",
        version=VERSION,
        pictures=pictures,
        sections=sections,
        parts=scorecard.parts(report.paper, report.judgements),
        tally=scorecard.tally(report.judgements),
        verdicts=WORDS,
        signs=scorecard.SIGNS,
        papers=tables.papers,
        interval=tables.interval,
        drawing=Markup(json.dumps(drawings, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")),
        bundle=_bundle(),
        read=lambda name: Markup((FOLDER / name).read_text(encoding="utf-8")),
    )


@cache
def _bundle() -> Markup:
    """Vega-Lite with all that it needs, as a script. To put it together takes over a second."""
    text = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=still.VERSION)
    return Markup(text.replace("</script", "<\\/script").replace("<!--", "<\\!--"))  # it ends no element


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
