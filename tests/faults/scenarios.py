"""The faults of the matrix. Each scenario injects several into one sweep; `case.py` says what must be true afterwards."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.case import Case
from tests.faults.damage import damaged, damaged_under_way
from tests.faults.disk import full, full_for_too_long, read_only
from tests.faults.drivers import from_the_future, one_is_cut_off, one_is_killed
from tests.faults.machines import clock_is_off, lost_node, partition
from tests.faults.object_store import PROXY, gone, proxied
from tests.faults.processes import ended_by, killed, process_of_ray, server_of_ray, twice, two_drivers


@dataclass(frozen=True)
class Scenario:
    """run: injects the faults. on: `disk`, `small` (a small file system of its own) or `s3`. times: how many cases of it.

    waits: it mostly waits, so that another process runs it beside the others.
    """

    name: str
    run: Callable[[Case], None]
    on: str = "disk"
    ray: str = ""
    times: int = 1
    waits: bool = False


SCENARIOS = (
    Scenario("kills of a driver in one process", killed, times=3),
    Scenario("SIGTERM", ended_by(signal.SIGTERM, "SIGTERM"), times=2),
    Scenario("Ctrl-C", ended_by(signal.SIGINT, "Ctrl-C"), times=2),
    Scenario("Ctrl-C twice", twice, times=6),
    Scenario("a full disk", full, on="small", times=2),
    Scenario("a read-only file system", read_only, on="small", times=2),
    Scenario("a disk that is full for too long", full_for_too_long, on="small", times=2),
    Scenario("damaged files", damaged, times=4),
    Scenario("checkpoints damaged under way", damaged_under_way, times=3),
    Scenario("dates from the future", from_the_future, times=2, waits=True),
    Scenario("two drivers", two_drivers, times=3),
    Scenario("an S3 server that fails", proxied(PROXY, 0.06), on="s3", times=3),
    Scenario("an S3 server that hangs", proxied(["hang"], 0.01), on="s3", waits=True),
    Scenario("an S3 server that is gone for a minute", gone(60.0), on="s3", waits=True),
    Scenario("an S3 server that is gone for five minutes", gone(300.0), on="s3", waits=True),
    Scenario("Ray: kills of the driver", killed, ray="local", times=2),
    Scenario("Ray: trainers", process_of_ray("ray::train", "a trainer", 3), ray="local", times=2),
    Scenario("Ray: tasks", process_of_ray("ray::run_parts", "a task", 3), ray="local", times=2),
    Scenario("Ray: coordinators", process_of_ray("ray::Coordinator", "a coordinator", 2), ray="local", times=2),
    Scenario("Ray: admission", process_of_ray("ray::AdmissionActor", "the admission actor", 2), ray="local"),
    Scenario("Ray: raylet", server_of_ray("raylet/raylet", "the raylet"), ray="local", times=2),
    Scenario("Ray: GCS", server_of_ray("gcs/gcs_server", "the GCS"), ray="local", times=2),
    Scenario("Ray: a full disk", full, on="small", ray="local"),
    Scenario("Ray: a read-only file system", read_only, on="small", ray="local"),
    Scenario("Ray: SIGTERM", ended_by(signal.SIGTERM, "SIGTERM"), ray="local"),
    Scenario("Ray: Ctrl-C", ended_by(signal.SIGINT, "Ctrl-C"), ray="local"),
    Scenario("Ray: Ctrl-C twice", twice, ray="local"),
    Scenario("Ray: damaged files", damaged, ray="local", times=2),
    Scenario("Ray: checkpoints damaged under way", damaged_under_way, ray="local"),
    Scenario("Ray: dates from the future", from_the_future, ray="local", waits=True),
    Scenario("Ray: an S3 server that fails", proxied(PROXY, 0.04), on="s3", ray="local", times=2),
    Scenario("Ray: an S3 server that hangs", proxied(["hang"], 0.004), on="s3", ray="local", waits=True),
    Scenario("Ray: an S3 server that is gone for a minute", gone(60.0), on="s3", ray="local", waits=True),
    Scenario("Ray: an S3 server that is gone for five minutes", gone(300.0), on="s3", ray="local", waits=True),
    Scenario("Ray: two drivers", two_drivers, ray="local"),
    Scenario("two machines with a driver each: one is lost", one_is_killed, on="s3", times=2, waits=True),
    Scenario("two machines with a driver each: one is cut off", one_is_cut_off, on="s3", times=2, waits=True),
    Scenario("Ray: two machines with a driver each: one is cut off", one_is_cut_off, on="s3", ray="local", waits=True),
    Scenario("clocks two minutes off", clock_is_off, times=2),
    Scenario("two machines: a network that is cut", partition, ray="cluster", times=2),
    Scenario("two machines: one is lost", lost_node, ray="cluster"),
)
