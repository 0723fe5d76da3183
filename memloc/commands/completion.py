"""Proposals of a shell after TAB: sweeps, fields, names in a store. `memloc --install-completion` sets a shell up.

If a proposal cannot be made (there is no store, or it does not answer), nothing is proposed and no message is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import typer

Proposals = Callable[[typer.Context, str], list[str]]


def _proposing(candidates: Callable[[typer.Context, str], Iterable[str]]) -> Proposals:
    """The candidates that begin with the typed text; none if they cannot be found."""

    def propose(context: typer.Context, incomplete: str) -> list[str]:
        try:
            return [c for c in candidates(context, incomplete) if c.startswith(incomplete)]
        except Exception:  # a traceback would appear in the middle of the line that is being typed
            return []

    return propose


def _sweeps_and_fields(context: typer.Context, incomplete: str) -> Iterator[str]:
    """The shipped sweeps and the sweep files here; after one of them `FIELD=` and `STAGE.FIELD=`."""
    from memloc import sweep as sweeps

    if not context.params.get("arguments"):
        yield from sweeps.shipped()
        yield from (str(p) for p in sorted(Path(incomplete or ".").parent.glob("*.yaml")))
        return
    yield from (f"{name}=" for name in _fields())
    if "." in incomplete:
        from memloc.stages import STAGES

        yield from (f"{name}.{field}=" for name, stage in STAGES.items() for field in stage.config.model_fields)


def _fields() -> Iterable[str]:
    from memloc.models.architectures import TRAINING

    return TRAINING


def _stored_sweeps(context: typer.Context, incomplete: str) -> Iterator[str]:
    """The sweeps in the store that the command line names; after NAME@ each of the records of that name."""
    from memloc.store import records
    from memloc.store.opening import existing

    files = existing(context.params.get("store")).files
    if "@" not in incomplete:
        yield from records.sweep_names(files)
    else:
        yield from (f"{r.name}@{r.sha}" for r in records.read_sweeps(files))


def _data_sets(context: typer.Context, incomplete: str) -> Iterable[str]:
    from memloc.data import SOURCES

    return SOURCES


def _papers(context: typer.Context, incomplete: str) -> Iterable[str]:
    from memloc.papers.registry import NAMES

    return NAMES


sweeps_and_fields = _proposing(_sweeps_and_fields)
only = _proposing(lambda context, incomplete: (f"{name}=" for name in ("block", *_fields())))
stored_sweeps = _proposing(_stored_sweeps)
data_sets = _proposing(_data_sets)
papers = _proposing(_papers)
