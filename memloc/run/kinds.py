"""Work that must reach the same bits goes to the kind of device that began it. No Ray, and no torch at import.

Kinds are told apart by their names, as `NVIDIA A100-SXM4-80GB` or `x86_64 AVX512`. A training that is not committed can also
begin anew elsewhere. What repeats a committed training cannot: its rows would be of another training than its commit says.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from memloc.errors import OtherKindError

if TYPE_CHECKING:
    import torch

    from memloc.run.pending import Work
    from memloc.store import Commit, Store


KIND_SECONDS = 600.0  # how long work waits for a kind of device that no node of a cluster has: one may join it


class CardMemory(NamedTuple):
    """A GPU's name, and the bytes of its memory."""

    name: str
    total: int


@dataclass(frozen=True)
class Kind:
    """The kind of a node's devices, by its name, and the numerics of a training there (run/provenance.py).

    smallest: that of its GPUs with the least memory; None on CPUs, and where the node cannot say it.
    """

    name: str
    numerics: str
    smallest: CardMemory | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Home:
    """Where the work of a trial must run. kind: the name; "": it is not known, or nothing has begun. parts: the ids of parts
    that go on with the training. must: the training is committed, so that its bits cannot be others any more.
    """

    kind: str = ""
    parts: frozenset[str] = frozenset()
    must: bool = False

    def is_missing(self, kinds: Collection[str]) -> bool:
        """Whether the work can run on none of these kinds."""
        return self.must and bool(self.kind) and self.kind not in kinds


def home(work: Work, store: Store, kinds: Iterable[Kind]) -> Home:
    """Where the work must run on a cluster with these kinds of devices."""
    parts = going_on(work)
    if work.train == "train":
        return Home(_of_newest_state(work, store, kinds) if work.reached else "", parts)
    if not (_repeats(work) or parts):
        return Home()
    commit = store.commit(work.trial.id)
    return Home("" if commit is None else committed_kind(commit), parts, must=True)


def going_on(work: Work) -> frozenset[str]:
    """The ids of the parts that go on with the training."""
    from memloc.run.chains import wanted_states

    return frozenset(part for of_analysis in wanted_states(work.parts).values() for part in of_analysis)


def has_home(work: Work) -> bool:
    """Whether anything of the work may have to reach the bits of what was begun."""
    return _repeats(work) or bool(work.reached) or bool(going_on(work))


def _repeats(work: Work) -> bool:
    """Whether a committed training is computed again. Given checkpoints are copied again, which any device does."""
    return work.train == "replay" and work.trial.config.given_from is None


def committed_kind(commit: Commit) -> str:
    """The kind of device of a committed training; "" where the commit does not say it."""
    arithmetic = commit.where.get("arithmetic")
    name = arithmetic.get("device") if isinstance(arithmetic, Mapping) else None
    return name if isinstance(name, str) else ""


def check_kind(commit: Commit, device: torch.device) -> None:
    """Raises OtherKindError if the training was committed on another kind of device: the same bits cannot come out here."""
    from memloc.run.arithmetic import kind

    committed = committed_kind(commit)
    if committed and committed != kind(device):
        raise OtherKindError(committed)


def _of_newest_state(work: Work, store: Store, kinds: Iterable[Kind]) -> str:
    """The kind on which the training has come farthest; "" if none of these can go on with it."""
    from memloc.store import layout
    from memloc.store.resumable import reached_epoch

    paths = store.files.listing(layout.checkpoints(work.trial.id))
    reached = {kind.name: reached_epoch(work.trial.id, paths, work.write, kind.numerics) for kind in set(kinds)}
    farthest = max(reached, key=lambda name: reached[name], default="")
    return farthest if reached.get(farthest) else ""


def waits(kind: str, there: Iterable[str], where: str) -> str:
    """What is said of work that waits for a kind of device. there: those of `where`, which is a cluster or a machine."""
    others = ", ".join(sorted(set(there) - {""})) or "other devices"
    return f"waits for {kind}: {where} has {others} alone now"


def failed(kind: str, there: Iterable[str], where: str) -> str:
    """The line of work that has waited in vain."""
    there, of_cpus = list(there), f"{platform.machine()} "  # as `arithmetic.kind` names CPUs
    on_cpus = kind.startswith(of_cpus) and not any(name.startswith(of_cpus) for name in there)
    return (
        f"{waits(kind, there, where)}, and what was begun on {kind} reaches the same bits there alone; the same command "
        f"goes on where there is one{' (--device cpu computes on CPUs)' if on_cpus else ''}"
    )
