"""Where the examples of a training set come from: its images, the names of its classes, the files of its examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memloc.analysis.conditions import among
from memloc.analysis.observations import Observations
from memloc.data import Raw, check_identity, class_names, load, source_of
from memloc.errors import UsageError
from memloc.report import sprite
from memloc.report.training_sets import TrainingSet

LONGEST = 80  # characters of a file's name on a page


def raw_of(one: TrainingSet, data_dir: Path | None) -> Raw:
    """The data of a set, as its trainings saw them.

    Raises:
        UsageError: they are not there, have changed, or are no pictures.
    """
    source = source_of(one.setting.config)
    raw = load(source, data_dir)
    check_identity(raw, source, one.source[1])
    if raw.shape[0] not in sprite.MODES:
        raise UsageError(f"they have {raw.shape[0]} channels; a picture has 1, 3 or 4")
    return raw


def names_of_classes(observations: Observations, one: TrainingSet) -> list[str]:
    """In the order of the labels: those that its trainings have left, else those of a named data set; [] without any."""
    sql = f"SELECT DISTINCT label, name FROM labels WHERE {among('trial', one.trials)} ORDER BY label"
    names = [str(name) for name in observations.frame(sql)["name"]]
    if names or ":" in one.source[0]:
        return names
    try:
        return list(class_names(one.source[0]))
    except UsageError:  # a data set that another program registered
        return []


def files_of(observations: Observations, one: TrainingSet, examples: Sequence[int]) -> list[str] | None:
    """Where these examples come from; None if nobody knows. A long name keeps its end."""
    sql = f"SELECT DISTINCT example, file FROM files WHERE {among('trial', one.trials)}"
    files = observations.frame(sql).set_index("example")["file"].to_dict()
    if not files:
        return None
    named = [str(files.get(example, "")) for example in examples]
    return [name if len(name) <= LONGEST else "…" + name[1 - LONGEST :] for name in named]
