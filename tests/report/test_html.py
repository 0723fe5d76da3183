"""The page's text: the same every time, whole, each number once, and nothing in it that would be fetched."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from memloc.analysis.reading import reading
from memloc.papers.charts import Curves, Gallery
from memloc.papers.exhibits import Exhibit, Shown, Wanted
from memloc.papers.judgement import WORDS
from memloc.papers.registry import paper
from memloc.report import export
from memloc.report.content import Report, gather, ran
from memloc.report.drawing import drawing
from memloc.report.html import page
from memloc.report.tables import interval
from memloc.store import Store
from tests.papers.maini2023.simulated import Simulated
from tests.report.hand import GALLERY

VOID = {"meta", "link", "img", "br"}


class Outline(HTMLParser):
    """Headings, ids, links, numbers with the judgement they are of, and every attribute that would fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.tags: Counter[str] = Counter()
        self.numbers: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self.unnamed: list[str] = []
        self.open: list[str] = []
        self._number: tuple[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags[tag] += 1
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "data":
            self._number = (str(named["data-judgement"]), str(named["value"]))
        if named.get("role") in ("img", "region") and not (named.get("aria-label") or named.get("aria-labelledby")):
            self.unnamed.append(self.get_starttag_text() or "")
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "xlink:href", "src", "srcset", "data", "action", "poster"):
                (self.links if (value or "").startswith("#") else self.fetched).append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if self.open and tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._number:
            judgement, value = self._number
            self.numbers[judgement].append((value, data))
            self._number = None


@pytest.fixture(scope="module")
def html(page_file: Path) -> str:
    return page_file.read_text()


@pytest.fixture(scope="module")
def outline(html: str) -> Outline:
    found = Outline()
    found.feed(html)
    return found


def embedded_in(html: str) -> dict[str, Any]:
    """What the page's script draws."""
    found = re.search(r'<script type="application/json" id="drawing">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def test_the_same_in_another_process(html: str, report: Report) -> None:
    assert page(report) == html


def test_its_size(html: str) -> None:
    assert len(html.encode()) < 10_000_000


def test_structure(outline: Outline, report: Report) -> None:
    for tag in ("h1", "main", "nav", "header", "footer"):
        assert outline.tags[tag] == 1, tag
    assert outline.headings[0] == 1
    assert all(b <= a + 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))
    assert max(Counter(outline.ids).values()) == 1
    places = {link[1:] for link in outline.links if not link.startswith("#example=")}
    assert places <= set(outline.ids)
    galleries = [chart for s in report.exhibits for chart in s.charts if isinstance(chart, Gallery)]
    examples = {f"#example={picture.example}&of=digits" for gallery in galleries for picture in gallery.pictures}
    assert examples
    assert {link for link in outline.links if link.startswith("#example=")} == examples
    assert all(uri.startswith("data:") for uri in outline.fetched)
    assert outline.unnamed == []
    assert outline.open == []
    assert outline.tags["figure"] == sum(s.run for s in report.exhibits) + len(report.pictures)
    assert outline.tags["article"] == len(report.exhibits)


def test_each_number_is_the_same_wherever_it_stands(outline: Outline, report: Report) -> None:
    """Scorecard and exhibits: the value behind a number, and its digits, are those of one judgement."""
    judged = {j.id: j for j in report.judgements}
    assert set(outline.numbers) == {j.id for j in report.judgements if j.ours is not None}
    for name, places in outline.numbers.items():
        j = judged[name]
        assert set(places) == {(f"{j.ours} {j.lo} {j.hi}", interval(j.interval))}, name
    assert "G3.trend" in [name for name, places in outline.numbers.items() if len(places) > 1]
    for shown in report.exhibits:
        assert all(j is judged[j.id] for j in shown.judgements)


def test_a_number_that_occurs_thrice(report: Report) -> None:
    """In the scorecard and below two exhibits, whatever its size."""
    (base,) = (j for j in report.judgements if j.id == "G3.trend")
    values = [0.0, 1 / 3, 123.456, 1.23456e-5, -0.0004996, 0.99996]
    ends = [(v - abs(v) / 7, None if v > 100 else v * 1.1) for v in values]
    judged = [
        replace(base, id=f"G3.n{k}", ours=v, lo=lo, hi=hi) for k, (v, (lo, hi)) in enumerate(zip(values, ends, strict=True))
    ]
    shown = [replace(s, judgements=judged) for s in report.exhibits if s.run][:2]
    found = Outline()
    found.feed(page(replace(report, judgements=judged, pictures=[], sections=[(report.paper.sections[0], shown)])))
    assert {name: len(places) for name, places in found.numbers.items()} == {j.id: 3 for j in judged}
    for j in judged:
        assert set(found.numbers[j.id]) == {(f"{j.ours} {j.lo} {j.hi}", interval(j.interval))}


def test_the_embedded_data_are_the_charts(html: str, report: Report) -> None:
    """In the page's order, to the last bit. The same estimate on two charts has the same digits, because both are whole."""
    shown = (*report.pictures, *report.exhibits)
    charts = [chart for one in shown for chart in one.charts if not isinstance(chart, Gallery)]
    embedded = embedded_in(html)["charts"]
    assert len(embedded) == len(charts) > 10
    assert html.count("data-chart=") == len(charts)
    for one, chart in zip(embedded, charts, strict=True):
        expected = drawing(chart)
        assert one["fields"] == list(expected.fields)
        assert one["rows"] == [list(row) for row in expected.rows]
        assert one["rows"]
    assert len({one["name"] for one in embedded}) == len(embedded)


def test_the_first_screen_tells_what_was_found(html: str, report: Report) -> None:
    """What was run, the findings, the pictures, then the scorecard, then the exhibits."""
    assert 1 <= len(report.findings) <= 6
    assert len(report.pictures) == 3
    places = [html.index(words) for words in ("<h1>", "trainings of ResNet-9 on digits", 'class="findings"')]
    places += [html.index(word) for word in ('class="pictures"', 'id="scorecard"', f'id="{report.exhibits[0].exhibit.id}"')]
    assert places == sorted(places)
    for finding in report.findings:
        assert finding.sentence.replace("'", "&#39;") in html


def test_what_was_run(report: Report, everything: Path) -> None:
    """Counted from the store's own files."""
    commits = [json.loads(p.read_text()) for p in (everything / "commits").rglob("*") if p.is_file()]
    first, second = report.ran
    trials = len({c["trial"] for c in commits if c["analysis"] is None})
    analyses = len({c["analysis"] for c in commits} - {None})
    assert first == (
        f"{trials} trainings of ResNet-9 on digits, with 5 %, 10 %, 50 %, 90 % label noise and seeds 0 to 2; "
        f"{analyses} analyses of them."
    )
    minutes = max(1, round(sum(c["seconds"] for c in commits) / 60))
    assert second.startswith(f"The computation took {minutes} min on ")
    assert f"torch {commits[0]['where']['versions']['torch']}" in second
    assert ran([]) == ["Nothing was run."]


def test_the_scorecard_tells_all(html: str, report: Report) -> None:
    tally = r'<li class="(\w+)"><b>(\d+)</b> <span aria-hidden="true">.</span> ([\w ]+)</li>'
    words = html[html.index('<ul class="tally">') :].split("</ul>")[0]
    counts = Counter(j.verdict for j in report.judgements)
    assert re.findall(tally, words) == [(v, str(counts[v]), WORDS[v]) for v in WORDS]
    card = html[html.index('id="scorecard"') : html.index('aria-labelledby="section-1"')]
    for j in report.judgements:
        if j.verdict != "not_run":
            assert card.count(f'id="claim-{j.id}"') == 1
            assert j.reason.split("'")[0].split("<")[0] in card
    found = Counter[str]()
    for part, section in zip(card.split('<ul class="tally small">')[1:], report.paper.sections, strict=True):
        own = Counter(j.verdict for j in report.judgements if j.claim_id in {claim.id for claim in section.claims})
        assert re.findall(tally, part.split("</ul>")[0]) == [(v, str(own[v]), WORDS[v]) for v in WORDS if own[v]]
        found += own
    assert found == counts  # every number belongs to a section
    missing = re.findall(r"Not run: (\d+) numbers?\. ", card)
    assert sum(map(int, missing)) == counts["not_run"] > 0


def test_the_setting_is_told_once(html: str, report: Report) -> None:
    """What all exhibits share stands at the top; an exhibit has its own differences alone, and a tag."""
    assert "width 0.0625 (the paper's: 1)" in report.shared
    told = "width 0.0625 (the paper&#39;s: 1)"
    assert html.count(told) == 1
    assert "digits in place of the paper's" in report.shared
    run = [s for s in report.exhibits if s.run]
    assert html.count('<span class="tag">') == sum(bool(s.differences) for s in run) > 5


def test_what_is_beyond_the_paper_shares_no_difference_from_it() -> None:
    section = paper().sections[0]
    papers = Shown(section.exhibits[0], [Curves("", {}, "x", "y")], differences=["width 0.25 (the paper's: 1)"])
    beyond = Shown(replace(section.exhibits[1], of_paper=False), papers.charts)
    report = Report(paper(), None, [], [], [], [], [(section, [papers, beyond])])
    assert report.shared == ["width 0.25 (the paper's: 1)"]


def test_what_is_not_run_says_what_would_run_it(html: str) -> None:
    section = html[html.index('<article id="fig08"') :].split("</article>")[0]
    assert "Not run." in section
    assert "<code>memloc sweep cscore</code>, then <code>memloc sweep atypical</code>" in section
    assert "<code>memloc sweep cscore-mini</code>, then <code>memloc sweep atypical-mini</code>" in section


def test_it_ends_with_queries_to_begin_with(html: str, report: Report) -> None:
    queries = html[html.index('<section id="queries"') :]
    assert len(report.examples) > 4
    assert all(title.replace("'", "&#39;") in queries for title, _ in report.examples)
    assert "query --examples" in queries


def test_text_cannot_leave_its_place(report: Report) -> None:
    """Words of a store, such as names of layers, end no element and no script."""
    evil = "</script><script>alert(1)</script><!--"
    exhibit = Exhibit("fig99", evil, evil, evil, evil, "memloc sweep demo", lambda o: [], lambda s: [], Wanted(()))
    chart = report.exhibits[0].charts[0]
    named = type(chart)(**{**chart.__dict__, "title": evil, "x_label": evil})
    sections = [(report.paper.sections[0], [Shown(exhibit, [named, GALLERY])])]
    made = page(Report(report.paper, evil, [evil], [], [], [], sections))
    found = Outline()
    found.feed(made)
    assert found.tags["script"] == 3
    assert "<script>alert" not in made
    assert evil in json.dumps(embedded_in(made)["charts"][0]["spec"]).encode().decode("unicode_escape")


def test_a_store_without_data_has_a_page(tmp_path: Path) -> None:
    made = page(reading(Store(str(tmp_path)), lambda reader: gather(reader, paper(), None, None)))
    assert "Nothing was run." in made
    assert made.count("<strong>Not run.</strong>") == made.count("<article")


def test_the_folder_of_ones_own_data_is_nowhere(tmp_path: Path) -> None:
    """Neither on the page nor in an export: the file's name stands for `npz:PATH`."""
    made = Simulated(tmp_path)
    for seed in (0, 1):
        trial = made.training(dataset="npz:/home/someone/secret/mine.npz", seed=seed)
        made.gradients(trial, noisy=2.0, epochs=range(1, 51))
        made.rewind(trial, {"conv": 0.2, "linear": 0.9})
    report = reading(made.store, lambda reader: gather(reader, paper(), None, None))
    texts = [
        page(report),
        *(content.decode("latin-1") for f in (export.svg, export.latex) for content in f(report).values()),
    ]
    assert "of ResNet-9 on mine.npz, with 10 % label noise" in texts[0]
    assert "mine.npz, resnet9, noise 0.1" in texts[0]  # the settings of the scorecard's numbers
    assert not any("secret" in text for text in texts)
