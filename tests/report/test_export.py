"""Figures and tables for publications: what is written, and that it is the same every time."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import pytest
from memloc.report.charts import Exhibit, Table

from memloc.papers.maini2023 import Judgement
from memloc.report import draw, export

FIGURES = {"fig01", "fig02", "fig03", "fig04", "fig05", "fig07", "fig10", "fig11", "fig12", "fig15", "fig18", "detection"}
TABLES = {"table1", "table2", "table3"}


@pytest.fixture(scope="module")
def made(judged: Sequence[Judgement], drawn: Sequence[Exhibit]) -> tuple[Sequence[Judgement], Sequence[Exhibit]]:
    return judged, drawn


@pytest.fixture(scope="module")
def few(made: tuple[Sequence[Judgement], Sequence[Exhibit]]) -> tuple[Sequence[Judgement], Sequence[Exhibit]]:
    """Two figures and the tables: to draw a figure takes a second."""
    return made[0], [e for e in made[1] if e.id in {"fig01", "fig05"} | TABLES]


def test_what_is_exported(made: tuple[Sequence[Judgement], Sequence[Exhibit]]) -> None:
    assert {e.id for e in made[1] if e.charts} >= FIGURES
    assert {e.id for e in made[1] if e.run} == FIGURES | TABLES


def test_svg(few: tuple[Sequence[Judgement], Sequence[Exhibit]]) -> None:
    files = export.svg(*few)
    assert set(files) == {f"{name}.svg" for name in {"fig01", "fig05", "scorecard"} | TABLES}
    for content in files.values():
        root = ElementTree.fromstring(content)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not root.findall(".//{http://www.w3.org/2000/svg}text")  # letters are paths
    one = few[0], few[1][:1]
    again = export.svg(*one)
    assert again == {name: files[name] for name in again}


def test_pdf_has_a_page_per_exhibit_and_no_date(few: tuple[Sequence[Judgement], Sequence[Exhibit]]) -> None:
    figure, table = (next(e for e in few[1] if bool(e.charts) == drawn) for drawn in (True, False))
    content = export.pdf(few[0], [figure, table])
    assert content.startswith(b"%PDF")
    assert re.findall(rb"/Count (\d+)", content) == [b"3"]  # the scorecard is the third
    assert b"CreationDate" not in content
    assert export.pdf(few[0], [figure, table]) == content


def test_latex(few: tuple[Sequence[Judgement], Sequence[Exhibit]]) -> None:
    files = export.latex(*few)
    assert set(files) == {"fig01.pdf", "fig05.pdf"} | {f"{n}.tex" for n in TABLES | {"scorecard"}}
    assert b"CreationDate" not in files["fig01.pdf"]
    again = export.latex(few[0], few[1][:1])
    assert again == {name: files[name] for name in again}
    text = files["table2.tex"].decode()
    assert r"subset 120 (the paper's: all), width 0.0625 (1), epochs 10 (50), batch\_size 32 (512)." in text
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert rule in text
    assert r"p\_gen 0.2" in text
    assert text.isascii()


def test_no_words_lie_on_others(made: tuple[Sequence[Judgement], Sequence[Exhibit]]) -> None:
    """Titles and legends of composed figures; the titles lie within them."""
    with draw.style():
        for exhibit in (e for e in made[1] if e.charts):
            figure = export._compose(exhibit)
            figure.draw_without_rendering()
            heading, body, foot = figure.subfigs
            places = [part for chart in body.subfigs for part in chart.subfigs]
            assert len(places) == 2 * len(exhibit.charts)
            words = [t for part in (heading, *places, foot) for t in part.texts]
            assert "subset 120" in words[-1].get_text().replace("\n", " ")
            boxes = [w.get_window_extent() for w in (*words, *(legend for part in places for legend in part.legends))]
            for k, box in enumerate(boxes):
                assert not any(box.overlaps(other) for other in boxes[:k]), exhibit.id
                assert box.x1 <= figure.bbox.x1 + 1, exhibit.id


def test_the_scorecard_in_latex(made: tuple[Sequence[Judgement], Sequence[Exhibit]]) -> None:
    """A longtable of wrapping columns that fit a line; each claim once, as a heading; every number under its claim."""
    text = export.latex(made[0], [])["scorecard.tex"].decode()
    assert text.isascii()
    begin = re.search(r"\\begin\{longtable\}\{(.*)\}\n", text)
    assert begin is not None
    widths = [float(w) for w in re.findall(r"p\{([\d.]+)\\linewidth\}", begin[1])]
    assert len(widths) == 4
    assert sum(widths) < 0.9
    assert re.sub(r">\{[^{}]*\}p\{[^{}]*\}", "", begin[1]) == ""  # no other column
    assert "tabular" not in text
    assert text.count("{") == text.count("}")
    assert text.rstrip().endswith(r"\end{longtable}")
    judged = [j for j in made[0] if j.verdict != "not_run"]
    headings = [line for line in text.splitlines() if line.startswith(r"\multicolumn{4}")]
    assert len(headings) == len({j.id.split(".")[0] for j in judged})
    body = text[text.index(r"\endfoot") :]
    rows = [line for line in body.splitlines() if line.endswith(r" \\")]
    names = [row.split(" & ")[0].replace(r"\allowbreak{}", "").replace(r"\_", "_") for row in rows]
    assert sorted(names) == sorted(j.id for j in judged)
    assert all(len(row.split(" & ")) == 4 for row in rows)


def test_a_table_in_latex() -> None:
    text = export.tex(Table("Accuracy, %", ["data", "a & b"], [["x_1", "1.0 ±0.5"], ["§", "−2 → 3"]]))
    assert text.splitlines()[0] == "% Accuracy, %"
    assert r"x\_1 & 1.0 $\pm$0.5 \\" in text
    assert r"\S & $-$2 $\to$ 3 \\" in text
    assert r"data & a \& b \\" in text
