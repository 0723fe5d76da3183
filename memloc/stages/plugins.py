"""What users add: every `Stage` that stands at the top level of a Python file, and every object that a stage takes there.

A sweep names its plugins by path, or as `package.module`. An installed package may also name them in its entry points, such
as `memloc.stages` and `memloc.scores`. Either way the file is executed from its text, and the hash of the text enters the
ids of what it computes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

import pyarrow as pa

from memloc.config import StageConfig
from memloc.errors import UsageError
from memloc.own_code import OwnCode, read
from memloc.stages.base import Stage
from memloc.stages.extensible import Extensible, Extension
from memloc.stages.own_stage import explained
from memloc.stages.training.schema import TABLES as TRAINING_TABLES

NAME = re.compile(r"[a-z][a-z0-9_]*")
OURS = "memloc."  # what the names of memloc's own modules begin with

log = logging.getLogger("memloc")


def installed(stages: Iterable[Stage[Any]]) -> list[OwnCode]:
    """The files that installed packages name in their entry points. One that cannot be read is left out, as the log says.

    stages: memloc's own. There is a group of entry points for stages, and one for what each of these takes.
    """
    codes: dict[OwnCode, None] = {}
    taking = [stage for stage in stages if isinstance(stage, Extensible)]
    for group in ("memloc.stages", *(f"memloc.{stage.noun}s" for stage in taking)):
        for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
            try:
                code = read(entry.module)
                list(stages_of(code)), [list(taken_of(code, stage)) for stage in taking]
            except UsageError as error:
                log.warning("plugin %s = %s is left out: %s", entry.name, entry.value, "; ".join(error.problems))
            else:
                codes[code] = None
    return list(codes)


def with_plugins(stages: Mapping[str, Stage[Any]], codes: Sequence[OwnCode], named: bool = True) -> dict[str, Stage[Any]]:
    """These stages and those of the files, by name. Stages that take objects of the files have them.

    named: whether a sweep names the files. Then the objects are used though nobody names these.

    Raises:
        UsageError: a file has something that cannot be used, or a name is taken.
    """
    every = {name: _with_own(stage, codes, named) for name, stage in stages.items()}
    for code in codes:
        for stage in stages_of(code):
            _check_free("stage", stage.name, stage.code, every)
            if taken := next((t for s in every.values() if s.name != stage.name for t in stage.tables if t in s.tables), ""):
                raise UsageError(f"{code.origin}: stage {stage.name}: table {taken} is that of another stage; rename it")
            every[stage.name] = stage
    return every


def _with_own(stage: Stage[Any], codes: Sequence[OwnCode], named: bool) -> Stage[Any]:
    """The stage with the objects of the files that it takes."""
    if not isinstance(stage, Extensible):
        return stage
    own, unasked = ({one.name: one for one in several if one.code} for several in (stage.objects, stage.unasked))
    for code in codes:
        for one in taken_of(code, stage):
            _check_free(stage.noun, one.name, one.code, {each.name: each for each in stage.built_in} | own)
            own[one.name] = one
            unasked |= {one.name: one} if named else {}
    return type(stage)(list(own.values()), list(unasked.values()))


def stages_of(code: OwnCode) -> Iterator[Stage[Any]]:
    """The stages at the top level of a file.

    Raises:
        UsageError: it cannot be executed, or a stage is not complete.
    """
    for value in _objects(code, Stage):
        if not type(value).__module__.startswith(OURS):
            if problem := _problem(value):
                raise UsageError(f"{code.origin}: stage {getattr(value, 'name', type(value).__name__)}: {problem}")
            explained(value, code)
            yield value


def taken_of(code: OwnCode, stage: Extensible[Any]) -> Iterator[Extension]:
    """The objects at the top level of a file that a stage takes; raises as `stages_of`."""
    for value in _objects(code, stage.takes):
        if value in stage.built_in:
            continue
        named = isinstance(value.name, str) and NAME.fullmatch(value.name)
        if problem := stage.misnamed(value.name) if named else "valid: a-z, 0-9 and _":
            raise UsageError(f"{code.origin}: {stage.noun} {value.name}: {problem}")
        yield replace(value, code=code)


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
