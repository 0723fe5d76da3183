"""Sizes, durations, metrics and trainings as every command writes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from memloc.analysis.trial_list import differing_fields
from memloc.commands.prose import wrapped
from memloc.config import TrainConfig, canonical, written


def seconds_in_words(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`, `2.1 days`: how long something takes, in one unit."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def training_labels(configs: Sequence[TrainConfig]) -> list[str]:
    """A label for each training of a sweep: the fields in which the trainings differ, seeds last."""
    label = labeller(configs)
    return [label(config) for config in configs]


def labeller(configs: Sequence[TrainConfig]) -> Callable[[TrainConfig], str]:
    """Makes the label of one of these trainings."""
    differing = sorted(differing_fields(configs), key=lambda name: name in ("data_seed", "seed"))

    def label(config: TrainConfig) -> str:
        known, row = canonical(config), config.flat()  # known: without neutral values
        shown = [name for name in differing if name in known and row.get(name) is not None]
        return " ".join(f"{name}={written(row[name], quote=False)}" for name in shown)

    return label


def common_fields(configs: Sequence[TrainConfig]) -> str:
    """`all: epochs=50 …`: the fields in which trainings agree, without neutral ones, as lines for the terminal."""
    rows = [config.flat() for config in configs]
    used = canonical(configs[0])
    alike = [name for name in rows[0] if name in used and all(row.get(name) == rows[0][name] for row in rows)]
    text = " ".join(f"{name}={written(rows[0][name], quote=False)}" for name in alike)
    return "\n".join(wrapped(f"all: {text}", "", "     "))


def clock_in_words(when: float) -> str:
    """`14:03`, or with its date if that is not today; when: seconds since 1970."""
    then = time.localtime(when)
    return time.strftime("%H:%M" if then[:3] == time.localtime()[:3] else "%H:%M on %Y-%m-%d", then)


def duration_in_words(seconds: float) -> str:
    """How long something took, to the second."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def metrics_in_words(metrics: Mapping[str, float | None]) -> str:
    """Loss and accuracies of an epoch, without unknown ones."""
    parts = [f"loss {metrics['loss']:.3g}"] if metrics.get("loss") is not None else []
    for name in ("clean", "noisy", "test"):
        accuracy = metrics.get(f"{name}_acc")
        parts += [f"{name} {100 * accuracy:.0f}%"] if accuracy is not None else []
    return " ".join(parts)
