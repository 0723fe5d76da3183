"""A training that this version of memloc cannot resolve is left out and named; everything else works."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import memloc
from memloc import commands
from memloc.analysis.reading import reading
from memloc.analysis.resolvable import reading_resolvable
from memloc.errors import MemlocWarning, UsageError
from memloc.papers.exhibits import Shown
from memloc.store import Commit, Store, layout, records
from memloc.store.commit_form import FileEntry

WHY = {
    "a field of the future": ({"lookahead": "adam"}, "lookahead: unknown field"),
    "a plugin's model": ({"model": "my_net"}, "model: 'my_net' is not valid; valid: resnet50, resnet9, vit_small"),
    "a plugin's dropout": ({"dropout": "mine"}, "dropout: 'mine' is not valid"),
    "a value that is no longer valid": ({"noise": 3.0}, "noise: 3.0 is not valid"),
}
STRANGER = "5" * 16


@pytest.fixture(params=WHY)
def strange(request: pytest.FixtureRequest, tiny: Path, tmp_path: Path) -> tuple[Store, str]:
    """A copy of the finished store with one training more, and why that one cannot be resolved."""
    changes, why = WHY[request.param]
    old, store = Store(str(tiny)), Store(str(tmp_path / "store"))
    for path in old.files.listing(""):
        store.files.put(path, old.files.get(path))
    commit = next(c for c in old.snapshot().trainings().values() if c.config["dropout"] == "none")
    stranger = replace(
        commit,
        id=STRANGER,
        trial=STRANGER,
        config={**commit.config, **changes},
        files=tuple(_copied(store, entry) for entry in commit.files),
        checkpoints=(),
    )
    content = stranger.encode()
    store.files.put(layout.commit(STRANGER, content), content)
    trial = {"trial": STRANGER, "config": dict(stranger.config), "blocks": ["a"], "analyses": []}
    records.write_sweep(store.files, "strange", [trial])
    return store, why


def _copied(store: Store, entry: FileEntry) -> FileEntry:
    """The same file among those of the stranger."""
    content = store.files.get(entry.path)
    path = layout.data(entry.table, STRANGER, content)
    store.files.put(path, content)
    return replace(entry, path=path)


def test_a_notebook_sees_the_others(strange: tuple[Store, str]) -> None:
    store, why = strange
    opened = memloc.open_store(store.uri)
    with pytest.warns(MemlocWarning) as warned:
        trials = opened.trials()
    assert len(trials) == 2
    assert len(warned) == 1
    assert f"this version of memloc cannot resolve 1 training, so it is left out: {STRANGER} ({why}" in str(
        warned[0].message
    )
    assert opened.trial(trials[0].id).id == trials[0].id  # without a warning
    with pytest.raises(UsageError) as raised:
        opened.trial("55")
    assert STRANGER in str(raised.value)
    assert why in str(raised.value)
    assert len(opened.table("trials")) == 3  # tables show it: they say what was committed


@pytest.mark.filterwarnings("default::memloc.errors.MemlocWarning")
@pytest.mark.parametrize("strange", ["a plugin's model"], indirect=True)
@pytest.mark.parametrize("command", ["claims", "report", "status", "query", "ls", "status of a sweep"])
def test_commands_do_without_it(
    strange: tuple[Store, str],
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    store, why = strange
    arguments = {
        "claims": ["claims", "--json"],
        "report": ["report", "-o", str(tmp_path / "report.html")],
        "status": ["status", "--json"],
        "query": ["query", "SELECT trial, noise FROM trials", "--format", "json"],
        "ls": ["store", "ls", "--json"],
        "status of a sweep": ["status", "tiny", "--json"],
    }[command]
    monkeypatch.setattr(sys, "argv", ["memloc", *arguments, "--store", store.uri])
    monkeypatch.setenv("MEMLOC_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("memloc.report.content.show", lambda exhibit, evidence: Shown(exhibit))  # they take seconds
    with pytest.raises(SystemExit) as ended:
        commands.main()
    out, err = capfd.readouterr()
    assert not ended.value.code, err
    warned = [line for line in err.splitlines() if line.startswith("memloc: warning: ")]
    if command in ("claims", "report"):
        (line,) = warned
        assert STRANGER in line
        assert why in line
    else:
        assert warned == []
    if command == "status":
        assert json.loads(out)["counts"]["done"] == 3
    if command == "query":
        assert len(json.loads(out)) == 3


def test_claims_and_report_count_nothing_of_it(strange: tuple[Store, str]) -> None:
    store, _ = strange
    with pytest.warns(MemlocWarning):
        rest = reading_resolvable(store, lambda reader: reader.seen)
    everything = reading(store, lambda reader: reader.seen)
    assert STRANGER in {c.trial for c in everything.commits}
    for kept, all_of_them in ((rest.commits, everything.commits), (rest.score_commits, everything.score_commits)):
        assert kept == [c for c in all_of_them if c.trial != STRANGER]
    of_sweep = reading_resolvable(store, lambda reader: reader.seen.commits, "tiny")  # nothing is left out, nothing is said
    assert of_sweep == reading(store, lambda reader: reader.seen.commits, "tiny")


def test_many_are_one_warning(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for k in range(8):
        trial = f"{k:016x}"
        content = Commit(trial, trial, None, "train", {}, 0, 1, {"dataset": "x"}).encode()
        store.files.put(layout.commit(trial, content), content)
    with pytest.warns(MemlocWarning) as warned:
        assert reading_resolvable(store, lambda reader: reader.seen.commits) == []
    (one,) = warned
    assert str(one.message).count("'x' is not valid") == 5
    assert "cannot resolve 8 trainings, so they are left out" in str(one.message)
    assert ", and 3 more; update memloc" in str(one.message)


def test_any(monkeypatch: Any) -> None:
    """Other warnings are shown as ever."""
    shown: list[str] = []
    commands._show_warning(lambda message, *rest: shown.append(str(message)), "deprecated", DeprecationWarning, "file", 1)
    assert shown == ["deprecated"]
