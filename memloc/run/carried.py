"""The files of weights that a launch carries to the processes that train: other machines do not see them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from memloc.errors import UsageError
from memloc.own_weights import files_of, list_of
from memloc.run.given import given_files
from memloc.run.pending import Work


def to_carry(work: Work) -> dict[str, str | bytes]:
    """{sha256: the path of a file, or its content} of what the training reads; nothing if there is nothing to train.

    Raises:
        UsageError: a file is not here, or has changed since the sweep was planned.
    """
    config = work.trial.config
    if work.train == "done":
        return {}
    carried: dict[str, str | bytes] = dict(config.architecture.files())
    if config.given_from is not None and config.given_sha256 is not None:
        carried |= {file.sha256: file.name for file in given_files(config).values()}
        carried[config.given_sha256] = list_of(files_of(config.given_from, config.checkpoint_epochs, config.seed))
    return carried


def content_of(sha256: str, file: str | bytes) -> bytes:
    """The content of what `to_carry` names; UsageError where it has changed since."""
    try:
        content = file if isinstance(file, bytes) else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file!r}: cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UsageError(f"{file!r}: has changed since the sweep was planned; its sha256 was {sha256}")
    return content
