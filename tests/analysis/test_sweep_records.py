"""Several contents under one sweep's name: told apart, dated, and said."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from memloc import commands
from memloc.analysis.sweep_records import about_records, union_note
from memloc.store import Store, records


def trial(trial_id: str, stages: dict[str, dict[str, Any]] | None = None, **config: Any) -> dict[str, Any]:
    analyses = [
        {"analysis": f"{trial_id}{stage}", "stage": stage, "config": settings, "parts": [f"{trial_id}{stage}0"]}
        for stage, settings in (stages or {}).items()
    ]
    return {"trial": trial_id, "config": {"dataset": "digits", **config}, "blocks": ["a"], "analyses": analyses}


FIRST = [trial("a0", {"rewind": {"epochs": [0, 5]}}, noise=0.1), trial("a1", {"rewind": {"epochs": [0, 5]}}, noise=0.2)]
CONTENTS = {
    "noise: 0.1, 0.2 → 0.1, 0.3": [FIRST[0], trial("b1", {"rewind": {"epochs": [0, 5]}}, noise=0.3)],
    "rewind.epochs: [0,5] → [0,5], [0,9]": [FIRST[0], trial("a1", {"rewind": {"epochs": [0, 9]}}, noise=0.2)],
    "flips: none → yes": [FIRST[0], trial("a1", {"rewind": {"epochs": [0, 5]}, "flips": {"repeats": 2}}, noise=0.2)],
    "rewind: yes → none": [trial("a0", noise=0.1), trial("a1", noise=0.2)],
    "p_gen: none → 0.4": [FIRST[0], trial("b1", {"rewind": {"epochs": [0, 5]}}, noise=0.2, p_gen=0.4)],
    "noise: 0.1, 0.2 → 0.1; trainings: 2 → 1": FIRST[:1],
    "ids alone: another version of memloc, or other data": [
        trial("x0", {"rewind": {"epochs": [0, 5]}}, noise=0.1),
        FIRST[1],
    ],
}


def launched(store: Store, name: str, trials: list[dict[str, Any]], when: float) -> str:
    """Records a sweep as if that had been at that time."""
    whole = records.write_sweep(store.files, name, trials)
    base, _, sha = whole.partition("@")
    os.utime(f"{store.uri}/sweeps/{base}/{sha}.json", (when, when))
    return whole


@pytest.mark.parametrize("words", CONTENTS)
def test_what_differs_between_two_contents(tmp_path: Path, words: str) -> None:
    store = Store(str(tmp_path))
    new = launched(store, "mine", CONTENTS[words], 2e9)
    old = launched(store, "mine", FIRST, 1e9)
    launched(store, "other", FIRST, 3e9)
    about = about_records(store, "mine")
    assert [(a.name, a.record.recorded) for a in about] == [(old, 1e9), (new, 2e9)]  # the oldest first
    assert about[0].differs == ()
    assert "; ".join(about[1].differs) == words
    assert [a.name.partition("@")[0] for a in about_records(store)] == ["mine", "mine", "other"]


def test_the_same_content_is_one_record(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert launched(store, "mine", FIRST, 1e9) == records.write_sweep(store.files, "mine", FIRST)
    (about,) = about_records(store)
    assert about.record.recorded == 1e9  # launching it again does not date it anew
    assert union_note(store, "mine") is None


def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    monkeypatch.setattr(sys, "argv", ["memloc", *arguments])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert not ended.value.code
    return capfd.readouterr()


def test_commands_say_that_there_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    store = Store(str(tmp_path))
    old, new = launched(store, "mine", FIRST, 1e9), launched(store, "mine", FIRST[:1], 2e9)
    out, err = run(monkeypatch, capfd, "store", "ls", "--store", store.uri)
    assert out.index(old) < out.index(new)
    assert "2001-09-09" in out
    assert f"{old} → {new}:\n  noise: 0.1, 0.2 → 0.1\n  trainings: 2 → 1\n" in out
    out, err = run(monkeypatch, capfd, "store", "ls", "--store", store.uri, "--json")
    sweeps = json.loads(out)["sweeps"]
    assert [(s["sweep"], s["trainings"], s["pending"], s["differs"]) for s in sweeps] == [
        (old, 2, 2, []),
        (new, 1, 1, ["noise: 0.1, 0.2 → 0.1", "trainings: 2 → 1"]),
    ]
    out, err = run(monkeypatch, capfd, "status", "mine", "--store", store.uri, "--json")
    assert json.loads(out)["counts"]["pending"] == 2
    assert err.startswith("memloc: note: mine: 2 contents have this name; they are read together. For one alone: ")
    assert f"{old} of 2001-09-09" in err
    assert f"{new} of 2033-05-18" in err
    out, err = run(monkeypatch, capfd, "status", new, "--store", store.uri, "--json")
    assert (json.loads(out)["counts"]["pending"], err) == (1, "")
