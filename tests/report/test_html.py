"""The page's text: the same every time, whole, and nothing in it that would be fetched."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import altair
import matplotlib as mpl
import numpy as np
import pytest
from memloc.analysis.findings import findings_of

from memloc.papers.maini2023 import Judgement
from memloc.report import draw, interactive, palette, scorecard
from memloc.report.charts import Curves, Dots, Exhibit, Gallery, Heat, Series
from memloc.report.html import inline, lines, page
from memloc.report.source import Source
from memloc.statistics import Interval
from tests.report.conftest import altered
from tests.run.programs import memloc


class Outline(HTMLParser):
    """Headings, ids, links and every attribute that would fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.tags: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "xlink:href", "src", "srcset", "data", "action", "poster"):
                (self.links if (value or "").startswith("#") else self.fetched).append(value or "")


@pytest.fixture(scope="module")
def html(page_file: Path) -> str:
    return page_file.read_text()


def test_the_same_in_another_process(
    html: str, source: Source, judged: Sequence[Judgement], drawn: Sequence[Exhibit]
) -> None:
    queries = [(f.title, f.sql) for f in findings_of(source.reader)]
    assert page(judged, drawn, None, queries) == html


def test_without_its_data_the_page_is_the_same_in_every_home(tiny: Path, tmp_path: Path) -> None:
    """A downloaded data set that lies in neither of two: where it was looked for is on stderr, not in the page."""
    store = altered(tiny, tmp_path, lambda c: None if c.analysis else {**c.config, "dataset": "mnist"}).reader.store.uri
    homes = [tmp_path / "one", tmp_path / "another"]
    pages = []
    for k, home in enumerate(homes):
        (home / "data").mkdir(parents=True)
        directory = str(home / "data")
        arguments, variable = ((), directory) if k else (("--data-dir", directory), "")
        target = home / "r.html"
        done = memloc(home, "report", "--store", store, "-o", str(target), *arguments, HOME=str(home), MEMLOC_DATA=variable)
        assert (done.code, done.out) == (0, f"report: {target}\n")
        assert done.err.startswith("memloc: note: Figure 7 has no images of MNIST, ResNet-9, ")
        assert directory in done.err
        pages.append(target.read_text())
    assert "Without images: MNIST was not in the data directory." in pages[0]
    assert str(tmp_path) not in pages[0]
    assert pages[0] == pages[1]


def test_values_with_brackets_stand_under_each_other() -> None:
    assert lines("81.0 ±6.2, 2.5 [0.0, 15.2]") == "81.0 ±6.2,\n2.5 [0.0, 15.2]"
    assert lines("62.3 [0.0, 100.0], 4.0 ±3.2") == "62.3 [0.0, 100.0],\n4.0 ±3.2"
    assert lines("0.5 [0.1, 0.9]") == "0.5 [0.1, 0.9]"
    assert lines("86.9, 2.8") == "86.9, 2.8"


def test_a_logarithmic_axis_has_plain_decades() -> None:
    """Also where a band reaches 0, and of several panels."""
    line = Series("clean", [0, 1], [Interval(1e-2, 0.0, 2e-2), Interval(2e-5, 0.0, 1e-2)])
    chart = Curves("log", {f"layer{k}": [line] for k in range(4)}, "epoch", "norm", (1e-5, 1e-1), log_y=True)
    with draw.style():
        drawn = draw.figure(chart)
        texts = [t.get_text() for t in drawn.axes[0].get_yticklabels()]
        assert [t for t in texts if t][-6:].count("0.00001") == 1
        assert {"0.00001", "0.001", "0.1"} <= set(texts)
        bands = [path.vertices[:, 1].min() for a in drawn.axes for c in a.collections for path in c.get_paths()]
        assert bands == [1e-5] * 4


def test_the_same_again_in_one_process() -> None:
    """altair counts the charts that it makes."""
    assert [interactive.spec(c) for c in CHARTS] == [interactive.spec(c) for c in CHARTS]


def test_structure(html: str) -> None:
    found = Outline()
    found.feed(html)
    assert found.tags["h1"] == found.tags["main"] == found.tags["nav"] == found.tags["header"] == found.tags["footer"] == 1
    assert found.headings[0] == 1
    assert all(b <= a + 1 for a, b in zip(found.headings, found.headings[1:], strict=False))
    assert max(Counter(found.ids).values()) == 1
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert all(uri.startswith("data:") for uri in found.fetched)
    assert found.tags["caption"] > 5
    assert found.tags["figure"] == 15


def test_it_ends_with_queries_to_begin_with(html: str, source: Source) -> None:
    queries = html[html.index('<section id="queries"') :]
    told = findings_of(source.reader)
    assert len(told) == 6
    for finding in told:
        assert escape(finding.sql, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in queries
    assert "query --examples" in queries


def test_the_scorecard_comes_first_and_tells_all(html: str, judged: Sequence[Judgement]) -> None:
    assert html.index('id="scorecard"') < html.index('id="fig01"')
    for verdict, count in scorecard.tally(judged):
        assert count == sum(j.verdict == verdict for j in judged)
        words = html[html.index('<ul class="tally">') :].split("</ul>")[0]
        assert re.search(rf'class="{verdict}"><b>{count}</b>.*{scorecard.WORDS[verdict]}</li>', words)
    text = html[html.index('id="scorecard"') : html.index("</section>")]
    for j in judged:
        assert (j.id in text) if j.verdict != "not_run" else (j.id.split(".")[0] in text)
        if j.ours is not None:
            assert scorecard.ours(j) in text


def test_a_family_has_every_number_once() -> None:
    def made(id: str, verdict: str) -> Judgement:
        return Judgement(id, "§4", "a claim", 1.0, None, None, None, verdict, "why", "run it", 0, f"SELECT '{id}'", "")  # type: ignore[arg-type]

    judged = [made("G1.a", "holds"), made("G1.b", "not_run"), made("E2.c", "not_testable")]
    families = scorecard.families(judged)
    assert [f.name for f in families] == ["Gradients", "Example-tied dropout"]
    assert [(c.id, c.tally) for c in families[0].claims] == [("G1", [("holds", 1), ("not_run", 1)])]
    assert [j.id for c in families[0].judged for j in c.judgements] == ["G1.a"]
    assert [j.id for c in families[0].missing for j in c.judgements] == ["G1.b"]
    assert [row[0] for row in scorecard.table(judged).rows] == ["G1.a", "E2.c"]


def test_what_is_not_run_says_what_would_run_it(html: str) -> None:
    section = html[html.index('id="fig08"') :].split("</article>")[0]
    assert "Not run." in section
    assert "<code>memloc sweep cscore</code>, then <code>memloc sweep atypical</code>" in section
    assert "<code>memloc sweep cscore-mini</code>, then <code>memloc sweep atypical-mini</code>" in section


def test_specifications_are_valid_vega_lite(html: str) -> None:
    found = re.search(r'<script type="application/json" id="specs">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    specs = json.loads(found[1])
    assert len(specs) == html.count("data-spec=") > 10
    for spec in specs:
        altair.Chart.from_dict(spec, validate=True)
        assert "url" not in json.dumps(spec)


def series(name: str, *values: float) -> Series:
    return Series(name, list(range(len(values))), [Interval(v, v - 0.1, v + 0.1) for v in values])


CHARTS = (
    Curves("one", {"": [series("clean", 0.1, 0.9), series("noisy", 0.2, 0.91)]}, "epoch", "accuracy", (0.0, 1.0)),
    Curves("many", {f"layer{k}": [series("clean", 0.1, 0.9)] for k in range(7)}, "epoch", "accuracy"),
    Curves("log", {"": [series("noisy / clean", 0.5, 9.0)]}, "noise", "ratio", log_y=True, rule=(1.0, "equal")),
    Dots("dots", ["a", "b"], {"clean": [Interval(1.0, 0.5, 1.5), None], "noisy": [Interval(2.0, None, None)] * 2}, "norm"),
    Heat("heat", ["a"], [0, 5], [[Interval(-0.9, None, None), None]], "epoch", "cosine"),
)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda c: c.title)
def test_both_drawings_have_the_same_numbers(chart: Curves | Dots | Heat) -> None:
    """What the interactive chart holds is what matplotlib drew."""
    spec = interactive.spec(chart)
    assert spec is not None
    found = sorted(row["y"] for row in spec["data"]["values"])
    with draw.style():
        drawn = draw.figure(chart)
        axes = [a for a in drawn.axes if a.get_label() != "<colorbar>"]
        if isinstance(chart, Heat):
            points = [float(v) for v in axes[0].collections[0].get_array().compressed()]
        else:
            names = [s.name for of in chart.panels.values() for s in of] if isinstance(chart, Curves) else list(chart.values)
            lines = [line for a in axes for line in a.lines if line.get_label() in names]
            across = isinstance(chart, Dots)
            points = [float(v) for line in lines for v in (line.get_xdata() if across else line.get_ydata())]
    assert sorted(points) == pytest.approx(found)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda c: c.title)
def test_a_picture_has_the_same_bytes_wherever_its_objects_lie_in_memory(chart: Curves | Dots | Heat) -> None:
    """What is drawn before, and kept, moves them."""
    kept = []
    with draw.style():
        pictures = set()
        for other in (CHARTS[0], CHARTS[1], CHARTS[-1]):
            kept.append(draw.figure(other))
            pictures.add(draw.svg(draw.figure(chart)))
    assert len(pictures) == 1
    assert len(kept) == 3


def test_an_inline_picture_takes_the_pages_colours_and_its_own_ids() -> None:
    with draw.style(**{"svg.fonttype": "none"}):
        one, two = (inline(CHARTS[0], name) for name in ("a", "b"))
    assert draw.INK not in one
    assert "currentColor" in one
    assert "var(--line)" in one
    ids = [set(re.findall(r'id="([^"]+)"', text)) for text in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', one)) == ids[0]
    assert 'role="img"' in one
    assert 'aria-label="one. accuracy over epoch' in one


def test_a_gallery_is_drawn_too() -> None:
    from memloc.report.charts import Picture
    from memloc.report.forgotten_figure import png

    with draw.style():
        drawn = draw.figure(Gallery("images", [Picture(png(np.zeros((1, 8, 8), dtype=np.uint8)), "1 → 2")] * 9))
    assert sum(bool(a.images) for a in drawn.axes) == 9


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ground", [palette.LIGHT, palette.DARK])
@pytest.mark.parametrize("name", sorted(palette.LOOKS))
def test_marks_stand_out_on_either_ground(name: str, ground: str) -> None:
    assert contrast(palette.LOOKS[name].colour, ground) >= 3


@pytest.mark.parametrize("value", [k / 50 for k in range(-50, 51)])
def test_text_stands_out_on_every_cell(value: float) -> None:
    cell = mpl.colors.to_hex(mpl.colormaps[palette.DIVERGING]((value + 1) / 2))
    assert contrast(cell, draw.on_cell(value)) >= 4.5


def test_sets_differ_in_colour_and_in_mark() -> None:
    looks = [palette.LOOKS[n] for n in ("clean", "noisy", "total", "control", "test")]
    assert len({look.colour for look in looks}) == len({look.mark for look in looks}) == 5
    assert palette.LOOKS["typical"] == palette.LOOKS["clean"]
    assert palette.LOOKS["atypical"] == palette.LOOKS["noisy"]
