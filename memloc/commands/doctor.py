"""`memloc doctor`: whether this machine, or a cluster, could run a sweep well; each line says what to do."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from memloc.commands import completion, options, terminal
from memloc.commands.answers import answer
from memloc.commands.launch_options import ExecutorName, Options, Retention
from memloc.errors import StoreError, UsageError

if TYPE_CHECKING:
    from memloc.run.diagnosis import Finding, Machines, Needs
    from memloc.run.pending import Work
    from memloc.run.plan import Plan

EXAMPLES = options.examples(
    "memloc doctor                         this machine, without starting Ray",
    "memloc doctor paper-grid              and what this sweep needs of it",
    "memloc doctor demo --address auto --store s3://bucket/runs",
)


def doctor(
    arguments: list[str] = typer.Argument(
        None,
        metavar="NAME|FILE.yaml FIELD=VALUE…",
        help="A sweep, as `memloc sweep` takes it; without one, its needs are not looked at.",
        autocompletion=completion.sweeps_and_fields,
    ),
    address: str = typer.Option("local", "--address", metavar="local|auto|HOST:PORT", help="The Ray cluster to look at."),
    only: list[str] = options.ONLY,
    store: str = options.STORE,
    data_dir: str = options.DATA_DIR,
    checkpoints: Retention = options.CHECKPOINTS,
    as_json: bool = options.JSON,
) -> None:
    """Check versions, store, data, GPUs, clocks, disks and the token. The exit code is 1 if a sweep could not run."""
    from memloc.data.directory import data_dir as directory
    from memloc.run.cluster import resolve
    from memloc.run.diagnosis import Needs, findings
    from memloc.run.placement import Resources

    resources = Resources(resolve(address))
    launch = Options(_absolute(store), directory(data_dir), ExecutorName.ray, resources, checkpoints, as_json)
    plan = _plan(arguments or [], only, launch)
    machines = _machines(launch)
    unusable = bool(machines.driver.store.problem)
    works = _works(plan, launch) if plan and not unusable else []
    needs = _needs(works, machines, launch) if works else Needs()
    every = [*findings(machines, needs), *_of_the_sweep(works, machines, launch)]
    every += _token(launch.resources.address)
    answer(_as_json(every) if as_json else terminal.plain(render(every)))
    if unusable:
        raise typer.Exit(StoreError.exit_code)
    if any(finding.state == "wrong" for finding in every):
        raise typer.Exit(1)


def render(every: Sequence[Finding]) -> str:
    """A line for each finding: its state, what was looked at, what it says."""
    width = max(len(finding.check) for finding in every)
    lines = [f"{finding.state:5}  {finding.check:{width}}  {finding.says}" for finding in every]
    wrong = sum(finding.state == "wrong" for finding in every)
    return "\n".join([*lines, f"{wrong} wrong" if wrong else "all is fine"])


def _as_json(every: Sequence[Finding]) -> str:
    ok = all(finding.state != "wrong" for finding in every)
    return json.dumps({"ok": ok, "checks": [asdict(finding) for finding in every]}, indent=1)


def _absolute(store: str | None) -> str:
    from memloc.store.opening import store_uri
    from memloc.store.uri import absolute

    return absolute(store_uri(store))


def _plan(arguments: list[str], only: list[str], launch: Options) -> Plan | None:
    """The plan of the sweep; None without one. Its errors come before any machine is asked."""
    from memloc import sweep as sweeps
    from memloc.commands.launch import plans
    from memloc.commands.launch_options import TrialSelection
    from memloc.commands.sweep import split
    from memloc.store import Store

    name, overrides = split(arguments)
    if name is None and overrides:
        raise UsageError(f"{overrides[0]}: name a sweep first; shipped: {', '.join(sweeps.shipped())}")
    if name is None:
        return None
    selection = TrialSelection(sweeps.find(name), overrides, only, None, many=True)
    return plans(selection, True, Store(str(launch.store)), launch)[0]


def _machines(launch: Options) -> Machines:
    """This machine, and the nodes of the cluster if there is one."""
    from memloc.run import cluster
    from memloc.run.diagnosis import Machines, Seen
    from memloc.run.node_facts import node_facts
    from memloc.store import Store, probing

    uri, address = str(launch.store), launch.resources.address
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    driver = node_facts(uri, None, temporary)
    try:
        if address == "local":
            return Machines(driver, uri=uri)
        cluster.set_mode(address)
        from memloc.run.ray.every_node import ask_nodes

        asked = ask_nodes(address, uri, driver.store.probe)
        return Machines(driver, {n.name: Seen(n.facts, n.problem, n.is_seen, n.offer) for n in asked}, uri)
    finally:
        if driver.store.probe is not None:
            probing.remove(Store(uri).files, driver.store.probe)


def _works(plan: Plan, launch: Options) -> list[Work]:
    """What the sweep still has to do."""
    from memloc.run.pending import pending
    from memloc.store import Snapshot, Store

    store = Store(str(launch.store))
    snapshot = store.snapshot() if store.files.exists() else Snapshot({}, {}, [])
    return [w for w in pending(plan, store, snapshot, launch.retention, set_aside=False) if w.computes]


def _needs(works: Sequence[Work], machines: Machines, launch: Options) -> Needs:
    from memloc.run.sweep_needs import needs

    gpus = any(facts.gpus for facts in machines.answering.values())
    return needs(works, launch.data_dir, launch.retention, gpus)


def _of_the_sweep(works: Sequence[Work], machines: Machines, launch: Options) -> Iterator[Finding]:
    """Are its data there, and is there a place for each of its processes?"""
    from memloc.commands.forecast import check_capacity_here
    from memloc.run.diagnosis import Finding
    from memloc.run.placement import check_capacity
    from memloc.run.sweep_needs import data

    if not works:
        return
    yield from data(works, launch.data_dir)
    try:
        if machines.nodes:
            check_capacity(works, [seen.offer for seen in machines.nodes.values()], launch.resources)
        else:
            check_capacity_here(works, launch)
    except UsageError as error:
        yield from (Finding("places", "wrong", problem) for problem in error.problems)
    else:
        yield Finding("places", "ok", "every training and every part fits on a node" if machines.nodes else "all fit here")


def _token(address: str) -> Iterator[Finding]:
    """Is the cluster closed to those without its token, and is the token's file closed to other users?"""
    from memloc.run.cluster import is_open
    from memloc.run.diagnosis import Finding

    if address == "local":
        yield Finding("token", "ok", "a Ray on this machine gets one of its own for each run")
        return
    if is_open(address):
        says = (
            "the cluster has none: whoever reaches its ports runs code there; docs/ray.md says how to start one with a token"
        )
        yield Finding("token", "note", says)
        return
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not os.environ.get("RAY_AUTH_TOKEN") and file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        yield Finding("token", "note", f"other users can read {file}, and so run code on the cluster; chmod 600 it")
        return
    yield Finding("token", "ok", "the cluster asks for it, and takes this one")
