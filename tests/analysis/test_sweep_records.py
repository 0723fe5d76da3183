"""Several contents under one sweep's name: told apart, dated, and said."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import memloc
from memloc import commands
from memloc.analysis import sweep_records
from memloc.analysis.sweep_records import about_records, trials_of
from memloc.analysis.sweep_status import sweep_status
from memloc.analysis.trial_list import list_trials
from memloc.analysis.trial_states import STATES
from memloc.commands import store as commands_store
from memloc.commands.status import render
from memloc.config import digest, fingerprint
from memloc.errors import MemlocWarning
from memloc.papers.exhibits import Shown
from memloc.store import Commit, Files, Store, records


def trial(trial_id: str, stages: dict[str, dict[str, Any]] | None = None, **config: Any) -> dict[str, Any]:
    analyses = [
        {"analysis": digest(trial_id + stage), "stage": stage, "config": settings, "parts": [digest(f"{trial_id}{stage}0")]}
        for stage, settings in (stages or {}).items()
    ]
    fields = {"dataset": "digits", "model": "resnet9", **config}
    return {"trial": digest(trial_id), "config": fields, "blocks": ["a"], "analyses": analyses}


FIRST = [trial("a0", {"rewind": {"epochs": [0, 5]}}, noise=0.1), trial("a1", {"rewind": {"epochs": [0, 5]}}, noise=0.2)]
CONTENTS = {
    "noise: 0.1, 0.2 → 0.1, 0.3": [FIRST[0], trial("b1", {"rewind": {"epochs": [0, 5]}}, noise=0.3)],
    "rewind.epochs: [0,5] → [0,5], [0,9]": [FIRST[0], trial("a1", {"rewind": {"epochs": [0, 9]}}, noise=0.2)],
    "flips: none → yes": [FIRST[0], trial("a1", {"rewind": {"epochs": [0, 5]}, "flips": {"repeats": 2}}, noise=0.2)],
    "rewind: yes → none": [trial("a0", noise=0.1), trial("a1", noise=0.2)],
    "p_gen: none → 0.4": [FIRST[0], trial("b1", {"rewind": {"epochs": [0, 5]}}, noise=0.2, p_gen=0.4)],
    "noise: 0.1, 0.2 → 0.1; trainings: 2 → 1": FIRST[:1],
    "train: other ids, by another version of memloc or other data": [
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
    assert len(trials_of(store, "mine")) == 2  # without a warning


def analysed(version: int, noise: float = 0.1) -> list[dict[str, Any]]:
    """A training with an analysis whose id is of this version of flips, and one that reads it."""
    (record,) = [trial("a0", {"flips": {"repeats": 2}, "detection": {}}, noise=noise)]
    said = {"trial": record["trial"], "stage": "flips", "config": {"repeats": 2}, "reads": [], "version": version}
    flips, detection = record["analyses"]
    flips["analysis"] = fingerprint(said)
    detection["analysis"] = fingerprint({"stage": "detection", "reads": [flips["analysis"]]})
    for analysis in (flips, detection):
        analysis["parts"] = [digest(analysis["analysis"])]
    return [record]


def test_each_record_is_told_from_the_one_before_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for when, version in enumerate((2, 3, 5)):
        launched(store, "mine", analysed(version), 1e9 + when)
    launched(store, "mine", FIRST[:1], 2e9)
    other = "detection: other ids, by another version of memloc or of its code"
    assert [a.differs for a in about_records(store)] == [
        (),
        (other, "flips: version 2 → 3"),
        (other, "flips: version 3 → 5"),
        ("flips: yes → none", "detection: yes → none", "rewind: none → yes"),
    ]


def test_a_copy_of_a_store_has_the_dates_of_the_store(tmp_path: Path) -> None:
    """The copy's files are younger. What a record alone needs was begun when it was launched, or later."""
    store = Store(str(tmp_path))
    launched(store, "mine", FIRST, 3e9)
    launched(store, "mine", [FIRST[0]], 2.5e9)  # copied first; it shares all that it needs
    launched(store, "mine", analysed(1, noise=0.3), 2e9)
    (two,) = [t["trial"] for t in FIRST[1:]]
    for training, ended in ((FIRST[0]["trial"], 1e9), (two, 1.5e9)):
        store.publish(Commit(training, training, None, "train", {}, 0, 1, {}, ended=ended, seconds=100.0), {}, {})
    about = about_records(store)
    assert [(len(a.record.trials), a.launched) for a in about] == [(2, 1.5e9 - 100), (1, 2e9), (1, 2.5e9)]
    store.publish(Commit("f" * 16, "f" * 16, None, "train", {}, 0, 1, {}, ended=5.0), {}, {})  # of nobody
    assert [a.launched for a in about_records(store)] == [a.launched for a in about]


def test_what_another_version_left_undone_is_not_pending(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    old, new = analysed(2), analysed(3)
    launched(store, "mine", old, 1e9)
    assert sweep_status(store, None)["stages"]["flips"]["pending"] == 1
    new_name = launched(store, "mine", new, 2e9)
    found = sweep_status(store, None)
    assert found["stages"] == {
        stage: {**dict.fromkeys(STATES, 0), "pending": 1} for stage in ("train", "flips", "detection")
    }
    assert found["superseded"] == {"trainings": 0, "analyses": 2}
    assert "not counted: 2 analyses of older launches, which a later launch has planned anew" in render(found)
    assert sweep_status(store, new_name)["superseded"] == {"trainings": 0, "analyses": 0}
    publish(store, old[0]["analyses"][0])  # what was done stays
    assert sweep_status(store, None)["stages"]["flips"] == {**dict.fromkeys(STATES, 0), "done": 1, "pending": 1}
    assert sweep_status(store, None)["superseded"] == {"trainings": 0, "analyses": 1}


def test_a_training_of_another_version_is_not_pending(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    launched(store, "mine", [trial("older", {"rewind": {"epochs": [0, 5]}}, noise=0.1), FIRST[1]], 1e9)
    launched(store, "mine", FIRST[:1], 2e9)
    launched(store, "other", [{**FIRST[0], "trial": digest("elsewhere")}], 3e9)  # of another name: nobody knows
    found = sweep_status(store, None)
    assert found["counts"]["pending"] == 3  # the second one of the older record is another content, and may be wanted
    assert found["superseded"] == {"trainings": 1, "analyses": 0}
    assert digest("older") not in {t.trial for t in list_trials(store)}
    older = digest("older")
    store.publish(Commit(older, older, None, "train", {}, 0, 1, dict(FIRST[0]["config"])), {}, {})
    found = sweep_status(store, None)
    assert found["stages"]["train"] == {**dict.fromkeys(STATES, 0), "done": 1, "pending": 3}
    assert found["superseded"] == {"trainings": 0, "analyses": 1}  # its analysis, which nobody asks for any more


def publish(store: Store, analysis: dict[str, Any]) -> None:
    (part,) = analysis["parts"]
    of = FIRST[0]["trial"], analysis["analysis"], analysis["stage"]
    store.publish(Commit(part, *of, {}, 0, 1, analysis["config"]), {}, {})


SEVERAL = (
    "memloc: warning: mine: two different sweeps have this name. Their trials are taken together. To see one, type "
    f"{{old}} (of {datetime.fromtimestamp(1e9):%Y-%m-%d %H:%M}) or "
    f"{{new}} (of {datetime.fromtimestamp(2e9):%Y-%m-%d %H:%M}, noise: 0.1, 0.2 → 0.1, trainings: 2 → 1)\n"
)


def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    monkeypatch.setattr(sys, "argv", ["memloc", *arguments])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert not ended.value.code
    return capfd.readouterr()


@pytest.mark.filterwarnings("default::memloc.errors.MemlocWarning")
def test_commands_say_that_there_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    store = Store(str(tmp_path))
    old, new = launched(store, "mine", FIRST, 1e9), launched(store, "mine", FIRST[:1], 2e9)
    out, err = run(monkeypatch, capfd, "store", "ls", "--store", store.uri)
    assert out.index(old) < out.index(new)
    assert f"{old}  {datetime.fromtimestamp(1e9):%Y-%m-%d %H:%M} " in out
    assert f"{old} → {new}:\n  noise: 0.1, 0.2 → 0.1\n  trainings: 2 → 1\n" in out
    out, err = run(monkeypatch, capfd, "store", "ls", "--store", store.uri, "--json")
    sweeps = json.loads(out)["sweeps"]
    launched_at = [datetime.fromisoformat(s["launched"]) for s in sweeps]
    assert [(when.tzinfo is not None, when.timestamp()) for when in launched_at] == [(True, 1e9), (True, 2e9)]
    assert [(s["sweep"], s["trainings"], s["pending"], s["differs"]) for s in sweeps] == [
        (old, 2, 2, []),
        (new, 1, 1, ["noise: 0.1, 0.2 → 0.1", "trainings: 2 → 1"]),
    ]
    out, err = run(monkeypatch, capfd, "status", "mine", "--store", store.uri, "--json")
    assert json.loads(out)["counts"]["pending"] == 2
    assert err == SEVERAL.format(old=old, new=new)
    out, err = run(monkeypatch, capfd, "status", new, "--store", store.uri, "--json")
    assert (json.loads(out)["counts"]["pending"], err) == (1, "")


@pytest.mark.filterwarnings("default::memloc.errors.MemlocWarning")
@pytest.mark.parametrize(
    "command",
    [["trials", "mine"], ["claims", "mine"], ["report", "mine"], ["query", "SELECT 1", "--sweep", "mine"],
     ["query", "--examples", "--sweep", "mine"], ["status", "mine"]],
    ids=lambda command: " ".join(command[:2]),
)  # fmt: skip
def test_every_command_warns_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: list[str]
) -> None:
    store = Store(str(tmp_path / "store"))
    old, new = launched(store, "mine", FIRST, 1e9), launched(store, "mine", FIRST[:1], 2e9)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("memloc.report.content.show", lambda exhibit, evidence: Shown(exhibit))  # they take seconds
    _, err = run(monkeypatch, capfd, *command, "--store", store.uri)
    assert [line for line in err.splitlines(keepends=True) if "warning" in line] == [SEVERAL.format(old=old, new=new)]
    _, err = run(monkeypatch, capfd, *(new if word == "mine" else word for word in command), "--store", store.uri)
    assert "warning" not in err


def test_a_notebook_warns_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    launched(store, "mine", FIRST, 1e9)
    launched(store, "mine", FIRST[:1], 2e9)
    opened = memloc.open_store(tmp_path)
    with pytest.warns(MemlocWarning, match="mine: two different sweeps have this name"):
        opened.table("trials", sweep="mine")
    monkeypatch.setattr(sweep_records, "described", lambda contents, snapshot: pytest.fail("it takes seconds"))
    opened.sql("SELECT 1", sweep="mine")  # a second warning would be an error
    opened.claims(sweep="mine")


def test_neutral_values_are_shown_as_they_are(tmp_path: Path) -> None:
    """A record leaves neutral values out. A person reads both values, and no `none`."""
    store = Store(str(tmp_path))
    config = {"model": "resnet9", "dataset": "digits"}
    base = {"trial": digest("a0"), "blocks": ["a"], "analyses": [], "config": config}
    changed = {**base, "config": {**config, "compile": True}}
    launched(store, "mine", [base], 1e9)
    launched(store, "mine", [changed], 2e9)
    assert about_records(store, "mine")[1].differs == ("compile: false → true",)
    assert "compile" not in config  # as records have it
    launched(store, "other", [trial("a0", {"retrain": {"epochs": 2}})], 1e9)
    launched(store, "other", [trial("a0", {"retrain": {"epochs": 2, "freeze": "none", "batch_norm": "frozen"}})], 2e9)
    assert about_records(store, "other")[1].differs == (
        "retrain.freeze: others → none",
        "retrain.batch_norm: train → frozen",
    )


def test_records_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of n records each is read once, by `store ls`, a notebook and a look at one sweep."""
    store = Store(str(tmp_path))
    for name in ("one", "two", "three"):
        launched(store, name, FIRST, 1e9)
    reads: list[str] = []
    genuine = Files.get
    monkeypatch.setattr(Files, "get", lambda self, path, most=None: reads.append(path) or genuine(self, path, most))
    opened = memloc.open_store(tmp_path)
    commands_store._sweeps(store, store.snapshot())
    assert len(reads) == 3
    opened._repr_html_()
    assert len(reads) == 6
    records.read_sweep(store.files, "two")
    assert len(reads) == 7
    assert records.sweep_names(store.files) == ["one", "three", "two"]
    assert len(reads) == 7
