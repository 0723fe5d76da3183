"""Stages and scores of the user's own: every `Stage` and every `Score` that stands at the top level of a Python file.

A sweep names its plugins by path, or as `package.module`. An installed package may also name them in its entry points
`memloc.stages` and `memloc.scores`. Either way the file is executed from its text, and the hash of the text enters the ids
of what it computes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

import pyarrow as pa

from memloc.config import StageConfig
from memloc.errors import UsageError
from memloc.own_code import OwnCode, read
from memloc.stages.base import Stage
from memloc.stages.detection.config import EVERY, Detection
from memloc.stages.score import Score
from memloc.stages.training.schema import TABLES as TRAINING_TABLES

GROUPS = ("memloc.stages", "memloc.scores")
NAME = re.compile(r"[a-z][a-z0-9_]*")
OURS = "memloc."  # what the names of memloc's own modules begin with
# Columns of the view `leaderboard` that no score may be named like.
COLUMNS = {*TRAINING_TABLES["examples"].names, "correct", "margin", "memorization"} - {score.name for score in EVERY}

log = logging.getLogger("memloc")


def installed() -> list[OwnCode]:
    """The files that installed packages name in their entry points. One that cannot be read is left out, as the log says."""
    codes: dict[OwnCode, None] = {}
    for group in GROUPS:
        for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
            try:
                code = read(entry.module)
                list(stages_of(code)), list(scores_of(code))
            except UsageError as error:
                log.warning("plugin %s = %s is left out: %s", entry.name, entry.value, "; ".join(error.problems))
            else:
                codes[code] = None
    return list(codes)


def with_plugins(stages: Mapping[str, Stage[Any]], codes: Sequence[OwnCode], named: bool = True) -> dict[str, Stage[Any]]:
    """These stages and those of the files, by name.

    named: whether a sweep names the files. Detection then compares their scores though nobody names these.

    Raises:
        UsageError: a file has no stage and no score that can be used, or a name is taken.
    """
    every, detection = dict(stages), stages["detection"]
    assert isinstance(detection, Detection)
    own, unasked = ({s.name: s for s in several if s.code} for several in (detection.scores, detection.unasked))
    for code in codes:
        for stage in stages_of(code):
            _check_free("stage", stage.name, stage.code, every)
            if taken := next((t for s in every.values() if s.name != stage.name for t in stage.tables if t in s.tables), ""):
                raise UsageError(f"{code.origin}: stage {stage.name}: table {taken} is that of another stage; rename it")
            every[stage.name] = stage
        for score in scores_of(code):
            _check_free("score", score.name, score.code, {s.name: s for s in EVERY} | own)
            own[score.name] = score
            unasked |= {score.name: score} if named else {}
    every["detection"] = Detection(list(own.values()), list(unasked.values()))
    return every


def stages_of(code: OwnCode) -> Iterator[Stage[Any]]:
    """The stages at the top level of a file.

    Raises:
        UsageError: it cannot be executed, or a stage is not complete.
    """
    for value in _objects(code, Stage):
        if not type(value).__module__.startswith(OURS):
            if problem := _problem(value):
                raise UsageError(f"{code.origin}: stage {getattr(value, 'name', type(value).__name__)}: {problem}")
            value.code = code
            yield value


def scores_of(code: OwnCode) -> Iterator[Score]:
    """The scores at the top level of a file; raises as `stages_of`."""
    for value in _objects(code, Score):
        if value in EVERY:
            continue
        if not isinstance(value.name, str) or not NAME.fullmatch(value.name) or value.name in COLUMNS:
            what = "a column of the leaderboard has this name" if value.name in COLUMNS else "valid: a-z, 0-9 and _"
            raise UsageError(f"{code.origin}: score {value.name}: {what}")
        yield Score(value.name, value.values, value.stage, code)


def _objects(code: OwnCode, kind: type[Any]) -> list[Any]:
    """The objects of a kind at the top level of a file, each once."""
    values = [value for value in vars(code.module()).values() if isinstance(value, kind)]
    return list({id(value): value for value in values}.values())


def _problem(stage: Stage[Any]) -> str | None:
    """What a stage lacks, or None."""
    name, version, tables = (getattr(stage, field, None) for field in ("name", "version", "tables"))
    if not isinstance(name, str) or not NAME.fullmatch(name) or name == "train":
        return f"name {name!r}; valid: a-z, 0-9 and _, other than train"
    if type(version) is not int or version < 1:
        return f"version {version!r}; valid: a whole number >= 1, raised whenever its numbers change"
    if not isinstance(tables, Mapping) or not tables or not all(isinstance(t, pa.Schema) for t in tables.values()):
        return "tables; valid: {name: of_analysis((column, type), …)}"
    for table, schema in tables.items():
        if not NAME.fullmatch(table) or table in TRAINING_TABLES or schema.names[:2] != ["analysis", "trial"]:
            return f"table {table}; valid: a name of its own, and a schema that `of_analysis` makes"
    if not issubclass(stage.config, StageConfig):
        return "config; valid: a class that derives from StageConfig"
    if type(stage).run is Stage.run and type(stage).run_together is Stage.run_together:
        return "has no method run(config, inputs, part)"
    return None


def _check_free(kind: str, name: str, code: OwnCode | None, there: Mapping[str, Any]) -> None:
    """Raises UsageError if something else has the name."""
    other: OwnCode | None = there[name].code if name in there else code
    if other != code and (other is None or code is None or other.sha256 != code.sha256):
        whose = "memloc" if other is None else other.origin
        raise UsageError(f"{code.origin if code else ''}: {kind} {name}: {whose} has one of this name; rename yours")


def origins(codes: Collection[OwnCode]) -> dict[str, str]:
    """{file name or module: hash} of plugins, for commits."""
    return {code.origin.rpartition("/")[2]: code.sha256 for code in codes}
