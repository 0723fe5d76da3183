"""The page in a real browser, from disk: at a desk and on a phone, light and dark, with and without scripts."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

# The colour of text, and what is behind it: the nearest background that is not transparent.
CONTRASTS = """() => {
  const luminance = (c) => {
    const [r, g, b] = c.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const found = [];
  const words = "h1, h2, h3, h4, p, a, th, td, li, caption, summary, code, .verdict, .quiet, text";
  for (const e of document.querySelectorAll(words)) {
    if (!e.checkVisibility() || !e.textContent.trim()) continue;
    if (e.closest("#fig02") && /^[−\\d.]{4,5}$/.test(e.textContent)) continue;  // on a cell: test_vega has these
    const style = getComputedStyle(e);
    const colour = e.tagName === "text" ? style.fill : style.color;
    const [low, high] = [luminance(parse(colour)), luminance(behind(e))].sort((a, b) => a - b);
    found.push([(high + 0.05) / (low + 0.05), e.tagName + ": " + e.textContent.slice(0, 40)]);
  }
  return found;
}"""


# Asked at every frame: is there no chart that is not interactive yet? The first of these comes into view.
SCROLL = """() => {
  const waiting = document.querySelector("[data-chart]:not(.live)");
  waiting?.scrollIntoView();
  return !waiting;
}"""


@dataclass
class Visit:
    """A page that was opened, and all that went wrong or was asked for."""

    view: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def scroll_through(self) -> None:
        """Every chart comes into view, and becomes interactive."""
        self.view.wait_for_function(SCROLL, timeout=120_000)


@pytest.fixture(scope="module")
def file(page_file: Path) -> Path:
    return page_file


def visit(browser: Any, file: Path, anchor: str = "", **how: Any) -> Visit:
    how.setdefault("viewport", {"width": 1280, "height": 900})
    context = browser.new_context(**how)
    context.set_default_timeout(60_000)
    opened = Visit(context.new_page())
    opened.view.on("console", lambda message: opened.said.append(message.text))
    opened.view.on("pageerror", lambda error: opened.said.append(str(error)))
    uri = file.as_uri()

    def route(handler: Any) -> None:
        if handler.request.url.split("#")[0] == uri or handler.request.url.startswith("blob:"):
            handler.continue_()
        else:
            opened.asked.append(handler.request.url)
            handler.abort()

    context.route("**/*", route)
    opened.view.goto(uri + anchor)
    return opened


@pytest.fixture(scope="module")
def desk(browser: Any, file: Path) -> Visit:
    """The page at a desk, with every chart interactive: for tests that only look at it, or unfold what is folded."""
    opened = visit(browser, file, viewport={"width": 1300, "height": 900})
    opened.scroll_through()
    return opened


@pytest.fixture(autouse=True)
def _closed(browser: Any) -> Iterator[None]:
    """Pages that a test has opened cost time until they are closed."""
    before = browser.contexts
    yield
    for context in browser.contexts:
        if context not in before:
            context.close()


@pytest.mark.parametrize("width", [1300, 400])
def test_it_works_offline_and_fits(browser: Any, file: Path, desk: Visit, width: int) -> None:
    """All that folds is open. Charts fill their places, and nothing needs scrolling to the side."""
    opened = desk if width == 1300 else visit(browser, file, viewport={"width": width, "height": 900})
    if opened is not desk:
        opened.scroll_through()
    opened.view.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert opened.said == []
    assert [u for u in opened.asked if not u.startswith("data:")] == []
    scroll, client = opened.view.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert scroll <= client == width
    sizes = opened.view.evaluate(
        """() => [...document.querySelectorAll("[data-chart]")].map((p) => [
           p.querySelector(".drawn svg").getBoundingClientRect().width, p.querySelector(".drawn").clientWidth])"""
    )
    assert len(sizes) > 10
    for svg, place in sizes:
        assert 0.97 * place - 4 <= svg <= place + 1, (svg, place)
    facets = opened.view.evaluate(
        """() => [...document.querySelectorAll("#fig10 .drawn .cell > g > path.background")]
           .map((t) => Math.round(t.getBoundingClientRect().left / 8))"""
    )
    assert len(set(facets)) == (5 if width == 1300 else 1)
    shown = opened.view.evaluate("[...document.querySelectorAll('.still')].filter((s) => s.checkVisibility()).length")
    assert shown == 0


def test_charts_follow_the_window(browser: Any, file: Path) -> None:
    opened = visit(browser, file, viewport={"width": 1300, "height": 900})
    panel = opened.view.locator("#fig10 [data-chart]").first
    panel.scroll_into_view_if_needed()
    opened.view.wait_for_function("document.querySelector('#fig10 .live')")
    opened.view.set_viewport_size({"width": 700, "height": 900})
    opened.view.wait_for_function(
        """() => { const width = parseFloat(document.querySelector("#fig10 .drawn svg")?.getAttribute("width"));
        return width > 600 && width < 670; }"""
    )


def test_charts_follow_a_window_that_changes_while_they_are_drawn(browser: Any, file: Path) -> None:
    """Before the first drawing is done, and twice while the next one is made: each takes a while on a slow machine."""
    opened = visit(browser, file, viewport={"width": 1300, "height": 900})
    opened.view.wait_for_function("typeof window.vegaEmbed === 'function'")
    opened.view.evaluate(
        """() => { const embed = window.vegaEmbed; window.begun = 0;
        window.vegaEmbed = async (...all) => {
          const mine = Boolean(all[0].closest("#fig10"));
          if (mine) await new Promise((done) => setTimeout(done, 500 - 100 * window.begun++));
          return embed(...all);
        }; }"""
    )
    panel = "document.querySelector('#fig10 [data-chart]')"
    opened.view.evaluate(f"{panel}.scrollIntoView()")
    fits = f"""() => {{ const chart = {panel}.querySelector(".drawn svg"), place = {panel}.querySelector(".drawn");
        return chart && Math.abs(parseFloat(chart.getAttribute("width")) - place.clientWidth) < 4; }}"""
    beyond = f"""() => [...{panel}.querySelectorAll(".drawn .cell > g")].flatMap((cell) => {{
        const {{ right }} = cell.querySelector(".background").getBoundingClientRect();
        return [...cell.querySelectorAll("line")].filter((e) => e.getBoundingClientRect().right > right + 2); }}).length"""
    for before, widths in ((1, (700,)), (2, (1200, 800))):
        for begun, width in enumerate(widths, before):
            opened.view.wait_for_function(f"window.begun >= {begun}")  # it is being drawn
            opened.view.set_viewport_size({"width": width, "height": 900})
        opened.view.wait_for_function(fits, timeout=20_000)
        opened.view.wait_for_timeout(600)  # also when what was begun before has ended
        assert opened.view.evaluate(fits)
        assert opened.view.evaluate(beyond) == 0


def test_the_first_paint_does_not_wait_for_the_charts(desk: Visit, file: Path) -> None:
    """The library is loaded after it. The bound is generous, because other tests run beside this one."""
    assert desk.view.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") < 3000
    source = file.read_text()
    assert 'type="text/plain" id="bundle"' in source
    assert source.count('<script type="module">') <= 2


def test_pointing_at_a_value_tells_it(browser: Any, file: Path) -> None:
    opened = visit(browser, file)
    panel = opened.view.locator("#fig01 [data-chart]").first
    panel.scroll_into_view_if_needed()
    mark = panel.locator(".drawn .mark-symbol.role-mark path").first
    mark.wait_for(state="attached")
    mark.hover(force=True)
    tooltip = opened.view.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert all(word in tooltip.inner_text() for word in ("row", "set", "value", "95 % interval", "training"))
    assert "conv1" in tooltip.inner_text()


@pytest.mark.parametrize("live", [True, False])
def test_downloads_are_the_charts_data(browser: Any, file: Path, live: bool) -> None:
    """The CSV has the embedded rows to the last bit; the SVG stands alone. Neither asks the network.

    The buttons get their events without a mouse: a mouse brings its place into view, and then its chart becomes live.
    """
    opened = visit(browser, file)
    opened.view.wait_for_function("!document.querySelector('.tools').hidden")
    if live:
        opened.scroll_through()
    found = re.search(r'<script type="application/json" id="drawing">(.*?)</script>', file.read_text(), re.DOTALL)
    assert found is not None
    charts = json.loads(found[1])["charts"]
    for exhibit in ("fig01", "fig03"):
        panel = opened.view.locator(f"#{exhibit} [data-chart]").last
        chart = charts[int(panel.get_attribute("data-chart"))]
        with opened.view.expect_download() as download:
            panel.locator("[data-save=csv]").dispatch_event("click")
        assert download.value.suggested_filename == f"{chart['name']}.csv"
        rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_text())))
        assert rows[0] == chart["fields"]
        assert len(rows) == len(chart["rows"]) + 1
        for text, row in zip(rows[1:], chart["rows"], strict=True):
            assert [float(t) if isinstance(v, int | float) else t for t, v in zip(text, row, strict=True)] == [
                "" if v is None else v for v in row
            ]
        with opened.view.expect_download() as download:
            panel.locator("[data-save=svg]").dispatch_event("click")
        root = ElementTree.fromstring(Path(download.value.path()).read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert float(root.attrib["width"]) > 200
        assert root.findall(".//{http://www.w3.org/2000/svg}path")
    assert [u for u in opened.asked if not u.startswith(("data:", "blob:"))] == []


def test_links_into_the_page(browser: Any, file: Path) -> None:
    """A link to an exhibit, and one to a number that is folded, from outside and from within."""
    opened = visit(browser, file, anchor="#claim-G3.trend")
    opened.view.wait_for_function("document.querySelector('#scorecard details[open]')")
    row = opened.view.locator('[id="claim-G3.trend"]')
    assert row.is_visible()
    opened.view.wait_for_function("document.getElementById('claim-G3.trend').getBoundingClientRect().top < innerHeight")
    assert opened.view.locator("#scorecard > details[open]").count() == 1
    opened.view.evaluate("location.hash = '#fig03'")
    opened.view.wait_for_function("Math.abs(document.getElementById('fig03').getBoundingClientRect().top) < 200")
    opened.view.locator("#fig11 a[href='#claim-G3.trend']").click()
    assert row.is_visible()
    for nowhere in ("#no-such-place", "#", "#%"):  # the last is no address
        opened.view.evaluate("link => { location.hash = link; }", nowhere)
        opened.view.wait_for_timeout(50)
    assert opened.said == []


def test_interactive_charts_lose_nothing_of_the_stills(browser: Any, file: Path) -> None:
    """A single panel's lines are named at their ends, not in a legend, and the line to compare with is at its place."""
    opened = visit(browser, file)
    for exhibit, names in (("fig05", {"noisy", "clean"}), ("fig11", {"noisy / clean", "equal"})):
        panel = opened.view.locator(f"#{exhibit} [data-chart]").first
        panel.scroll_into_view_if_needed()
        words = panel.locator(".drawn .mark-text.role-mark text")
        words.first.wait_for(state="attached")
        assert set(words.all_text_contents()) == names
        assert names <= set(re.findall(r">([^<>]+)</text>", panel.locator(".still").inner_html()))
        assert panel.locator(".drawn .role-legend").count() == 0
        frame = panel.locator(".drawn").bounding_box()
        boxes = [words.nth(k).bounding_box() for k in range(words.count())]
        assert all(box["x"] + box["width"] <= frame["x"] + frame["width"] + 1 for box in boxes)
        top, bottom = sorted(boxes, key=lambda box: box["y"])
        assert top["y"] + top["height"] <= bottom["y"] + 2
    rule = panel.locator(".drawn .mark-rule.role-mark line")
    assert rule.count() == 1
    tick = panel.locator(".drawn .role-axis-label text").filter(has_text=re.compile("^1$")).bounding_box()
    assert rule.bounding_box()["y"] == pytest.approx(tick["y"] + tick["height"] / 2, abs=4)


def test_numbers_of_an_axis_do_not_touch(desk: Visit) -> None:
    boxes = desk.view.evaluate(
        """() => [...document.querySelectorAll(".drawn .role-axis-label")].map((axis) =>
           [...axis.querySelectorAll("text")].filter((t) => getComputedStyle(t).opacity !== "0" && t.textContent)
           .map((t) => { const b = t.getBoundingClientRect(); return [b.left, b.right, b.top, b.bottom]; }))"""
    )
    assert len(boxes) > 20
    for axis in boxes:
        for k, (left, right, top, bottom) in enumerate(axis):
            for other in axis[:k]:
                apart = left >= other[1] or right <= other[0] or top + 3 >= other[3] or bottom - 3 <= other[2]
                assert apart, (axis, k)


def test_the_papers_numbers_are_in_sight_on_a_phone(browser: Any, file: Path) -> None:
    """Ours and the paper's number lie within the screen without scrolling to the side, under their claim."""
    opened = visit(browser, file, viewport={"width": 375, "height": 844})
    opened.view.evaluate("document.querySelectorAll('#scorecard > details').forEach((d) => { d.open = true; })")
    rows = opened.view.locator(".claims tr[id]")
    assert rows.count() > 5
    for k in range(rows.count()):
        reason = rows.nth(k).locator("th").bounding_box()
        for label in ("Paper", "Ours"):
            box = rows.nth(k).locator(f"[data-label={label}]").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 375
            assert box["y"] >= reason["y"] + reason["height"] - 1


def test_without_scripts_the_pictures_are_there(browser: Any, file: Path) -> None:
    opened = visit(browser, file, java_script_enabled=False)
    stills = opened.view.locator(".still svg")
    assert stills.count() > 10
    assert all(stills.nth(k).bounding_box()["width"] > 200 for k in range(stills.count()))
    assert opened.view.locator(".drawn svg").count() == 0
    assert opened.said == []


def test_print_shows_all_and_nothing_interactive(browser: Any, file: Path) -> None:
    """Also what is folded, in black on white, and within the width of the paper."""
    opened = visit(browser, file, color_scheme="dark")
    opened.scroll_through()
    opened.view.set_viewport_size({"width": 718, "height": 1000})  # A4 without margins of 1 cm
    opened.view.emulate_media(media="print")
    assert all(opened.view.locator(".still svg").nth(k).is_visible() for k in range(5))
    for hidden in (".drawn svg", "nav", ".tools", ".skip"):
        assert not opened.view.locator(hidden).first.is_visible()
    folded = """() => [...document.querySelectorAll("details")].filter((d) => {
        const last = d.lastElementChild.getBoundingClientRect(); return last.height === 0; }).length"""
    assert opened.view.evaluate(folded) == 0
    wide = """() => [...document.querySelectorAll("table, pre, svg")].filter((e) => e.checkVisibility() &&
        e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 90))"""
    assert opened.view.evaluate(wide) == []
    colours = "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    assert opened.view.evaluate(colours) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    assert opened.view.pdf().startswith(b"%PDF")


def test_keyboard(browser: Any, file: Path) -> None:
    """The skip link first, then contents; everything that folds or scrolls is reached, in the page's order, and seen."""
    opened = visit(browser, file)
    order = []
    for _ in range(60):
        opened.view.keyboard.press("Tab")
        order.append(
            opened.view.evaluate(
                """() => { const e = document.activeElement, s = getComputedStyle(e);
                const seen = s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0;
                return [e.tagName, e.className, e.textContent.slice(0, 20), seen]; }"""
            )
        )
    assert order[0][1] == "skip"
    words = [e[2] for e in order]
    assert words.index("Scorecard") < words.index("Figure 2")
    assert {"A", "SUMMARY", "BUTTON"} <= {e[0] for e in order}
    assert all(e[3] for e in order)
    opened.view.keyboard.press("Home")
    summary = opened.view.locator("#fig01 summary").last
    summary.focus()
    opened.view.keyboard.press("Enter")
    assert opened.view.locator("#fig01 pre").first.is_visible()
    reachable = "[...document.querySelectorAll('.scroll, pre')].every((e) => e.tabIndex === 0)"
    assert opened.view.evaluate(reachable)


def test_screen_reader(desk: Visit) -> None:
    """Landmarks, one h1, a name for every picture, region and table; the interactive picture has the still one's name."""
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert desk.view.get_by_role(role).count() == 1, role
    assert desk.view.get_by_role("heading", level=1).count() == 1
    unnamed = """() => [...document.querySelectorAll("svg[role], img, [role=region]")].filter((e) =>
        !["aria-label", "aria-labelledby", "alt"].some((name) => e.getAttribute(name))).map((e) => e.outerHTML)"""
    assert desk.view.evaluate(unnamed) == []
    assert desk.view.evaluate("document.documentElement.lang") == "en"
    assert desk.view.evaluate("[...document.querySelectorAll('table')].every((t) => t.querySelector('th[scope]'))")
    still, live = (
        desk.view.locator(f"#fig01 {kind} svg").first.get_attribute("aria-label") for kind in (".still", ".drawn")
    )
    assert still == live
    assert "gradient norm" in still


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("scripts", [True, False])
def test_text_stands_out(browser: Any, file: Path, desk: Visit, scheme: str, scripts: bool) -> None:
    """WCAG 2.2, 1.4.3: 4.5:1 for all text, also in the charts."""
    opened = desk if scripts else visit(browser, file)  # there the charts that are out of sight are stills
    opened.view.emulate_media(color_scheme=scheme)
    opened.view.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    found = opened.view.evaluate(CONTRASTS)
    assert len(found) > 200
    assert [where for ratio, where in found if ratio < 4.5] == []
