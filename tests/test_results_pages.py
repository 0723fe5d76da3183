"""Pages of results: each has a cell that anyone can compute again, and its commands are of this program."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.run.programs import memloc

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted((DOCS / "results").glob("*.md"))
HEADING = "## One cell again"
CHEAPEST = "frozen"  # its training takes two minutes of one core
ELSEWHERE = 0.02  # so much may an accuracy differ on another processor
DATA = os.environ.get("MEMLOC_DATA")  # before a test sets it


class Cell(NamedTuple):
    """commands: as a person types them, `memloc` first. value: what the last one prints."""

    commands: list[list[str]]
    value: float


def cell(page: Path) -> Cell:
    text = page.read_text().split(HEADING + "\n", 1)[1].split("\n## ")[0]
    block = re.search(r"```\n(.*?)```", text, re.S)
    said = re.search(r"prints (\d+\.\d+)", text)
    assert block
    assert said
    joined = block[1].replace("\\\n", "")
    return Cell([shlex.split(command) for command in re.split(r"\n(?=memloc )", joined.strip())], float(said[1]))


WITH_CELL = [page for page in PAGES if HEADING in page.read_text()]


def test_the_pages_of_the_paper_have_a_cell() -> None:
    assert {page.stem for page in WITH_CELL} >= {"mnist", "frozen", "human", "width"}


@pytest.mark.parametrize("page", WITH_CELL, ids=lambda page: page.stem)
def test_a_cell_is_one_training_of_a_shipped_sweep(page: Path, tmp_path: Path) -> None:
    commands, _ = cell(page)
    assert [command[:2] for command in commands] == [["memloc", "sweep"], ["memloc", "query"]]
    planned = memloc(
        tmp_path, *commands[0][1:], "--dry-run", "--json", "--executor", "inline", "--store", str(tmp_path / "s")
    )
    if planned.code == 2 and "no such file" in planned.err:
        pytest.skip(f"its data set is not here: {planned.err.strip()}")
    assert planned.code == 0, planned.err
    assert len(json.loads(planned.out)["trials"]) == 1


@pytest.mark.slow
def test_the_cheapest_cell_is_what_the_page_says(tmp_path: Path) -> None:
    if DATA is None:
        pytest.skip("MEMLOC_DATA does not say where MNIST is")
    (sweep, query), value = cell(DOCS / "results" / f"{CHEAPEST}.md")
    store = ("--store", str(tmp_path / "store"))
    ran = memloc(tmp_path, *sweep[1:], "--executor", "inline", *store, MEMLOC_DATA=DATA)
    if ran.code == 2 and "memloc data" in ran.err:
        pytest.skip(f"its data set is not here: {ran.err.strip()}")
    assert ran.code == 0, ran.err
    asked = memloc(tmp_path, *query[1:], "--format", "json", *store)
    ((found,),) = (row.values() for row in json.loads(asked.out))
    assert found == pytest.approx(value, abs=ELSEWHERE)
