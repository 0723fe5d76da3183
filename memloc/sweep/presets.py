"""Presets: values of many fields at once, by data set, model and dropout. A value in a sweep file replaces that of a preset.

Each preset is a YAML file in sweeps/presets: `training` (fields), `datasets`, `models` and `dropouts` (fields by name, which
replace the former), `stages`. Only the values enter an identity. The name of the preset does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memloc.config import Fields, Registry, fields_of, written
from memloc.errors import UsageError, nearest
from memloc.sweep import yaml
from memloc.sweep.shipped import folder
from memloc.sweep.yaml import Document

KEYS = ("about", "training", "datasets", "models", "dropouts", "stages")


@dataclass(frozen=True)
class Preset:
    """training: field values. by_dataset, by_model, by_dropout: more of them, by name. stages: {stage: field values}.

    where: {`stage.field`: file:line:field}.
    """

    training: dict[str, Any] = field(default_factory=dict)
    by_dataset: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_model: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_dropout: dict[str, dict[str, Any]] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)

    def for_training(self, dataset: Any, model: Any, dropout: Any = None) -> dict[str, Any]:
        """The training fields for a data set, a model and a dropout."""
        fields = self.training | self.by_dataset.get(str(dataset), {}) | self.by_model.get(str(model), {})
        return fields | self.by_dropout.get(str(dropout), {})


def presets() -> dict[str, Path]:
    """{name: file}."""
    return {path.stem: path for path in sorted((folder() / "presets").glob("*.yaml"), key=lambda path: path.stem)}


def problem_of(name: Any) -> str | None:
    """What is wrong with a preset's name, or None. The name may be None, which stands for no preset."""
    known = presets()
    if name is None or (isinstance(name, str) and name in known):
        return None
    close = nearest(name, known) if isinstance(name, str) else ""
    return f"{written(name)} is no preset{close}; valid: {', '.join(known)}, or null for no preset"


def read(path: Path, registry: Registry) -> Preset:
    """A preset from its file; raises UsageError with what is wrong in it."""
    document = yaml.read(path)
    problems = [f"{document.at(key)}: unknown key; valid: {', '.join(KEYS)}" for key in document.value if key not in KEYS]
    preset = Preset()
    preset.training.update(_values(document, ("training",), registry.training, problems))
    by_name = {"datasets": preset.by_dataset, "models": preset.by_model, "dropouts": preset.by_dropout}
    for key, into in by_name.items():
        for name in document.value.get(key) or {}:
            into[name] = _values(document, (key, name), registry.training, problems)
    for stage in document.value.get("stages") or {}:
        if stage not in registry.stages:
            problems.append(f"{document.at('stages', stage)}: unknown stage; valid: {', '.join(registry.stages)}")
            continue
        preset.stages[stage] = _values(document, ("stages", stage), fields_of(registry.stages[stage].config), problems)
        preset.where.update({f"{stage}.{name}": document.at("stages", stage, name) for name in preset.stages[stage]})
    if problems:
        raise UsageError(*problems)
    return preset


def _values(document: Document, where: tuple[str, ...], fields: Fields, problems: list[str]) -> dict[str, Any]:
    """The checked values of one mapping."""
    given: Any = document.value
    for key in where:
        given = (given or {}).get(key)
    values = {}
    for name, value in (given or {}).items():
        if unknown := fields.check_name(name):
            problems.append(f"{document.at(*where, name)}: {unknown}")
            continue
        values[name], bad = fields.check_items(name, value)
        problems += [f"{document.at(*where, name, *position)}: {problem}" for position, problem in bad]
    return values
