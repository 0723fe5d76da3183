"""Orders to stop, on a disk and in an object store: one per run, small, and checked before they count."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from memloc.errors import MemlocWarning
from memloc.run.pulse import new_run
from memloc.store import Store, layout, run_layout, stops

RUN = "20261128-163005-0a1b2c"


def test_an_order_is_for_one_run(store: Store) -> None:
    other = new_run()
    assert (stops.find(store.files, RUN), stops.read(store.files)) == (None, {})
    stops.withdraw(store.files, RUN)  # there is none
    stops.give(store.files, RUN)
    assert stops.find(store.files, other) is None
    order = stops.find(store.files, RUN)
    assert order is not None
    assert stops.read(store.files) == {RUN: order}
    assert (order.run, order.host) == (RUN, platform.node())
    assert abs(order.when - time.time()) < 60
    stops.give(store.files, other)
    stops.withdraw(store.files, RUN)
    assert list(stops.read(store.files)) == [other]


def test_runs_have_names_that_can_be_told() -> None:
    assert layout.is_own(run_layout.stop(new_run()))
    assert not [name for name in ("", "run", "../x", f"{RUN}x", f"{RUN}\n", f"x/{RUN}") if run_layout.is_run(name)]


GOOD = {"run": RUN, "host": "there", "when": 1.0}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "Invalid JSON"),
        ("[]", "Input should be"),
        ("[" * 100_000, "has 100000 bytes|recursion limit"),
        (json.dumps({**GOOD, "run": "20261128-163005-ffffff"}), "it names the run '20261128-163005-ffffff'"),
        (json.dumps({**GOOD, "host": "\x1b[2J"}), "its host is no name"),
        (json.dumps({**GOOD, "host": "x" * 300}), "host: "),
        (json.dumps({**GOOD, "when": "now"}), "when: "),
        (json.dumps({"run": RUN}), "host: "),
    ],
    ids=range(8),
)
def test_what_is_no_order_is_named_and_left_out(store: Store, content: str, why: str) -> None:
    store.files.put(run_layout.stop(RUN), content.encode())
    with pytest.warns(MemlocWarning, match=f"left out: stops/{RUN}.json is no order to stop .*({why})"):
        assert stops.read(store.files) == {}
    assert stops.find(store.files, RUN) is None  # the warning comes once
    store.files.put(run_layout.stop(RUN), json.dumps({**GOOD, "more": [1]}).encode())
    assert list(stops.read(store.files)) == [RUN]  # a field of a later version is passed over


def test_files_of_other_forms_are_not_read(store: Store) -> None:
    for name in ("notes.json", f"{RUN}.txt", f"mine/{RUN}.json"):
        store.files.put(f"stops/{name}", b"not for memloc")
    assert stops.read(store.files) == {}


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/etc/hostname")], ids=["folder", "link"])
def test_what_is_no_file_is_named_and_stops_nobody(tmp_path: Path, make: Callable[[Path], None]) -> None:
    store = Store(str(tmp_path))
    (tmp_path / layout.STOPS).mkdir()
    make(tmp_path / run_layout.stop(RUN))
    with pytest.warns(MemlocWarning, match=f"left out: stops/{RUN}.json is a (folder|symbolic link)"):
        assert stops.read(store.files) == {}
    assert stops.find(store.files, RUN) is None
    stops.withdraw(store.files, RUN)  # as the run does at its end
