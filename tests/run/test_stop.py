"""`memloc stop` from another process: the sweep drains as after Ctrl-C, and the same command goes on."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path

from memloc.store import Store, layout, stops
from tests.run.prepared import launch
from tests.run.programs import assert_same, environment, kill_tree, memloc
from tests.waiting import LONG, wait_until

# A sweep in this process that beats often, and goes on after epoch 1 only when it has got an order.
WAITING = """
import time
from memloc.commands import main
from memloc.run import attempts, pulse
import sys

pulse.SECONDS = pulse.LOOK_SECONDS = 0.05
real, sys.argv = attempts.run_training, ["memloc", *sys.argv[1:]]

def run_training(worker, work, on_epoch, should_stop):
    def reached(epoch, row):
        on_epoch(epoch, row)
        until = time.monotonic() + 600
        while epoch == 1 and not should_stop() and time.monotonic() < until:
            time.sleep(0.02)
    return real(worker, work, reached, should_stop)

attempts.run_training = run_training
main()
"""


def test_stopped_from_another_process_and_gone_on(tmp_path: Path, tiny: Path) -> None:
    store, sweep = tmp_path / "store", str(tiny.parent / "tiny.yaml")
    arguments = ("sweep", sweep, "--executor", "inline", "--store", str(store))
    process = launch(["-c", WAITING, *arguments], environment(tmp_path))
    try:
        wait_until(lambda: list(store.glob("heartbeats/*/run.json")) and list(store.glob("checkpoints/*/epoch-0001*")))
        run = next(store.glob("heartbeats/*")).name
        told = memloc(tmp_path, "stop", "tiny", "--store", str(store))
        assert told.code == 0, told.err
        first, *_ = told.out.splitlines()
        host = re.escape(platform.node())
        assert re.fullmatch(
            rf"run {run} of tiny@[0-9a-f]{{8}} on {host} is told to stop; it is running: train of 1 trial", first
        )
        _, err = process.communicate(LONG)
    finally:
        kill_tree(process)
        process.close()
    assert process.returncode == 130, err
    how = f"stopped by `memloc stop` at {platform.node()}"
    assert f"{how}: finishing the epochs and parts that are running (press Ctrl-C to stop at once)" in err
    assert f"memloc: {how}; everything committed is kept. To go on: memloc sweep {sweep}" in err
    assert "Traceback" not in err
    assert Store(str(store)).files.listing(layout.STOPS) == Store(str(store)).files.listing(layout.HEARTBEATS) == {}
    assert not list(store.glob("commits/*/*"))  # the first training was under way
    stops.give(Store(str(store)).files, run)  # an order to the run that has ended ends no later one
    done = memloc(tmp_path, *arguments)
    assert (done.code, "stopped by" in done.err) == (0, False), done.err
    assert "goes on from epoch 1" in done.err
    assert_same(tiny, store)


def test_nothing_to_stop(tmp_path: Path, tiny: Path) -> None:
    for sweep, on in (((), ""), (("tiny",), " on tiny")):
        done = memloc(tmp_path, "stop", *sweep, "--store", str(tiny))
        assert (done.code, done.err) == (0, "")
        assert done.out == f"no run is at work{on} in store {tiny}; nothing to stop\n"
    done = memloc(tmp_path, "stop", "tinny", "--store", str(tiny))
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(r"memloc: tinny: no such sweep in store .* \(did you mean 'tiny'\?\); it has: tiny\n", done.err)
    done = memloc(tmp_path, "stop", "--store", str(tmp_path / "none"))
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
    assert json.loads(memloc(tmp_path, "status", "--json", "--store", str(tiny)).out)["runs"] == []
