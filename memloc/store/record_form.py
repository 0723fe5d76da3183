"""The form of a sweep's record, and the check of what somebody has written in its place."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from typing import Any, NotRequired

import pydantic_core
from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from memloc.store import documents, layout
from memloc.store.documents import Id, Name

DEEP = 4  # how deep the configuration of an analysis lies in a record


# What a record must have. Fields that this version does not know are kept.
class _Analysis(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    analysis: Id
    stage: Name
    config: dict[str, Any]
    parts: list[Id]


class _Waiting(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    block: str
    stage: str


class _Trial(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    trial: Id
    config: dict[str, Any]
    blocks: list[str]
    analyses: list[_Analysis]
    waiting: NotRequired[list[_Waiting]]


@cache
def _trials() -> TypeAdapter[list[_Trial]]:
    return TypeAdapter(list[_Trial])


_TRIAL, _ANALYSIS = {"trial", "config", "blocks", "analyses"}, {"analysis", "stage", "config", "parts"}
_IDS, _STAGE = re.compile(f"({layout.ID} )*{layout.ID}"), re.compile(documents.NAME)


def trials_in(content: bytes) -> list[dict[str, Any]]:
    """The trials of a record; ValueError where it is none.

    The record of ten thousand trainings has a hundred thousand ids. So it is first looked at as memloc writes it, which
    takes a third of the time and a quarter of the memory. Of everything else pydantic says what it is.
    """
    with suppress(ValueError, TypeError, LookupError, AttributeError):
        trials = pydantic_core.from_json(content, allow_inf_nan=False)
        if _are_as_written(trials):
            return list(trials)
    return list(documents.as_written(_trials(), content))


def _are_as_written(trials: Any) -> bool:
    """Has every trial exactly the fields of a trial that waits for nothing, with values that they can have?

    An error of many types where it surely has not.
    """
    analyses = [analysis for trial in trials for analysis in trial["analyses"]]
    lists = [trials, *(t[name] for t in trials for name in ("blocks", "analyses")), *(a["parts"] for a in analyses)]
    ids = [*(t["trial"] for t in trials), *(a["analysis"] for a in analyses), *(i for a in analyses for i in a["parts"])]
    joined = " ".join(ids)
    for one in (*trials, *analyses):
        documents.check(one["config"], depth=DEEP)
    return (
        all(trial.keys() == _TRIAL for trial in trials)
        and all(analysis.keys() == _ANALYSIS for analysis in analyses)
        and all(type(value) is list for value in lists)
        and all(type(one["config"]) is dict for one in (*trials, *analyses))
        and all(type(block) is str for trial in trials for block in trial["blocks"])
        and all(_STAGE.fullmatch(stage) for stage in {analysis["stage"] for analysis in analyses})
        and (not ids or (len(joined) == 17 * len(ids) - 1 and _IDS.fullmatch(joined) is not None))
    )
