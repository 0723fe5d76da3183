"""The trainings of a store that this version of memloc can resolve. A warning names those that are left out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

from memloc.config import TrainConfig
from memloc.counts import counted
from memloc.errors import MemlocWarning, UsageError
from memloc.models.architectures import TRAINING, resolved
from memloc.store import Snapshot, Store

if TYPE_CHECKING:
    from memloc.analysis.reader import Reader

T = TypeVar("T")
NAMED = 5  # trainings in one warning


def reading_resolvable(store: Store, action: Callable[[Reader], T], sweep: str | None = None) -> T:
    """As `reading`, without the trainings that this version of memloc cannot resolve.

    The meaning of a field that this version does not know is unknown. Claims and the report need the meaning, so they leave
    such a training out. Tables, queries and status show it.

    Warns:
        MemlocWarning: naming what is left out and why.
    """

    from memloc.analysis.reader import Reader, Visible, visible  # status needs no DuckDB, and this module

    def on_snapshot(snapshot: Snapshot) -> T:
        seen = visible(store, snapshot, sweep, partial=False)
        own = seen.commits.trainings()
        trainings = dict(zip(own.said("trial"), own.said("config"), strict=True))
        hidden = trainings.keys() - resolve_trainings(store, trainings).keys()
        if hidden:
            seen = Visible(seen.commits.without_trials(hidden), seen.score_commits.without_trials(hidden))
        with closing(Reader(store, seen)) as reader:
            return action(reader)

    return store.reading(on_snapshot)


def resolve_trainings(store: Store, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, TrainConfig]:
    """{trial: its resolved configuration}, without those that this version cannot resolve.

    Warns:
        MemlocWarning: once, naming what is left out and why.
    """
    resolved_ones: dict[str, TrainConfig] = {}
    problems: dict[str, str] = {}
    known: dict[str, TrainConfig] = {}
    for trial, config in configs.items():
        try:
            resolved_ones[trial] = _resolved(config, known)
        except UsageError as error:
            problems[trial] = "; ".join(error.problems)
    if problems:
        warnings.warn(left_out(store.uri, problems), MemlocWarning, stacklevel=2)
    return resolved_ones


def _resolved(config: Mapping[str, Any], known: dict[str, TrainConfig]) -> TrainConfig:
    """A resolved training; errors as those of `resolved`.

    known: {all fields but the seed, as text: a training that has them}, to which a new one is added. No other field follows
    from the seed of a stored configuration, so ten thousand trainings need a handful of resolutions.
    """
    seed = config.get("seed")
    if type(seed) is not int or TRAINING.check("seed", seed)[1]:
        return resolved(**config)
    alike = repr(sorted((name, value) for name, value in config.items() if name != "seed"))
    if alike not in known:
        known[alike] = resolved(**config)
    return known[alike].model_copy(update={"seed": seed})


def left_out(uri: str, problems: Mapping[str, str]) -> str:
    """The message about trainings that are left out. problems: {trial: why}."""
    named: Iterable[str] = (f"{trial} ({why})" for trial, why in list(problems.items())[:NAMED])
    more = f", and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    count, them = counted(len(problems), "training"), "it is" if len(problems) == 1 else "they are"
    return (
        f"store {uri}: this version of memloc cannot resolve {count}, so {them} left out: {', '.join(named)}{more}; "
        "update memloc, or install the plugin that defines what is unknown"
    )
