"""Which mutants there are, and the text of a file as one of them has it."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("config", "sweep", "store", "run")
LEFT_OUT = ("memloc/run/ray/",)  # needs Ray

# Changes that are one change to the eye: of each family a place has one mutant.
FAMILIES = (
    "ReplaceComparisonOperator", "ReplaceBinaryOperator", "ReplaceUnaryOperator", "AddNot", "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak",
    "ExceptionReplacer", "NumberReplacer", "RemoveDecorator", "ZeroIterationForLoop",
)  # fmt: skip
# `is` between numbers is a matter of the interpreter, and most shifts and bits of numbers and lists end in a TypeError.
TOO_EASY = ("_Is", "_IsNot", "_LShift", "_RShift", "_BitAnd", "_BitOr", "_BitXor")
STATEMENT = "RemoveStatement"  # our own: a call or an assignment to something that lives on, left out


@dataclass(frozen=True)
class Mutant:
    """One change. occurrence: which place of the file, as the operator counts them. line, column: where it stands."""

    path: str
    operator: str
    occurrence: int
    line: int
    column: int

    @property
    def name(self) -> str:
        return f"{self.path}:{self.line}:{self.column}:{self.operator}"


def mutants(seed: int, count: int) -> list[Mutant]:
    """`count` mutants of the packages, drawn without replacement by a hash of (seed, place, family)."""
    every: list[Mutant] = []
    for package in PACKAGES:
        for path in sorted((ROOT / "memloc" / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(LEFT_OUT):
                every += _of_file(name, path.read_text(encoding="utf-8"), seed)
    drawn = (m for m in sorted(every, key=lambda mutant: _key(seed, mutant.name)) if _is_program(m))
    return list(islice(drawn, count))


def _is_program(mutant: Mutant) -> bool:
    """Whether it differs and can be parsed: the operators take the stars of `f(*x)` for a product."""
    source, changed = mutated(mutant)
    try:
        return ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def _key(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed}:{text}".encode()).hexdigest()


def _of_file(name: str, source: str, seed: int) -> list[Mutant]:
    """One mutant for every (place, family) of a file, its operator drawn from those of the family."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast

    out_of_reach = _not_run(source)
    tree = get_ast(source)
    groups: dict[tuple[int, int, str], list[Mutant]] = {}
    for operator_name in plugins.operator_names():
        family = next((f for f in FAMILIES if operator_name.startswith(f"core/{f}")), None)
        if family is None or operator_name.endswith(TOO_EASY):
            continue
        operator, occurrence = plugins.get_operator(operator_name)(), 0
        for node in ast_nodes(tree):
            for (line, column), _ in operator.mutation_positions(node):
                mutant = Mutant(name, operator_name, occurrence, line, column)
                occurrence += 1
                if (line, column) not in out_of_reach:
                    groups.setdefault((line, column, family), []).append(mutant)
    for k, statement in enumerate(_removable(source)):
        groups[(statement.lineno, statement.col_offset, STATEMENT)] = [
            Mutant(name, STATEMENT, k, statement.lineno, statement.col_offset)
        ]
    return [min(group, key=lambda mutant: _key(seed, mutant.name)) for group in groups.values()]


class _Places:
    """The places in some syntax trees: (line, column) of everything in them."""

    def __init__(self, trees: Sequence[ast.expr | ast.stmt]) -> None:
        self.spans = [((t.lineno, t.col_offset), (t.end_lineno or 0, t.end_col_offset or 0)) for t in trees]

    def __contains__(self, place: tuple[int, int]) -> bool:
        return any(start <= place < end for start, end in self.spans)


def _not_run(source: str) -> _Places:
    """Annotations, and what stands under `if TYPE_CHECKING`: the interpreter never runs them."""
    trees: list[ast.expr | ast.stmt] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            trees.append(node.annotation)
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            trees.append(node.returns)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            trees.append(node)
    return _Places(trees)


def _removable(source: str) -> list[ast.stmt]:
    """Statements whose absence leaves a program: calls for their effect, assignments to attributes and items, `raise`."""
    statements: list[ast.stmt] = []
    for node in ast.walk(ast.parse(source)):
        is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        lasting = isinstance(node, ast.Assign | ast.AugAssign) and any(
            isinstance(target, ast.Attribute | ast.Subscript)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        )
        if isinstance(node, ast.stmt) and (is_call or lasting or isinstance(node, ast.Raise | ast.Continue)):
            statements.append(node)
    return sorted(statements, key=lambda s: (s.lineno, s.col_offset))


def mutated(mutant: Mutant) -> tuple[str, str]:
    """(the file as it is, the file as the mutant has it)."""
    source = (ROOT / mutant.path).read_text(encoding="utf-8")
    if mutant.operator != STATEMENT:
        from cosmic_ray import plugins
        from cosmic_ray.mutating import mutate_code

        return source, mutate_code(source, plugins.get_operator(mutant.operator)(), mutant.occurrence) or source
    statement = _removable(source)[mutant.occurrence]
    lines = source.splitlines(keepends=True)
    first, last = lines[statement.lineno - 1], lines[(statement.end_lineno or 0) - 1]
    # Columns of a syntax tree count bytes.
    before = first.encode()[: statement.col_offset].decode()
    after = last.encode()[statement.end_col_offset :].decode()
    return source, "".join([*lines[: statement.lineno - 1], f"{before}pass{after}", *lines[statement.end_lineno :]])
