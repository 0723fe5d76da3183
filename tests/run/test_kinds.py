"""Which kind of device what was begun must go on with, and what is said where there is none."""

from __future__ import annotations

import platform
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.exceptions import RayError

from memloc.errors import OtherKindError
from memloc.run import arithmetic, attempts
from memloc.run.kinds import Home, Kind, check_kind, committed_kind, failed, has_home, home
from memloc.run.pending import Work, pending
from memloc.run.placement import Assignment
from memloc.run.provenance import numerics
from memloc.run.ray import homes as homes_module
from memloc.run.ray import node_kinds
from memloc.run.ray.homes import Homes
from memloc.run.ray.node_kinds import NodeKinds
from memloc.run.trial_run import TrialSteps
from memloc.store import Store, layout
from tests.conftest import carry_out
from tests.run.test_plan import TINY, plan_of, works

CPU = torch.device("cpu")
A100, H100 = "NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3"
ALONG = TINY.replace("rewind: ", "gradients: {epochs: [1, 2]}, rewind: ")


def nodes(monkeypatch: pytest.MonkeyPatch, kinds: dict[str, str]) -> None:
    """A cluster with these nodes and their kinds, as Ray lists it and as the nodes answer; it may change."""
    monkeypatch.setattr(
        node_kinds.ray, "nodes", lambda: [{"NodeID": n, "Alive": True, "Resources": {"GPU": 1.0}} for n in kinds]
    )
    monkeypatch.setattr(node_kinds, "asked", lambda new, gpus: {n: n for n in new})
    monkeypatch.setattr(node_kinds, "answers", lambda those, seconds: {n: Kind(kinds[n], kinds[n]) for n in those})
    monkeypatch.setattr(node_kinds, "LOOK_SECONDS", 0.0)


def assignment(where: Home, until: float = 0.0) -> Assignment:
    steps = TrialSteps("t", True, (), False)
    card = {"num_gpus": 1.0, "num_cpus": 0.0}
    return Assignment(steps, "run", "store", 0.0, None, None, card, card, 1, 1, where, {}, until)


def on(place: Any) -> set[str]:
    return set(place["label_selector"]["ray.io/node-id"].removeprefix("in(").removesuffix(")").split(","))


def test_what_must_reach_the_same_bits_goes_to_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, {"a": A100, "b": H100, "c": A100})
    homes = Homes(assignment(Home(A100, frozenset({"p"}), must=True)))
    for part in ("t", "p"):
        assert on(homes.place([part])) == {"a", "c"}
    assert homes.place(["other"]) == {}  # may run anywhere
    assert homes.waits(["p"]) == f"waits for {A100}"
    assert homes.waits(["other"]) == ""


def test_parts_go_where_their_training_was(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, {"a": A100, "b": H100})
    homes = Homes(assignment(Home(parts=frozenset({"p"}))))
    assert homes.place(["t"]) == homes.place(["p"]) == {}
    homes.trained(H100)
    assert on(homes.place(["p"])) == {"b"}
    assert homes.place(["other"]) == {}


def test_without_its_kind_a_committed_training_waits_and_another_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"b": H100, "d": H100}
    nodes(monkeypatch, there)
    assert Homes(assignment(Home(A100, must=False))).place(["t"]) == {}
    homes = Homes(assignment(Home(A100, must=True), until=time.time() + 100))
    assert homes.place(["t"]) is None
    assert homes.waits(["t"]) == f"waits for {A100}: the cluster has {H100} alone now"
    assert homes.given_up(["t"]) == ""
    monkeypatch.setattr(homes_module.time, "time", lambda: time.monotonic() + 1e12)
    assert homes.given_up(["t"]).startswith(
        f"waits for {A100}: the cluster has {H100} alone now, and what was begun on {A100}"
    )
    there["e"] = A100  # a node joins
    assert on(homes.place(["t"])) == {"e"}


def test_a_node_that_was_there_is_waited_for_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    there, now = {"a": A100, "b": H100}, [1000.0]
    nodes(monkeypatch, there)
    monkeypatch.setattr(homes_module.time, "time", lambda: now[0])
    homes = Homes(assignment(Home(A100, must=True), until=1600.0))
    now[0] = 5000.0
    assert on(homes.place(["t"])) == {"a"}
    del there["a"]
    assert homes.place(["t"]) is None
    now[0] = 5599.0
    assert homes.given_up(["t"]) == ""
    now[0] = 5601.0
    assert homes.given_up(["t"])


def test_ray_would_wait_for_lost_nodes_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"a": A100, "b": H100}
    nodes(monkeypatch, there)
    homes = Homes(assignment(Home(A100, must=True)))
    place = homes.place(["t"])
    assert place
    homes.begun("reference", place, ["t"])
    homes.begun("anywhere", {}, ["other"])
    assert homes.unreachable(["reference", "anywhere"]) == []
    del there["a"]
    there["c"] = A100  # Ray has been told the old one alone
    assert homes.unreachable(["reference", "anywhere"]) == ["reference"]


def test_a_node_that_answers_late_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """To import torch from a busy disk takes minutes. It is asked once, and waited for once."""
    late, ended = {"a"}, {"b"}
    waited: list[float] = []

    def wait(references: list[str], num_returns: int, timeout: float) -> tuple[list[str], list[str]]:
        waited.append(timeout)
        return [r for r in references if r not in late], [r for r in references if r in late]

    def get(reference: str) -> Kind:
        if reference in ended:
            raise RayError("its process has ended")
        return Kind(A100, "")

    monkeypatch.setattr(
        node_kinds.ray, "nodes", lambda: [{"NodeID": n, "Alive": True, "Resources": {"GPU": 1.0}} for n in ("a", "b")]
    )
    monkeypatch.setattr(node_kinds.ray, "wait", wait)
    monkeypatch.setattr(node_kinds.ray, "get", get)
    monkeypatch.setattr(node_kinds, "asked", lambda new, gpus: {n: n for n in new})
    found = NodeKinds(gpus=True)
    assert found.of(A100) == []
    assert found.known == {"b": Kind("", "")}
    assert node_kinds.ask(["a", "b"], True) == found.known
    late.clear()
    assert found.of(A100) == ["a"]
    assert waited == [node_kinds.ANSWER_SECONDS, node_kinds.ANSWER_SECONDS, 0]


def test_on_a_single_node_there_is_no_choice_until_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, {"b": H100})
    monkeypatch.setattr(node_kinds, "asked", lambda new, gpus: pytest.fail("a process would start there for nothing"))
    homes = Homes(assignment(Home("", frozenset({"p"}), must=True)))
    homes.trained(H100)
    assert homes.place(["p"]) == {}
    nodes(monkeypatch, {"b": H100})
    homes.refused("p", A100)
    assert homes.place(["p"]) is None
    assert "waits for NVIDIA A100" in homes.given_up(["p"])
    homes = Homes(assignment(Home()))  # another driver has committed the training meanwhile
    assert homes.place(["t"]) == {}
    homes.refused("t", A100)
    assert homes.place(["t"]) is None


def test_the_kind_of_the_newest_state_that_somebody_can_go_on_with(tmp_path: Path) -> None:
    (work, *_) = works(tmp_path / "store", plan_of(tmp_path))
    store, trial = Store(str(tmp_path / "store")), work.trial.id
    kinds = [Kind(A100, "numerics of A"), Kind(H100, "numerics of H")]
    assert home(work, store, kinds) == Home()
    for epoch in (0, 1):
        store.files.put(layout.checkpoint(trial, epoch), b"weights")
    store.files.put(layout.resume_state(trial, 1, "numerics of H", b"state"), b"state")
    (work, *_) = works(tmp_path / "store", plan_of(tmp_path))
    assert home(work, store, kinds) == Home(H100)
    assert home(work, store, kinds[:1]) == Home()


def test_given_checkpoints_are_copied_anywhere(tmp_path: Path) -> None:
    """Their commit says that a CPU has made them, which no node of GPUs is."""
    store = Store(str(tmp_path / "store"))
    kept: Any = SimpleNamespace(
        train="replay", reached=0, parts=[], trial=SimpleNamespace(id="t", config=SimpleNamespace(given_from="others"))
    )
    assert (has_home(kept), home(kept, store, [Kind(A100, "")])) == (False, Home())
    kept.trial.config.given_from = None
    assert (has_home(kept), home(kept, store, [Kind(A100, "")])) == (True, Home(must=True))


def lost_and_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> tuple[Store, list[Work]]:
    """A store of trainings of another kind of device than this process says that it has, and the work that is left."""
    plan = plan_of(folder, text)
    store = Store(str(folder / "store"))
    before = [Work(w.trial, "train", [], w.write, w.keep, states=w.states) for w in works(folder / "store", plan)]
    assert carry_out(before, store, folder).failures == {}
    monkeypatch.setattr(arithmetic, "kind", lambda device: H100)
    return store, pending(plan, store, store.snapshot(), "all", numerics=numerics(CPU))


def test_a_committed_training_is_not_repeated_on_another_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, not after hours that end in other bits. It fails with what to type, and what may run anywhere goes on."""
    store, todo = lost_and_elsewhere(tmp_path, monkeypatch, TINY)
    trial = todo[0].trial.id
    shutil.rmtree(tmp_path / "store" / "checkpoints" / trial)
    todo = pending(plan_of(tmp_path, TINY), store, store.snapshot(), "all")
    assert [work.train for work in todo] == ["replay", "done"]
    began: list[str] = []
    monkeypatch.setattr("memloc.run.replay.train", lambda *_: began.append("trains"))
    monkeypatch.setattr("memloc.run.inline.kind", lambda device: H100)
    failures = carry_out(todo, store, tmp_path).failures
    commit = store.commit(trial)
    assert commit is not None
    here = committed_kind(commit)
    assert failures == {
        trial: f"waits for {here}: this machine has {H100} alone now, and what was begun on {here} reaches the same bits "
        "there alone; the same command goes on where there is one (--device cpu computes on CPUs)"
    }
    assert began == []
    assert len(list((tmp_path / "store").glob("failures/*"))) == 1
    result = attempts.attempt_training(_worker(store, tmp_path), todo[0])
    assert (result.finished, result.needs, result.error) == (False, here, "")


def test_cpus_are_named_only_where_they_reach_the_bits() -> None:
    """What was begun on a GPU, or on another CPU, is not reached by --device cpu."""
    cpu, other = (f"{platform.machine()} {name}" for name in ("AVX2", "AVX512"))
    lines = {(kind, there): failed(kind, [there], "this machine") for kind in (cpu, A100) for there in (other, H100)}
    assert {pair for pair, line in lines.items() if "--device cpu" in line} == {(cpu, H100)}
    assert lines[A100, H100].endswith("reaches the same bits there alone; the same command goes on where there is one")


def test_gradients_along_a_trajectory_stay_on_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, todo = lost_and_elsewhere(tmp_path, monkeypatch, ALONG)
    here = committed_kind(next(iter(store.snapshot().commits.values())))
    work = next(work for work in todo if work.parts)
    results = list(attempts.attempt_parts(_worker(store, tmp_path), work.trial, work.parts))
    stages = {part_id: analysis.stage for analysis, part_id, _ in work.parts}
    assert {stages[r.part_id] for r in results if r.needs == here} == {"gradients"}
    assert {stages[r.part_id] for r in results if not r.needs and not r.error} == {"rewind", "evaluate"}
    assert home(work, store, []) == Home(here, frozenset(i for i, s in stages.items() if s == "gradients"), must=True)


def _worker(store: Store, folder: Path) -> Any:
    from memloc.data import load
    from memloc.run.worker import Worker

    return Worker(store, lambda source: load(source, folder), CPU)


def test_commits_without_a_kind_are_tried() -> None:
    for where in ({}, {"arithmetic": None}, {"arithmetic": {}}, {"arithmetic": {"device": 3}}):
        commit: Any = SimpleNamespace(where=where)
        assert committed_kind(commit) == ""
        check_kind(commit, CPU)
    commit = SimpleNamespace(where={"arithmetic": {"device": A100}})
    with pytest.raises(OtherKindError, match=f"begun on {A100}"):
        check_kind(commit, CPU)
