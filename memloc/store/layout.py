"""The paths of all files in a store. Only this module, generation_layout.py and run_layout.py know file names."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Collection, Iterable

SWEEPS, DATA, COMMITS, CHECKPOINTS = "sweeps", "data", "commits", "checkpoints"
FAILURES, HEARTBEATS, STOPS, LEASES = "failures", "heartbeats", "stops", "leases"
MANIFESTS, GENERATIONS = "manifests", "generations"
REMOVALS, QUARANTINE, TEMPORARY = "removals", "quarantine", "tmp"
# A file of ours in one of these makes a folder a store. A record is written first, and removed last.
MARKS = (SWEEPS, COMMITS, CHECKPOINTS, GENERATIONS, REMOVALS)

ID, SHA8, TABLE = "[0-9a-f]{16}", "[0-9a-f]{8}", "[a-z][a-z0-9_]{0,99}"
NUMBER = "[0-9]{6,9}"  # of a generation
RUN = "[0-9]{8}-[0-9]{6}-[0-9a-f]{6}"  # as run/pulse.new_run names runs
RESUME_STATE = re.compile(rf"resume-([0-9]{{4,}})-({SHA8})-{SHA8}\.pt")
_NAME = r"(?!\.\.?(/|$))[^/\x00-\x1f\x7f]+"  # of a sweep or a run: what a terminal can show, and no way out of the folder
# {kind of file: (its first folder, the form of the folders below it, the form of the file's name)}. What has another form is
# somebody else's: nothing reads, moves or removes it.
KINDS = {
    "record of a sweep": (SWEEPS, rf"/{_NAME}", rf"{SHA8}\.json"),
    "data file": (DATA, rf"/{TABLE}/[0-9a-f]{{2}}", rf"{ID}-{SHA8}\.parquet"),
    "commit": (COMMITS, "/[0-9a-f]{2}", rf"{ID}-{SHA8}\.json"),
    "checkpoint": (CHECKPOINTS, f"/{ID}", r"epoch-[0-9]{4,}\.safetensors"),
    "resume state": (CHECKPOINTS, f"/{ID}", RESUME_STATE.pattern),
    "list of pruned checkpoints": (CHECKPOINTS, f"/{ID}", rf"pruned(-{SHA8})?\.json"),
    "record of a failure": (FAILURES, "", rf"{ID}-{SHA8}\.json"),
    "heartbeat of a trial": (HEARTBEATS, rf"/{_NAME}", rf"{ID}\.json"),
    "heartbeat of a run": (HEARTBEATS, rf"/{_NAME}", r"run\.json"),
    "plan of a run": (HEARTBEATS, rf"/{_NAME}", r"plan\.json"),
    "order to stop": (STOPS, "", rf"{RUN}\.json"),
    "lease": (LEASES, "", rf"{ID}\.json"),
    "manifest": (MANIFESTS, "", rf"{NUMBER}-{SHA8}\.json"),
    "index of a generation": (MANIFESTS, "", rf"{NUMBER}-{SHA8}\.parquet"),
    "data file of a generation": (GENERATIONS, f"/{TABLE}", rf"{NUMBER}-{SHA8}\.parquet"),
    "record of a sweep that is being removed": (REMOVALS, rf"/{_NAME}", rf"{SHA8}\.json"),
}
QUARANTINED, TEMPORARY_FILE = "broken file that was set aside", "file that is being written"  # kinds that lie elsewhere
_FOLDERS = {top: below for top, below, _ in KINDS.values()}
_FILES = {top: "|".join(name for t, _, name in KINDS.values() if t == top) for top in _FOLDERS}


def kind_of(path: str) -> str | None:
    """The kind of a file of a store, one of KINDS or the two after it; None if it is somebody else's."""
    if is_quarantined(path) or is_temporary(path):
        return QUARANTINED if is_quarantined(path) else TEMPORARY_FILE
    fitting = (k for k, form in KINDS.items() if re.fullmatch(f"{form[0]}{form[1]}/(?:{form[2]})", path))
    return next(fitting, None)


def sha256(data: bytes) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha8(data: bytes) -> str:
    """Eight hexadecimal digits of the content's sha256: the content's name in file names."""
    return sha256(data)[:8]


def is_own_folder(path: str) -> bool:
    """Could the layout have made this folder for files of a store?"""
    top, slash, rest = path.partition("/")
    return top in _FOLDERS and re.fullmatch(_FOLDERS[top], slash + rest) is not None


def holds_own(path: str) -> bool:
    """Could folders for files of a store lie below this one, such as `data/rewind`?"""
    return path in _FOLDERS or re.fullmatch(f"{DATA}/{TABLE}", path) is not None


def is_own(path: str) -> bool:
    """Could the layout have written this file?"""
    folder, _, name = path.rpartition("/")
    return is_own_folder(folder) and re.fullmatch(_FILES[folder.partition("/")[0]], name) is not None


def own(paths: Iterable[str]) -> list[str]:
    """The files among these that the layout could have written, sorted. All others belong to somebody else."""
    return sorted(path for path in paths if is_own(path))


def sweep(name: str, content: bytes) -> str:
    """A record of a sweep, by its name and its content."""
    return sweep_named(name, sha8(content))


def sweep_named(name: str, sha: str) -> str:
    """The same by the first eight digits of its hash."""
    return f"{sweep_folder(name)}/{sha}.json"


def sweep_folder(name: str) -> str:
    """The folder of all records of a name."""
    return f"{SWEEPS}/{name}"


def is_record(path: str) -> bool:
    """Is this path that of a record of a sweep?"""
    return is_own(path) and path.startswith(f"{SWEEPS}/")


def sweep_of(path: str) -> str:
    """The name under which a record of a sweep lies."""
    return path.split("/")[1]


def record_sha(path: str) -> str:
    """The first eight digits of the hash of a record of a sweep."""
    return path.rpartition("/")[2].removesuffix(".json")


def removal(path: str) -> str:
    """Where the record of a sweep is moved to while the sweep is removed."""
    return f"{REMOVALS}/{path.partition('/')[2]}"


def removal_folder(name: str) -> str:
    """The folder of the records of a name that are being removed."""
    return f"{REMOVALS}/{name}"


def data(table: str, part_id: str, content: bytes) -> str:
    """A data file of a part, by its table and its content."""
    return data_named(table, part_id, sha256(content))


def data_named(table: str, part_id: str, content_sha256: str) -> str:
    """The same by the hash of its content."""
    return f"{DATA}/{table}/{part_id[:2]}/{part_id}-{content_sha256[:8]}.parquet"


def commit_folder(part_id: str) -> str:
    """The folder of the commits of all parts whose ids begin alike."""
    return f"{COMMITS}/{part_id[:2]}"


def commit(part_id: str, content: bytes) -> str:
    """A commit of a part, by its content."""
    return commit_named(part_id, sha8(content))


def commit_named(part_id: str, sha: str) -> str:
    """The same by the first eight digits of its hash."""
    return f"{commit_folder(part_id)}/{part_id}-{sha}.json"


def is_commit(path: str) -> bool:
    """Is this path that of a commit?"""
    return is_own(path) and path.startswith(f"{COMMITS}/")


def is_commit_of(path: str, part_id: str) -> bool:
    """Is this path a commit of the part?"""
    return is_own(path) and path.startswith(f"{commit_folder(part_id)}/{part_id}-")


def part_of(path: str) -> str:
    """The part whose commit or data file this is, by its name."""
    return path.rpartition("/")[2].partition("-")[0]


def may_hold_commit(path: str, part_id: str) -> bool:
    """Is this path the place of a commit of the part, or of a folder of it, or of a manifest that may cover it?"""
    return is_commit_of(path, part_id) or path in (COMMITS, commit_folder(part_id)) or path.startswith(MANIFESTS)


def is_intact(path: str, content: bytes) -> bool:
    """Does the content of a file match the hash in its name?"""
    name = f"{sha8(content)}.json"
    return path.endswith((f"-{name}", f"/{name}"))


def checkpoints(trial: str) -> str:
    """The folder of a training's checkpoints and resume states, or of the network that a part of an analysis made."""
    return f"{CHECKPOINTS}/{trial}"


def by_trial(paths: Iterable[str]) -> dict[str, set[str]]:
    """{trial, or part: the paths of its checkpoints and resume states}; other paths are left out."""
    grouped: dict[str, set[str]] = {}
    for path in paths:
        folder, _, rest = path.partition("/")
        if folder == CHECKPOINTS:
            grouped.setdefault(rest.split("/")[0], set()).add(path)
    return grouped


def checkpoint(trial: str, epoch: int) -> str:
    """The weights after an epoch."""
    return f"{checkpoints(trial)}/epoch-{epoch:04d}.safetensors"


def resume_state(trial: str, epoch: int, numerics: str, content: bytes) -> str:
    """The state after an epoch. The name says on what its bits depend, so the file need not be read to learn that."""
    return f"{checkpoints(trial)}/resume-{epoch:04d}-{sha8(numerics.encode())}-{sha8(content)}.pt"


def is_resume_state(path: str) -> bool:
    """Is this path a resume state?"""
    return resume_state_of(path) is not None


def resume_state_of(path: str) -> tuple[int, str] | None:
    """(epoch, the hash of its numerics) of a resume state; None if the name has another form."""
    match = RESUME_STATE.fullmatch(path.rsplit("/", 1)[-1])
    return (int(match[1]), match[2]) if match else None


def pruned(trial: str, content: bytes | None = None) -> str:
    """Which checkpoints of a training were removed on purpose, by its content: a listing tells it. None: as of before."""
    return f"{checkpoints(trial)}/pruned{'' if content is None else f'-{sha8(content)}'}.json"


def is_pruned(path: str) -> bool:
    """Is this path that of such a file?"""
    return path.rpartition("/")[2].startswith("pruned")


def is_intact_list(path: str, content: bytes) -> bool:
    """The same of such a file as `is_intact`. Names of before have no hash."""
    return path.endswith("/pruned.json") or is_intact(path, content)


def failure(part_id: str, content: bytes) -> str:
    """The record of a failure of a part, by its content."""
    return f"{FAILURES}/{part_id}-{sha8(content)}.json"


def is_failure_of(path: str, part_ids: Collection[str]) -> bool:
    """Is this path a failure of one of these parts?"""
    return failed_part(path) in part_ids


def failed_part(path: str) -> str:
    """The part that a failure is of."""
    return path.removeprefix(f"{FAILURES}/").split("-")[0] if is_own(path) else ""


def quarantine(path: str) -> str:
    """Where a broken file is moved to."""
    return f"{QUARANTINE}/{path}"


def is_quarantined(path: str) -> bool:
    """Is this path that of a file which was moved there as broken?"""
    return path.startswith(f"{QUARANTINE}/") and is_own(path.removeprefix(f"{QUARANTINE}/"))


def temporary(kind: str = "") -> str:
    """A new name for a file while it is written, or that is written only to see whether that works (kind `probe-`)."""
    return f"{TEMPORARY}/{kind}{uuid.uuid4().hex}"


def is_temporary(path: str) -> bool:
    """Is this path that of a file which is being written, or of a probe?"""
    return re.fullmatch(rf"{TEMPORARY}/(probe-)?[0-9a-f]{{32}}", path) is not None
