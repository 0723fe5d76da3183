"""The page of suspects in a real browser: judging by keys and buttons, what it keeps, what it exports."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from memloc.analysis.suspects import Suspects
from memloc.data.arrays import Origin, Raw
from memloc.report.suspects import Found, page
from memloc.report.suspects import csv as as_csv

N = 30
NAMES = ("cat", '=1+1,"dog"', "</script><b>owl")


def found() -> Found:
    x = np.random.default_rng(0).integers(0, 256, (N, 3, 8, 8)).astype(np.uint8)
    y = np.arange(N) % 3
    rows = {
        "rank": np.arange(1, N + 1), "example": np.arange(N)[::-1], "file": None, "given": y[::-1],
        "suggested": (y[::-1] + 1) % 3, "score": np.linspace(1, 0, N), "agreement": 1.0, "neurons": np.nan,
    }  # fmt: skip
    raw = Raw(x, y, x[:3], y[:3], 3, "npz:0123", None, Origin(NAMES, tuple(f"a/{k}.png" for k in range(N))))
    return Found(Suspects(pd.DataFrame(rows), [], None), raw, "mine", "resnet9", 4)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("suspects") / "suspects.html"
    target.write_text(page(found(), N, "detect-mine"), encoding="utf-8")
    return target


@pytest.fixture
def opened(browser: Any, path: Path) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1000, "height": 800}, accept_downloads=True)
    tab = context.new_page()
    asked: list[str] = []
    problems: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto(path.as_uri())
    yield tab
    context.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert problems == []


def verdicts(tab: Any) -> dict[str, str]:
    script = "() => [...document.querySelectorAll('li[data-verdict]')].map(e => [e.dataset.example, e.dataset.verdict])"
    return dict(tab.evaluate(script))


def exported(tab: Any) -> list[dict[str, str]]:
    with tab.expect_download() as download:
        tab.locator(".su-export").click()
    return list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))


def test_keys_judge_and_go_on(opened: Any) -> None:
    items = opened.locator(".su-grid li")
    assert items.count() == N
    assert "example 29, given </script><b>owl, suggested cat, not judged" in items.first.get_attribute("aria-label")
    items.first.focus()
    for key in ("y", "n", "ArrowRight", "y"):
        opened.keyboard.press(key)
    assert verdicts(opened) == {"29": "y", "28": "n", "26": "y"}
    assert items.nth(4).evaluate("e => e === document.activeElement")
    opened.keyboard.press("ArrowLeft")
    opened.keyboard.press("u")
    assert verdicts(opened) == {"29": "y", "28": "n"}
    assert "judged: 1 wrong, 1 right" in opened.locator(".su-count").inner_text()
    columns = opened.evaluate("getComputedStyle(document.querySelector('.su-grid')).gridTemplateColumns").count("px")
    opened.keyboard.press("Home")
    opened.keyboard.press("ArrowDown")
    assert items.nth(columns).evaluate("e => e === document.activeElement")


def test_what_was_judged_is_kept_and_filtered(opened: Any) -> None:
    items = opened.locator(".su-grid li")
    items.nth(5).click()
    opened.locator("button[data-key=y]").click()
    opened.reload()
    assert verdicts(opened) == {"24": "y"}
    opened.locator(".su-show").select_option("open")
    assert opened.locator(".su-grid li").count() == N - 1
    opened.locator(".su-given").select_option("cat")
    assert opened.locator(".su-grid li").count() == N // 3 - 1
    opened.locator(".su-show").select_option("y")
    assert opened.locator(".su-grid li").count() == 1


def test_the_export_is_a_csv_that_starts_no_formula(opened: Any) -> None:
    opened.locator(".su-grid li").nth(1).click()
    opened.keyboard.press("n")
    assert [(row["example"], row["file"], row["given"], row["wrong"]) for row in exported(opened)] == [
        ("28", "a/28.png", """'=1+1,"dog\"""", "no")
    ]


def test_what_was_judged_on_a_longer_page_is_counted_and_exported(opened: Any, path: Path) -> None:
    """As after a run with a larger --top; of an older page nothing but the verdict is known."""
    assert opened.locator(".su-refused").is_hidden()
    for nth in (0, 20):
        opened.locator(".su-grid li").nth(nth).click()
        opened.keyboard.press("y")
    stored = "Object.keys(localStorage).find(k => !k.endsWith('names'))"
    opened.evaluate(
        f"localStorage.setItem({stored}, JSON.stringify({{...JSON.parse(localStorage.getItem({stored})), 3: 'n'}}))"
    )
    path.with_name("short.html").write_text(page(found(), 10, "detect-mine"), encoding="utf-8")
    opened.goto(path.with_name("short.html").as_uri())
    assert "judged: 2 wrong, 1 right, 2 of them not on this page" in opened.locator(".su-count").inner_text()
    assert [(row["rank"], row["example"], row["file"], row["given"], row["wrong"]) for row in exported(opened)] == [
        ("1", "29", "a/29.png", "</script><b>owl", "yes"),
        ("", "3", "", "", "no"),
        ("", "9", "a/9.png", "cat", "yes"),
    ]


def test_a_browser_that_keeps_nothing_says_so(browser: Any, path: Path) -> None:
    context = browser.new_context()
    context.add_init_script("Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };")
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert tab.locator(".su-refused").is_visible()
    tab.locator(".su-grid li").first.click()
    tab.keyboard.press("y")
    assert verdicts(tab) == {"29": "y"}
    context.close()


def test_labels_that_are_numbers_stand_in_their_order(opened: Any, path: Path) -> None:
    one = found()
    numbered = replace(one, raw=replace(one.raw, origin=Origin(("10", "9", "100"), ())))
    path.with_name("numbers.html").write_text(page(numbered, N, "detect-numbers"), encoding="utf-8")
    opened.goto(path.with_name("numbers.html").as_uri())
    assert opened.locator(".su-given option").all_inner_texts() == ["any label", "9", "10", "100"]


def test_each_image_is_its_own(opened: Any) -> None:
    """The tile that an item shows is that of its example, pixel by pixel."""
    raw = found().raw
    script = """async ([nth, side]) => {
      const image = document.querySelectorAll('.su-image')[nth], style = getComputedStyle(image);
      const sheet = new Image();
      sheet.src = style.backgroundImage.slice(5, -2);
      await sheet.decode();
      const zoom = parseFloat(style.backgroundSize) / sheet.width;
      const [x, y] = style.backgroundPosition.split(' ').map(v => -parseFloat(v) / zoom);
      const canvas = new OffscreenCanvas(side, side).getContext('2d');
      canvas.drawImage(sheet, x, y, side, side, 0, 0, side, side);
      return [...canvas.getImageData(0, 0, side, side).data];
    }"""
    for nth in (0, 7, 29):
        pixels = np.array(opened.evaluate(script, [nth, 8])).reshape(8, 8, 4)[..., :3]
        assert np.array_equal(pixels, raw.x_train[N - 1 - nth].transpose(1, 2, 0))


def test_the_table_starts_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(found(), 5))))
    assert [row["given"] for row in rows[:2]] == ["</script><b>owl", """'=1+1,"dog\""""]
    assert rows[0]["file"] == "a/29.png"
