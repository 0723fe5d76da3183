"""Whether given checkpoints (`run/given.py`) are of a training's network, and enough for its analyses."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from memloc.aside import aside
from memloc.config import StageConfig, TrainConfig
from memloc.run.given import GivenFile, given_files
from memloc.run.plan import Parts
from memloc.stages.base import Stage


def misfit_of_given(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> str | None:
    """Why the given checkpoints are none of this network, in one line; None if they are, or if there are none."""
    if config.given_from is None:
        return None
    if config.held_out:
        return "checkpoints from elsewhere are of one training; a stage that trains many needs memloc's own"
    files = tuple(given_files(config).items())
    network = config.model_copy(update={"dropout": TrainConfig.model_fields["dropout"].default})
    return _misfit(network, files, str(config.given_sha256), (shape, classes))


@lru_cache(maxsize=64)
def _misfit(
    config: TrainConfig, files: tuple[tuple[int, GivenFile], ...], sha256: str, images: tuple[tuple[int, int, int], int]
) -> str | None:
    return aside(_misfit_of_weights, config, [file for _, file in files], images)


def _misfit_of_weights(config: TrainConfig, files: list[GivenFile], images: tuple[tuple[int, int, int], int]) -> str | None:
    from memloc.run.given_weights import misfit

    return misfit(config, files, images)


def problem_of_parts(config: TrainConfig, kind: Stage[Any], settings: StageConfig, parts: Parts) -> str | None:
    """Why an analysis cannot do with the given checkpoints, in one line; None if it can."""
    if config.given_from is None:
        return None
    if any(kind.goes_on_from(settings, part) is not None for part in parts):
        return (
            "goes on with the training pass, and these checkpoints are from elsewhere; valid: what reads checkpoints alone"
        )
    needed = {epoch for part in parts for epoch in kind.epochs(settings, config, part)}
    if absent := sorted(needed - set(config.checkpoint_epochs)):
        given = ", ".join(map(str, config.checkpoint_epochs))
        return f"needs the checkpoint of epoch {', '.join(map(str, absent))}; given: {given}"
    return None
