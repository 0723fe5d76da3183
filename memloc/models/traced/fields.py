"""The fields of all networks that are traced: groups and dropout sites by name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator

from memloc.config import ArchitectureConfig, Valid


def _written(value: Any) -> Any:
    """A mapping as the text that a table holds: JSON, its keys in order."""
    if not isinstance(value, Mapping):
        return value
    if not all(isinstance(text, str) for item in value.items() for text in item):
        raise ValueError("valid: {group: 'pattern', …}, each a text")
    return json.dumps(dict(value), sort_keys=True, ensure_ascii=False)


def _groups(value: str) -> str:
    try:
        patterns = json.loads(value)
    except ValueError:
        patterns = None
    if not isinstance(patterns, dict) or not patterns or not all(isinstance(p, str) for p in patterns.values()):
        raise ValueError("valid: {group: 'pattern', …}")
    for group, pattern in patterns.items():
        if not re.fullmatch(r"[\w.+-]+", group):
            raise ValueError(f"{group!r} is no group's name; valid: letters, digits, '_', '.', '+' and '-'")
        _pattern(pattern)
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is no regular expression: {error}") from None
    return value


Groups = Annotated[
    str, BeforeValidator(_written), AfterValidator(_groups), Valid("{group: 'pattern', …}, patterns of parameters' names")
]
Pattern = Annotated[str, AfterValidator(_pattern), Valid("a pattern of modules' names")]


class TracedConfig(ArchitectureConfig):
    """Base of the networks that are traced."""

    NOT_COMPILED: ClassVar[str | None] = "it runs operation by operation"

    groups: Groups | None = None
    """The layer groups: for each, a regular expression that matches the whole name of its modules or parameters; null:
    derived (`memloc model` shows them). [memloc]
    """
    sites: Pattern | None = None
    """The dropout sites: a regular expression that matches the whole name of the modules after which they are; null: after
    every group but the last, if it hands on one tensor. [memloc]
    """

    def patterns(self) -> tuple[tuple[str, str], ...] | None:
        """(group, pattern) of each group; None: the groups are derived."""
        return None if self.groups is None else tuple(json.loads(self.groups).items())
