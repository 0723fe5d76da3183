"""Files whose bytes change or go, and files whose dates are wrong."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.faults.case import Case, spread

KINDS = {
    "commit": "commits/*/*.json",
    "data file": "data/*/*/*.parquet",
    "checkpoint": "checkpoints/*/*.safetensors",
    "resume state": "checkpoints/*/*.pt",
    "record of a sweep": "sweeps/*/*.json",
    "heartbeat": "heartbeats/*/*.json",
    "lease": "leases/*.json",
}


def damaged(case: Case) -> None:
    """Bytes change or go while nobody looks, after a kill."""
    for _ in range(2):
        with case.launched() as process:
            if case.moment(process) and case.kill(process):
                case.faults["kill -9 of the driver"] += 1
        for kind, pattern in KINDS.items():
            for path in spread(case.draws, sorted(Path(case.direct).glob(pattern)), 2):
                _damage(case, kind, path)


def damaged_under_way(case: Case) -> None:
    """Checkpoints change while the sweep runs, so its plan does not know."""
    with case.launched() as process:
        for _ in range(4):
            if case.moment(process):
                for path in spread(case.draws, sorted(Path(case.direct).glob("checkpoints/*/epoch-000[0-2]*")), 1):
                    _damage(case, "checkpoint, under way", path)


def _damage(case: Case, kind: str, path: Path) -> None:
    try:
        content = bytearray(path.read_bytes())
        how = case.draws.choice(["changed", "cut", "removed", "empty"])
        if how == "removed":
            path.unlink()
        elif how == "changed" and content:
            content[case.draws.randrange(len(content))] ^= 1 << case.draws.randrange(8)
            path.write_bytes(content)
        else:
            os.truncate(path, case.draws.randrange(len(content)) if how == "cut" and content else 0)
    except FileNotFoundError:
        return
    case.faults[f"{kind} {how}"] += 1


def from_the_future(case: Case) -> None:
    """A driver is killed, and its heartbeats and leases bear dates two hours ahead: the server's clock was set back."""
    with case.launched() as process:
        if case.moment(process) and case.kill(process):
            case.faults["kill -9 of the driver"] += 1
    then = time.time() + 7200
    for path in [*Path(case.direct).glob("heartbeats/*/*"), *Path(case.direct).glob("leases/*")]:
        os.utime(path, (then, then))
        case.faults["heartbeat or lease from the future"] += 1
