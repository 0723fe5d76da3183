"""Every field of trainings and stages. `python -m memloc.commands.field_list` writes docs/fields.md from it."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from memloc import sweep
from memloc.commands.answers import answer
from memloc.commands.prose import wrapped
from memloc.config.about import FieldAbout, about_fields
from memloc.stages import REGISTRY

HEAD = """# Fields

Every field that a sweep file, `FIELD=VALUE` on the command line or `--only` takes. A stage's field is `STAGE.FIELD` on the
command line. This page is made from the types: the text stands below each field. After a change, write it again with
`python -m memloc.commands.field_list > docs/fields.md`.
"""


def show(as_json: bool, path: Path | None = None) -> None:
    """Prints every field: name, default, valid values, meaning, source. path: a sweep file, whose plugins may add some.

    Raises:
        UsageError: the file cannot be read, or one of its plugins cannot be used.
    """
    fields = about_fields(REGISTRY if path is None else sweep.with_plugins(sweep.read(path), path.parent, REGISTRY)[0])
    answer(json.dumps([asdict(f) for f in fields], indent=1) if as_json else text(fields), end="\n" if as_json else "")


def text(fields: list[FieldAbout]) -> str:
    """The fields as text for a terminal: owner by owner, each field with its meaning below."""
    lines: list[str] = []
    for owner, members in groupby(fields, lambda f: f.owner):
        lines.append(owner if owner == "training" else f"stage {owner}")
        for f in members:
            used = f"   ({f.used_with})" if f.used_with else ""
            default = f.default if f.default == "required" else f"default {f.default}"
            lines += wrapped(f"{f.field}  {default}{used}", "  ", "      ")
            lines += wrapped(f"{f.meaning} [{f.source}]", "      ")
            lines += wrapped(f"valid: {f.values}", "      ")
        lines.append("")
    return "\n".join(lines)


def markdown(fields: list[FieldAbout]) -> str:
    """docs/fields.md: a table for trainings and one for each stage."""
    lines = [HEAD]
    for owner, members in groupby(fields, lambda f: f.owner):
        lines += [f"## {'Training' if owner == 'training' else f'Stage `{owner}`'}", ""]
        lines += ["| field | default | valid | meaning | source |", "|---|---|---|---|---|"]
        for f in members:
            name = f"`{f.field}`" + (f" ({f.used_with})" if f.used_with else "")
            cells = [name, f.default, f.values, f.meaning, f.source]
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(about_fields(REGISTRY)), end="")
