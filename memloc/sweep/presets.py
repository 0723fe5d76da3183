"""Presets: values of many fields at once, by data set, model and dropout. A value in a sweep file replaces that of a preset.

Each preset is a YAML file, in sweeps/presets or a person's own: `training` (fields), `datasets`, `models` and `dropouts`
(fields by name, which replace the former), `stages`. Only the values enter an identity. The name of the preset does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memloc.config import Registry, written
from memloc.errors import UsageError, nearest
from memloc.sweep import yaml
from memloc.sweep.checker import Checked, Checker
from memloc.sweep.shipped import folder
from memloc.sweep.yaml import Document

BY_NAME = {"datasets": "dataset", "models": "model", "dropouts": "dropout"}  # {key: the field whose value is the name}
KEYS = ("about", "training", *BY_NAME, "stages")


@dataclass(frozen=True)
class Preset:
    """training: field values. by_name: {key: {name: more of them}}, the names with absolute paths as in trainings.

    stages: {stage: field values}. where: {`stage.field`, `training.field` or `key.name.field`: file:line:field}.
    """

    training: dict[str, Any] = field(default_factory=dict)
    by_name: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)

    def under(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """The training fields `flat`, and below them what the preset says for their data set, model and dropout."""
        values = dict(self.training)
        for key, name in self._groups(flat):
            values |= self.by_name[key][name]
        return {**values, **flat}

    def place(self, field_name: str, flat: Mapping[str, Any]) -> str | None:
        """Where the preset gives a training field with these values of the others; None: it does not."""
        prefixes = ["training", *(f"{key}.{name}" for key, name in self._groups(flat))]
        places = [self.where[f"{p}.{field_name}"] for p in prefixes if f"{p}.{field_name}" in self.where]
        return places[-1] if places else None

    def _groups(self, flat: Mapping[str, Any]) -> list[tuple[str, str]]:
        named = [(key, str(flat.get(decides))) for key, decides in BY_NAME.items()]
        return [(key, name) for key, name in named if name in self.by_name.get(key, {})]


def presets() -> dict[str, Path]:
    """{name: file} of those that come with memloc."""
    return {path.stem: path for path in sorted((folder() / "presets").glob("*.yaml"), key=lambda path: path.stem)}


def find(name: Any, below: Path | None) -> tuple[Path | None, str | None]:
    """(the file of a preset, what is wrong with its name). A name with a slash or .yaml is a file of one's own.

    below: the folder to which a relative path is relative. No name, null, stands for no preset.
    """
    known = presets()
    if name is None or (isinstance(name, str) and name in known):
        return (None if name is None else known[name]), None
    if isinstance(name, str) and ("/" in name or name.endswith((".yaml", ".yml"))):
        try:
            path = (below or Path()) / Path(name).expanduser()
            return (path, None) if path.is_file() else (None, f"{name}: no such file ({path.absolute()})")
        except (OSError, RuntimeError, ValueError) as error:  # an unknown ~user, a byte that no path has
            return None, f"{written(name)} is not valid: {error}"
    close = nearest(name, known) if isinstance(name, str) else ""
    valid = f"valid: {', '.join(known)}, a file of your own such as ./mine.yaml, or null for no preset"
    return None, f"{written(name)} is no preset{close}; {valid}"


def read(path: Path, registry: Registry) -> Preset:
    """A preset from its file. Paths in it are relative to the file.

    Raises:
        UsageError: with everything that is wrong in it.
    """
    reading = _Reading(yaml.read(path, "a preset needs `training:` or `stages:`"), Checker(registry, path.parent))
    preset = reading.preset()
    if reading.problems:
        raise UsageError(*reading.problems)
    return preset


@dataclass
class _Reading:
    """A document on its way to a preset, with its problems."""

    document: Document
    checker: Checker
    problems: list[str] = field(default_factory=list)
    where: dict[str, str] = field(default_factory=dict)

    def preset(self) -> Preset:
        top = self._mapping(self.document.value, ())
        for key in top:
            if key not in KEYS:
                self._problem(f"unknown key{nearest(key, KEYS)}; valid: {', '.join(KEYS)}", key)
        by_name = {key: self._groups(top.get(key), key) for key in BY_NAME}
        training = self._values(top.get("training"), self.checker.literal, "training")
        stages = {}
        for stage, given in self._mapping(top.get("stages"), ("stages",)).items():
            if problem := self.checker.unknown_stage(stage):
                self._problem(problem, "stages", stage)
            else:
                stages[stage] = self._values(given, self._of_stage(stage), "stages", stage)
        where = {key.removeprefix("stages."): place for key, place in self.where.items()}
        return Preset(training, by_name, stages, where)

    def _groups(self, given: Any, key: str) -> dict[str, dict[str, Any]]:
        groups: dict[str, dict[str, Any]] = {}
        for name, values in self._mapping(given, (key,)).items():
            taken, problems = self.checker.training(BY_NAME[key], name)
            for _, problem in problems:
                self._problem(problem, key, name)
            if not problems and taken in groups:
                self._problem(f"{taken} stands here twice; keep one", key, name)
            groups[taken] = self._values(values, self.checker.literal, key, name)
            self.where |= {f"{key}.{taken}.{field}": self.document.at(key, name, field) for field in groups[taken]}
        return groups

    def _of_stage(self, stage: str) -> Callable[[str, Any], Checked]:
        return lambda name, value: self.checker.stage(stage, name, value)

    def _values(self, given: Any, check: Callable[[str, Any], Checked], *where: str) -> dict[str, Any]:
        """The checked values of one mapping."""
        values = {}
        for name, value in self._mapping(given, where).items():
            values[name], bad = check(name, value)
            self.where[".".join([*where, name])] = self.document.at(*where, name)
            for position, problem in bad:
                self._problem(problem, *where, name, *position)
        return values

    def _mapping(self, given: Any, where: tuple[str, ...]) -> dict[str, Any]:
        if given is None or isinstance(given, dict):
            return given or {}
        self._problem(f"{written(given)} is not a mapping (name: value, …)", *where)
        return {}

    def _problem(self, problem: str, *where: str | int) -> None:
        self.problems.append(f"{self.document.at(*where)}: {problem}")
