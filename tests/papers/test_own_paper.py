"""A paper of the user's own: what is wrong with it is said in a line, with the file and the claim or figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from memloc.errors import UsageError
from memloc.papers import registry
from tests.run.programs import Finished, memloc

PAPER = """
from memloc.papers.charts import Curves, Dots, Heat, Line, Table, by_training, over
from memloc.papers.claims import Claim, here, of_stage
from memloc.papers.deciding import POSITIVE, decided
from memloc.papers.exhibits import Exhibit, per_setting
from memloc.papers.paper import Paper, Section
from memloc.statistics.quantities import mean_of_trainings

def estimate(case):
    accuracy = case.rows("rewind").groupby("trial")["clean_acc"].mean()
    return decided(mean_of_trainings(list(accuracy)), POSITIVE, "mean accuracy", case.trials, case.select("rewind"))

def draw(subject):
    table = by_training(subject.rows("rewind").query("epoch == 0"), "layer", "clean_acc")
    layers = subject.layers(table.columns)
    means = [over(table[layer], mean_of_trainings) for layer in layers]
    return [Dots("Accuracy", layers, {"all": means}, "accuracy", subject.select("rewind"))]

def sentence(judged):
    return f"It is {judged['M1'][''].ours:.2f}."

CLAIM = Claim("M1", "§1", "accuracy is positive", "rewind", estimate, here(), memorizing=False)
FIGURE = Exhibit("fig01", "Figure 1", "Accuracy", "§1", "accuracy", "memloc sweep x", of_stage("rewind"), per_setting(draw),
                 claims=["M1"], memorizing=False)
PAPER = Paper("mine", "Mine", "my notes", [Section("Layers", "§1", [CLAIM], [FIGURE], sentence)])
"""
ESTIMATE, DRAW, SENTENCE = ("def estimate(case):\n", "def draw(subject):\n", "def sentence(judged):\n")


def judged(folder: Path, tiny: Path, command: str, changes: dict[str, str]) -> Finished:
    """A command on the paper with these changes. New lines of a function stand before its others."""
    text = PAPER
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, f"{old}    {new}\n" if old in (ESTIMATE, DRAW, SENTENCE) else new)
    (folder / "paper.py").write_text(text)
    output = ("-o", str(folder / "page.html")) if command == "report" else ()
    return memloc(folder, command, "tiny", "--store", str(tiny), "--paper", str(folder / "paper.py"), *output)


def test_without_mistakes_it_is_judged_and_drawn(tmp_path: Path, tiny: Path) -> None:
    said = judged(tmp_path, tiny, "claims", {})
    assert (said.code, said.err) == (0, "")
    assert "M1  §1: accuracy is positive" in said.out
    assert judged(tmp_path, tiny, "report", {}).code == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '<article id="fig01"' in page
    assert "It is 0." in page


MISTAKES = [
    ("claims", {ESTIMATE: "1 / 0"}, "claim M1: estimate raises ZeroDivisionError: division by zero (paper.py:10: 1 / 0)"),
    ("claims", {ESTIMATE: "exit(3)"}, "claim M1: estimate raises SystemExit: 3 (paper.py:10: exit(3))"),
    ("claims", {ESTIMATE: "import sys; sys.exit()"}, "claim M1: estimate raises SystemExit (paper.py:10: import sys"),
    (
        "claims",
        {ESTIMATE: "case.rows('rewnd')"},
        "claim M1: estimate: rewnd: no such table or view (did you mean 'rewind'?)",
    ),
    ("claims", {ESTIMATE: "return 0.5"}, "claim M1: estimate gives 0.5; valid: an Estimate, as `decided(…)` makes it, or"),
    ("claims", {ESTIMATE: "return {'a': 0.5}"}, "claim M1: estimate gives {'a': 0.5}; valid: an Estimate, as"),
    ("claims", {"here(), mem": "here(), settings=lambda o: o.setings(), mem"}, "claim M1: settings raises AttributeError: "),
    (
        "claims",
        {"here(), mem": "here(), settings=lambda o: 3, mem"},
        "claim M1: settings gives 3; valid: a list of settings",
    ),
    ("claims", {"here(), mem": "{}, mem"}, "claim M1: scopes is {}; valid: here(), or"),
    ("claims", {'"rewind", estimate, here(), mem': '"depth", estimate, here(), first=lambda part: 1 // 0, mem'}, ""),
    (
        "claims",
        {'"rewind", estimate, here(), mem': '"depth", estimate, here(), trainings=lambda part: exit(4), mem'},
        "claim M1: trainings raises SystemExit: 4 (paper.py:",
    ),
    ("claims", {"[CLAIM]": "[CLAIM, CLAIM]"}, "two claims are called M1; rename one"),
    ("claims", {"[CLAIM]": "[estimate]"}, "claims of section Layers: [<function estimate at "),
    ("claims", {'claims=["M1"]': 'claims=["M2"]'}, "exhibit fig01: claims: M2: no such claim; valid: M1"),
    ("report", {DRAW: "1 / 0"}, "exhibit fig01: draw raises ZeroDivisionError: division by zero (paper.py:14: 1 / 0)"),
    ("report", {DRAW: "quit(0)"}, "exhibit fig01: draw raises SystemExit: 0 (paper.py:14: quit(0))"),
    (
        "report",
        {DRAW: "return [3]"},
        "exhibit fig01: draw gives [3]; valid: a list, each of Curves, Dots, Heat, Gallery, Tab",
    ),
    ("report", {"per_setting(draw)": "lambda subjects: 3"}, "exhibit fig01: draw gives 3; valid: a list, each of Curves"),
    ("report", {'of_stage("rewind"), per': "lambda o: o.x, per"}, "exhibit fig01: settings raises AttributeError: "),
    ("report", {'{"all": means}': '{"all": means[1:]}'}, "exhibit fig01: draw gives [Dots("),
    ("report", {'{"all": means}': '{"all": list(table.mean())}'}, "exhibit fig01: draw gives [Dots("),
    ("report", {SENTENCE: "return judged['M2'].ours"}, "section Layers: sentence raises KeyError: 'M2' (paper.py:20: "),
    ("report", {SENTENCE: "return 3"}, "section Layers: sentence gives 3; valid: text"),
    ("report", {SENTENCE: "raise SystemExit('bye')"}, "section Layers: sentence raises SystemExit: bye (paper.py:20: "),
]


@pytest.mark.parametrize(("command", "changes", "said"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_said_in_a_line(tmp_path: Path, tiny: Path, command: str, changes: dict[str, str], said: str) -> None:
    done = judged(tmp_path, tiny, command, changes)
    (line,) = done.err.splitlines()
    assert (done.code, done.out) == (2, "")
    assert line.removeprefix("memloc: paper ").removeprefix("memloc: ").startswith(f"{tmp_path}/paper.py: {said}")


def test_what_a_chart_lacks_is_said(tmp_path: Path, tiny: Path) -> None:
    for drawn, said in (
        (
            'Curves("", {"": [Line("a", [0, 1], [[0.5]], [None, None])]}, "x", "y")',
            "Curves whose lines have one value for ea",
        ),
        ('Heat("", ["a"], ["b", "c"], {"": [[None]]}, "x", "y")', "Heat with 1 rows of 2 quantities"),
        ('Table("", ["a", "b"], [["1"]])', "Table with 2 cells in each row"),
    ):
        done = judged(tmp_path, tiny, "report", {DRAW: f"return [{drawn}]"})
        assert done.code == 2
        assert f"; valid: {said}" in done.err


def test_a_figure_may_be_drawn_bit_by_bit(tmp_path: Path, tiny: Path) -> None:
    done = judged(tmp_path, tiny, "report", {"per_setting(draw)": "lambda subjects: (c for s in subjects for c in draw(s))"})
    assert done.code == 0, done.err


def test_the_pictures_of_a_paper_are_exhibits_too(tmp_path: Path) -> None:
    (tmp_path / "paper.py").write_text(PAPER.replace("sentence)])", "sentence)], pictures=[CLAIM])"))
    with pytest.raises(UsageError, match=r"pictures of the paper: .*; valid: a list, each a Exhibit\(…\)"):
        registry.paper(str(tmp_path / "paper.py"))
