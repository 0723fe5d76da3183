"""The shell script that a job of Ray's job server runs on the head of its cluster."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from memloc.run.jobs.sweep_arguments import SweepArguments


def sweep_script(arguments: SweepArguments, python: str) -> str:
    """The script. It is a file because a job's command line goes through several shells. python: what has memloc there."""
    values = {"SWEEP": shlex.join(arguments.words()), "PYTHON": shlex.quote(python)}
    return filled(Path(__file__).with_name("sweep.sh"), values)


def filled(template: Path, values: Mapping[str, str]) -> str:
    """The text of a template with a value for each @NAME@. What a value itself says is left alone."""
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], template.read_text(encoding="utf-8"))
