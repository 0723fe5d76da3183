"""Hands a job to the job server of a Ray cluster, as `ray job submit` does."""

from __future__ import annotations

import logging
import os
from pathlib import Path

os.environ.setdefault("RAY_AUTH_MODE", "token")  # before ray is imported

from ray.exceptions import AuthenticationError

from memloc.errors import MemlocError, UsageError, error_line
from memloc.run.cluster import problem_in_words
from memloc.run.ray.probe import login_problem

DRAIN_SECONDS = 120  # that Ray waits after `ray job stop` until it kills the job; its default is 3


def submit_job(address: str, folder: Path, entrypoint: str) -> str:
    """Submits the job; its submission id, which is always a new one.

    Args:
        address: of the job server, http://HOST:8265.
        folder: is copied to the cluster, and is where the job runs.
        entrypoint: the command, for a shell.

    Raises:
        UsageError: this Ray has no client of job servers, or nobody answers there.
        MemlocError: the server refuses the job.
    """
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError:
        raise UsageError(NO_CLIENT) from None
    try:
        client = JobSubmissionClient(address)
    except AuthenticationError:
        problem = login_problem() or {"problem": "token"}
        raise UsageError(f"--address {address}: {problem_in_words(problem)}") from None
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        missing = "ray[default]" in str(error)
        raise UsageError(NO_CLIENT if missing else f"--address {address}: {error_line(error, with_type=False)}") from None
    logging.disable(logging.INFO)  # it tells of the copy, line by line
    try:
        environment = {"working_dir": str(folder), "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(DRAIN_SECONDS)}}
        return str(client.submit_job(entrypoint=entrypoint, runtime_env=environment))
    except (RuntimeError, ValueError, OSError) as error:
        raise MemlocError(f"--address {address}: the job is refused: {error_line(error, with_type=False)}") from None
    finally:
        logging.disable(logging.NOTSET)


NO_CLIENT = (
    "--ray-job: Ray's job server needs more than ray[tune]; type: pip install 'memloc[jobs]' (the cluster needs it too)"
)
