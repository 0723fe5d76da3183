"""Figures and tables for publications: what is written, and that it is the same every time."""

from __future__ import annotations

import ast
import io
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pypdf
import pytest

from memloc.errors import UsageError
from memloc.papers import registry
from memloc.papers.charts import Table
from memloc.papers.exhibits import Shown
from memloc.papers.registry import NAMES, paper
from memloc.report import export, markdown
from memloc.report.content import Report, ran
from memloc.report.tables import interval, papers
from tests.report.hand import DOTS, FACETS, GALLERY, HEAT, LOG, curves

PAPER = paper()
SVG = "{http://www.w3.org/2000/svg}"
TABLE = Table("Accuracy, %", ["data", "a & b"], [["x_1", "1.0 [0.5, 1.5]"], ["§", "−2 → 3"]])


def shown(id: str, *charts: object, tables: tuple[Table, ...] = ()) -> Shown:
    """An exhibit of the paper with charts made by hand."""
    (exhibit,) = (e for s in PAPER.sections for e in s.exhibits if e.id == id)
    return Shown(exhibit, charts, tables, differences=["width 0.25 (the paper's: 1)"], trainings="3 trainings")  # type: ignore[arg-type]


def by_hand() -> Report:
    """A report of every kind of chart, without a store."""
    exhibits = [shown("fig01", DOTS), shown("fig02", HEAT), shown("fig03", curves(6, y_range=(0.0, 1.0)), FACETS)]
    exhibits += [shown("fig11", LOG), shown("fig07", GALLERY), shown("table2", tables=(TABLE,)), shown("fig08")]
    return Report(PAPER, None, ran([]), [], [], [], [(PAPER.sections[0], exhibits)])


@pytest.fixture(scope="module")
def made() -> Report:
    return by_hand()


@pytest.fixture(scope="module")
def files(made: Report) -> dict[str, bytes]:
    """The SVG files, and the PDF as `document`."""
    return {**export.svg(made), "document": export.document(made)}


def test_svg(files: dict[str, bytes]) -> None:
    files = {name: content for name, content in files.items() if name != "document"}
    assert set(files) == {f"{n}.svg" for n in ("scorecard", "fig01", "fig02", "fig03", "fig11", "fig07", "table2")}
    for name, content in files.items():
        root = ElementTree.fromstring(content)
        assert root.tag == f"{SVG}svg"
        words = " ".join(t.text or "" for t in root.iter(f"{SVG}text"))
        assert name == "scorecard.svg" or "(3 trainings)" in words
        assert name == "scorecard.svg" or "Not the paper's setting: width 0.25" in words
        ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
        assert len(ids) == len(set(ids))
        assert set(re.findall(r"url\(#([^)]+)\)", content.decode())) == set(ids)
    assert len(list(ElementTree.fromstring(files["fig07.svg"]).iter(f"{SVG}image"))) == 9


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: sha256(content).hexdigest() for name, content in files.items()}


OTHER = """
import json
from tests.report.test_export import by_hand, digests, export
report = by_hand()
print(json.dumps(digests({**export.svg(report), "document": export.document(report)})))
"""


def test_the_same_bytes_twice_and_in_another_process(made: Report, files: dict[str, bytes]) -> None:
    """vl-convert numbers clip paths through a process, and the order of fonts in its PDF changes from call to call."""
    again = {**export.svg(made), "document": export.document(made)}
    other = subprocess.run([sys.executable, "-c", OTHER], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert digests(files) == digests(again) == json.loads(other.stdout)
    assert len(files) == 7 + 1


def test_pdf_has_a_page_per_exhibit_and_no_date(files: dict[str, bytes]) -> None:
    content = files["document"]
    read = pypdf.PdfReader(io.BytesIO(content))
    assert len(read.pages) == 7
    assert b"CreationDate" not in content
    assert not read.metadata
    for page, words in zip(read.pages, ("id", "Figures 1", "Figure 2", "Figures 3"), strict=False):
        assert words in page.extract_text()


def test_units_of_a_width() -> None:
    for width in ("3.25in", "8.255cm", "82.55 mm", "234pt", "312px"):
        assert export.points(width) == pytest.approx(234)


@pytest.mark.parametrize(("width", "points"), [("3.25in", 234), ("8cm", 226.77)])
def test_a_figure_has_the_width_that_was_asked(width: str, points: float) -> None:
    one = shown("fig03", FACETS)
    how = export.Print(export.points(width))
    page = pypdf.PdfReader(io.BytesIO(export.figure(one, "pdf", how))).pages[0]
    assert float(page.mediabox.width) == pytest.approx(points, abs=0.01)
    root = ElementTree.fromstring(export.figure(one, "svg", how))
    assert float(root.attrib["width"].removesuffix("pt")) == pytest.approx(points, abs=0.01)
    left, top, across, down = map(float, root.attrib["viewBox"].split())
    assert (left, top) == (0, 0)
    assert across * 0.75 == pytest.approx(points, abs=0.01)
    assert float(page.mediabox.height) == pytest.approx(0.75 * down, abs=0.01)
    assert across * 0.9 < export.drawn(export.drawing(FACETS), across).width < across + 1.5


@pytest.mark.parametrize("width", [200.0, 312.0, 528.0])
def test_long_names_of_axes_do_not_push_facets_out(width: float) -> None:
    """They are in lines. The chart is as wide as with a short name, so no facet is cut off."""
    long = replace(FACETS, x_label="epoch that the layer is set back to")
    wide, narrow = (export.drawn(export.drawing(one), width).width for one in (long, FACETS))
    assert wide == narrow


def test_a_figure_has_the_names_of_its_axes_and_no_other_words() -> None:
    text = export.figure(shown("fig03", FACETS), "svg", export.Print(font="serif")).decode()
    words = {t.text for t in ElementTree.fromstring(text).iter(f"{SVG}text")}
    assert {"epoch that the layer is set back to", "accuracy", "clean", "noisy", "layer0", "layer6"} <= words
    names = "epoch that the layer is set back to|accuracy|clean|noisy"
    assert all(re.fullmatch(rf"[\d.]+|{names}|layer\d", word or "") for word in words)
    assert set(re.findall(r'font-family="([^",]+)', text)) == {"Liberation Serif"}
    several = export.figure(shown("fig03", replace(LOG, title="first"), DOTS), "svg", export.Print()).decode()
    assert ">first</text>" in several


@pytest.mark.parametrize(
    ("width", "problem"),
    [
        ("3furlong", "is no width; write a number and in, cm, mm, pt, px, such as 3.25in"),
        ("in", "is no width; write a number and in, cm, mm, pt, px, such as 3.25in"),
        ("3", "is no width; write a number and in, cm, mm, pt, px, such as 3.25in"),
        ("0.1in", "must be 1in to 40in"),
        ("900cm", "must be 1in to 40in"),
    ],
)
def test_no_width(width: str, problem: str) -> None:
    with pytest.raises(UsageError) as raised:
        export.points(width)
    assert list(raised.value.problems) == [f"--width {width}: {problem}"]


def test_names_of_figures() -> None:
    assert [export.exhibit_id(PAPER, n) for n in ("3", "03", "fig03", "table2")] == ["fig03", "fig03", "fig03", "table2"]
    several = {"12": "fig01", "14": "fig01", "15": "fig03", "17": "fig03", "18": "fig04"}  # exhibits of several figures
    assert {name: export.exhibit_id(PAPER, name) for name in several} == several
    for name in ("6", "33", "fig3x", "²"):
        with pytest.raises(UsageError, match=rf"--figure {name}: maini2023 has no such .*; valid: 1, 2, .*, table1, "):
            export.exhibit_id(PAPER, name)
    with pytest.raises(UsageError, match="--figure 3: has no table; --format pdf or svg draws it"):
        export.figure(shown("fig03", FACETS), "latex", export.Print())


def test_a_table_alone() -> None:
    one = shown("table2", tables=(TABLE,))
    assert export.figure(one, "latex", export.Print()).decode() == export.tex(TABLE)
    words = [t.text for t in ElementTree.fromstring(export.figure(one, "svg", export.Print())).iter(f"{SVG}text")]
    assert words[1:] == ["data", "a & b", "x_1", "1.0 [0.5, 1.5]", "§", "−2 → 3"]


WIDE = Table(
    "Accuracy before and after, %",
    ["data", *(f"{when}: {part}" for when in ("before", "after") for part in ("clean", "noisy", "test"))],
    [
        [f"{name}, p_gen 0.2, p_mem 0.1", *(f"{k}{n}.0 [9{n}.7, 100.0]" for n in range(6))]
        for k, name in enumerate(("one", "two"))
    ],
)


@pytest.mark.parametrize(("width", "parts"), [("1in", 6), ("3.25in", 6), ("5.5in", 2), ("12in", 1)])
def test_a_table_in_a_narrow_place_has_letters_that_can_be_read(width: str, parts: int) -> None:
    """At least 8 points, within the figure, and every cell once; the names of rows again beside each part of the columns."""
    svg = export.figure(shown("table1", tables=(WIDE,)), "svg", export.Print(export.points(width)))
    across = float(ElementTree.fromstring(svg).attrib["viewBox"].split()[2])
    texts = list(ElementTree.fromstring(svg).iter(f"{SVG}text"))
    assert "scale" not in svg.decode()
    assert min(float(t.attrib["font-size"]) for t in texts) * 0.75 >= 8
    for t in texts:
        assert float(t.attrib["x"]) + 5 * len(t.text or "") <= across  # letters are 5 pixels wide, or wider
    said = "".join(t.text or "" for t in texts).replace("\u2002", "").replace(" ", "")
    cells = [cell.replace(" ", "") for row in (WIDE.head, *WIDE.rows) for cell in row[1:]]
    if width != "1in":  # there cells are broken within words
        assert [said.count(cell) for cell in cells] == [1] * 18
        assert said.count("two,") == parts
    assert said.count("]") == 12


def test_latex(made: Report) -> None:
    files = export.latex(made)
    assert set(files) == {f"fig{n}.pdf" for n in ("01", "02", "03", "07", "11")} | {"table2.tex", "scorecard.tex"}
    text = files["table2.tex"].decode()
    assert r"\par{\footnotesize Not the paper's setting: width 0.25 (the paper's: 1).\par}" in text
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1
    assert text.isascii()


def test_a_table_in_latex() -> None:
    text = export.tex(TABLE)
    assert text.splitlines()[:2] == [r"% Accuracy, \%", r"\begin{tabular}{lr}"]
    assert r"data & a \& b \\" in text
    assert r"x\_1 & 1.0 [0.5, 1.5] \\" in text
    assert r"\S & $-$2 $\to$ 3 \\" in text


@pytest.mark.parametrize("name", NAMES)
def test_latex_can_set_every_sign_of_a_paper(name: str) -> None:
    """Its usual engine ends at a letter that it does not know. Docstrings are not printed."""
    for path in Path(registry.__file__).with_name(name).rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        docs = {
            ast.get_docstring(n, clean=False) for n in nodes if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)
        }
        texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        for text in set(texts) - docs:
            assert export.tex_words(text).isascii(), (path, text)


def test_signs_that_have_other_letters_in_latex() -> None:
    assert export.tex_words("p < 0.05, |S_n| > 1") == r"p $<$ 0.05, $|$S\_n$|$ $>$ 1"


def test_the_scorecard_in_latex(report: Report) -> None:
    """A longtable of wrapping columns that fit a line; each claim once, as a heading; every number under its claim."""
    text = export.scorecard_tex(report)
    assert text.isascii()
    begin = re.search(r"\\begin\{longtable\}\{(.*)\}\n", text)
    assert begin is not None
    widths = [float(w) for w in re.findall(r"p\{([\d.]+)\\linewidth\}", begin[1])]
    assert len(widths) == 4
    assert sum(widths) < 0.9
    assert re.sub(r">\{[^{}]*\}p\{[^{}]*\}", "", begin[1]) == ""  # no other column
    assert text.count("{") == text.count("}")
    assert text.rstrip().endswith(r"\end{longtable}")
    judged = [j for j in report.judgements if j.verdict != "not_run"]
    headings = [row for row in text.splitlines() if row.startswith(r"\multicolumn{4}")]
    assert len(headings) == len({j.claim_id for j in judged})
    body = text[text.index(r"\endfoot") :]
    rows = [row for row in body.splitlines() if row.endswith(r" \\")]
    names = [row.split(" & ")[0].replace(r"\allowbreak{}", "").replace(r"\_", "_") for row in rows]
    assert sorted(names) == sorted(j.id for j in judged)
    assert all(len(row.split(" & ")) == 4 for row in rows)


def test_markdown(report: Report) -> None:
    """Every judged number once, with the scorecard's cells, below its claim; every table of an exhibit, cell by cell."""
    text = markdown.document(report).decode()
    rows = [line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("| ")]
    judged = {j.id: j for j in report.judgements if j.verdict != "not_run"}
    of_ids = {row[0].strip("`"): row[1:] for row in rows if row[0].startswith("`")}
    assert set(of_ids) == set(judged)
    for id, cells in of_ids.items():
        j = judged[id]
        expected = [papers(j.paper), interval(j.interval), j.verdict_in_words]
        assert [cell.replace("\\", "") for cell in cells] == expected
    headings = [row[0].split("**")[1] for row in rows if row[0].startswith("**")]
    assert headings == list(dict.fromkeys(j.claim_id for j in judged.values()))
    shown = [table for one in report.exhibits for table in one.tables]
    assert shown
    for table in shown:
        for row in table.rows:
            assert [*map(markdown.words, row)] in rows
    assert all(markdown.words(finding.sentence) in text for finding in report.findings)
    columns = [len(row) for row in rows]
    assert columns.count(4) >= len(of_ids) + len(headings)


@pytest.mark.parametrize(
    ("text", "expected"), [("a|b*c_d", r"a\|b\*c\_d"), ("two\nlines", "two lines"), ("[1, 2] <3", r"\[1, 2\] \<3")]
)
def test_words_in_markdown(text: str, expected: str) -> None:
    assert markdown.words(text) == expected


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine (Debian: texlive-latex-base)")
def test_latex_compiles(report: Report, tmp_path: Path) -> None:
    """All of a store's tables, the scorecard and the figures in one document, without an undefined command."""
    files = export.latex(report)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    figures = "\n".join(rf"\includegraphics[width=\linewidth]{{{n}}}" for n in sorted(files) if n.endswith(".pdf"))
    tables = "\n".join(rf"\input{{{n}}}" for n in sorted(files) if n.endswith(".tex"))
    packages = r"\usepackage{booktabs,longtable,array,graphicx}"
    text = "\n".join([r"\documentclass{article}", packages, r"\begin{document}", tables, figures, r"\end{document}"])
    (tmp_path / "all.tex").write_text(text)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert len(pypdf.PdfReader(tmp_path / "all.pdf").pages) >= len(files) - 4
