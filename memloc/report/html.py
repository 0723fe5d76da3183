"""The page: one file that needs no other file."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import vl_convert
from markupsafe import Markup

from memloc.papers.charts import Gallery
from memloc.papers.exhibits import Shown
from memloc.papers.judgement import WORDS
from memloc.report import still, tables, vega
from memloc.report.content import Report
from memloc.report.drawing import drawing
from memloc.report.offline import data_uri, for_script, rendered
from memloc.sweep import shipped

SYSTEM = "system-ui, -apple-system, 'Segoe UI', sans-serif"
SIGNS = {"holds": "✓", "does_not_hold": "✗", "inconclusive": "~", "not_testable": "?", "not_run": "○"}


@dataclass
class Charts:
    """The charts of a page, in its order. all: what the page's script draws."""

    all: list[dict[str, Any]] = field(default_factory=list)

    def panels(self, shown: Shown, prefix: str = "", width: int = 760) -> list[dict[str, Any]]:
        """What the template needs of an exhibit's charts.

        prefix: of ids, because an exhibit may be on the page twice. width: of the still picture, in pixels.
        """
        made: list[dict[str, Any]] = []
        for k, chart in enumerate(shown.charts, 1):
            if isinstance(chart, Gallery):
                made.append({"title": chart.title, "gallery": chart})
                continue
            drawn, name = drawing(chart), f"{prefix}{shown.exhibit.id}-{k}"
            picture = still.drawn(drawn, width, name, SYSTEM, exact=False)
            svg = {"svg": Markup(picture.body), "box": f"0 0 {picture.width:g} {picture.height:g}", "wide": drawn.panels > 2}
            words = {"title": chart.title, "gist": tables.gist(chart), "points": tables.as_table(chart.title, drawn)}
            made.append({"number": len(self.all), **svg, **words})
            self.all.append(
                {"spec": drawn.spec, "fields": drawn.fields, "rows": drawn.rows, "panels": drawn.panels, "name": name}
            )
        return made

    @property
    def json(self) -> Markup:
        """What the page's script draws."""
        return for_script({"config": {**vega.CONFIG, "font": SYSTEM}, "charts": self.all})


def page(report: Report) -> str:
    """The report as HTML, the same for the same report."""
    return rendered(
        "page.html.j2",
        report=report,
        title=f"memloc report: {report.sweep or 'all sweeps'}",
        option=f" --sweep {report.sweep}" if report.sweep else "",
        charts=Charts(),
        verdicts=WORDS,
        signs=SIGNS,
        bundle=_bundle(),
        papers=tables.papers,
        interval=tables.interval,
        minis=_minis,
        uri=data_uri,
    )


@cache
def _bundle() -> Markup:
    """Vega-Lite with all that it needs, as a script. To put it together takes over a second."""
    text = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=still.VERSION)
    return Markup(text.replace("</script", "<\\/script").replace("<!--", "<\\!--"))  # it ends no element


def _minis(commands: list[str]) -> list[str]:
    """The same sweeps on bundled images, if all of them are shipped."""
    minis = [f"{command.split()[2]}-mini" for command in commands]
    return [f"memloc sweep {mini}" for mini in minis] if set(minis) <= set(shipped()) else []
