"""Checkpoints of a training that memloc did not make (`train: {from: …}`): which files they are."""

from __future__ import annotations

from dataclasses import dataclass

from memloc.config import TrainConfig
from memloc.errors import UsageError
from memloc.own_weights import carried, files_of, hash_of, hash_of_all, hashes_in


@dataclass(frozen=True)
class GivenFile:
    """A given checkpoint: its path where the sweep was launched, or what was named there; and its hash."""

    name: str
    sha256: str


def given_files(config: TrainConfig) -> dict[int, GivenFile]:
    """{epoch: its file}, as they were when the sweep was planned. They are here, or were carried here.

    Raises:
        UsageError: one is not here, or has changed.
    """
    if config.given_from is None or config.given_sha256 is None:
        return {}
    listed = carried(config.given_sha256)
    if listed is not None:
        return {t: GivenFile(f"{config.given_from}, epoch {t}", sha256) for t, sha256 in hashes_in(listed).items()}
    files = files_of(config.given_from, config.checkpoint_epochs, config.seed)
    if hash_of_all(files) != config.given_sha256:
        raise UsageError(f"{config.given_from}: these checkpoints have changed since the sweep was planned")
    return {epoch: GivenFile(file, hash_of(file)) for epoch, file in files.items()}
