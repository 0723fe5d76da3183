"""What every test may use: one torch thread, and a small finished store."""

from __future__ import annotations

import tests.shapes  # noqa: F401  (first: it checks what is imported after it)

# isort: split
import gc
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from memloc import sweep
from memloc.run.clock import PricedPlan
from memloc.run.cost import Rate
from memloc.run.estimate import cost_model, price
from memloc.run.events import Event, Outcome
from memloc.run.executor import Capacity, Price, execute
from memloc.run.inline import Inline
from memloc.run.pending import Work, pending
from memloc.run.plan import Plan
from memloc.run.planner import build_plan
from memloc.run.worker import never
from memloc.stages import REGISTRY
from memloc.store import Snapshot, Store, records
from tests import cards
from tests.slow_cases import slow
from tests.waiting import LONG

torch.set_num_threads(1)

# Every commit of a store waits for the disk (fsync). In memory it does not wait; tests of commits count the calls.
MEMORY = Path("/dev/shm")
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 1 << 32:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))  # where pytest makes its temporary folders

# A call of Ray outside of a session would start a Ray of its own on this machine; now it is an error.
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"

TINY = """
about: Two trainings of a few seconds.
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 100, noise: 0.1, epochs: 2, batch_size: 32}
blocks:
  standard:
    stages: {rewind: {epochs: [0, 1, 2]}, evaluate: {}}
  tied:
    set: {dropout: example_tied, p_gen: 0.4, p_mem: 0.1}
    stages: {evaluate: {}}
"""


# Files that take longest, longest first: begun last, one of them would keep one of two processes busy while the other waits.
LONGEST = ("run/test_ray.py",)
# {mark: files}: `-m 'not ray and not browser'` leaves them out (benchmarks/mutants.py).
MARKED = {
    "ray": (
        *(*LONGEST, "run/test_environment.py", "run/test_sleeping.py"),
        *("run/test_cluster_slow.py", "run/test_local_ray_slow.py"),
    ),
    "browser": ("report/test_browser.py", "report/test_explorer_browser.py"),
}


def pytest_configure(config: pytest.Config) -> None:
    """All tests compute on the CPU, but those that need a GPU: they run by themselves."""
    if config.option.markexpr != "cuda":
        cards.hide()


@pytest.hookimpl(tryfirst=True)  # before the slow ones are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the longest files first; otherwise the order stays. Tests that start Ray or a browser are marked so."""
    tests = Path(__file__).parent
    marks = {tests / name: mark for mark, names in MARKED.items() for name in names}
    names = {item.nodeid.removeprefix("tests/"): item for item in items}
    for name in slow(names)[0]:
        names[name].add_marker("slow")
    no_card = pytest.mark.skip(reason="needs a GPU, and to run by itself: make test-cuda")
    for item in items:
        if item.path in marks:
            item.add_marker(marks[item.path])
        if item.get_closest_marker("cuda") and not torch.cuda.is_available():
            item.add_marker(no_card)
    rank = {tests / name: n for n, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


def pytest_collection_finish() -> None:
    """Python's garbage collector passes over what has been imported: memloc calls it after each attempt, for its tensors."""
    gc.collect()
    gc.freeze()


def free_price(folder: Path) -> Price:
    """Everything costs nothing, so the order stays. folder: the data directory."""

    def price_of(works: Sequence[Work], capacity: Capacity) -> PricedPlan:
        model = cost_model(works, Snapshot({}, {}, []), folder, None, lambda trial, shape: Rate(0.0, "nothing"))
        return price(works, model, capacity.slots, capacity.shares)

    return price_of


def carry_out(
    works: Sequence[Work],
    store: Store,
    folder: Path,
    *observers: Callable[[Event], None],
    should_stop: Callable[[], bool] = never,
    device: torch.device | None = None,
) -> Outcome:
    """Does the work in this process, by default on the CPU, in the order given: everything costs nothing."""

    executor = Inline(store, folder, device or torch.device("cpu"))
    return execute(works, executor, free_price(folder), [Told(listener) for listener in observers], should_stop)


@dataclass
class Told:
    """An observer that passes events on."""

    listener: Callable[[Event], None]

    def planned(self, plan: PricedPlan) -> None:
        """Nothing to do with prices."""

    def __call__(self, event: Event) -> None:
        self.listener(event)


def planned(folder: Path, text: str, name: str = "tiny") -> Plan:
    """The plan of the sweep with this text."""
    path = folder / f"{name}.yaml"
    path.write_text(text)
    loaded = sweep.load(path, REGISTRY)
    return build_plan(loaded, loaded.entries, folder)


def run_inline(folder: Path, text: str, store: Store, name: str = "tiny") -> Plan:
    """Plans the sweep with this text, records it and carries it out in this process."""
    plan = planned(folder, text, name)
    records.write_sweep(store.files, plan.name, plan.record())
    works = [w for w in pending(plan, store, store.snapshot(), "all") if w.anything]
    outcome = carry_out(works, store, folder)
    assert outcome.failures == {}
    return plan


# What the shell of whoever runs the tests may say of its terminal.
TERMINAL = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


def _no_terminal(_descriptor: int = 1) -> os.terminal_size:
    raise OSError("tests run without a terminal")


@pytest.fixture(autouse=True, scope="session")
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the logs of sweeps out of the user's home, and the width and colours of the user's terminal out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMLOC_LOGS", str(tmp_path_factory.mktemp("logs")))
        for name in TERMINAL:
            patch.delenv(name, raising=False)
        patch.setattr("os.get_terminal_size", _no_terminal)  # a worker of xdist inherits the terminal of pytest
        patch.setattr("memloc.run.cluster.PATIENCE", LONG)  # a busy machine takes long to import Ray
        yield


def shared(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that `make` has filled, once for all processes that run tests. Only to be read."""
    beside = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        beside = beside.parent
    folder = beside / f"shared-{name}"
    with FileLock(beside / f"{name}.lock"):
        if not folder.exists():
            making = tmp_path_factory.mktemp(name)
            make(making)
            making.rename(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of the sweep `tiny`; its file lies beside it. Only to be read."""
    return shared(tmp_path_factory, "tiny", lambda f: run_inline(f, TINY, Store(str(f / "store")))) / "store"
