"""`memloc report`: what is written where, and what is said when it cannot be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from memloc.commands import app, report
from memloc.errors import UsageError
from tests.run.programs import memloc


def refused(*arguments: str) -> str:
    found = CliRunner().invoke(app, ["report", *arguments])
    assert isinstance(found.exception, UsageError)
    assert found.exception.exit_code == 2
    (problem,) = found.exception.problems
    return problem


def test_every_format_of_a_small_store(tiny: Path, tmp_path: Path) -> None:
    """Two trainings, rewound and evaluated: most of the paper is not run."""
    for name, format in (("a.html", "html"), ("a.pdf", "pdf"), ("svg", "svg"), ("latex", "latex"), ("a.md", "md")):
        done = memloc(tmp_path, "report", "tiny", "--format", format, "-o", str(tmp_path / name), MEMLOC_STORE=str(tiny))
        assert (done.code, done.err, done.out) == (0, "", f"report: {tmp_path / name}\n")
    assert "memloc report: tiny" in (tmp_path / "a.html").read_text()
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert {p.name for p in (tmp_path / "svg").iterdir()} == {"scorecard.svg", "fig03.svg", "table1.svg"} | {
        p.name for p in (tmp_path / "svg").glob("fig07.svg")
    }
    assert "\\toprule" in (tmp_path / "latex" / "table1.tex").read_text()
    assert (tmp_path / "a.md").read_text().startswith("# Can Neural Network Memorization Be Localized?\n")


def test_bad_arguments(tiny: Path, tmp_path: Path) -> None:
    at = ("--store", str(tiny))
    assert refused(*at, "-o", str(tmp_path)) == f"-o {tmp_path}: is a directory; name a file"
    missing = tmp_path / "no" / "r.html"
    assert refused(*at, "-o", str(missing)) == f"-o {missing}: there is no folder {missing.parent}"
    file = tmp_path / "file"
    file.write_text("")
    assert refused(*at, "--format", "svg", "-o", str(file)) == f"-o {file}: is a file; --format svg writes a folder"
    pdf = tmp_path / "r.pdf"
    assert refused(*at, "-o", str(pdf)) == f"-o {pdf}: ends in .pdf, but the format is html; add --format pdf"
    assert "no such sweep" in refused("nothing", *at, "-o", str(tmp_path / "r.html"))
    assert not (tmp_path / "r.html").exists()


def test_a_single_figure(tiny: Path, tmp_path: Path) -> None:
    target = tmp_path / "figure.svg"
    arguments = ("--figure", "3", "--width", "3.25in", "--font", "serif", "--format", "svg", "-o", str(target))
    done = CliRunner().invoke(app, ["report", *arguments, "--store", str(tiny)])
    assert (done.exit_code, done.stdout) == (0, f"report: {target}\n")
    assert 'width="234pt"' in target.read_text()


def test_bad_figures(tiny: Path, tmp_path: Path) -> None:
    at = ("--store", str(tiny), "-o", str(tmp_path / "f"))
    assert refused("--figure", "33", *at).startswith("--figure 33: maini2023 has no such figure or table; valid: 1, 2, ")
    assert refused("--figure", "fig03", "--width", "3ft", *at).startswith(
        "--width 3ft: is no width; write a number and in, cm"
    )
    assert refused("--figure", "3", "--format", "html", *at) == "--figure 3: is written as pdf, svg or latex, not as html"
    assert refused("--figure", "3", "--format", "latex", *at).startswith("--figure 3: has no table; ")
    assert re.fullmatch(
        r"--figure 11: the store has no data for it; it has data for 3, table1(, 7)?; "
        r"to run it: memloc sweep noise-curve --store \S+",
        refused("--figure", "11", *at),
    )
    for empty in ("", " "):
        assert refused("--figure", empty, *at).startswith("--figure: is empty; write the name of a figure or table")
    assert refused("--width", "3in", *at) == "--width 3in: is for a single figure; add --figure"
    assert refused("--font", "serif", *at) == "--font serif: is for a single figure; add --figure"
    assert refused("--paper", "maini2032", *at).startswith("paper maini2032: no such paper")
    assert not (tmp_path / "f").exists()


def test_without_a_store(tmp_path: Path) -> None:
    done = memloc(tmp_path, "report", "-o", str(tmp_path / "r.html"), MEMLOC_STORE=str(tmp_path / "none"))
    assert done.code == 3
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "r.html").exists()


def test_without_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "find_spec", lambda name: None if name in ("altair", "vl_convert") else object())
    assert refused() == "report: needs altair, vl_convert; install them: pip install 'memloc[report]'"
