"""The same work on Ray: on this machine's cores and GPUs, or on a cluster. The only file that imports ray.

A Tune trial is a coordinator that holds next to nothing. Its training runs in a trainer actor (a whole GPU, or
`threads` CPUs), which is gone before the analyses fan out as tasks (a share of a GPU, or `threads` CPUs). Truth is what
the store has committed: nothing is ever restored from Tune.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before ray is imported: quiet, no usage reports, authenticated, and quick to notice a lost node (docs/ray.md).
for _name, _value in {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AUTH_MODE": "token",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "3",
}.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.exceptions import RayError  # noqa: E402
from ray.tune.execution.placement_groups import PlacementGroupFactory  # noqa: E402

from memloc.data import Raw, load  # noqa: E402
from memloc.errors import UsageError  # noqa: E402
from memloc.run.events import Event, Listener, Outcome  # noqa: E402
from memloc.run.inline import needs, waves  # noqa: E402
from memloc.run.plan import AnalysisPlan, Work, work_passes  # noqa: E402
from memloc.run.trial import Worker, attempt, last_line, never, prune, record_failure, run_part, run_training  # noqa: E402
from memloc.stages.base import Part  # noqa: E402
from memloc.store import Store  # noqa: E402

COORDINATOR_MEMORY = 120e6  # bytes; a bundle must not be empty, and CPUs in it would be missing for the work
TRAINER_LIVES = 3  # a trainer killed from outside goes on from its newest checkpoint, this often in all
TASK_RETRIES = 3
STEP_SECONDS = 0.5  # how long a coordinator waits for news before it reports
Item = tuple[AnalysisPlan, str, Part]


@dataclass(frozen=True)
class Resources:
    """Where to run. address: local, auto or HOST:PORT. cpus, gpus: bounds of local capacity (None: all there are)."""

    address: str = "local"
    cpus: int | None = None
    gpus: int | None = None
    gpus_per_trial: float = 1.0
    gpus_per_task: float = 0.5


@dataclass(frozen=True)
class Job:
    """What the processes of one trial need to know. data: {data set: reference to its arrays in the object store}."""

    run: str
    uri: str
    work: Work
    data: dict[str, Any]
    trainer: dict[str, float]  # Ray resources
    task: dict[str, float]
    slots: int  # tasks that the cluster can run at once


# --- worker processes -------------------------------------------------------------------------------------------------

_workers: dict[str, Worker] = {}  # one per process and store: the data on the device outlives a task
_raws: dict[str, Raw] = {}


def _worker(job: Job) -> Worker:
    def raw(name: str) -> Raw:
        if name not in _raws:
            _raws[name] = ray.get(job.data[name])
        return _raws[name]

    if job.uri not in _workers:
        _workers[job.uri] = Worker(Store(job.uri), raw)
    return _workers[job.uri]


@ray.remote(max_concurrency=2)  # one thread trains, the other answers
class Trainer:
    """Runs one training. Holds the GPU (or the CPUs) until it is released."""

    def __init__(self) -> None:
        self.epoch = 0
        self.stopping = False

    def run(self, job: Job) -> tuple[bool, str, float]:
        """(finished, error line, seconds)."""
        clock = time.perf_counter()
        trial, worker = job.work.trial, _worker(job)
        finished, error = attempt(
            worker,
            trial,
            trial.id,
            "train",
            lambda: run_training(worker, job.work, self._at, lambda: self.stopping),
        )
        return bool(finished), error, time.perf_counter() - clock

    def _at(self, epoch: int) -> None:
        self.epoch = epoch

    def progress(self) -> int:
        return self.epoch

    def stop(self) -> None:
        """The training ends after its present epoch, which is checkpointed."""
        self.stopping = True


# A task on a GPU gets a process of its own unless max_calls says otherwise; bounded, since it keeps its CUDA context.
@ray.remote(max_calls=50, max_retries=TASK_RETRIES)  # type: ignore[untyped-decorator]
def run_parts(job: Job, items: list[Item]) -> list[tuple[str, str, float, str]]:
    """[(part id, stage, seconds, error line)]; each part is committed as it ends."""
    worker, trial = _worker(job), job.work.trial
    results = []
    for analysis, part_id, part in items:
        seconds, error = attempt(
            worker,
            trial,
            part_id,
            analysis.stage,
            lambda: run_part(worker, trial, analysis, part_id, part),  # noqa: B023
        )
        results.append((part_id, analysis.stage, seconds or 0.0, error))
    return results


# --- the coordinator --------------------------------------------------------------------------------------------------


class Coordinator(tune.Trainable):  # type: ignore[misc]
    """One trial as a Tune trial: starts the trainer, then the tasks, and reports what happened, step by step."""

    def setup(self, config: dict[str, Any], jobs: dict[str, Any] | None = None) -> None:
        if jobs is not None:
            self.jobs = jobs
        self.ref = self.jobs[config["trial"]]
        self.job: Job = ray.get(self.ref)
        self.trainer: Any = None
        self.training: Any = None  # reference to the result of the trainer's run
        self.asked: Any = None  # reference to its answer on progress
        self.lives = TRAINER_LIVES
        self.tasks: dict[Any, list[Item]] = {}
        self.failed: set[str] = set()
        self.events: list[Event] = []
        self.waves = waves(self.job.work.parts)
        self.queue: list[list[Item]] = []
        self.draining = False
        self.state = "train" if self.job.work.train != "done" else "analyse"
        self._emit("started")

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the store is the truth. Tune asks for the method when it reuses coordinators."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""

    def step(self) -> dict[str, Any]:
        self._look_for_drain()
        if self.state == "train":
            self._train()
        elif self.state == "analyse":
            self._analyse()
        events, self.events = [e.as_json() for e in self.events], []
        return {"events": json.dumps(events), "done": self.state == "end"}

    def cleanup(self) -> None:
        if self.trainer is not None:
            ray.kill(self.trainer)
        for task in self.tasks:
            ray.cancel(task, force=True)

    def _emit(self, kind: Any, **values: Any) -> None:
        self.events.append(Event(kind, self.job.work.trial.id, **values))

    def _look_for_drain(self) -> None:
        if not self.draining and _is_draining(self.job.run):
            self.draining = True
            if self.trainer is not None:
                self.trainer.stop.remote()

    # --- training

    def _train(self) -> None:
        if self.trainer is None:
            if self.draining:
                return self._end("drained")
            # "DEFAULT": outside Tune's placement group, which would have to hold the GPU from start to end otherwise.
            self.trainer = Trainer.options(  # type: ignore[attr-defined]
                scheduling_strategy="DEFAULT", **self.job.trainer
            ).remote()
            self.training = self.trainer.run.remote(self.ref)
            self.asked = self.trainer.progress.remote()
        ready, _ = ray.wait([self.training], timeout=STEP_SECONDS)
        if not ready:
            return self._ask_progress()
        try:
            finished, error, seconds = ray.get(self.training)
        except RayError as lost:
            return self._trainer_lost(lost)
        self._release_trainer()
        if error:
            self.failed.add(self.job.work.trial.id)
            self._emit("failed", stage="train", part_id=self.job.work.trial.id, error=error)
            self._end("drained")
        elif finished:
            self._emit("trained", stage="train", seconds=seconds)
            self.state = "analyse"
        else:
            self._end("drained")
        return None

    def _ask_progress(self) -> None:
        ready, _ = ray.wait([self.asked], timeout=0)
        if not ready:
            return
        try:
            epoch = ray.get(self.asked)
        except RayError:
            return  # the trainer is gone; the training's own result will say so
        self._emit("epoch", stage="train", epoch=epoch)
        self.asked = self.trainer.progress.remote()

    def _trainer_lost(self, error: RayError) -> None:
        self._release_trainer()
        self.lives -= 1
        if self.lives > 0:
            return  # the next step starts another one, which goes on from the newest checkpoint
        trial = self.job.work.trial.id
        record_failure(Store(self.job.uri), trial, trial, "train", f"{type(error).__name__}: {error}")
        self._emit("failed", stage="train", part_id=trial, error=last_line(error))
        self._end("drained")

    def _release_trainer(self) -> None:
        """Gives the GPU back before the fan-out asks for its share."""
        ray.kill(self.trainer)
        self.trainer = self.training = self.asked = None

    # --- analyses

    def _analyse(self) -> None:
        if not self.queue and not self.tasks and self.waves and not self.draining:
            self.queue = self._cut(self.waves.pop(0))
        while self.queue and not self.draining and len(self.tasks) < 2 * self.job.slots:
            items = self.queue.pop(0)
            task = run_parts.options(scheduling_strategy="DEFAULT", **self.job.task).remote(self.ref, items)
            self.tasks[task] = items
        if self.tasks:
            for task in ray.wait(list(self.tasks), timeout=STEP_SECONDS)[0]:
                self._collect(task, self.tasks.pop(task))
        elif self.draining and (self.queue or self.waves):
            self._end("drained")
        elif not self.queue and not self.waves:
            if not self.failed:
                prune(Store(self.job.uri), self.job.work)
            self._end("finished")

    def _cut(self, wave: list[Item]) -> list[list[Item]]:
        """Tasks of some parts each: four per slot, so that the last ones do not leave the others waiting."""
        possible = [item for item in wave if not self.failed & set(needs(self.job.work, item[0]))]
        size = max(1, len(possible) // (4 * self.job.slots))
        return [possible[i : i + size] for i in range(0, len(possible), size)]

    def _collect(self, task: Any, items: list[Item]) -> None:
        try:
            results = ray.get(task)
        except RayError as error:  # the worker died again and again
            results = [self._lost(item, error) for item in items]
        for part_id, stage, seconds, problem in results:
            if problem:
                self.failed.add(part_id)
                self._emit("failed", stage=stage, part_id=part_id, error=problem)
            else:
                self._emit("part", stage=stage, part_id=part_id, seconds=seconds)

    def _lost(self, item: Item, error: RayError) -> tuple[str, str, float, str]:
        analysis, part_id, _ = item
        store = Store(self.job.uri)
        if store.commit(part_id) is not None:
            return part_id, analysis.stage, 0.0, ""
        record_failure(store, self.job.work.trial.id, part_id, analysis.stage, f"{type(error).__name__}: {error}")
        return part_id, analysis.stage, 0.0, last_line(error)

    def _end(self, kind: str) -> None:
        self._emit(kind)
        self.state = "end"


# --- draining: the flag is the existence of a named actor, so that it costs nothing until it is set --------------------


@ray.remote(num_cpus=0)
class Flag:
    """An actor whose name says something."""


def _flag_name(run: str) -> str:
    return f"memloc-drain-{run}"


def _is_draining(run: str) -> bool:
    try:
        ray.get_actor(_flag_name(run))
    except ValueError:
        return False
    return True


# --- the driver -------------------------------------------------------------------------------------------------------


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
    should_stop: Callable[[], bool] = never,
    resources: Resources = Resources(),
) -> Outcome:
    """Carries out the work on Ray. Once `should_stop` says so, running epochs and parts end, and nothing new begins.

    Raises:
        UsageError: no cluster at the address, or a trial needs more than any node has.
    """
    run = uuid.uuid4().hex[:8]
    outcome = Outcome({})
    scratch = tempfile.mkdtemp(prefix="memloc-tune-")
    _connect(resources, run)
    finished = threading.Event()
    try:
        jobs, slots = _jobs(works, store, data_dir, run, resources)
        threading.Thread(target=_raise_flag, args=(run, should_stop, finished), daemon=True).start()
        _fit(works, jobs, slots, run, scratch, listener, should_stop, outcome)
    finally:
        finished.set()
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
    outcome.interrupted = should_stop()
    return outcome


def _connect(resources: Resources, run: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "namespace": f"memloc-{run}"}
    if resources.address == "local":
        # address="local", since a stale record of an earlier cluster would make a plain init() hang.
        ray.init(address="local", num_cpus=resources.cpus, num_gpus=resources.gpus, include_dashboard=False, **quiet)
    else:
        if "://" in resources.address:
            raise UsageError(
                f"--address {resources.address}: Ray Tune does not run through Ray Client; valid: local, auto, HOST:PORT"
            )
        try:
            ray.init(address=resources.address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"--address {resources.address}: no Ray cluster answers there ({str(error).splitlines()[0]})"
            ) from None
    token = Path.home() / ".ray" / "auth_token"
    if token.exists():
        token.chmod(0o600)  # whoever reads it can run code here; Ray writes it readable for everybody


def _raise_flag(run: str, should_stop: Callable[[], bool], finished: threading.Event) -> None:
    while not finished.wait(0.2):
        if should_stop():
            _flag.append(Flag.options(name=_flag_name(run)).remote())  # type: ignore[attr-defined]
            return


_flag: list[Any] = []  # keeps the flag raised


def _jobs(works: Sequence[Work], store: Store, data_dir: Path, run: str, resources: Resources) -> tuple[dict[str, Any], int]:
    """({trial: reference to its job}, trainings that can run at once)."""
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    gpus = sum(n.get("GPU", 0.0) for n in nodes)
    data = {name: ray.put(load(name, data_dir)) for name in dict.fromkeys(w.trial.config.dataset for w in works)}
    jobs, slots = {}, 1
    for work in works:
        threads = work.trial.config.threads
        if gpus:
            trainer = {"num_gpus": resources.gpus_per_trial, "num_cpus": 0}
            task = {"num_gpus": resources.gpus_per_task, "num_cpus": 0}
        else:
            trainer = task = {"num_cpus": threads, "num_gpus": 0}
        trainings = _fitting(nodes, trainer)
        if trainings == 0 or _fitting(nodes, task) == 0:
            raise UsageError(_too_large(nodes, trainer, task))
        slots = max(slots, trainings)
        job = Job(run, store.uri, work, data, trainer, task, _fitting(nodes, task))
        jobs[work.trial.id] = ray.put(job)
    return jobs, slots


def _fitting(nodes: list[dict[str, float]], wanted: dict[str, float]) -> int:
    """How many of these fit on the nodes at once, each on one node."""
    total = 0
    for node in nodes:
        counts = [
            int(node.get(name, 0.0) / amount + 1e-9)
            for name, amount in (("CPU", wanted["num_cpus"]), ("GPU", wanted["num_gpus"]))
            if amount
        ]
        total += min(counts, default=0)
    return total


def _too_large(nodes: list[dict[str, float]], trainer: dict[str, float], task: dict[str, float]) -> str:
    if trainer["num_gpus"]:
        most = max(n.get("GPU", 0.0) for n in nodes)
        return (
            f"--gpus-per-trial {trainer['num_gpus']:g}, --gpus-per-task {task['num_gpus']:g}: "
            f"no node has that; valid: above 0, at most {most:g}"
        )
    most = max(n.get("CPU", 0.0) for n in nodes)
    return f"threads: {trainer['num_cpus']:g} is more than any node's CPUs; valid: 1 to {most:g} (see --cpus)"


def _fit(
    works: Sequence[Work],
    jobs: dict[str, Any],
    slots: int,
    run: str,
    scratch: str,
    listener: Listener,
    should_stop: Callable[[], bool],
    outcome: Outcome,
) -> None:
    relay = Relay(listener, outcome)
    working: set[str] = set()
    relay.listener = _tracking(listener, working)
    longest_first = sorted(works, key=work_passes, reverse=True)
    # On the driver's node: coordinators weigh little, and elsewhere they would keep machines from being given back.
    here = f"node:{ray.util.get_node_ip_address()}"
    bundle = PlacementGroupFactory([{"memory": COORDINATOR_MEMORY, here: 0.001}])
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(Coordinator, jobs=jobs), bundle),
        param_space={"trial": tune.grid_search([w.trial.id for w in longest_first])},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=min(slots + 2, len(works)),
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
