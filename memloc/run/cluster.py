"""Finds the Ray cluster that `--address` means, and whether it can be used, within seconds and before anything begins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from memloc.errors import UsageError

PROBE = Path(__file__).with_name("ray") / "probe.py"
PATIENCE = 12.0  # seconds for the probe and its imports, whatever happens in it

# With these, every process of a cluster notices a lost node within about ten seconds (docs/ray.md).
FAULT_DETECTION = {
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "3",
}

TOKENS = "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"


def resolve(address: str) -> str:
    """HOST:PORT of the cluster that `address` means, "local" for itself.

    Raises:
        UsageError: the address cannot be one, or there is no cluster that this program can use.
    """
    if address == "local":
        return address
    named = os.environ.get("RAY_ADDRESS", "")
    if address != "auto":
        _check_form(address, f"--address {address}")
    elif named not in ("", "auto"):
        _check_form(named, f"--address auto: RAY_ADDRESS is {named!r}")
    known = _ask(address)
    if "problem" in known:
        raise UsageError(_complaint(address, named, known))
    return str(known["address"])


def is_open(address: str) -> bool:
    """Whether the cluster at HOST:PORT lets in whoever comes without a token."""
    return "problem" not in _ask(address, RAY_AUTH_MODE="disabled")


def wait_for(address: str, nodes: int, seconds: float) -> None:
    """Waits until the cluster at HOST:PORT has so many nodes. If some do not come in time, it goes on with the others.

    Raises:
        UsageError: no node has come that this program can use.
    """
    deadline = time.monotonic() + seconds
    while True:
        known = _ask(address)
        there = known.get("nodes", 0)
        if there >= nodes:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(1.0)
    if "problem" in known:
        raise UsageError(_complaint(address, "", known))
    print(f"memloc: {there} of {nodes} nodes have come within {seconds:g} s; going on with these", file=sys.stderr)


def set_mode(address: str) -> None:
    """Sets how processes log in to a Ray of one's own: always with a token. RAY_AUTH_MODE is of a cluster.

    Ray reads the variable when it is imported, so this comes before that.
    """
    if address == "local":
        os.environ["RAY_AUTH_MODE"] = "token"


def _check_form(address: str, label: str) -> None:
    host, colon, port = address.rpartition(":")
    if "://" in address or not (colon and host and port.isdigit() and 0 < int(port) < 65536):
        why = "; Ray Tune does not run through Ray Client" if address.startswith("ray://") else ""
        raise UsageError(f"{label}: valid: local, auto, HOST:PORT{why}")


def _ask(address: str, **more: str) -> dict[str, Any]:
    """What the probe knows about the address when it ends, or after `PATIENCE` seconds. more: for its environment."""
    environment = {**os.environ, "RAY_py_gcs_connect_timeout_s": "3", "PYTHONIOENCODING": "utf-8", **more}
    command = [sys.executable, "-P", str(PROBE), address]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=PATIENCE, check=False
        )
        output, errors = done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        output, errors = late.stdout or b"", b""
    known = [record for line in output.decode("utf-8", "replace").splitlines() if (record := _record(line))]
    last = known[-1] if known else {"problem": "importing"}
    return {**last, "error": _last_line(errors)} if last.get("problem") == "importing" else last


def _record(line: str) -> dict[str, Any] | None:
    """What the probe says in a line; None for a line that a library has printed."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.keys() & {"problem", "address"} else None


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


def _complaint(address: str, named: str, known: dict[str, Any]) -> str:
    if known["problem"] == "none":
        return (
            "--address auto: no Ray cluster runs on this machine, and RAY_ADDRESS is not set; start one with "
            "`ray start --head`, name it with --address HOST:PORT, or leave --address out to use this machine alone"
        )
    at = known.get("address", address)
    where = f"--address {address}"
    if address == "auto":
        where += f": RAY_ADDRESS names {at}" if named else f": {at} is the last cluster that was started on this machine"
    return f"{where}: {problem_in_words(known)}"


def problem_in_words(known: dict[str, Any]) -> str:
    """What the probe knows of a problem, as the end of a sentence."""
    match known["problem"]:
        case "nobody":
            return f"no Ray cluster answers there ({known['error']})"
        case "no token":
            return (
                f"there is no token to log in with; give this process the cluster's own ({TOKENS}), or set "
                "RAY_AUTH_MODE=disabled if the cluster runs without one"
            )
        case "token file":
            return f"the token file {known['file']} (RAY_AUTH_TOKEN_PATH) cannot be read, or is empty"
        case "token":
            return f"the cluster refuses the token; it must be the one that the cluster was started with ({TOKENS})"
        case "version":
            there, here = known["there"], known["here"]
            return (
                f"the cluster runs Ray {there['ray']} on Python {there['python']}, this program Ray {here['ray']} on "
                f"Python {here['python']}; they must be the same"
            )
        case "no node":
            return "this machine is no node of that cluster; run memloc on one of its nodes, or through `ray job submit`"
        case "importing":
            why = known.get("error") or f"it took more than {PATIENCE:g} s"
            return f"Ray could not be imported to ask there: {why}"
        case "silent":
            return "no Ray cluster answers there (no connection within seconds)"
        case _:
            return "whatever listens there does not answer as a Ray cluster does"
