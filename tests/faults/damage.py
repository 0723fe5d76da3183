"""Files of every kind whose bytes change or go."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from memloc.store import Files, checkpoints, commits, garbage, layout, records, stops
from memloc.store.records import Failure
from tests.faults.case import Case, spread
from tests.run.programs import memloc

WAYS = ("changed", "cut", "removed", "empty")
MOST = 2  # files of a kind
# What a launch that is killed leaves behind.
LEFT = frozenset(
    (
        "record of a sweep", "data file", "commit", "checkpoint", "resume state", "heartbeat of a trial",
        "heartbeat of a run", "plan of a run", "lease",
    )
)  # fmt: skip


def files_of(case: Case) -> dict[str, list[Path]]:
    """{kind of file: those of the store, sorted}."""
    found: dict[str, list[Path]] = {}
    root = Path(case.direct)
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        kind = layout.kind_of(path.relative_to(root).as_posix())
        assert kind is not None, f"{path} is of no kind"
        found.setdefault(kind, []).append(path)
    return found


def damaged(case: Case) -> None:
    """Files of every kind, between launches. Before that, a part of the store is compacted."""
    _killed(case)
    _compact(case)
    _killed(case)
    files = Files(case.direct)
    for make in MADE.values():
        make(case, files)
    found = files_of(case)
    assert found.keys() >= KINDS, f"the store has none of: {KINDS - found.keys()}"
    for place, kind in enumerate(sorted(KINDS)):
        for n, path in enumerate(spread(case.draws, found[kind], MOST)):
            _damage(case, kind, path, WAYS[(case.number + place + n) % len(WAYS)])
    for command in (["status"], ["store", "ls"]):
        shown = memloc(case.home, *command, "--store", case.direct)
        assert shown.code == 0, shown.err


def _killed(case: Case) -> None:
    """A launch that is killed once it has left everything that such a launch leaves."""
    with case.launched() as process:
        assert case.wait(process, lambda: (files := files_of(case)).keys() >= LEFT and len(files["commit"]) > MOST), (
            "it was over"
        )
        assert case.rest(process, case.draws.uniform(0, 1)), "it was over"
        assert case.kill(process)
        case.faults["kill -9 of the driver"] += 1


def _compact(case: Case) -> None:
    """A generation, and no more small files of what it covers."""
    done = memloc(case.home, "store", "compact", "--store", case.direct)
    assert done.code == 0, done.err
    files = Files(case.direct)
    covered = [piece for piece in garbage.find(files, -60.0, lambda _: None) if piece.kind == garbage.COVERED]
    assert list(garbage.remove(files, covered))


def _failed(case: Case, files: Files) -> None:
    """A part has failed in an earlier launch."""
    (sweep,) = records.read_sweeps(files)
    committed = commits.snapshot(files, {}).commits
    failures = [
        Failure(part, trial["trial"], analysis["stage"], "Traceback: injected", "injected")
        for trial in sweep.trials for analysis in trial["analyses"] for part in analysis["parts"] if part not in committed
    ]  # fmt: skip
    records.record_failure(files, case.draws.choice(failures))


def _told_to_stop(case: Case, files: Files) -> None:
    """The killed run had been told to stop."""
    stops.give(files, files_of(case)["heartbeat of a run"][-1].parent.name)


def _being_removed(case: Case, files: Files) -> None:
    """`store rm` of another sweep with the same trainings was killed when it had begun."""
    (sweep,) = records.read_sweeps(files)
    path = layout.sweep_named("other", records.write_sweep(files, "other", sweep.trials[:1]).partition("@")[2])
    files.move(path, layout.removal(path))


def _pruned(case: Case, files: Files) -> None:
    """Checkpoints were removed on purpose, such as by a launch that was told how many bytes they may have."""
    training = next(iter(commits.snapshot(files, {}).trainings().values()))
    checkpoints.prune(files, training.id, training.checkpoints, {training.checkpoints[-1].epoch})


def _set_aside(case: Case, files: Files) -> None:
    """`store verify` has found a broken file."""
    os.truncate(files_of(case)["commit"][0], 3)
    verified = memloc(case.home, "store", "verify", "--store", case.direct)
    assert verified.code == 3, verified.err


def _half_written(case: Case, files: Files) -> None:
    """A process was killed while it wrote."""
    path = Path(case.direct, layout.temporary())
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(case.draws.randbytes(1000))


# {kind of file: how it comes into a store}; a compaction has made the others.
MADE: dict[str, Callable[[Case, Files], None]] = {
    "record of a failure": _failed,
    "order to stop": _told_to_stop,
    "record of a sweep that is being removed": _being_removed,
    "list of pruned checkpoints": _pruned,
    layout.QUARANTINED: _set_aside,
    layout.TEMPORARY_FILE: _half_written,
}
COMPACTED = frozenset(("manifest", "index of a generation", "data file of a generation"))
KINDS = LEFT | MADE.keys() | COMPACTED


def damaged_under_way(case: Case) -> None:
    """Checkpoints, and other files, change or go while the sweep runs, so its plan does not know."""
    with case.launched() as process:
        for _ in range(4):
            if case.moment(process):
                for path in spread(case.draws, sorted(Path(case.direct).glob("checkpoints/*/epoch-000[0-2]*")), 1):
                    _damage(case, "checkpoint", path, under_way=True)
                found = files_of(case)
                kind = case.draws.choice(sorted(found))
                _damage(case, kind, case.draws.choice(found[kind]), under_way=True)
    if case.codes[-1] == 0:  # what has gone after it was written, this launch need not have missed
        with case.launched():
            pass


def _damage(case: Case, kind: str, path: Path, how: str = "", under_way: bool = False) -> None:
    """how: one of WAYS; without it, one is drawn."""
    how = how or case.draws.choice(WAYS)
    try:
        content = bytearray(path.read_bytes())
        if how == "removed":
            path.unlink()
        elif not content and how in ("changed", "cut"):
            return  # there is nothing in it
        elif how == "changed":
            content[case.draws.randrange(len(content))] ^= 1 << case.draws.randrange(8)
            path.write_bytes(content)
        else:
            os.truncate(path, case.draws.randrange(len(content)) if how == "cut" else 0)
    except FileNotFoundError:
        return
    case.faults[f"{kind}{', under way,' if under_way else ''} {how}"] += 1
