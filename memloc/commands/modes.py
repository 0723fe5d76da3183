"""Modes of a command: an option such as --show makes a command do something else, for which most options mean nothing."""

from __future__ import annotations

from collections.abc import Collection

import typer

from memloc.errors import UsageError


def refuse_others(context: typer.Context, fitting: Collection[str], reason: str) -> None:
    """Refuses the options on the command line that would have no effect.

    Args:
        context: of the command.
        fitting: the names of the parameters that the mode uses, its own option among them.
        reason: what the mode does, and what to do instead.

    Raises:
        UsageError: one line that names the first such option.
    """
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name not in fitting and source is not None and source.name == "COMMANDLINE":
            value = context.params[name]
            first = value[0] if isinstance(value, list | tuple) and value else value
            option = parameter.opts[0] if parameter.param_type_name == "option" else first
            raise UsageError(f"{option}: {reason}")
