"""The driver: connects to Ray, hands every trial to a coordinator, passes on what happens."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from memloc.errors import StoreError, without_secrets
from memloc.run.events import Event, Listener
from memloc.run.kinds import KIND_SECONDS, CardMemory, Home, Kind, going_on, has_home, home
from memloc.run.log_targets import Logs
from memloc.run.placement import Assignment, Resources, check_capacity, demands, fitting, slots, uses_gpus
from memloc.run.ray import storage_waits
from memloc.run.ray.admission_actor import open_admission
from memloc.run.ray.connect import Connection, connected
from memloc.run.ray.coordinator import Coordinator
from memloc.run.ray.draining import raise_flag_when
from memloc.run.ray.guard import OnLost, guarded
from memloc.run.ray.node_kinds import ask, computing_nodes
from memloc.run.ray.tracking import Tracker
from memloc.run.ray.workers import Job
from memloc.run.schedule import coordinators
from memloc.run.trial_run import TrialSteps
from memloc.store import Store, records
from memloc.store.leases import Holder
from memloc.store.records import Failure

if TYPE_CHECKING:
    from memloc.run.clock import PricedPlan
    from memloc.run.executor import Capacity
    from memloc.run.pending import Work

log = logging.getLogger("memloc")


class Relay(tune.Callback):  # type: ignore[misc]
    """Passes the coordinators' events on to the listener, keeps the trials at work, and records lost coordinators.

    record: writes the failure of a trial into the store, with the text of the error and its line.
    """

    def __init__(self, listener: Listener, record: Callable[[str, str, str], None]) -> None:
        self.listener, self.record = listener, record
        self.working: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that memloc never does; a listener holds locks and consoles

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Passes on the events of a coordinator's step."""
        for raw in json.loads(result.get("events", "[]")):
            event = Event(**raw)
            if event.kind == "started":
                self.working.add(event.trial)
            elif event.kind in ("finished", "unfinished", "elsewhere"):
                self.working.discard(event.trial)
            self.listener(event)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Frees what Tune would keep of each trial until the end: the last values of every metric, and the last result."""
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()
        for name in ("config", "events"):
            trial.run_metadata.last_result.pop(name, None)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Records that a coordinator is lost for good. Its trial ends unfinished."""
        trial_id = trial.config["trial"]
        text = _text(trial.error_file)
        error = without_secrets(_error_line(text))
        self.record(trial_id, text, error)
        self.working.discard(trial_id)
        self.listener(Event("failed", trial_id, "coordinator", part_id=trial_id, error=error))
        self.listener(Event("unfinished", trial_id))


def _text(path: str | None) -> str:
    """The text of Tune's error file, which is removed with the scratch folder."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="backslashreplace").strip() if path else ""
    except OSError:
        text = ""
    return text or "its process ended and left no message"


def _error_line(text: str) -> str:
    """The last error in Tune's error file: the end of a traceback, or the first line of what Ray says of a lost process."""
    _, *lines = [line.strip() for line in f"\n{text}".rpartition("Failure # ")[2].splitlines() if line.strip()] or [text]
    if not lines:
        return text
    return lines[-1] if any(line.startswith("Traceback") for line in lines) else lines[0]


class Drained(tune.Stopper):  # type: ignore[misc]
    """After an order to stop, ends Tune as soon as no trial is at work, so that it starts no more trials."""

    def __init__(self, should_stop: Callable[[], bool], working: Callable[[], int]) -> None:
        self.should_stop, self.working = should_stop, working

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as above

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Whether Tune ends now."""
        return self.should_stop() and self.working() == 0


class OnRay:
    """The executor on Ray: on this machine, or on the cluster at an address.

    on_lost: ends the program when Ray itself is lost; called in a thread, with what is lost. holder: of the trials' leases.
    logs: where epochs are logged besides the store; nowhere unless somebody sets it. coordinator: runs the trials.
    """

    def __init__(
        self, store: Store, data_dir: Path, resources: Resources, on_lost: OnLost, holder: Holder | None = None
    ) -> None:
        self.store, self.data_dir, self.resources, self._on_lost, self.holder = store, data_dir, resources, on_lost, holder
        self.logs = Logs()
        self.coordinator: type[Coordinator] = Coordinator
        self._rounds = 0
        self.kinds: dict[str, Kind] = {}
        self._known: dict[str, Kind] = {}  # by node, from earlier rounds too
        self.run = uuid.uuid4().hex[:8]
        self._stack = ExitStack()

    def __enter__(self) -> OnRay:
        with ExitStack() as stack:
            connection = stack.enter_context(connected(self.resources, self.run))
            self.scratch = connection.scratch
            lost = partial(self._lost, connection)
            stack.enter_context(guarded(self.resources.address == "local", lost))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _lost(self, connection: Connection, what: str) -> None:
        connection.remove_files()
        self._on_lost(what)

    def capacity(self, works: Sequence[Work]) -> Capacity:
        """What the nodes offer; raises UsageError if a process of these works needs more than any node has."""
        from memloc.run.executor import Capacity

        self.nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        check_capacity(works, self.nodes, self.resources)
        gpus = uses_gpus(self.nodes, self.resources)
        card = self._ask_nodes(works, gpus)
        here = self.resources.address == "local"
        shares = self.resources if gpus else None
        return Capacity("cuda" if gpus else "cpu", slots(self.nodes, self.resources), shares, here, card)

    def _ask_nodes(self, works: Sequence[Work], gpus: bool) -> CardMemory | None:
        """Asks the nodes for their kinds of devices, if that matters; returns the GPU of a cluster with the least memory.

        Kinds matter if there are several nodes and work that must reach the same bits. The driver knows the GPUs of its own
        machine itself. A node is asked once.
        """
        nodes = computing_nodes(gpus)
        of_kinds = len(nodes) > 1 and any(has_home(work) for work in works)
        of_memory = gpus and self.resources.address != "local"
        new = [node for node in nodes if node not in self._known] if of_kinds or of_memory else []
        self._known |= ask(new, gpus) if new else {}
        known = {node: self._known[node] for node in nodes if node in self._known}
        self.kinds = known if of_kinds else {}
        if of_memory and len(known) < len(nodes):
            log.warning("%d of %d nodes have not said what GPUs they have", len(nodes) - len(known), len(nodes))
        cards = (kind.smallest for kind in known.values() if kind.smallest is not None)
        return min(cards, key=lambda card: card.total, default=None) if of_memory else None

    def carry_out(
        self, works: Sequence[Work], plan: PricedPlan, listener: Listener, should_stop: Callable[[], bool]
    ) -> None:
        """Hands every trial to a coordinator; returns once all have ended."""
        admission, finished = open_admission(), threading.Event()
        assignments = self._assignments(works, plan, admission)
        threading.Thread(target=raise_flag_when, args=(self.run, should_stop, finished), daemon=True).start()
        waits = admission, listener, should_stop, finished
        threading.Thread(target=storage_waits.pass_on, args=waits, daemon=True).start()
        fields = {work.trial.id: work.trial.config.flat() for work in works}
        trackers = [Tracker(target, self.logs.sweep, fields, self.scratch) for target in self.logs.targets]
        try:
            self._rounds += 1  # each is an experiment of its own
            experiment = Experiment(
                f"{self.run}-{self._rounds}", self.scratch, assignments, admission, fields, self.coordinator
            )
            fit(experiment, [Relay(listener, self._record), *trackers], should_stop)
        finally:
            finished.set()
            self.logs.failed.extend(filter(None, [tracker.close() for tracker in trackers]))

    def _record(self, trial: str, text: str, error: str) -> None:
        with suppress(StoreError):  # such as a full disk: the other trials go on, and the event tells of this one
            records.record_failure(Store(self.store.uri).files, Failure(trial, trial, "coordinator", text, error))

    def _assignments(self, works: Sequence[Work], plan: PricedPlan, admission: Any) -> dict[str, Assignment]:
        """{trial: its assignment}, in the order in which they begin."""
        from memloc.data import load

        sources = dict.fromkeys(w.trial.config.source for w in works if w.computes)
        data = {source: ray.put(load(source, self.data_dir)) for source in sources}
        by_trial = {work.trial.id: work for work in works}
        patience = self.store.files.patience.seconds
        uri = self.store.files.address  # Tune gives each coordinator a working directory of its own
        assignments, put = dict[str, Assignment](), dict[str, Any]()
        there = {kind.name for kind in self.kinds.values()}
        until = time.time() + KIND_SECONDS if self.resources.address != "local" else 0.0
        homes = {trial: home(work, self.store, self.kinds.values()) for trial, work in by_trial.items() if self.kinds}
        # A trial whose kind of device no node has waits at the end, so that it holds up nobody.
        for cost in sorted(plan.trials, key=lambda cost: homes.get(cost.trial, Home()).is_missing(there)):
            work = by_trial[cost.trial]
            job = ray.put(Job(self.run, uri, patience, work, data, admission, _put_files(work, put)))
            steps = TrialSteps(cost.trial, work.train != "done", cost.waves, work.prune)
            trainer, task = demands(work, self.nodes, self.resources)
            trainings, tasks = fitting(self.nodes, trainer), fitting(self.nodes, task)
            places = trainer, task, trainings, tasks
            where = homes.get(cost.trial) or Home(parts=going_on(work)), self.kinds, until
            assignments[cost.trial] = Assignment(steps, self.run, uri, patience, self.holder, job, *places, *where)
        return assignments


def _put_files(work: Work, known: dict[str, Any]) -> dict[str, Any]:
    """{sha256: reference to the content} of the files that the work's training reads. known: those that are put already."""
    from memloc.run.carried import content_of, to_carry

    files = to_carry(work)
    known.update({sha256: ray.put(content_of(sha256, file)) for sha256, file in files.items() if sha256 not in known})
    return {sha256: known[sha256] for sha256 in files}


@dataclass(frozen=True)
class Experiment:
    """One Tune experiment.

    scratch: the folder of its files. admission: the run's actor. fields: {trial: its resolved fields}, for Tune's callbacks.
    coordinator: runs its trials.
    """

    name: str
    scratch: str
    assignments: dict[str, Assignment]
    admission: Any
    fields: dict[str, dict[str, Any]]
    coordinator: type[Coordinator] = Coordinator


def _fields(experiment: Experiment) -> dict[str, Any]:
    """The space of Tune's trials: each has its id and its fields."""
    fields = experiment.fields
    ids = tune.grid_search(list(experiment.assignments))
    return {"trial": ids, "fields": tune.sample_from(lambda spec: fields[spec.config.trial])}


def fit(experiment: Experiment, callbacks: Sequence[tune.Callback], should_stop: Callable[[], bool]) -> None:
    """Carries out the assignments, in their order; returns once every trial has ended. callbacks: the relay first."""
    assignments, relay = experiment.assignments, callbacks[0]
    trainings = max(assignment.trainings for assignment in assignments.values())
    # Those that wait for one kind of device must not hold up the others.
    at_once = coordinators(trainings) + min(trainings, sum(bool(a.home.kind) for a in assignments.values()))
    put = ray.put(assignments)
    tuner = tune.Tuner(
        tune.with_parameters(experiment.coordinator, put=[put], admission=experiment.admission),
        param_space={**_fields(experiment), "node": f"node:{ray.util.get_node_ip_address()}"},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=min(at_once, len(assignments)),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.config["trial"],
        ),
        run_config=tune.RunConfig(
            name=f"memloc-{experiment.name}",
            storage_path=experiment.scratch,
            verbose=0,
            callbacks=list(callbacks),
            stop=Drained(should_stop, lambda: len(relay.working)),
            failure_config=tune.FailureConfig(max_failures=3),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # else an empty folder for each trial
        ),
    )
    tuner.fit()
