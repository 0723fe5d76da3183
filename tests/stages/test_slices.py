"""A stage is one slice: generic code names no stage, and no stage imports another or the store."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import memloc
from memloc import stages
from memloc.stages import STAGES

ROOT = Path(memloc.__file__).parent
# What knows of no stage in particular. (store/c_scores.py makes the table of what held-out trainings say.)
GENERIC = [
    *(p for folder in ("config", "sweep", "run", "store") for p in (ROOT / folder).rglob("*.py") if p.name != "c_scores.py"),
    *(ROOT / "analysis" / f"{name}.py" for name in ("admitted_sql", "reading", "reader", "rows")),
    *(ROOT / "stages").glob("*.py"),
]
# Names that mean a stage, or a field of one, wherever they stand. (held_out is a field of trainings too.)
NAMES = {*STAGES, "memorized", "c_score", "c_score_below", "rescale", "modes", "ratios", "max_neurons", "post_eval"} - {
    "held_out"
}
ALLOWED = {
    "run/empty_sets.py": {"memorized"},  # a word of its sentence
    "store/schemas.py": {"c_score"},  # a column of the store's own table
    "stages/fields.py": {"memorized", "c_score_below"},  # what several stages share
    "analysis/reader.py": {"detection"},  # whose configuration names the scores of plugins
    # Searches end where predictions change, so their course is no matter of shapes alone.
    "run/by_shape/computations.py": {"flips"},
    "run/by_shape/flip_searches.py": {"max_neurons", "post_eval"},
}


def texts(path: Path) -> Iterator[str]:
    """Every text in a module's code, docstrings left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
            yield node.value


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", GENERIC, ids=lambda p: str(p.relative_to(ROOT)))
def test_generic_code_names_no_stage_and_no_field_of_one(path: Path) -> None:
    assert NAMES & set(texts(path)) == ALLOWED.get(str(path.relative_to(ROOT)), set())


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_imports_no_other_and_no_store(name: str) -> None:
    others = [f"memloc.stages.{other}" for other in STAGES if other != name]
    forbidden = (
        "memloc.store",
        "memloc.run",
        "memloc.analysis",
        "memloc.sweep",
        "memloc.api",
        "memloc.commands",
        "ray",
        *others,
    )
    for path in (ROOT / "stages" / name).glob("*.py"):
        wrong = [m for m in imports(path) if any(m == f or m.startswith(f"{f}.") for f in forbidden)]
        assert not wrong, path


def test_the_registry_is_the_folders() -> None:
    folders = {path.parent.name for path in (ROOT / "stages").glob("*/config.py")}
    assert set(STAGES) == folders
    assert all(stage.name == name for name, stage in STAGES.items())
    for instrument in stages.instruments():
        assert instrument.stage in STAGES
    places = [instrument.place for instrument in stages.instruments()]
    assert places == sorted(set(places))


def test_every_table_is_of_one_stage() -> None:
    owned = [table for stage in STAGES.values() for table in stage.tables]
    assert len(owned) == len(set(owned))
    for stage in STAGES.values():
        assert all(schema.names[:2] == ["analysis", "trial"] for schema in stage.tables.values())
