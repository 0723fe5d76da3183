"""The Ray executor against the inline one, in real Ray sessions of several processes."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store made in one process, one thing after the other."""
    home = tmp_path_factory.mktemp("oracle")
    done = memloc(home, "sweep", str(SMALL), "--executor", "inline", "--store", str(home / "store"))
    assert done.code == 0, done.err
    assert {name: t.num_rows for name, t in contents(home / "store").items() if t.num_rows} == {
        "trials": 3,
        "analyses": 2 * 7 + 1 + 1,
        "epochs": 12,
        "examples": 600,
        "evaluation": 2 + 6,
        "predictions": 200 * (2 + 6),
        "rewind": 2 * 9 * 4,
        "gradients": 2 * 25 * 2 + 25 * 4,
        "second_split": 2 * 200,
        "retrain": 2 * 9 * 3,
        "flips": 2 * 11 * 2,
        "detection": 2 * (6 + 7),
        "detection_pairs": 2 * (15 + 21),
    }
    return home / "store"


# Long enough that two trainings must overlap, however late the second one starts on a busy machine.
LONG = ("epochs=120", "rewind.epochs=[0,120]")


@pytest.mark.parametrize(
    "capacity",
    [
        ("--cpus", "2"),  # two 1-thread trials keep both cores busy
        # The trap: a trial that held its GPU while its analyses wait for one would wait for ever.
        ("--cpus", "2", "--gpus", "2", "--gpus-per-trial", "1", "--gpus-per-task", "0.5"),
    ],
    ids=["cpus", "gpus"],
)
def test_as_many_trials_at_once_as_fit(tmp_path: Path, capacity: tuple[str, ...]) -> None:
    arguments = ("sweep", str(SMALL), *LONG, "--only", "block=standard", "--store", str(tmp_path / "store"))
    done = memloc(tmp_path, *arguments, *capacity)
    assert done.code == 0, done.err
    assert contents(tmp_path / "store")["analyses"].num_rows == 14
    assert most_at_once(trainings(tmp_path)) == 2


def test_one_logical_gpu_is_held_by_one_training_at_a_time(tmp_path: Path, oracle: Path) -> None:
    done = memloc(tmp_path, "sweep", str(SMALL), "--gpus", "1", "--cpus", "2", "--store", str(tmp_path / "store"))
    assert done.code == 0, done.err
    assert_same(oracle, tmp_path / "store")
    lines = done.err.splitlines()  # nothing of dependencies is printed
    assert lines[0].startswith("small: 3 trainings and 52 analysis parts to do on 2 CPUs; store ")
    assert all(line.startswith("[") and " s] " in line for line in lines[1:]), done.err
    intervals = trainings(tmp_path)
    assert len(intervals) == 3
    assert most_at_once(intervals) == 1


def test_two_threads_on_two_cores(tmp_path: Path) -> None:
    """A training that needs every CPU must not wait for one that a coordinator holds."""
    arguments = ("sweep", str(SMALL), "threads=2", "--only", "block=standard", "--max-trials", "1")
    done = memloc(tmp_path, *arguments, "--cpus", "2", "--store", str(tmp_path / "ray"))
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
    tmp_path: Path, oracle: Path, trained: Path, executor: str
) -> None:
    victim = sorted(trained.glob("checkpoints/*/epoch-0001.safetensors"))[0]
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)  # same size: only whoever reads it can notice
    arguments = ("sweep", str(SMALL), "--only", "block=standard", "--executor", executor, "--store", str(trained))
    if victim.parent.name not in contents(oracle)["rewind"].column("trial").to_pylist():
        pytest.fail("the victim must be a trial that is rewound")
    done = memloc(tmp_path, *arguments)
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
    assert_same(oracle, trained)
    assert "failed:" not in memloc(tmp_path, "status", "small", "--store", str(trained)).out


def test_orders_to_stop_drain_and_the_same_command_goes_on(tmp_path: Path, oracle: Path) -> None:
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
        assert contents(store)["analyses"].num_rows < contents(oracle)["analyses"].num_rows
        assert not list(store.glob("heartbeats/*/*.json"))
    done = memloc(tmp_path, "sweep", str(SMALL), "--executor", "inline", "--store", str(store))
    assert done.code == 0, done.err
    assert_same(oracle, store)


def test_a_lost_trainer_is_replaced(tmp_path: Path, oracle: Path) -> None:
    """Its process is one of the pool, which may hold another part a moment later: whatever that is, it is done again."""
    arguments = ("sweep", str(SMALL), "--cpus", "1", "--store", str(tmp_path / "store"))
    with started(tmp_path, *arguments) as process:
        wait_until(lambda: list((tmp_path / "store").glob("checkpoints/*/epoch-0001*")))
        wait_until(lambda: descendants(process, "ray::train"))
        descendants(process, "ray::train")[0].kill()
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert_same(oracle, tmp_path / "store")


def test_a_lost_admission_is_replaced(tmp_path: Path, oracle: Path) -> None:
    """Whom all coordinators ask how many tasks they may have."""
    arguments = ("sweep", str(SMALL), "--cpus", "2", "--store", str(tmp_path / "store"))
    with started(tmp_path, *arguments) as process:
        wait_until(lambda: list((tmp_path / "store").glob("checkpoints/*/epoch-0001*")))
        (admission,) = descendants(process, "ray::AdmissionActor")
        admission.kill()
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert_same(oracle, tmp_path / "store")
