"""The explorer of examples in a real browser, on a page of its own."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import numpy as np
import pytest

from memloc.analysis.observations import Observations
from memloc.analysis.reader import Reader, visible
from memloc.report.explorer import Explorer, explorer
from memloc.store import Store
from tests.conftest import shared
from tests.waiting import LONG

PAGE = Path(__file__).parents[2] / "memloc/report/page"
HOST = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline';
 script-src 'unsafe-inline'; img-src data:"><link rel="icon" href="data:,"><title>A page</title>
<style>{{ read("style.css") }}{{ read("explorer.css") }}</style></head>
<body><main><h1>A page</h1><p><a id="picture" href="#example={{ linked }}">a picture of a gallery</a></p>
{% include "explorer.html.j2" %}</main><script type="module">{{ read("explorer.js") }}</script></body></html>"""
STEP = 20  # tiles that are added at a time, fewer than usual
SMALL = {"width": 700, "height": 300}  # does not show all of them


def host(made: Explorer) -> str:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGE), autoescape=False)
    report, linked = SimpleNamespace(explorer=made), made.data["sets"][0]["example"][5]
    text = environment.from_string(HOST).render(
        report=report, linked=linked, read=lambda name: (PAGE / name).read_text(encoding="utf-8")
    )
    assert text.count("STEP = 200;") == 1
    return text.replace("STEP = 200;", f"STEP = {STEP};")


@pytest.fixture(scope="module")
def made(everything: Path) -> Explorer:
    store = Store(str(everything))
    explored = explorer(Observations(Reader(store, visible(store, store.snapshot(), None, False))), None, [])
    assert explored is not None
    return explored


@pytest.fixture(scope="module")
def first(made: Explorer) -> Mapping[str, Any]:
    one: Mapping[str, Any] = made.data["sets"][0]
    return one


@pytest.fixture(scope="module")
def file(made: Explorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared(tmp_path_factory, "explorer", lambda f: (f / "page.html").write_text(host(made))) / "page.html"


@pytest.fixture
def open_page(browser: Any, file: Path) -> Iterator[Any]:
    """Opens the page at a link. Afterwards nothing was said on the console, and nothing was asked for but the page."""
    contexts, said, asked = [], [], []

    def route(handler: Any) -> None:
        url = handler.request.url
        if url.startswith("file:"):
            handler.continue_()
        else:
            asked.append(url)
            handler.abort()

    def opened(link: str = "", path: Path = file, near: bool = True, **how: Any) -> Any:
        contexts.append(browser.new_context(**{"viewport": {"width": 1300, "height": 900}, **how}))
        view = contexts[-1].new_page()
        view.set_default_timeout(1000 * LONG)
        view.on("console", lambda message: said.append(message.text))
        view.on("pageerror", lambda error: said.append(str(error)))
        contexts[-1].route("**/*", route)
        view.goto(path.as_uri() + link)
        if near and not link:
            view.locator("#explorer").scroll_into_view_if_needed()
        if near:
            view.locator(".ex-grid li").first.wait_for()
        return view

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == []


def tiles(view: Any) -> list[int]:
    """The examples of the grid, all of them, in order."""
    view.evaluate("document.querySelector('.ex-scroll').scrollTo(0, 1e6)")
    total = int(view.locator(".ex-count").inner_text().split()[0])
    while view.locator(".ex-grid li").count() < total:
        view.evaluate("document.querySelector('.ex-scroll').scrollTo(0, 1e6)")
        view.wait_for_timeout(20)
    return [int(e) for e in view.evaluate("[...document.querySelectorAll('.ex-grid li')].map((e) => e.dataset.example)")]


def values(one: Mapping[str, Any], key: str) -> dict[int, float | None]:
    return {s["key"]: dict(zip(one["example"], s["values"], strict=True)) for s in one["scores"]}[key]


def is_wrong(one: Mapping[str, Any]) -> dict[int, bool]:
    return {e: given != true for e, given, true in zip(one["example"], one["label"], one["true"], strict=True)}


def in_order(known: Mapping[int, float | None], highest: bool) -> list[int]:
    there = [e for e, v in known.items() if v is not None]
    return sorted(there, key=lambda e: ((-known[e] if highest else known[e]), e)) + [e for e in known if known[e] is None]


# --- the grid ---------------------------------------------------------------------------------------------------------


def test_sorting_is_pythons(open_page: Any, first: Mapping[str, Any]) -> None:
    view = open_page(viewport=SMALL)
    assert STEP <= view.locator(".ex-grid li").count() < 120  # what can be seen, and a little more
    assert tiles(view) == in_order(values(first, "learning_time"), highest=True)
    for key in (s["key"] for s in first["scores"]):
        view.locator(".ex-sort").select_option(key)
        for order, highest in (("1", False), ("-1", True)):
            view.locator(".ex-order").select_option(order)
            assert tiles(view) == in_order(values(first, key), highest), (key, order)
    view.locator(".ex-sort").select_option("example")
    assert tiles(view) == sorted(first["example"], reverse=True)


def test_filters_count(open_page: Any, first: Mapping[str, Any]) -> None:
    view, wrong, flips = open_page(), is_wrong(first), values(first, "flips")

    def shows(members: Sequence[int]) -> None:
        assert sorted(tiles(view)) == sorted(members)
        status = view.get_by_role("status")
        assert status.inner_text() == f"{len(members)} of 120 examples shown"

    view.locator(".ex-label").select_option("wrong")
    shows([e for e in wrong if wrong[e]])
    view.locator(".ex-label").select_option("right")
    shows([e for e in wrong if not wrong[e]])
    view.locator(".ex-range").select_option("flips")
    shows([e for e in wrong if not wrong[e] and flips[e] is not None])
    view.locator(".ex-label").select_option("")
    middle = sorted(v for v in flips.values() if v is not None)[len(flips) // 12]
    view.locator(".ex-from").fill(str(middle))
    shows([e for e, v in flips.items() if v is not None and v >= middle])
    view.locator(".ex-to").fill(str(middle))
    shows([e for e, v in flips.items() if v == middle])
    view.locator(".ex-from").fill("1e9")
    shows([])
    assert view.locator(".ex-grid li").count() == 0


def test_forgotten_by_dropping_is_a_filter(open_page: Any, first: Mapping[str, Any]) -> None:
    view, times = open_page(), values(first, "forgotten")
    view.locator(".ex-dropping").select_option("forgotten")
    assert sorted(tiles(view)) == [e for e, v in times.items() if v]
    view.locator(".ex-dropping").select_option("kept")
    assert sorted(tiles(view)) == [e for e, v in times.items() if not v]


# --- one example ------------------------------------------------------------------------------------------------------


def nearest(one: Mapping[str, Any], example: int) -> list[tuple[int, float]]:
    """The examples that are most alike, and their cosines: numpy's, of the matrix of counts."""
    closed = one["neurons"]["closed"]
    counts = np.zeros((len(closed), len(one["neurons"]["neurons"])))
    names = sorted(closed)
    for row, e in enumerate(names):
        counts[row, closed[e][::2]] = closed[e][1::2]
    own = counts[names.index(example)]
    cosines = counts @ own / np.sqrt((counts**2).sum(axis=1) * (own**2).sum())
    others = [(e, float(c)) for e, c in zip(names, cosines, strict=True) if e != example and c > 0]
    return sorted(others, key=lambda pair: (-round(pair[1], 9), pair[0]))[:8]


def region(view: Any, example: int) -> Any:
    return view.get_by_role("region", name=f"Example {example}", exact=True)


def searched(one: Mapping[str, Any]) -> list[int]:
    """Examples with closed neurons, most first."""
    closed = one["neurons"]["closed"]
    return sorted((e for e in closed if closed[e]), key=lambda e: -len(closed[e]))


def cells(view: Any, name: str) -> dict[str, list[str]]:
    rows = view.locator(f".{name} tr")
    return {rows.nth(k).locator("th").inner_text(): rows.nth(k).locator("td").all_inner_texts() for k in range(rows.count())}


def test_a_click_shows_labels_scores_and_predictions(open_page: Any, first: Mapping[str, Any]) -> None:
    view = open_page()
    answers = [n["said"] for n in first["networks"]]
    labels = zip(first["label"], first["true"], strict=True)
    place = next(  # a mislabeled example; both of its labels are predicted
        k
        for k, (given, true) in enumerate(labels)
        if given != true and {given, true} <= {c for said in answers for c in said[k][::2]}
    )
    example = first["example"][place]
    tiles(view)
    view.locator(f".ex-grid [data-example='{example}']").click()
    panel = view.get_by_role("region", name=f"Example {example}")
    assert panel.is_visible()
    assert view.url.endswith(f"#example={example}&of=digits")
    assert panel.locator("dd").all_inner_texts() == [f"{first['label'][place]}, wrong", str(first["true"][place])]
    shown = cells(view, "ex-scores")
    for score in first["scores"]:
        value, known = score["values"][place], sorted(v for v in score["values"] if v is not None)
        if value is None:
            assert score["name"] not in shown
            continue
        said, _, words = shown[score["name"]]
        assert float(said.replace(",", "")) == pytest.approx(value, rel=1e-3)
        above, below = (int(n) for n in re.findall(r"(\d+)\s%", words))
        assert re.findall(r"of\s(\d+)$", words) == ([str(len(known))] if len(known) < 120 else [])
        assert above == pytest.approx(100 * sum(v < value for v in known) / len(known), abs=1.5)
        assert below == pytest.approx(100 * sum(v > value for v in known) / len(known), abs=1.5)
    names = {n["name"]: n["said"][place] for n in first["networks"] if n["said"][place]}
    shown = cells(view, "ex-networks")
    assert list(shown) == list(names)
    for name, said in names.items():
        counts = re.findall(r"(\d)(?:, the (given|true) label)?(?:: (\d+) of (\d+) trainings)?(?:; |$)", shown[name][0])
        roles, total = {first["label"][place]: "given", first["true"][place]: "true"}, sum(said[1::2])
        pairs = zip(said[::2], said[1::2], strict=True)
        expected = [(str(c), roles.get(c, ""), *((str(n), str(total)) if total > 1 else ("", ""))) for c, n in pairs]
        assert counts == expected


def test_the_image_is_the_examples(open_page: Any, first: Mapping[str, Any]) -> None:
    """The browser's own pixels, enlarged twelve times, in the middle of each pixel of the image."""
    from io import BytesIO

    from PIL import Image

    from memloc.data import load

    example = first["example"][70]
    view = open_page(f"#example={example}")
    shown = np.asarray(Image.open(BytesIO(view.locator(".ex-who .ex-image").screenshot())).convert("L"))
    assert (shown[6::12, 6::12][:16, :16] == load("digits").x_train[example][0]).all()


def test_the_map_shows_the_closed_neurons(open_page: Any, first: Mapping[str, Any]) -> None:
    neurons, example = first["neurons"], searched(first)[0]
    view = open_page(f"#example={example}")
    flat = neurons["closed"][example]
    marks = defaultdict(list)
    for neuron, n in zip(flat[::2], flat[1::2], strict=True):
        training, layer, index = neurons["neurons"][neuron]
        name, row, left, width, size = neurons["layers"][layer]
        centre = 1000 * (left + width * (index + 0.5) / size)
        marks[neurons["rows"][row]].append((pytest.approx(centre, abs=1e-6), 12 * training + 6, n))
    rows = view.locator(".ex-map tr")
    assert rows.locator("th").all_inner_texts() == neurons["rows"]
    for k, name in enumerate(neurons["rows"]):
        drawn = (
            rows.nth(k)
            .locator("rect")
            .evaluate_all(
                "(all) => all.map((e) => ['x', 'width', 'y', 'height', 'opacity'].map((a) => Number(e.getAttribute(a))))"
            )
        )
        assert [(x + w / 2, y + h / 2, round((o - 0.3) / 0.7 * 2)) for x, w, y, h, o in drawn] == marks[name]
        words = rows.nth(k).locator("svg").get_attribute("aria-label")
        assert len(re.findall(r"seed \d, \d search", words)) == len(marks[name])
    title = view.get_by_role("heading", name=f"Neurons that flipping closes: {len(flat) // 2}")
    assert title.is_visible()
    note = view.get_by_text("Rows are layers").inner_text()
    assert note.endswith("in seed 0, seed 1, seed 2 (a lane each); the darker, the more of 2 searches close it.")


def test_methods_stand_side_by_side(open_page: Any, made: Explorer, tmp_path: Path) -> None:
    example = made.data["sets"][0]["example"][0]
    lists = [[0, 3, 1, 0], [1, 9]]
    located = {
        "layers": [("conv1", 4), ("conv4", 10)],
        "methods": ["fisher", "mine"],
        "first": {example: ["seed 5", *lists]},
    }
    path = tmp_path / "methods.html"
    path.write_text(host(Explorer({**made.data, "sets": [{**made.data["sets"][0], "located": located}]}, made.sprite)))
    view = open_page(f"#example={example}", path=path)
    rows = view.locator(".ex-methods tr")
    assert rows.locator("th").all_inner_texts() == ["fisher", "mine"]
    said = rows.locator("svg").evaluate_all("(all) => all.map((e) => e.getAttribute('aria-label'))")
    assert said == ["conv1 3, conv4 0", "conv4 9"]
    places = rows.locator("rect").evaluate_all("(all) => all.map((e) => Number(e.getAttribute('x')) + 4)")
    assert places == [pytest.approx(500 * x) for x in (3.5 / 4, 1 + 0.5 / 10, 1 + 9.5 / 10)]
    opacities = rows.locator("rect").evaluate_all("(all) => all.map((e) => Number(e.getAttribute('opacity')))")
    assert opacities[0] > opacities[1]
    note = view.get_by_text("Marks are the first").inner_text()
    assert note.endswith("in seed 5; the darker, the earlier. Layers from left to right: conv1, conv4.")
    assert not open_page(f"#example={made.data['sets'][0]['example'][1]}", path=path).locator(".ex-methods").is_visible()


def test_the_most_alike_are_numpys_and_are_links(open_page: Any, made: Explorer, tmp_path: Path) -> None:
    """Thirty examples, each with six of forty neurons."""
    draw, one = np.random.default_rng(0), dict(made.data["sets"][0])
    closed = {
        e: np.stack([draw.permutation(40)[:6], draw.integers(1, 3, 6)], axis=1).ravel().tolist() for e in one["example"][:30]
    }
    few = {"neurons": [(0, 0, k) for k in range(40)], "layers": [("conv1", 0, 0, 1, 40)], "closed": closed}
    one["neurons"] = {**one["neurons"], **few}
    path = tmp_path / "alike.html"
    path.write_text(host(Explorer({**made.data, "sets": [one]}, made.sprite)))
    view = open_page(path=path)
    links = view.locator(".ex-alike a")
    for example in list(closed)[:5]:
        view.evaluate(f"location.hash = 'example={example}'")
        region(view, example).wait_for()
        shown = links.evaluate_all("(all) => all.map((a) => [Number(a.hash.split('=')[1]), Number(a.innerText)])")
        expected = nearest(one, example)
        assert [e for e, _ in shown] == [e for e, _ in expected]
        assert [c for _, c in shown] == pytest.approx([c for _, c in expected], abs=0.006)
        assert len(shown) == 8
    links.first.click()
    region(view, expected[0][0]).wait_for()


# --- links ------------------------------------------------------------------------------------------------------------


def test_links_work_on_load_by_change_and_back(open_page: Any, first: Mapping[str, Any]) -> None:
    one, other, linked = first["example"][3], first["example"][9], first["example"][5]
    view = open_page(f"#example={one}")
    region(view, one).wait_for()
    view.locator("#picture").click()  # of a gallery: without the set's name
    region(view, linked).wait_for()
    assert view.locator(f".ex-grid [aria-selected='true'][data-example='{linked}']").count() <= 1
    view.evaluate(f"location.hash = 'example={other}&of=digits'")
    region(view, other).wait_for()
    view.go_back()
    region(view, linked).wait_for()
    view.go_back()
    region(view, one).wait_for()
    view.go_forward()
    region(view, linked).wait_for()
    view.get_by_role("button", name="Close").click()
    assert not view.locator(".ex-detail").is_visible()
    assert view.url.endswith("#explorer")
    view.go_back()
    region(view, linked).wait_for()


def test_a_link_names_its_set(open_page: Any, made: Explorer) -> None:
    sets = made.data["sets"]
    one = sets[2]
    row = next(k for k, e in enumerate(one["example"]) if one["label"][k] != sets[0]["label"][sets[0]["example"].index(e)])
    view = open_page(f"#example={one['example'][row]}&of={one['name']}")
    region(view, one["example"][row]).wait_for()
    assert view.locator(".ex-set").input_value() == one["name"]
    assert view.locator(".ex-detail dd").first.inner_text() == f"{one['label'][row]}, wrong"
    assert view.locator(".ex-about").inner_text() == " ".join(one["about"])
    assert not view.locator(".ex-dropping").is_visible()  # nothing was dropped there
    assert not view.locator(".ex-map").is_visible()
    view.locator(".ex-set").select_option(sets[0]["name"])
    assert not view.locator(".ex-detail").is_visible()
    assert view.locator(".ex-dropping").is_visible()


def test_a_link_to_what_is_not_there_says_so(open_page: Any, made: Explorer) -> None:
    view, absent = open_page("#example=999999&of=digits"), "This page does not have this example."
    assert absent in region(view, 999999).inner_text()
    for example in ("", "twelve", "-1", "0x1", "<b>1</b>"):  # none is a number
        view.evaluate("example => { location.hash = `example=${encodeURIComponent(example)}`; }", example)
        panel = view.get_by_role("region", name=f"Example {example}".strip(), exact=True)
        panel.wait_for()
        assert absent in panel.inner_text()
        assert view.locator(".ex-grid [aria-selected='true']").count() == 0
    names = [one["name"] for one in made.data["sets"]]
    shown = made.data["sets"][0]["example"][12]
    for of, said in (("nowhere", f"This page has no set “nowhere”. Its sets: {', '.join(names)}."), (names[0], "")):
        view.evaluate("link => { location.hash = link; }", f"example={shown}&of={of}")
        view.wait_for_function("said => document.querySelector('.ex-detail .note').textContent === said", arg=said)
        assert region(view, shown).locator("dd").count() == 2  # of the first set that has it
        assert region(view, shown).locator(".note").is_visible() == bool(said)
    view.evaluate("location.hash = 'elsewhere'")
    view.locator(".ex-detail").wait_for(state="hidden")


# --- keys, screen readers, screens ------------------------------------------------------------------------------------


def test_keys_alone(open_page: Any) -> None:
    view = open_page()
    focused = "document.activeElement.dataset.example ?? document.activeElement.className"
    view.locator(".ex-to").focus()
    view.keyboard.press("Tab")
    order = tiles(view)
    assert view.evaluate(focused) == str(order[0])
    tops = view.locator(".ex-grid li").evaluate_all("(all) => all.map((e) => e.offsetTop)")
    columns = tops.count(tops[0])
    assert columns > 5
    place = 0
    for key, step in (("ArrowRight", 1), ("ArrowDown", columns), ("ArrowLeft", -1), ("ArrowUp", -columns), ("ArrowLeft", 0)):
        view.keyboard.press(key)
        place += step
        assert view.evaluate(focused) == str(order[place])
    view.keyboard.press("End")
    assert view.evaluate(focused) == str(order[-1])
    assert view.locator(".ex-grid [tabindex='0']").count() == 1
    view.keyboard.press("Home")
    view.keyboard.press("ArrowDown")
    view.keyboard.press("Enter")
    region(view, order[columns]).wait_for()
    assert view.evaluate(focused) == "ex-detail"
    view.keyboard.press("Escape")
    assert not view.locator(".ex-detail").is_visible()
    assert view.evaluate(focused) == str(order[columns])
    view.keyboard.press("Space")
    region(view, order[columns]).wait_for()
    view.keyboard.press("Tab")
    view.keyboard.press("Enter")  # the button
    assert view.evaluate(focused) == str(order[columns])


def test_arrows_reach_tiles_that_were_not_there(open_page: Any) -> None:
    view = open_page(viewport=SMALL)
    assert view.locator(".ex-grid li").count() < 120
    view.locator(".ex-grid li").first.focus()
    view.keyboard.press("End")
    assert view.locator(".ex-grid li").count() == 120
    assert view.evaluate("document.activeElement.getAttribute('aria-posinset')") == "120"


def test_screen_reader(open_page: Any, first: Mapping[str, Any]) -> None:
    view = open_page(f"#example={searched(first)[0]}")
    grid = view.get_by_role("listbox", name="Examples")
    options = grid.get_by_role("option")
    assert options.count() >= STEP
    words = options.first.get_attribute("aria-label")
    assert re.fullmatch(r"Example \d+, label \d(, wrong, truly \d)?, learning time [\d.]+", words)
    assert options.first.get_attribute("aria-setsize") == "120"
    unnamed = """() => [...document.querySelectorAll('#explorer svg, #explorer select, #explorer input, #explorer a')]
        .filter((e) => !(e.getAttribute('aria-label') || e.labels?.length)).map((e) => e.outerHTML.slice(0, 60))"""
    assert view.evaluate(unnamed) == []
    assert grid.get_by_role("option", selected=True).count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 400])
def test_it_fits_and_can_be_read(open_page: Any, first: Mapping[str, Any], width: int, scheme: str) -> None:
    from tests.report.test_browser import CONTRASTS

    view = open_page(f"#example={searched(first)[0]}", viewport={"width": width, "height": 900}, color_scheme=scheme)
    view.locator(".ex-alike").wait_for()
    view.keyboard.press("Escape")
    assert view.locator(".ex-scroll").bounding_box()["height"] > 400
    view.go_back()
    view.locator(".ex-alike").wait_for()
    scroll, client = view.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert scroll <= client == width
    assert view.evaluate(
        "[...document.querySelectorAll('.ex *')].every((e) => e.getBoundingClientRect().right <= innerWidth + 1)"
    )
    contrasts = view.evaluate(CONTRASTS)
    assert len(contrasts) > 80
    assert [where for ratio, where in contrasts if ratio < 4.5] == []


def test_without_images_tiles_are_numbers(open_page: Any, made: Explorer, tmp_path: Path) -> None:
    sets = [{**one, "tile": [None] * len(one["tile"]), "size": None} for one in made.data["sets"][:1]]
    path = tmp_path / "bare.html"
    path.write_text(host(Explorer({**made.data, "sets": sets}, "")))
    view = open_page("#example=" + str(sets[0]["example"][1]), path=path)
    order = [str(e) for e in tiles(view)]  # it scrolls until every tile is there
    assert view.locator(".ex-grid .ex-plain").all_inner_texts() == order
    assert view.locator(".ex-image").count() == 0
    assert view.url.endswith(f"#example={sets[0]['example'][1]}")
    assert not view.locator(".ex-set").is_visible()


def test_far_below_nothing_is_built_before_it_comes_near(open_page: Any, made: Explorer, tmp_path: Path) -> None:
    """The first paint does not wait for it. A link goes to the top of the example."""
    path = tmp_path / "below.html"
    path.write_text(host(made).replace("<h1>", '<div style="height: 5000px"></div><h1>'))
    view = open_page(path=path, near=False)
    view.wait_for_timeout(200)
    assert view.locator(".ex-grid li, .ex-sort option").count() == 0
    view.locator("#explorer").scroll_into_view_if_needed()
    view.locator(".ex-grid li").first.wait_for()
    view = open_page(f"#example={made.data['sets'][0]['example'][0]}", path=path)
    assert 0 <= view.locator(".ex-detail").bounding_box()["y"] <= 450
