"""The documentation names files, symbols and pages that are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import duckdb
import pytest

from memloc.analysis.reader import known_tables
from memloc.analysis.views import VIEWS

ROOT = Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
BASES = (ROOT, ROOT / "memloc", ROOT / "tests", ROOT / "docs")  # a page names a path from any of these folders
FOLDERS = {folder.name for base in BASES[:3] for folder in base.iterdir() if folder.is_dir()}
SUFFIXES = ("py", "md", "html", "pdf", "svg", "tex", "yaml", "json", "toml")
SYMBOL = re.compile(r"([\w/-]+)((?:\.[A-Za-z_]\w*)+)")


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def codes(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def paths(text: str) -> Iterator[str]:
    """What stands in backticks and looks like a path of the project: it ends in .py, or begins with one of its folders."""
    for code in codes(text):
        folder = "/" in code and code.split("/")[0] in FOLDERS
        if re.fullmatch(r"[\w./*-]+", code) and (folder or code.endswith(".py")):
            yield code


def dotted(text: str) -> Iterator[tuple[str, list[str]]]:
    """What stands in backticks and looks like a symbol of a module: (`memloc/run/clock.py`, [`time_left`])."""
    for code in codes(text):
        match = SYMBOL.fullmatch(code)
        if match and code.rsplit(".", 1)[1] not in SUFFIXES and (module := source(match[1])):
            yield module, match[2].removeprefix(".").split(".")


def members(text: str) -> Iterator[tuple[str, str]]:
    """What stands in backticks and looks like a member of a class: (`Stage`, `passes`)."""
    for code in codes(text):
        if match := re.fullmatch(r"([A-Z]\w*[a-z]\w*)\.([a-z_]\w*)", code):
            yield match[1], match[2]


def file_exists(path: str) -> bool:
    """Is there such a path? A bare name may lie anywhere in the project."""
    if "/" in path:
        return any(any(base.glob(path.rstrip("/"))) for base in BASES)
    return (
        path in {file.name for folder in ("memloc", "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py")}
        or (ROOT / path).exists()
    )


@cache
def classes() -> dict[str, set[str]]:
    """{class of the package: the names in its body}."""
    known: dict[str, set[str]] = {}
    for file in (ROOT / "memloc").rglob("*.py"):
        for name, inner in defined(file.relative_to(ROOT).as_posix()).items():
            if name[0].isupper():
                known.setdefault(name, set()).update(inner)
    return known


@cache
def source(module: str) -> str | None:
    """Where the module `run/clock` or the package `statistics` has its source, from the root; None if it is none."""
    for base in BASES[:3]:
        for path in (base / f"{module}.py", base / module / "__init__.py"):
            if path.exists():
                return path.relative_to(ROOT).as_posix()
    return None


@cache
def defined(path: str) -> dict[str, set[str]]:
    """{name that a module defines or imports: the names in its body, of a class}."""
    names: dict[str, set[str]] = {}
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) else []
        names |= {name: {n for part in inner for n in bound(part)} for name in bound(node)}
    return names


def bound(node: ast.stmt) -> list[str]:
    """The names that a statement binds."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def has_symbol(path: str, symbol: list[str]) -> bool:
    inner = defined(path).get(symbol[0])
    return inner is not None and (len(symbol) == 1 or symbol[1] in inner)


def tables(page: Path) -> dict[str, list[str]]:
    """{first cell: the columns that its last cell names} of the tables of a page; what is in parentheses explains them."""
    rows = re.findall(r"^\| (?!table|view)(\w+) \| .* \| (.*) \|$", prose(page), flags=re.M)
    return {name: re.sub(r" \([^)]*(\([^)]*\)[^)]*)*\)", "", cell).split(", ") for name, cell in rows}


def anchors(page: Path) -> set[str]:
    """What the page's headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_every_path_that_a_page_names_exists(name: str) -> None:
    missing = [path for path in paths(prose(ROOT / name)) if not file_exists(path) and not list(dotted(f"`{path}`"))]
    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_every_symbol_that_a_page_names_exists(name: str) -> None:
    missing = [f"{path}: {'.'.join(s)}" for path, s in dotted(prose(ROOT / name)) if not has_symbol(path, s)]
    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_every_member_that_a_page_names_exists(name: str) -> None:
    assert [f"{c}.{m}" for c, m in members(prose(ROOT / name)) if m not in classes().get(c, ())] == []


def test_the_columns_are_those_of_the_schemas_and_of_the_views() -> None:
    connection = duckdb.connect(":memory:")
    columns = {name: schema.names for name, schema in known_tables().items()}
    for name, schema in known_tables().items():
        connection.register(name, schema.empty_table())
    for name, sql in VIEWS.items():
        connection.execute(f"CREATE VIEW {name} AS {sql}")
        columns[name] = connection.table(name).columns
    assert tables(ROOT / "docs" / "tables.md") == columns


@pytest.mark.parametrize("name", NAMES)
def test_every_relative_link_leads_somewhere(name: str) -> None:
    page, broken = ROOT / name, []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_checks_see_what_is_wrong() -> None:
    assert list(paths("`run/clock.py`, `run/gone.py` and `a/b`, see `memloc sweep`")) == ["run/clock.py", "run/gone.py"]
    assert file_exists("run/clock.py")
    assert not file_exists("run/gone.py")
    assert has_symbol("memloc/run/clock.py", ["time_left"])
    assert not has_symbol("memloc/run/clock.py", ["gone"])
    assert has_symbol("memloc/run/clock.py", ["PricedPlan", "as_json"])
    assert not has_symbol("memloc/run/clock.py", ["PricedPlan", "gone"])
    assert list(dotted("`run/clock.time_left`")) == [("memloc/run/clock.py", ["time_left"])]
