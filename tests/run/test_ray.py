"""The Ray executor against the inline one, in real Ray sessions of several processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run.clusters import Cluster, started_cluster
from tests.run.programs import (
    SMALL,
    assert_same,
    contents,
    descendants,
    interrupt,
    memloc,
    most_at_once,
    started,
    terminate_all,
    trainings,
    wait_until,
)

# Trainings so long that two must overlap, however late the second one starts on a busy machine.
LONG = """
about: Two trainings that take much longer than a process takes to start.
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 200, noise: 0.1, epochs: 60, batch_size: 32}
blocks: {long: {axes: {seed: [0, 1]}, stages: {evaluate: {}}}}
"""


@pytest.fixture(scope="module")
def two_cpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with started_cluster(tmp_path_factory.mktemp("cpus"), [["--num-cpus=2"]]) as running:
        yield running


def test_as_many_trainings_at_once_as_fit(tmp_path: Path, two_cpus: Cluster) -> None:
    """Two of one thread each keep both CPUs busy."""
    (tmp_path / "long.yaml").write_text(LONG)
    done = two_cpus.sweep(tmp_path, str(tmp_path / "long.yaml"), "--store", str(tmp_path / "store"))
    assert done.code == 0, done.err
    assert contents(tmp_path / "store")["evaluation"].num_rows == 2
    assert most_at_once(trainings(tmp_path)) == 2


def test_two_threads_on_two_cpus(tmp_path: Path, two_cpus: Cluster) -> None:
    """A training that needs every CPU must not wait for one that a coordinator holds."""
    arguments = ("sweep", str(SMALL), "threads=2", "--only", "block=tied")
    at = {"RAY_ADDRESS": two_cpus.address, **two_cpus.secret}
    done = memloc(tmp_path, *arguments, "--address", "auto", "--store", str(tmp_path / "ray"), **at)
    assert done.code == 0, done.err
    inline = memloc(tmp_path, *arguments, "--executor", "inline", "--store", str(tmp_path / "inline"))
    assert inline.code == 0, inline.err
    assert_same(tmp_path / "inline", tmp_path / "ray")


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A store with the trainings of one block, before any analysis."""
    bare = tmp_path / "small.yaml"
    text = SMALL.read_text()
    bare.write_text(
        text[: text.index("    stages:")] + text[text.index("  tied:") :].replace("    stages: {evaluate: {}}\n", "")
    )
    done = memloc(tmp_path, "sweep", str(bare), "--executor", "inline", "--store", str(tmp_path / "store"))
    assert done.code == 0, done.err
    return tmp_path / "store"


@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_a_failed_part_is_retried_then_recorded_while_the_rest_goes_on(
    tmp_path: Path, small_store: Path, trained: Path, two_cpus: Cluster, executor: str
) -> None:
    victim = sorted(trained.glob("checkpoints/*/epoch-0001.safetensors"))[0]
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)  # same size: only whoever reads it can notice
    arguments = (str(SMALL), "--only", "block=standard", "--store", str(trained))
    if victim.parent.name not in contents(small_store)["rewind"].column("trial").to_pylist():
        pytest.fail("the victim must be a trial that is rewound")
    inline = ("sweep", *arguments, "--executor", "inline")
    done = two_cpus.sweep(tmp_path, *arguments) if executor == "ray" else memloc(tmp_path, *inline)
    assert done.code == 1
    assert "1 part failed" in done.err
    assert "was changed since it was committed" in done.err
    status = memloc(tmp_path, "status", "small", "--store", str(trained))
    assert "Traceback (most recent call last)" in status.out
    assert victim.name in status.out
    rewound = contents(trained)["rewind"]
    assert rewound.num_rows == 9 * 4  # the other trial's, complete
    # What verify sets aside, the next sweep recomputes; then everything is as if nothing had happened.
    assert memloc(tmp_path, "store", "verify", "--store", str(trained)).code == 3
    assert memloc(tmp_path, "sweep", str(SMALL), "--executor", "inline", "--store", str(trained)).code == 0
    assert_same(small_store, trained)
    assert "failed:" not in memloc(tmp_path, "status", "small", "--store", str(trained)).out


def test_orders_to_stop_drain_and_the_same_command_goes_on(tmp_path: Path, small_store: Path) -> None:
    """Ctrl-C as a terminal sends it, then SIGTERM to all processes as `timeout` and batch systems do."""
    store = tmp_path / "store"
    arguments = ("sweep", str(SMALL), "--cpus", "1", "--store", str(store))
    for stop in (interrupt, terminate_all):
        with started(tmp_path, *arguments) as process:
            wait_until(lambda: list(store.glob("checkpoints/*/epoch-0001*")))
            # Of this run: its work has begun, and so its handlers are set.
            wait_until(lambda p=process: descendants(p, "ray::train") or descendants(p, "ray::run_parts"))
            stop(process)
            out, err = process.communicate(timeout=120)
            assert process.returncode == 130, err
        assert "interrupted; everything committed is kept. To go on: python -m memloc sweep" in err
        assert "Traceback" not in out + err
        assert "Stack" not in out + err  # of Ray's C++
        assert not descendants(process, "ray")
        assert contents(store)["analyses"].num_rows < contents(small_store)["analyses"].num_rows
        assert not list(store.glob("heartbeats/*/*.json"))
    done = memloc(tmp_path, "sweep", str(SMALL), "--executor", "inline", "--store", str(store))
    assert done.code == 0, done.err
    assert_same(small_store, store)


def test_a_lost_trainer_and_a_lost_admission_are_replaced(tmp_path: Path, two_cpus: Cluster) -> None:
    """A trainer dies in the middle of its training. All coordinators ask admission how many tasks they may have."""
    (tmp_path / "long.yaml").write_text(LONG.replace("subset: 200", "subset: 100"))
    arguments, store = ("sweep", str(tmp_path / "long.yaml"), "--store"), tmp_path / "store"
    with started(tmp_path, *arguments, str(store), "--address", two_cpus.address, **two_cpus.secret) as process:

        def kill(title: str) -> bool:
            assert process.poll() is None, "the sweep ended before it was disturbed"
            if not (found := two_cpus.processes(title)) or not list(store.glob("checkpoints/*/epoch-0001*")):
                return False
            found[0].kill()
            return True

        for victim in ("ray::AdmissionActor", "ray::train"):
            wait_until(lambda title=victim: kill(title))
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    done = memloc(tmp_path, *arguments, str(tmp_path / "inline"), "--executor", "inline")
    assert done.code == 0, done.err
    assert_same(tmp_path / "inline", store)
