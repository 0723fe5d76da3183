"""The state from which a training goes on, and the check of what somebody has written in its place."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import TypeAdapter

from memloc.store import documents, layout
from memloc.store.commit_form import CheckpointEntry, misplaced

if TYPE_CHECKING:
    from torch import Tensor

# What reading a file raises that is no state of ours.
NO_STATE = (
    ValueError, TypeError, LookupError, AttributeError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile,
)  # fmt: skip


@dataclass(frozen=True)
class ResumeState:
    """The state from which a training goes on after `epoch`. The weights are in the checkpoint of that epoch.

    rows: the rows of table `epochs` so far. entries: every checkpoint so far, as the commit will list them. numerics: what
    the bits depend on (library versions, kind of device); one training never mixes two. scaler: the state of the gradient
    scaler, if there is one.
    """

    epoch: int
    momentum: dict[str, Tensor]
    dynamics: dict[str, Tensor]
    rows: list[dict[str, Any]]
    entries: list[CheckpointEntry]
    numerics: str
    scaler: dict[str, float] = field(default_factory=dict)


# What of a state, and of the weights of its epoch if they are given, does not fit to its training; None if all fits.
Misfit: TypeAlias = "Callable[[ResumeState, Mapping[str, Tensor] | None], str | None]"


def state_in(trial: str, path: str, content: bytes) -> ResumeState:
    """Raises an error of many types where the content, whose hash its name has, is no state that memloc has written."""
    import torch

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > len(content):
            raise ValueError("it is compressed")  # and might fill the memory
    raw = torch.load(io.BytesIO(content), weights_only=True)
    if not isinstance(raw, dict):
        raise ValueError(f"it is a {type(raw).__name__}")
    extra = documents.parse(raw["extra"].encode(), plain=False)
    entries = documents.checked(_entries(), json.dumps(extra["entries"]).encode())
    epoch, named = raw["epoch"], layout.resume_state_of(path)
    if wrong := misplaced(trial, tuple(entries)):
        raise ValueError(wrong)
    if named is None or (epoch, layout.sha8(extra["numerics"].encode())) != named or entries[-1].epoch != epoch:
        raise ValueError("it is of another epoch, or another device, than its name says")
    for tensors in (raw["momentum"], raw["dynamics"]):
        if not all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in tensors.items()):
            raise ValueError("it holds something that is no tensor")
    if not all(isinstance(row, dict) for row in extra["rows"]):
        raise ValueError("it holds something that is no row")
    return ResumeState(
        epoch, raw["momentum"], raw["dynamics"], extra["rows"], entries, extra["numerics"], extra.get("scaler", {})
    )  # fmt: skip


@cache
def _entries() -> TypeAdapter[list[CheckpointEntry]]:
    return TypeAdapter(list[CheckpointEntry])
