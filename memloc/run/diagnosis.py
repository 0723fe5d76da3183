"""The findings of `memloc doctor`: what machines say of themselves, judged by what a sweep needs. No Ray here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from memloc.counts import counted
from memloc.run.node_facts import Disk, Gpu, NodeFacts
from memloc.run.placement import Node

State: TypeAlias = Literal["ok", "note", "wrong"]

LARGE_OFFSET = 300.0  # seconds between two clocks; S3 refuses requests from 900 on
FULL = 0.95  # Ray starts no task that needs its disk beyond this
LEAST_TEMPORARY = 2 << 30  # bytes
GB = 1e9


@dataclass(frozen=True)
class Finding:
    """One line of the doctor. check: what was looked at. state: `note` is worth knowing, `wrong` must be mended first."""

    check: str
    state: State
    says: str


@dataclass(frozen=True)
class Seen:
    """A machine as the driver sees it.

    facts: what it says; None if it does not answer. problem: then, why. is_seen: whether the driver reads what it has
    written into the store. offer: what Ray hands out there.
    """

    facts: NodeFacts | None
    problem: str = ""
    is_seen: bool = True
    offer: Node = field(default_factory=dict)


@dataclass(frozen=True)
class Needs:
    """What a sweep needs. gpu_bytes: of its largest training at the least, which `training` names. store_bytes: still to be
    written.
    """

    gpu_bytes: int = 0
    training: str = ""
    store_bytes: int = 0


@dataclass(frozen=True)
class Machines:
    """The driver, and the nodes of the cluster by name; without a cluster, no nodes."""

    driver: NodeFacts
    nodes: Mapping[str, Seen] = field(default_factory=dict)
    uri: str = ""

    @property
    def answering(self) -> dict[str, NodeFacts]:
        """The facts of the nodes that answer, by name; of the driver where there is no cluster."""
        return {n: s.facts for n, s in self.nodes.items() if s.facts} if self.nodes else {"": self.driver}


def findings(machines: Machines, needs: Needs) -> Iterator[Finding]:
    """What is fine, worth knowing, or wrong, check by check."""
    for name, seen in machines.nodes.items():
        if seen.facts is None:
            yield Finding("node", "wrong", f"{name}: {seen.problem}")
    yield from versions(machines)
    yield from store(machines)
    yield from gpus(machines, needs)
    yield from clocks(machines)
    yield from disks(machines, needs)


def versions(machines: Machines) -> Iterator[Finding]:
    """Equal everywhere? Ray carries objects between processes, so their code must be the same."""
    here = machines.driver.versions
    wrong = False
    for name, facts in machines.answering.items():
        for library, version in facts.versions.items():
            if version != here[library]:
                wrong = True
                says = f"{name}: has {library} {version}, the driver {here[library]}; install the same on every node"
                yield Finding("versions", "wrong", says)
    if not wrong:
        yield Finding("versions", "ok", ", ".join(f"{library} {version}" for library, version in here.items()))


def store(machines: Machines) -> Iterator[Finding]:
    """Written and read by every machine, and the same folder for all?"""
    wrong = []
    if machines.driver.store.problem:
        wrong.append(machines.driver.store.problem)
    else:
        for name, seen in machines.nodes.items():
            if seen.facts is None:
                continue
            view = seen.facts.store
            if view.problem:
                wrong.append(f"{name}: {view.problem}")
            elif not (view.sees_driver and seen.is_seen):
                wrong.append(f"{name}: {_unshared(machines.uri, view.sees_driver, seen.is_seen)}")
    yield from (Finding("store", "wrong", says) for says in wrong)
    if not wrong:
        whose = f"{counted(len(machines.nodes), 'node')} and the driver read and write it" if machines.nodes else "writable"
        yield Finding("store", "ok", f"{machines.uri}: {whose}")


def _unshared(uri: str, sees_driver: bool, is_seen: bool) -> str:
    if sees_driver or is_seen:  # one way only
        who = "the driver does not see what it writes" if sees_driver else "it does not see what the driver writes"
        return f"{who} to {uri}; mount the store on every node without a cache"
    return (
        f"{uri} is another folder there than on the driver's node; name a folder that all nodes share, or a URI such as "
        "s3://BUCKET/FOLDER"
    )


def gpus(machines: Machines, needs: Needs) -> Iterator[Finding]:
    """Does torch see what Ray hands out, and does the sweep's largest training fit on each?"""
    every = [(name, gpu) for name, facts in machines.answering.items() for gpu in facts.gpus]
    wrong = []
    for name, seen in machines.nodes.items():
        there = len(seen.facts.gpus) if seen.facts else 0
        if seen.facts and (handed := int(seen.offer.get("GPU", 0))) > there:
            offered = counted(handed, "GPU")
            wrong.append(f"{name}: Ray hands out {offered} there, and torch sees {there}; install torch for its GPUs")
    for name, gpu in every:
        if says := _too_small(gpu, needs):
            wrong.append(f"{name}: {says}" if name else says)
    yield from (Finding("GPUs", "wrong", says) for says in dict.fromkeys(wrong))
    if wrong:
        return
    if not every and machines.driver.unused and not machines.nodes:
        yield Finding("GPUs", "note", f"memloc does not train on {machines.driver.unused}; a sweep here takes --device cpu")
        return
    if not every:
        yield Finding("GPUs", "ok", "none; trainings run on CPUs")
        return
    kinds = ", ".join(dict.fromkeys(f"{gpu.name} ({gpu.memory / GB:.0f} GB)" for _, gpu in every))
    needed = f"; {needs.training} needs at least {needs.gpu_bytes / GB:.1f} GB" if needs.gpu_bytes else ""
    yield Finding("GPUs", "ok", f"{len(every)} × {kinds}{needed}")


def _too_small(gpu: Gpu, needs: Needs) -> str:
    needed = f"{needs.training} needs at least {needs.gpu_bytes / GB:.1f} GB"
    if needs.gpu_bytes > gpu.memory:
        return f"{gpu.name} has {gpu.memory / GB:.0f} GB, and {needed}; take a smaller batch_size or width, or larger GPUs"
    if needs.gpu_bytes > gpu.free:
        return (
            f"{gpu.name}: {gpu.free / GB:.0f} of {gpu.memory / GB:.0f} GB are free, and {needed}; end what else runs there"
        )
    return ""


def clocks(machines: Machines) -> Iterator[Finding]:
    """memloc compares no two machines' clocks. But an object store refuses requests of a clock that is far off."""
    probes = {name: facts.store.probe for name, facts in {"driver": machines.driver, **machines.answering}.items() if name}
    offsets = {name: (probe.ahead, probe.within) for name, probe in probes.items() if probe}
    large = {name: ahead for name, (ahead, within) in offsets.items() if abs(ahead) - within > LARGE_OFFSET}
    for name, ahead in large.items():
        way = "behind" if ahead > 0 else "ahead of"
        says = f"{name}: its clock is {abs(ahead):.0f} s {way} the storage's; set it (NTP)"
        if "://" in machines.uri:
            yield Finding("clocks", "wrong", f"{says}: object stores refuse requests that are 15 minutes off")
        else:
            yield Finding("clocks", "note", f"{says}; memloc does not depend on it, but the times in logs will not fit")
    if offsets and not large:
        most = max(max(0.0, abs(ahead) - within) for ahead, within in offsets.values())
        within = max(within for _, within in offsets.values())
        yield Finding("clocks", "ok", f"at most {most + within:.0f} s from the storage's")


def disks(machines: Machines, needs: Needs) -> Iterator[Finding]:
    """Room for what is still to be written, and for Ray's files?"""
    disk = machines.driver.store.disk
    if disk is not None:
        free = f"{disk.free / GB:.0f} GB free"
        if needs.store_bytes > disk.free:
            most = f"the sweep writes up to {needs.store_bytes / GB:.1f} GB; make room, or add --checkpoints rewound or last"
            yield Finding("disk of the store", "wrong", f"{free} at {disk.folder}, and {most}")
        else:
            most = f"; the sweep writes up to {needs.store_bytes / GB:.1f} GB" if needs.store_bytes else ""
            yield Finding("disk of the store", "ok", f"{free}{most}")
    full = [(name, facts.temporary) for name, facts in machines.answering.items() if _is_full(facts.temporary)]
    for name, disk in full:
        at = f"{name}: {disk.folder}" if name else disk.folder
        says = (
            f"{at}: {disk.free / GB:.1f} of {disk.total / GB:.0f} GB are free; make room, or set RAY_TMPDIR to a larger disk"
        )
        yield Finding("disk of Ray", "wrong", says)
    if not full:
        yield Finding("disk of Ray", "ok", _least(facts.temporary for facts in machines.answering.values()))


def _is_full(disk: Disk) -> bool:
    return disk.free < LEAST_TEMPORARY or disk.free < (1 - FULL) * disk.total


def _least(every: Iterable[Disk]) -> str:
    disks: Sequence[Disk] = list(every)
    if not disks:
        return "no node answers"
    least = min(disks, key=lambda disk: disk.free)
    return f"{least.free / GB:.0f} GB free at {least.folder}"
