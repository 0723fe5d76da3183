"""The driver: connects to Ray, hands every trial to a coordinator, passes on what happens."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from memloc.run.events import Event, Listener, Outcome
from memloc.run.placement import Assignment, Node, Resources, assign, has_gpus
from memloc.run.ray.admission_actor import open_admission
from memloc.run.ray.connect import connected
from memloc.run.ray.coordinator import Coordinator
from memloc.run.ray.draining import raise_flag_when
from memloc.run.ray.workers import Job
from memloc.run.schedule import coordinators
from memloc.store import Store

if TYPE_CHECKING:
    from memloc.run.pending import Work
    from memloc.run.schedule import TrialCost


@dataclass
class Relay(tune.Callback):  # type: ignore[misc]
    """Passes the coordinators' events on to the listener, and remembers failures."""

    listener: Listener
    outcome: Outcome

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that memloc never does; a listener holds locks and consoles

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        for raw in json.loads(result.get("events", "[]")):
            event = Event(**raw)
            if event.kind == "failed":
                self.outcome.failures[event.part_id] = event.error
            self.listener(event)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        trial_id = trial.config["trial"]
        error = f"its coordinator failed; see {trial.error_file or 'the log'}"
        self.outcome.failures[trial_id] = error
        self.listener(Event("failed", trial_id, "coordinator", part_id=trial_id, error=error))


class Drained(tune.Stopper):  # type: ignore[misc]
    """Stops Tune from starting more trials once draining, as soon as none is at work."""

    def __init__(self, should_stop: Callable[[], bool], working: Callable[[], int]) -> None:
        self.should_stop, self.working = should_stop, working

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as above

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.should_stop() and self.working() == 0


def execute(
    works: Sequence[Work],
    store: Store,
    data_dir: Path,
    listener: Listener,
    should_stop: Callable[[], bool],
    resources: Resources,
) -> Outcome:
    """Carries out the work on Ray. Once `should_stop` says so, running epochs and parts end, and nothing new begins.

    Raises:
        UsageError: no cluster at the address, or a trial needs more than any node has.
    """
    run = uuid.uuid4().hex[:8]
    outcome = Outcome({})
    finished = threading.Event()
    with connected(resources, run) as scratch:
        try:
            admission = open_admission()
            assignments = _assignments(works, store, data_dir, run, admission, resources)
            threading.Thread(target=raise_flag_when, args=(run, should_stop, finished), daemon=True).start()
            if not should_stop():
                _fit(assignments, admission, run, scratch, listener, should_stop, outcome)
        finally:
            finished.set()
    outcome.interrupted = should_stop()
    return outcome


def _assignments(
    works: Sequence[Work], store: Store, data_dir: Path, run: str, admission: Any, resources: Resources
) -> dict[str, Assignment]:
    """{trial: its assignment}, in the order in which they begin."""
    from memloc.data import load
    from memloc.run.schedule import in_order

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    names = dict.fromkeys(w.trial.config.dataset for w in works if w.computes)
    data = {name: ray.put(load(name, data_dir)) for name in names}
    by_trial = {work.trial.id: work for work in works}
    assignments = {}
    for cost in in_order(_costs(works, store, data_dir, nodes, resources)):
        work = by_trial[cost.trial]
        job = ray.put(Job(run, store.uri, work, data, admission))
        assignments[cost.trial] = assign(work, cost, store.uri, run, job, nodes, resources)
    return assignments


def _costs(
    works: Sequence[Work], store: Store, data_dir: Path, nodes: Sequence[Node], resources: Resources
) -> list[TrialCost]:
    """What each work costs, by what the store has seen on this kind of device."""
    from memloc.run.estimate import cost_model, trial_costs

    gpus = resources if has_gpus(nodes) else None
    model = cost_model(works, store.snapshot(), data_dir, gpus)
    return trial_costs(works, model, gpus)


def _fit(
    assignments: dict[str, Assignment],
    admission: Any,
    run: str,
    scratch: str,
    listener: Listener,
    should_stop: Callable[[], bool],
    outcome: Outcome,
) -> None:
    relay = Relay(listener, outcome)
    working: set[str] = set()
    relay.listener = _tracking(listener, working)
    at_once = coordinators(max(assignment.trainings for assignment in assignments.values()))
    tuner = tune.Tuner(
        tune.with_parameters(Coordinator, assignments=assignments, admission=admission),
        param_space={"trial": tune.grid_search(list(assignments)), "node": f"node:{ray.util.get_node_ip_address()}"},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=min(at_once, len(assignments)),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.config["trial"],
        ),
        run_config=tune.RunConfig(
            name=f"memloc-{run}",
            storage_path=scratch,
            verbose=0,
            callbacks=[relay],
            stop=Drained(should_stop, lambda: len(working)),
            failure_config=tune.FailureConfig(max_failures=3),
        ),
    )
    tuner.fit()


def _tracking(listener: Listener, working: set[str]) -> Listener:
    def listen(event: Event) -> None:
        if event.kind == "started":
            working.add(event.trial)
        elif event.kind in ("finished", "drained"):
            working.discard(event.trial)
        listener(event)

    return listen
