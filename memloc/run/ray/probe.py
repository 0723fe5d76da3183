"""Asks at an address which Ray cluster listens there: `python -P probe.py auto|HOST:PORT`.

It is a program of its own, because Ray's client tries for minutes and cannot be told to give up. It prints one JSON object
per line. The last one says what it knows at its end (`memloc/run/cluster.py` reads them).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 7  # for all that follows the imports; a cluster needs less than one
NODE_SECONDS = 2  # how long a node of this machine may take to show up in the cluster's list

if os.environ.get("RAY_AUTH_MODE", "").lower() not in ("disabled", "token", "k8s"):
    os.environ["RAY_AUTH_MODE"] = "token"  # as memloc/run/ray sets it


def say(**known: Any) -> None:
    """Prints what is known so far, as one line of JSON."""
    print(json.dumps(known), flush=True)


def ask(address: str) -> None:
    """Asks at the address, and says what it knows, step by step."""
    say(problem="importing")
    import ray
    from ray._private import services

    say(problem="silent")
    signal.alarm(ANSWER_SECONDS)  # ends this process: Ray's client would go on trying
    if address == "auto":
        try:
            address = services.canonicalize_bootstrap_address("auto")
        except ConnectionError:
            return say(problem="none")
    say(problem="silent", address=address)  # this stands if the process is ended before it knows more
    try:
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        return say(problem="nobody", address=address, error=str(error))
    say(problem="mute", address=address)
    if problem := login_problem():
        return say(**problem, address=address)
    return _ask_cluster(address, ray.__version__)


def login_problem() -> dict[str, str]:
    """What keeps this process from logging in anywhere; empty if it has a token, or if none is wanted."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError

    try:
        has_token = AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)
    except AuthenticationError:
        return {"problem": "token file", "file": os.environ.get("RAY_AUTH_TOKEN_PATH", "")}
    return {"problem": "no token"} if os.environ["RAY_AUTH_MODE"].lower() == "token" and not has_token else {}


def _ask_cluster(address: str, version: str) -> None:
    """Asks the cluster that listens there for its versions, and for a node on this machine. version: Ray's here."""
    from ray._private import services
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError

    try:
        head = GcsClient(address=address)
        cluster = _versions(head)
    except AuthenticationError:
        return say(problem="token", address=address)
    except Exception as error:
        return say(problem="mute", address=address, error=str(error))
    here = {"ray": version, "python": sys.version.split()[0]}
    if cluster != here:
        return say(problem="version", address=address, there=cluster, here=here)
    try:
        services.get_node_to_connect_for_driver(head, timeout_seconds=NODE_SECONDS)
    except RuntimeError:
        return say(problem="no node", address=address)
    return say(address=address, nodes=_alive(head))


def _alive(head: Any) -> int:
    """How many nodes are alive."""
    from ray.core.generated.gcs_pb2 import GcsNodeInfo

    return len(head.get_all_node_info(timeout=NODE_SECONDS, state_filter=GcsNodeInfo.GcsNodeState.ALIVE))


def _versions(head: Any) -> dict[str, str]:
    from ray._common.usage.usage_lib import get_cluster_metadata

    known = get_cluster_metadata(head)
    return {"ray": known["ray_version"], "python": known["python_version"]}


if __name__ == "__main__":
    ask(sys.argv[1])
