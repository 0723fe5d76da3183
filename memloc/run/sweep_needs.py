"""What a sweep needs of machines, for `memloc doctor`: its data sets, the memory of a GPU, room in the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from memloc.config.retention import Retention
from memloc.data import SOURCES, NamedDataset, describe, load
from memloc.data.fetch import reached
from memloc.errors import UsageError
from memloc.run.diagnosis import Finding, Needs
from memloc.run.pending import Work
from memloc.run.quantities import checkpoint_bytes, result_bytes


def needs(works: Sequence[Work], data_dir: Path, retention: Retention, gpus: bool) -> Needs:
    """What the works need; of a GPU's memory only if there are GPUs, since counting takes seconds."""
    store_bytes = sum(checkpoint_bytes(w.trial, retention) for w in works if w.train != "done")
    largest, training = _largest(works, data_dir) if gpus else (0, "")
    return Needs(largest, training, store_bytes + result_bytes(w.trial for w in works if w.computes))


def _largest(works: Sequence[Work], data_dir: Path) -> tuple[int, str]:
    """(bytes of the training that needs most at the least, what it is). A network with the same batch is counted once.

    The least is with activation checkpointing, which a sweep turns on where it must.
    """
    from memloc.run.by_shape.memory import needs as memory_needs

    largest, training = 0, ""
    alike = {(w.trial.config.source, w.trial.config.architecture, w.trial.config.batch_size): w for w in works if w.computes}
    for (source, _, batch), work in alike.items():
        taken = next(memory_needs(work.trial, describe(source, data_dir).shape)).least
        if taken > largest:
            largest, training = (
                taken,
                f"a training of {work.trial.config.flat()['model']} on {source.dataset} with batches of {batch}",
            )
    return largest, training


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
