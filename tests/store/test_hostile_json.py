"""Whatever stands in a JSON file of a store: what is odd is named and left out, and every reader goes on."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import memloc
from memloc.analysis.reading import reading
from memloc.analysis.sweep_status import sweep_status
from memloc.analysis.trial_list import list_trials
from memloc.commands import status as commands_status
from memloc.commands import store as commands_store
from memloc.commands import trials as commands_trials
from memloc.errors import MemlocWarning, StoreError
from memloc.papers.judging import judge
from memloc.papers.registry import paper
from memloc.run.clock import PricedPlan
from memloc.run.fanout import PricedPart
from memloc.run.schedule import Slots, TrialCost
from memloc.store import Store, heartbeats, layout, leases, records, stops
from memloc.store.verify import verify
from tests.commands.test_query import run
from tests.papers.maini2023.simulated import Simulated

Place = tuple[Any, ...]
FAILED, PENDING, RUN, STOPPED = "7" * 16, "9" * 16, "run", "20261128-163005-0a1b2c"
quiet = pytest.mark.filterwarnings("ignore::memloc.errors.MemlocWarning")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a small store that has every kind of JSON file."""
    simulated = Simulated(tmp_path_factory.mktemp("hostile"))
    store = simulated.store
    trial = simulated.training(n=20, epochs=5, noisy_acc=[0.1, 0.2, 0.3, 0.4, 0.5])
    simulated.flips(trial, {True: [3, 4], False: [9] * 4})
    simulated.rewind(trial, {"conv": 0.5, "linear": 0.2}, last=5, epochs=(0, 2))
    held = simulated.training(n=20, epochs=5, noise=0.0, evaluated=None, ratio=0.7, cut=0, noisy_acc=[0.1] * 5)
    rows = {"example": range(20), "held_in": [True] * 14 + [False] * 6, "correct": [True] * 20}
    simulated.analysis(held, "held_out", {"ratios": [0.7], "min_held_out": 1}, held_out=rows)
    config = dict(store.snapshot().trainings()[trial].config)
    analysis = {"analysis": "8" * 16, "stage": "rewind", "config": {"epochs": [0, 5]}, "parts": [FAILED]}
    pending = {"trial": PENDING, "config": {**config, "seed": 4}, "blocks": ["a"], "analyses": [analysis]}
    waiting = [{"block": "a", "stage": "flips"}]
    records.write_sweep(store.files, "mine", [{**pending, "waiting": waiting}])
    records.write_sweep(store.files, "mine", [pending])
    records.record_failure(store.files, records.Failure(FAILED, PENDING, "rewind", "Trace\nValueError: x", "ValueError: x"))
    beat = {"sweep": "mine", "stages": ["train"], "epoch": 2, "epochs": 5, "news": time.time(), "seconds": 3.0}
    heartbeats.write(store.files, RUN, PENDING, {**beat, "metrics": {"loss": 1.0}, "state": "running", "from_epoch": 0})
    heartbeats.write_run(store.files, RUN, {"sweep": "mine", "host": "h", "state": "running"})
    part = PricedPart(FAILED, "8" * 16, "rewind", 4.0, 2.0, 8.0)
    priced = (TrialCost(PENDING, 40.0, ((part, replace(part, id="5" * 16)),), epochs=5), TrialCost("6" * 16, 10.0, ()))
    heartbeats.write_plan(store.files, RUN, PricedPlan(priced, Slots(2), "given", reliable=True).as_json())
    leases.renew(store.files, PENDING, leases.Holder(RUN, "h", "x"))
    stops.give(store.files, STOPPED)
    store.files.put(layout.pruned(trial), b"[1, 2]")
    return {path: store.files.get(path) for path in store.files.listing("")}


class Copy:
    """A copy of the store, one file of which is changed at a time."""

    def __init__(self, folder: Path, content: Mapping[str, bytes]) -> None:
        self.root, self.content = folder, content
        for path, data in content.items():
            self.write(path, data)

    def write(self, path: str, data: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(data)

    def changed(self, path: str, data: bytes) -> str:
        """Puts other content in the place of a file, under the name that it has by its hash."""
        (self.root / path).unlink()
        folder, name = path.rsplit("/", 1)
        if "-" in name and folder != layout.STOPS:
            name = f"{name.split('-')[0]}-{layout.sha8(data)}.json"
        elif folder.startswith(layout.SWEEPS):
            name = f"{layout.sha8(data)}.json"
        self.write(f"{folder}/{name}", data)
        return f"{folder}/{name}"

    def restored(self) -> None:
        for path in [p for p in self.root.rglob("*") if p.is_symlink() or not p.is_dir()]:
            path.unlink()
        for path in sorted((p for p in self.root.rglob("*.json") if p.is_dir()), reverse=True):
            path.rmdir()
        for path, data in self.content.items():
            self.write(path, data)


@pytest.fixture
def copy(tmp_path: Path, content: dict[str, bytes]) -> Copy:
    return Copy(tmp_path / "store", content)


def named(read: Any, copy: Copy) -> str:
    """What the warnings say while a reader works."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MemlocWarning)
        read(Store(str(copy.root)))
    return "\n".join(str(w.message) for w in caught)


def look(store: Store) -> None:
    """Everything that needs no database: status, trials, store ls, a notebook; and who is at work on a trial."""
    leases.held_among(store.files, [PENDING])
    json.dumps(sweep_status(store, None))
    commands_status.render(sweep_status(store, "mine"))
    listed = list_trials(store)
    commands_trials.render(listed)
    json.dumps([one.as_json() for one in listed])
    snapshot = store.snapshot()
    json.dumps([commands_store._sweeps(store, snapshot), commands_store._tables(snapshot)])
    opened = memloc.open_store(store.uri)
    opened._repr_html_()
    opened.trials()._repr_html_()


def ask(store: Store) -> None:
    """Tables, a view over them, and the scorecard."""
    problem = "was committed with"
    try:
        reading(store, lambda reader: [reader.table(name) for name in ("analyses", "c_scores", "evaluation", "leaderboard")])
        judge(store, paper())
    except StoreError as error:  # a commit that says another size of a file: the error names the file
        problem = str(error)
    assert "was committed with" in problem


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.sampled_from([2**31, 2**63, 10**400, -1])
    | st.floats() | st.text(max_size=3) | st.sampled_from(["../../x", "\x1b[2J", "rewind", "flips", "0" * 16, PENDING]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def places(value: Any, prefix: Place = ()) -> Iterator[Place]:
    """The ways to all values in some JSON."""
    yield prefix
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield from places(below, (*prefix, key))


def with_other(value: Any, place: Place, other: Any) -> Any:
    """The same JSON with another value in one place; without the value where `other` is this module's `GONE`."""
    if not place:
        return {} if other is GONE else other
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    if other is GONE and len(place) == 1:
        del changed[place[0]]
    else:
        changed[place[0]] = with_other(value[place[0]], place[1:], other)
    return changed


GONE = object()


def change(copy: Copy, data: st.DataObject, kinds: tuple[str, ...]) -> None:
    """Puts any JSON value in any place of a JSON file, or removes it."""
    kind = data.draw(st.sampled_from(kinds))
    path = data.draw(st.sampled_from(sorted(p for p in copy.content if p.startswith(kind) and p.endswith(".json"))))
    value = json.loads(copy.content[path])
    place = data.draw(st.sampled_from(list(places(value))))
    other = data.draw(st.just(GONE) | JSON)
    copy.changed(path, json.dumps(with_other(value, place, other)).encode())


KINDS = ("commits", "sweeps", "failures", "heartbeats", "stops", "checkpoints", "leases")
bounded = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quiet
@settings(bounded, max_examples=40)
@given(st.data())
def test_any_json_in_any_place_ends_no_listing(copy: Copy, data: st.DataObject) -> None:
    copy.restored()
    change(copy, data, KINDS)
    look(Store(str(copy.root)))
    verify(Store(str(copy.root)).files)


@quiet
@settings(bounded, max_examples=6)
@given(st.data())
def test_any_json_in_any_place_ends_no_query(copy: Copy, data: st.DataObject) -> None:
    copy.restored()
    change(copy, data, ("commits",))
    ask(Store(str(copy.root)))


def test_the_time_left_is_simulated(copy: Copy) -> None:
    """So that what the plan of a run says is used, and not only read."""
    (run,) = [run for run in sweep_status(Store(str(copy.root)), None)["runs"] if run["run"] == RUN]
    assert run["slots"] == 2
    assert run["eta_seconds"] is not None
    copy.changed(
        f"heartbeats/{RUN}/plan.json",
        copy.content[f"heartbeats/{RUN}/plan.json"].replace(b'"count": 2', b'"count": %d' % 10**15),
    )
    (run,) = [run for run in sweep_status(Store(str(copy.root)), None)["runs"] if run["run"] == RUN]
    assert (run["slots"], run["eta_seconds"]) == (None, None)


@quiet
@settings(bounded, max_examples=60)
@given(st.data())
def test_any_number_in_any_place_of_a_plan(copy: Copy, data: st.DataObject) -> None:
    copy.restored()
    path = f"heartbeats/{RUN}/plan.json"
    value = json.loads(copy.content[path])
    place = data.draw(st.sampled_from(list(places(value))))
    numbers = st.sampled_from([0, -1, 10**5, 10**9, 10**15, 10**400, 1e-300, 1e300, "inf", "nan", "1e5"])
    copy.changed(path, json.dumps(with_other(value, place, data.draw(numbers | st.floats(allow_nan=False) | JSON))).encode())
    commands_status.render(sweep_status(Store(str(copy.root)), None))


def odd(content: bytes) -> dict[str, bytes]:
    """Contents that are no such file at all."""
    text = content.decode()
    return {
        "nothing": b"",
        "truncated": content[: len(content) // 2],
        "not UTF-8": content[:-1] + b"\xff" + content[-1:],
        "UTF-16": text.encode("utf-16"),
        "another value": b"17",
        "deep": b"[" * 100_000,
        "deep but whole": b"[" * 150 + b"]" * 150,
        "NUL": b"\0" * 40,
    }


def test_what_is_no_such_file_is_named_and_left_out(copy: Copy) -> None:
    kinds = dict.fromkeys(("commits", "sweeps", "failures", "stops", "leases"), "")
    kinds[layout.HEARTBEATS] = f"{RUN}/{PENDING}.json"
    for kind, name in kinds.items():
        path, whole = next((p, c) for p, c in copy.content.items() if p.startswith(f"{kind}/{name}"))
        for what, data in odd(whole).items():
            copy.restored()
            other = copy.changed(path, data)
            assert other in named(look, copy), (path, what)


VALUES = {
    "NaN": "NaN",
    "infinity": "-Infinity",
    "1e999": "1e999",
    "400 digits": "1" + "0" * 400,
    "deep": "[" * 150 + "]" * 150,
}


@pytest.mark.parametrize("number", VALUES.values(), ids=VALUES)
def test_a_value_that_no_configuration_has(copy: Copy, number: str) -> None:
    """In a commit or a record, where any JSON may stand."""
    for kind in ("commits", "sweeps"):
        path, whole = next((p, c) for p, c in copy.content.items() if p.startswith(kind) and b'"noise":' in c)
        copy.restored()
        data = whole.replace(b'"epochs": ', b'"epochs": ' + number.encode() + b', "new": ')
        data = data.replace(b'"epochs":5', b'"epochs":' + number.encode())
        assert data != whole
        assert copy.changed(path, data) in named(look, copy)


def test_of_a_field_that_is_there_twice_the_last_counts(copy: Copy) -> None:
    path, whole = next((p, c) for p, c in copy.content.items() if p.startswith("commits"))
    other = copy.changed(path, whole.replace(b'"id": ', b'"id": "../../x", "id": ', 1))
    assert "commits" not in named(look, copy)
    assert Store(str(copy.root)).snapshot().paths[json.loads(whole)["id"]] == other


@quiet
def test_a_folder_a_link_or_a_pipe_where_a_file_belongs(copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("{}")
    makes = {
        "is a folder where a file belongs": lambda path: path.mkdir(),
        "is a symbolic link": lambda path: path.symlink_to(tmp_path / "elsewhere"),
        "is no regular file": os.mkfifo,
    }
    for kind in ("commits", "sweeps", "failures", "heartbeats/run/run"):
        path = next(p for p in copy.content if p.startswith(kind))
        for words, make in makes.items():
            copy.restored()
            (copy.root / path).unlink()
            make(copy.root / path)
            found = named(look, copy)
            assert f"{path} {words}" in found, found
            verify(Store(str(copy.root)).files)
            assert (tmp_path / "elsewhere").read_text() == "{}"


def test_a_file_that_is_too_large(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    path = max((p for p in copy.content if p.startswith("sweeps")), key=lambda p: len(copy.content[p]))
    monkeypatch.setattr("memloc.store.documents.LARGEST", len(copy.content[path]) - 1)
    assert f"{path} has {len(copy.content[path])} bytes" in named(look, copy)


@pytest.mark.filterwarnings("default::memloc.errors.MemlocWarning")
def test_every_command_names_it_in_one_line(
    copy: Copy, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, whole = next((p, c) for p, c in copy.content.items() if p.startswith("commits") and b'"held_out"' in c)
    other = copy.changed(commit, whole.replace(b'"seconds": 0.0', b'"seconds": []'))
    commands = (["status"], ["trials"], ["claims"], ["query", "SELECT * FROM trials"], ["store", "ls"], ["store", "verify"])
    for arguments in commands:
        code, _, err = run(capfd, monkeypatch, *arguments, "--store", str(copy.root))
        assert code == 0, err
        (line,) = [line for line in err.splitlines() if "warning" in line and other in line]
        assert line.startswith("memloc: warning: store ")


def test_a_terminal_does_nothing_that_a_store_says(
    copy: Copy, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Escapes in a failure's text, and in the name of a sweep's block: they are shown as escapes."""
    hostile = "\x1b]0;title\x07\x1b[2J\u202e"
    path = next(p for p in copy.content if p.startswith(layout.FAILURES))
    record = json.loads(copy.content[path])
    copy.changed(path, json.dumps({**record, "traceback": f"ValueError: {hostile}", "host": hostile}).encode())
    (sweep, whole) = next((p, c) for p, c in copy.content.items() if p.startswith("sweeps") and b'"waiting"' in c)
    copy.changed(sweep, whole.replace(b'"block":"a"', b'"block":' + json.dumps(hostile).encode()))
    for arguments in (["status"], ["trials"], ["store", "ls"], ["query", f"SELECT '{hostile}' AS x"]):
        _, out, err = run(capfd, monkeypatch, *arguments, "--store", str(copy.root))
        assert not {"\x1b", "\x07", "\u202e"} & {*out, *err}
        assert ("\\x1b]0;title\\x07\\x1b[2J\\u202e" in out) == (arguments[0] in ("status", "query"))
