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
from typing import TYPE_CHECKING, Any

# Before ray is imported: quiet, no usage reports, authenticated, and quick to notice a lost node (docs/ray.md).
for _name, _value in {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AUTH_MODE": "token",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # --gpus 0 hides the GPUs
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

from memloc.errors import UsageError, last_line  # noqa: E402
from memloc.run.events import Event, Listener, Outcome  # noqa: E402
from memloc.store import Store, records  # noqa: E402

# Whatever imports torch is imported where it is used: a coordinator never needs it, and there may be a hundred of them.
if TYPE_CHECKING:
    from memloc.run.plan import Item, Work
    from memloc.run.trial import Worker

COORDINATOR_MEMORY = 120e6  # bytes; a bundle must not be empty, and CPUs in it would be missing for the work
TRAINER_LIVES = 3  # a trainer killed from outside goes on from its newest checkpoint, this often in all
TASK_RETRIES = 3
STEP_SECONDS = 0.5  # how long a coordinator waits for news before it reports


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
    """What the processes that work on one trial need to know. data: {data set: reference to its arrays}."""

    run: str
    uri: str
    work: Work
    data: dict[str, Any]


@dataclass(frozen=True)
class PartBrief:
    """A part as the coordinator sees it. needs: parts that must have succeeded before."""

    id: str
    stage: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Brief:
    """What a coordinator needs to know of its trial.

    job: reference to the Job. trainer, task: Ray resources. slots: tasks that the cluster can run at once.
    """

    run: str
    uri: str
    trial: str
    trains: bool
    prunes: bool
    waves: tuple[tuple[PartBrief, ...], ...]
    job: Any
    trainer: dict[str, float]
    task: dict[str, float]
    slots: int


# --- worker processes -------------------------------------------------------------------------------------------------

_workers: dict[str, Worker] = {}  # one per process and store: the data on the device outlives a task
_raws: dict[str, Any] = {}


def _worker(job: Job) -> Worker:
    from memloc.run.trial import Worker

    def raw(name: str) -> Any:
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
        from memloc.run.trial import attempt, run_training

        clock = time.perf_counter()
        trial, worker = job.work.trial, _worker(job)
        finished, error = attempt(
            worker, trial, trial.id, "train", lambda: run_training(worker, job.work, self._at, lambda: self.stopping)
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
def run_parts(job: Job, part_ids: list[str]) -> list[tuple[str, float, str]]:
    """[(part id, seconds, error line)]; each part is committed as it ends. While draining, none is begun."""
    from memloc.run.trial import attempt, run_part

    worker, trial = _worker(job), job.work.trial
    items: dict[str, Item] = {part_id: (analysis, part_id, part) for analysis, part_id, part in job.work.parts}
    results = []
    for part_id in part_ids:
        if _is_draining(job.run):
            break
        analysis, _, part = items[part_id]
        seconds, error = attempt(
            worker,
            trial,
            part_id,
            analysis.stage,
            lambda: run_part(worker, trial, analysis, part_id, part),  # noqa: B023
        )
        results.append((part_id, seconds or 0.0, error))
    return results


# --- the coordinator --------------------------------------------------------------------------------------------------


class Coordinator(tune.Trainable):  # type: ignore[misc]
    """One trial as a Tune trial: starts the trainer, then the tasks, and reports what happened, step by step."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        # On the driver's node: coordinators weigh little, and elsewhere they would keep machines from being given back.
        return PlacementGroupFactory([{"memory": COORDINATOR_MEMORY, config["node"]: 0.001}])

    def setup(self, config: dict[str, Any], briefs: dict[str, Brief] | None = None) -> None:
        if briefs is not None:
            self.briefs = briefs
        self.brief = self.briefs[config["trial"]]
        self.trainer: Any = None
        self.training: Any = None  # reference to the result of the trainer's run
        self.asked: Any = None  # reference to its answer on progress
        self.answered = False  # has it begun?
        self.lives = TRAINER_LIVES
        self.tasks: dict[Any, list[PartBrief]] = {}
        self.failed: set[str] = set()
        self.events: list[Event] = []
        self.waves = list(self.brief.waves)
        self.queue: list[list[PartBrief]] = []
        self.draining = False
        self.state = "train" if self.brief.trains else "analyse"
        self._emit("started")

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the store is the truth. Tune asks for the method when it reuses coordinators."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""

    def step(self) -> dict[str, Any]:
        self.draining = self.draining or _is_draining(self.brief.run)
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
        self.events.append(Event(kind, self.brief.trial, **values))

    def _end(self, kind: str) -> None:
        self._emit(kind)
        self.state = "end"

    # --- training

    def _train(self) -> None:
        if self.draining and not self.answered:  # it has not begun: it may be waiting for a place for hours
            self._release_trainer()
            return self._end("drained")
        if self.trainer is None:
            # "DEFAULT": outside Tune's placement group, which would have to hold the GPU from start to end otherwise.
            self.trainer = Trainer.options(scheduling_strategy="DEFAULT", **self.brief.trainer).remote()  # type: ignore[attr-defined]
            self.training = self.trainer.run.remote(self.brief.job)
            self.asked = self.trainer.progress.remote()
        if self.draining:
            self.trainer.stop.remote()
        ready, _ = ray.wait([self.training], timeout=STEP_SECONDS)
        return self._trained() if ready else self._look_at_progress()

    def _trained(self) -> None:
        try:
            finished, error, seconds = ray.get(self.training)
        except RayError as lost:
            return self._trainer_lost(lost)
        self._release_trainer()
        if error:
            return self._training_failed(error)
        if finished:
            self._emit("trained", stage="train", seconds=seconds)
            self.state = "analyse"
            return None
        return self._end("drained")

    def _look_at_progress(self) -> None:
        if not ray.wait([self.asked], timeout=0)[0]:
            return
        try:
            epoch = ray.get(self.asked)
        except RayError:
            return  # the trainer is gone; the training's own result will say so
        self.answered = True
        self._emit("epoch", stage="train", epoch=epoch)
        self.asked = self.trainer.progress.remote()

    def _trainer_lost(self, error: RayError) -> None:
        self._release_trainer()
        self.lives -= 1
        if self.lives == 0:  # else the next step starts another one, which goes on from the newest checkpoint
            self._record_failure(self.brief.trial, "train", error)
            self._training_failed(last_line(error))

    def _training_failed(self, error: str) -> None:
        self.failed.add(self.brief.trial)
        self._emit("failed", stage="train", part_id=self.brief.trial, error=error)
        self._end("drained")

    def _release_trainer(self) -> None:
        """Gives the GPU back before the fan-out asks for its share."""
        if self.trainer is not None:
            ray.kill(self.trainer)
        self.trainer = self.training = self.asked = None
        self.answered = False

    # --- analyses

    def _analyse(self) -> None:
        if not self.queue and not self.tasks and self.waves and not self.draining:
            self.queue = self._cut(self.waves.pop(0))
        while self.queue and not self.draining and len(self.tasks) < 2 * self.brief.slots:
            parts = self.queue.pop(0)
            task = run_parts.options(scheduling_strategy="DEFAULT", **self.brief.task).remote(
                self.brief.job, [part.id for part in parts]
            )
            self.tasks[task] = parts
        if self.tasks:
            for task in ray.wait(list(self.tasks), timeout=STEP_SECONDS)[0]:
                self._collect(task, self.tasks.pop(task))
        elif self.queue or self.waves:
            if self.draining:
                self._end("drained")
        else:
            if self.brief.prunes and not self.failed:
                self._prune()
            self._end("finished")

    def _cut(self, wave: tuple[PartBrief, ...]) -> list[list[PartBrief]]:
        """Tasks of some parts each: four per slot, so that the last ones do not leave the others waiting."""
        possible = [part for part in wave if not self.failed & set(part.needs)]
        size = max(1, len(possible) // (4 * self.brief.slots))
        return [possible[i : i + size] for i in range(0, len(possible), size)]

    def _collect(self, task: Any, parts: list[PartBrief]) -> None:
        stages = {part.id: part.stage for part in parts}
        try:
            results = ray.get(task)
        except RayError as error:  # the worker died again and again
            results = [(part.id, 0.0, self._lost(part, error)) for part in parts]
        for part_id, seconds, problem in results:
            stage = stages.pop(part_id)
            if problem:
                self.failed.add(part_id)
                self._emit("failed", stage=stage, part_id=part_id, error=problem)
            else:
                self._emit("part", stage=stage, part_id=part_id, seconds=seconds)
        if stages:  # not begun, because of draining
            self.queue.append([part for part in parts if part.id in stages])

    def _lost(self, part: PartBrief, error: RayError) -> str:
        """The error line of a part whose worker died, unless it had committed it."""
        if Store(self.brief.uri).commit(part.id) is not None:
            return ""
        self._record_failure(part.id, part.stage, error)
        return last_line(error)

    def _record_failure(self, part_id: str, stage: str, error: RayError) -> None:
        text = f"{type(error).__name__}: {error}"
        records.record_failure(Store(self.brief.uri).files, part_id, self.brief.trial, stage, text)

    def _prune(self) -> None:
        from memloc.run.trial import prune

        prune(Store(self.brief.uri), ray.get(self.brief.job).work)


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
    should_stop: Callable[[], bool] = lambda: False,
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
        briefs, slots = _briefs(works, store, data_dir, run, resources)
        threading.Thread(target=_raise_flag, args=(run, should_stop, finished), daemon=True).start()
        _fit(briefs, slots, run, scratch, listener, should_stop, outcome)
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


def _briefs(
    works: Sequence[Work], store: Store, data_dir: Path, run: str, resources: Resources
) -> tuple[dict[str, Brief], int]:
    """({trial: its brief}, longest trial first; trainings that can run at once)."""
    from memloc.data import load
    from memloc.run.plan import work_passes

    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    data = {name: ray.put(load(name, data_dir)) for name in dict.fromkeys(w.trial.config.dataset for w in works)}
    briefs, slots = {}, 1
    for work in sorted(works, key=work_passes, reverse=True):
        trainer, task = _demands(work, nodes, resources)
        trainings, tasks = _fitting(nodes, trainer), _fitting(nodes, task)
        if not trainings or not tasks:
            raise UsageError(_too_large(nodes, trainer, task))
        slots = max(slots, trainings)
        job = ray.put(Job(run, store.uri, work, data))
        briefs[work.trial.id] = _brief(work, store.uri, run, job, trainer, task, tasks)
    return briefs, slots


def _brief(work: Work, uri: str, run: str, job: Any, trainer: dict[str, float], task: dict[str, float], slots: int) -> Brief:
    from memloc.run.plan import needs, waves

    parts = tuple(
        tuple(PartBrief(part_id, analysis.stage, tuple(needs(work.trial, analysis))) for analysis, part_id, _ in wave)
        for wave in waves(work.parts)
    )
    return Brief(run, uri, work.trial.id, work.train != "done", work.prune, parts, job, trainer, task, slots)


def _demands(work: Work, nodes: list[dict[str, float]], resources: Resources) -> tuple[dict[str, float], dict[str, float]]:
    """Ray resources of the trainer and of a task: GPUs where there are any, else the configured threads."""
    if any(n.get("GPU", 0.0) for n in nodes):
        return {"num_gpus": resources.gpus_per_trial, "num_cpus": 0.0}, {
            "num_gpus": resources.gpus_per_task,
            "num_cpus": 0.0,
        }
    cpus = {"num_cpus": float(work.trial.config.threads), "num_gpus": 0.0}
    return cpus, cpus


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
    briefs: dict[str, Brief],
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
    tuner = tune.Tuner(
        tune.with_parameters(Coordinator, briefs=briefs),
        param_space={"trial": tune.grid_search(list(briefs)), "node": f"node:{ray.util.get_node_ip_address()}"},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=min(slots + 2, len(briefs)),
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
