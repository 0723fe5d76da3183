"""A paper of the user's own: a bug in one of its functions is said in a line, as is what they give that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, get_args

from memloc.analysis.settings import Setting
from memloc.errors import UsageError, nearest
from memloc.own_code import OwnCode, OwnCodeError, telling
from memloc.papers.charts import Chart, Curves, Dots, Heat, Table
from memloc.papers.claims import Claim
from memloc.papers.deciding import Estimate
from memloc.papers.exhibits import Exhibit
from memloc.papers.paper import Paper, Section
from memloc.statistics import Interval
from memloc.statistics.trainings import OverTrainings

Drawing = (*get_args(Chart), Table)
SHOWN = 80  # characters of a value in a message

T = TypeVar("T")
Check = Callable[[Any], str | None]  # what a function should give instead, or None if it can be used


def explained(paper: Paper, code: OwnCode) -> Paper:
    """The paper, whose functions raise OwnCodeError with the place where they fail.

    Raises:
        UsageError: something in it is no claim, no exhibit or no section, or has the id of another one.
    """
    sections = _all_are(Section, paper.sections, code, "sections of the paper")
    for section in sections:
        _all_are(Claim, section.claims, code, f"claims of section {section.name}")
        _all_are(Exhibit, section.exhibits, code, f"exhibits of section {section.name}")
    pictures = _all_are(Exhibit, paper.pictures, code, "pictures of the paper")
    _check_ids(sections, code)
    return replace(
        paper,
        sections=[
            replace(
                one,
                claims=[_claim(claim, code) for claim in one.claims],
                exhibits=[_exhibit(exhibit, code) for exhibit in one.exhibits],
                sentence=_told(one.sentence, code, f"section {one.name}: sentence", _kind(str, "text")),
            )
            for one in sections
        ],
        pictures=[_exhibit(exhibit, code) for exhibit in pictures],
    )


def _all_are(kind: type[T], several: Any, code: OwnCode, what: str) -> Sequence[T]:
    if not isinstance(several, list | tuple) or not all(isinstance(one, kind) for one in several):
        raise UsageError(f"{code.origin}: {what}: {_shown(several)}; valid: a list, each a {kind.__name__}(…)")
    return several


def _check_ids(sections: Sequence[Section], code: OwnCode) -> None:
    claims = [claim.id for section in sections for claim in section.claims]
    exhibits = [exhibit.id for section in sections for exhibit in section.exhibits]
    for kind, ids in (("claims", claims), ("exhibits", exhibits), ("sections", [section.name for section in sections])):
        if twice := next((id for id in ids if ids.count(id) > 1), None):
            raise UsageError(f"{code.origin}: two {kind} are called {twice}; rename one")
    for section in sections:
        for claim in section.claims:
            if not isinstance(claim.scopes, Mapping) or not claim.scopes or not all(map(_is_numbers, claim.scopes.values())):
                problem = f"scopes is {_shown(claim.scopes)}; valid: here(), or {{Scope(…): {{part: a number or None}}}}"
                raise UsageError(f"{code.origin}: claim {claim.id}: {problem}")
        for exhibit in section.exhibits:
            if lost := next((id for id in exhibit.claims if id not in claims), None):
                raise UsageError(
                    f"{code.origin}: exhibit {exhibit.id}: claims: {lost}: no such claim{nearest(str(lost), claims)}; "
                    f"valid: {', '.join(claims) or 'none'}"
                )


def _is_numbers(numbers: Any) -> bool:
    return isinstance(numbers, Mapping) and all(
        isinstance(part, str) and (number is None or isinstance(number, int | float)) for part, number in numbers.items()
    )


def _claim(claim: Claim, code: OwnCode) -> Claim:
    def told(name: str, function: Callable[..., Any], check: Check) -> Callable[..., Any]:
        return _told(function, code, f"claim {claim.id}: {name}", check)

    return replace(
        claim,
        estimate=told("estimate", claim.estimate, _not_estimates),
        settings=told("settings", claim.settings, _not_settings) if claim.settings else None,
        beside={suffix: told(f"beside {suffix}", each, _not_settings) for suffix, each in claim.beside.items()},
        trainings=told("trainings", claim.trainings, _kind(Mapping, "{training field: value}")),
        first=told("first", claim.first, _kind(str, "text")),
    )


def _exhibit(exhibit: Exhibit, code: OwnCode) -> Exhibit:
    return replace(
        exhibit,
        settings=_told(exhibit.settings, code, f"exhibit {exhibit.id}: settings", _not_settings),
        draw=_told(_listed(exhibit.draw), code, f"exhibit {exhibit.id}: draw", _not_drawn),
    )


def _listed(draw: Callable[..., Any]) -> Callable[..., Any]:
    """A function that draws, which may also be one that yields."""

    @wraps(draw)
    def listing(subjects: Sequence[Any]) -> Any:
        drawn = draw(subjects)
        return list(drawn) if isinstance(drawn, Iterable) else drawn

    return listing


def _told(function: Callable[..., Any], code: OwnCode, what: str, check: Check) -> Callable[..., Any]:
    """The function; it raises OwnCodeError where it fails, and where it gives what cannot be used."""

    @wraps(function)
    def telling_it(*arguments: Any) -> Any:
        with telling(code, what):
            given = function(*arguments)
            if valid := check(given):
                raise OwnCodeError(f"{code.origin}: {what} gives {_shown(given)}; valid: {valid}")
        return given

    return telling_it


def _kind(kind: type[Any], valid: str) -> Check:
    return lambda given: None if isinstance(given, kind) else valid


def _not_estimates(given: Any) -> str | None:
    several = {"": given} if isinstance(given, Estimate) else given
    if not isinstance(several, Mapping) or not all(
        isinstance(part, str) and (one is None or isinstance(one, Estimate)) for part, one in several.items()
    ):
        return "an Estimate, as `decided(…)` makes it, or {part: Estimate or None}"
    intervals = [one.interval for one in several.values() if one is not None]
    if not all(interval is None or isinstance(interval, Interval) for interval in intervals):
        return "an Estimate whose interval is an Interval(value, lo, hi), or None"
    return None


def _not_settings(given: Any) -> str | None:
    ok = isinstance(given, list | tuple) and all(isinstance(one, Setting) for one in given)
    return None if ok else "a list of settings, as `of_stage(…)` finds them"


def _not_drawn(given: Any) -> str | None:
    if not isinstance(given, list | tuple) or not all(isinstance(one, Drawing) for one in given):
        return f"a list, each of {', '.join(kind.__name__ for kind in Drawing)}"
    return next((problem for one in given if (problem := _misshapen(one))), None)


def _misshapen(one: Any) -> str | None:
    """What the parts of a chart must be, where they do not fit to each other."""
    if isinstance(one, Curves):
        for line in (line for lines in one.panels.values() for line in lines):
            if not all(len(along) == len(line.x) for along in (line.values, *line.each)):
                return f"Curves whose lines have one value for each x (line {line.name} has {len(line.x)} x)"
    if isinstance(one, Dots) and not all(_are(values, len(one.rows)) for values in one.values.values()):
        return f"Dots with one quantity, as `over(…)` makes it, for each of the {len(one.rows)} rows"
    if isinstance(one, Heat):
        for rows in one.panels.values():
            if len(rows) != len(one.rows) or not all(_are(row, len(one.columns)) for row in rows):
                return f"Heat with {len(one.rows)} rows of {len(one.columns)} quantities, as `over(…)` makes them"
    if isinstance(one, Table) and not all(len(row) == len(one.head) for row in one.rows):
        return f"Table with {len(one.head)} cells in each row"
    return None


def _are(values: Any, n: int) -> bool:
    """Are these n quantities?"""
    return len(values) == n and all(value is None or isinstance(value, OverTrainings) for value in values)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
