"""`memloc submit --ray-job`, with a real job server of Ray."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from memloc.store import Store
from tests.conftest import TINY
from tests.run.clusters import Cluster, free_port, started_cluster
from tests.run.programs import Finished, environment, python
from tests.store.compacted import shown
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="needs memloc[jobs]: Ray's job server"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    monkeypatch.setenv("PATH", path)  # `python` of the job has memloc
    (tmp_path / "data").mkdir()
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


@contextmanager
def _cluster(home: Path) -> Iterator[tuple[Cluster, str]]:
    """A cluster of one node, and the address of its job server."""
    port = free_port()
    with started_cluster(home, [["--num-cpus=4"]], jobs=port) as cluster:
        yield cluster, f"http://127.0.0.1:{port}"


def _submit(home: Path, address: str, **login: str) -> Finished:
    """In a process of its own: Ray reads the token once per process."""
    sweep, store = str(home / "tiny.yaml"), str(home / "store")
    options = ("--ray-job", "--address", address, "--store", store, "-o", str(home / "job.sh"))
    return python(environment(home, **login), "-m", "memloc", "submit", sweep, *options)


def test_a_submitted_sweep_is_the_sweep(home: Path, tiny: Path) -> None:
    """The job has a copy of the file, which is gone by then. Its rows are those of a sweep in one process."""
    with _cluster(home) as (cluster, address):
        done = _submit(home, address, **cluster.secret)
        assert done.code == 0, done.err
        job = re.fullmatch(r".*: written\nsubmitted job (\S+); ray job logs \1 --address .*\n", done.out)[1]  # type: ignore[index]
        (home / "tiny.yaml").unlink()
        wait_until(lambda: _state(job, address, cluster) in ("SUCCEEDED", "FAILED", "STOPPED"))
        assert _state(job, address, cluster) == "SUCCEEDED"
    rows, expected = shown(Store(str(home / "store"))), shown(Store(str(tiny)))
    assert rows.keys() == expected.keys()
    timeless = [name for name in expected if "seconds" not in expected[name].column_names]
    assert len(timeless) > 3
    assert all(rows[name].equals(expected[name]) for name in timeless)


def _state(job: str, address: str, cluster: Cluster) -> str:
    """The state of a job, as a client of its own is told."""
    asked = f"from ray.job_submission import JobSubmissionClient as C; print(C({address!r}).get_job_status({job!r}).value)"
    return python(environment(Path(), **cluster.secret), "-c", asked).out.strip()


def test_what_is_refused_is_one_line(home: Path) -> None:
    with _cluster(home) as (cluster, address):
        for login, message in (
            ({**cluster.secret, "RAY_AUTH_TOKEN": "0" * 64}, "the cluster refuses the token"),
            ({"RAY_AUTH_MODE": "token", "HOME": str(home)}, "there is no token to log in with"),
            ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(home / "no-file")}, "the token file .* cannot be read"),
        ):
            done = _submit(home, address, **login)
            assert (done.code, done.err.count("\n")) == (2, 1), done.err
            assert re.match(f"memloc: --address {address}: {message}", done.err), done.err
    nobody = f"http://127.0.0.1:{free_port()}"
    done = _submit(home, nobody, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert done.err.startswith(f"memloc: --address {nobody}: Failed to connect")
    assert not (home / "store").exists()
