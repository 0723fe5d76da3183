"""Where everything lies in a store. The one place that knows file names; nothing is ever parsed back out of them."""

from __future__ import annotations

import hashlib

SWEEPS, DATA, COMMITS, CHECKPOINTS = "sweeps", "data", "commits", "checkpoints"
FAILURES, HEARTBEATS, QUARANTINE = "failures", "heartbeats", "quarantine"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha8(data: bytes) -> str:
    """Eight hexadecimal digits of the content's sha256: the content's name in file names."""
    return sha256(data)[:8]


def sweep(name: str, content: bytes) -> str:
    return f"{SWEEPS}/{name}/{sha8(content)}.json"


def data(table: str, part_id: str, content: bytes) -> str:
    return f"{DATA}/{table}/{part_id[:2]}/{part_id}-{sha8(content)}.parquet"


def commit_folder(part_id: str) -> str:
    return f"{COMMITS}/{part_id[:2]}"


def commit(part_id: str, content: bytes) -> str:
    return f"{commit_folder(part_id)}/{part_id}-{sha8(content)}.json"


def is_commit_of(path: str, part_id: str) -> bool:
    return path.startswith(f"{commit_folder(part_id)}/{part_id}-")


def is_intact(path: str, content: bytes) -> bool:
    """Does a content-named file hold what its name says?"""
    return path.endswith((f"-{sha8(content)}.json", f"/{sha8(content)}.json"))


def checkpoints(trial: str) -> str:
    return f"{CHECKPOINTS}/{trial}"


def checkpoint(trial: str, epoch: int) -> str:
    return f"{checkpoints(trial)}/epoch-{epoch:04d}.safetensors"


def resume_state(trial: str, content: bytes) -> str:
    return f"{checkpoints(trial)}/resume-{sha8(content)}.pt"


def is_resume_state(path: str) -> bool:
    return path.rsplit("/", 1)[-1].startswith("resume-")


def pruned(trial: str) -> str:
    return f"{checkpoints(trial)}/pruned.json"


def failure(part_id: str, content: bytes) -> str:
    return f"{FAILURES}/{part_id}-{sha8(content)}.json"


def is_failure_of(path: str, part_id: str) -> bool:
    return path.startswith(f"{FAILURES}/{part_id}-")


def heartbeat(run: str, trial: str) -> str:
    return f"{HEARTBEATS}/{run}/{trial}.json"


def quarantine(path: str) -> str:
    return f"{QUARANTINE}/{path}"
