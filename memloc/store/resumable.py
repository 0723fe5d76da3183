"""The epoch from which a training can go on, by the names of its files. Plan, trainer and status ask here. No torch."""

from __future__ import annotations

from collections.abc import Collection

from memloc.store import layout


def usable_states(
    trial: str, paths: Collection[str], needed: Collection[int] = (), numerics: str | None = None
) -> list[tuple[int, str]]:
    """[(epoch, path)] of the resume states from which a training can go on, the newest first.

    paths: the files of the training, maybe among others. needed: the checkpoints that must be there up to the state's epoch;
    that of its own epoch always must. numerics: what the bits depend on where the training goes on. States with other
    numerics are passed over. None: the place is not known, so any state may be usable.
    """
    folder = f"{layout.checkpoints(trial)}/"
    states = []
    for path in paths:
        named = layout.resume_state_of(path) if path.startswith(folder) else None
        if named is None or (numerics is not None and named[1] != layout.sha8(numerics.encode())):
            continue
        epoch = named[0]
        if all(layout.checkpoint(trial, t) in paths for t in {epoch, *(t for t in needed if t <= epoch)}):
            states.append((epoch, path))
    return sorted(states, reverse=True)


def surplus_states(paths: Collection[str]) -> list[str]:
    """The resume states among the files of one training, but for the newest."""
    states = [((layout.resume_state_of(path) or (-1,))[0], path) for path in paths if layout.is_resume_state(path)]
    return [path for _, path in sorted(states)[:-1]]


def reached_epoch(trial: str, paths: Collection[str], needed: Collection[int] = (), numerics: str | None = None) -> int:
    """The epoch from which a training goes on if no file is damaged; 0 if it starts afresh. See `usable_states`."""
    states = usable_states(trial, paths, needed, numerics)
    return states[0][0] if states else 0
