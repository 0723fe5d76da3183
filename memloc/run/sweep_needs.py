"""What a sweep needs of machines, for `memloc doctor`: its data sets, the memory of a GPU, room in the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from memloc.config.retention import Retention
from memloc.data import SOURCES, NamedDataset, load
from memloc.data.fetch import reached
from memloc.errors import UsageError
from memloc.run.diagnosis import Finding, Needs
from memloc.run.pending import Work
from memloc.run.quantities import checkpoint_bytes, result_bytes, states_bytes


def needs(works: Sequence[Work], data_dir: Path, retention: Retention, gpus: bool) -> Needs:
    """What the works need; of a GPU's memory only if there are GPUs, since counting takes seconds."""
    trains = [w.trial for w in works if w.train != "done"]
    store_bytes = sum(checkpoint_bytes(trial, retention) for trial in trains)
    store_bytes += max(map(states_bytes, trains), default=0)  # for a while
    largest, training = _largest(works, data_dir) if gpus else (0, "")
    return Needs(largest, training, store_bytes + result_bytes(w.trial for w in works if w.computes))


def _largest(works: Sequence[Work], data_dir: Path) -> tuple[int, str]:
    """(bytes of the training, or of the analysis, that needs most at the least, what it is), as a launch judges them.

    The least is with activation checkpointing, which a sweep turns on where it must. What takes less than is counted is
    never refused, so it is left out.
    """
    from memloc.run.card_memory import demands

    largest, what = 0, ""
    for demand in demands(works, data_dir):
        if not demand.bound and demand.need.least > largest:
            article = "a " if demand.need.analysis is None else ""
            largest, what = demand.need.least, f"{article}{demand.need.what} of {demand.of}"
    return largest, what


def data(works: Sequence[Work], data_dir: Path) -> Iterator[Finding]:
    """Are the data sets there? The driver reads them, on its own machine; the nodes get them from it, through Ray."""
    wrong = False
    sources = list(dict.fromkeys(w.trial.config.source for w in works if w.computes))
    for source in sources:
        try:
            load(source, data_dir)
        except UsageError as error:
            wrong = True
            hint = _hint(source.dataset, data_dir)
            yield from (Finding("data", "wrong", f"{problem}{hint}") for problem in error.problems)
    names = dict.fromkeys(source.dataset for source in sources)
    if not wrong:
        yield Finding("data", "ok", f"{', '.join(names)} on the driver's machine, which hands them to the nodes")


def _hint(name: str, data_dir: Path) -> str:
    """Whether this machine could download what is missing."""
    source = SOURCES.get(name)
    if not isinstance(source, NamedDataset) or not source.missing(data_dir):
        return ""
    place = reached(source)
    if place:
        return f" (this machine reaches {place})"
    return " (this machine reaches no server that has it: fetch it on another one, and copy the folder)"
