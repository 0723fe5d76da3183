"""The kinds of files that a store has: what the layout names is of a kind, and each kind has something that names it."""

from __future__ import annotations

import pytest

from memloc.store import generation_layout, layout, run_layout

ID, SHA, RUN = "0123456789abcdef", "ab" * 32, "20260102-030405-0a1b2c"
NAMED = {
    layout.sweep("my sweep", b"x"): "record of a sweep",
    layout.data("flips", ID, b"x"): "data file",
    layout.commit(ID, b"x"): "commit",
    layout.checkpoint(ID, 7): "checkpoint",
    layout.resume_state(ID, 7, "numerics", b"x"): "resume state",
    layout.pruned(ID): "list of pruned checkpoints",
    layout.pruned(ID, b"[1]"): "list of pruned checkpoints",
    layout.failure(ID, b"x"): "record of a failure",
    run_layout.heartbeat(RUN, ID): "heartbeat of a trial",
    run_layout.run_heartbeat(RUN): "heartbeat of a run",
    run_layout.run_plan(RUN): "plan of a run",
    run_layout.stop(RUN): "order to stop",
    run_layout.lease(ID): "lease",
    generation_layout.manifest(1, b"x"): "manifest",
    generation_layout.index(1, SHA): "index of a generation",
    generation_layout.generation_data("flips", 1, SHA): "data file of a generation",
    layout.removal(layout.sweep("my sweep", b"x")): "record of a sweep that is being removed",
    layout.quarantine(layout.commit(ID, b"x")): layout.QUARANTINED,
    layout.temporary(): layout.TEMPORARY_FILE,
    layout.temporary("probe-"): layout.TEMPORARY_FILE,
}


def test_each_kind_is_named_by_something() -> None:
    assert set(NAMED.values()) == {*layout.KINDS, layout.QUARANTINED, layout.TEMPORARY_FILE}


@pytest.mark.parametrize("path", NAMED, ids=range(len(NAMED)))  # some names are random
def test_what_the_layout_names_is_of_its_kind(path: str) -> None:
    assert layout.kind_of(path) == NAMED[path]
    assert layout.is_own(path) == (NAMED[path] in layout.KINDS)
    for other in (f"{path}x", f"x{path}", f"more/{path}", path.rpartition("/")[0], ""):
        assert layout.kind_of(other) is None
        assert not layout.is_own(other)
