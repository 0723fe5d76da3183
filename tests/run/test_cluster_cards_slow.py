"""A cluster of two nodes with a card each: the smaller card decides what fits, and one that is broken takes no more work.

Both nodes are on this machine. Their cards are simulated: Ray hands out places, and what a node says of its cards is given.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from memloc.run.card_memory import Demand, demands
from memloc.run.pending import pending
from memloc.store import Snapshot, Store
from tests.conftest import planned
from tests.run.clusters import Cluster, started_cluster
from tests.run.programs import Finished, contents

pytestmark = pytest.mark.slow
SWEEP = """
about: A training and the gradients along it.
defaults: {dataset: digits, model: resnet9, width: 0.125, subset: 128, noise: 0.1, epochs: 1, batch_size: 128}
blocks: {one: {stages: {gradients: {epochs: [1]}, evaluate: {}}}}
"""
# What Python runs when it starts. The driver has it too: what it counts by shape has no data.
SITE = """
import importlib.machinery, os, sys, time
from pathlib import Path

FOLDER, ROLE = Path(os.environ["CARDS"]), os.environ.get("CARD_OF_NODE", "large")


def says(name):
    return (FOLDER / name).read_text().split() if (FOLDER / name).exists() else []


def with_cards(module):
    module.smallest_card = lambda *_: module.CardMemory(f"NVIDIA {ROLE}", int((FOLDER / ROLE).read_text()))


def computing(module):
    plain = module.computes
    module.computes = lambda device: plain(device) and ROLE not in says("broken")
    breaks = module.Quarantine.breaks

    def told(self, card):
        (FOLDER / "out").write_text("")
        return breaks(self, card)

    module.Quarantine.breaks = told


def telling(module):
    plain = module.Training.pass_over

    def pass_over(self, *given):
        if self.device.type != "meta":
            from memloc.models.recomputation import is_recomputing

            with open(FOLDER / "told", "a") as told:
                told.write(f"{is_recomputing()} {module.graphed_steps.is_on()}\\n")
            until = time.monotonic() + 200
            while says("broken") == ["small"] and ROLE == "large" and not (FOLDER / "out").exists():
                time.sleep(0.2)  # else everything is done before the other card is known to be broken
                assert time.monotonic() < until
            if ROLE in says("broken") or str(self.config.seed) in says("poison"):
                raise module.torch.AcceleratorError("CUDA error: device-side assert triggered")
        return plain(self, *given)

    module.Training.pass_over = pass_over


class Finder:
    changed = {
        "memloc.run.memory": with_cards,
        "memloc.run.quarantine": computing,
        "memloc.stages.training.loop": telling,
    }

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name not in cls.changed:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            cls.changed[name](module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder)
"""


@dataclass(frozen=True)
class Cards:
    """The cluster, and the folder that says what its cards have, which of them are broken, and on which seed each fails."""

    cluster: Cluster
    folder: Path

    def have(self, **memories: int) -> None:
        for role, memory in memories.items():
            (self.folder / role).write_text(str(memory))

    def fail(self, broken: str = "", poison: str = "") -> None:
        for name, words in {"broken": broken, "poison": poison}.items():
            (self.folder / name).write_text(words)

    def told(self) -> list[str]:
        """Of each epoch that was trained: whether activations were computed again, and whether steps were replayed."""
        file = self.folder / "told"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cards]:
    folder = tmp_path_factory.mktemp("cards")
    (folder / "sitecustomize.py").write_text(SITE)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        patch.setenv("CARDS", str(folder))
        places = [["--num-cpus=1", "--num-gpus=1"]] * 2
        with started_cluster(folder, places, ("env", "CARD_OF_NODE=small")) as running:
            yield Cards(running, folder)


def needs(folder: Path) -> Demand:
    """What most memory is needed for: the gradients."""
    works = pending(planned(folder, SWEEP), Store(str(folder / "s")), Snapshot({}, {}, []), "all", set_aside=False)
    return max(demands(works, folder), key=lambda demand: demand.need.least)


def test_the_smaller_card_decides(tmp_path: Path, cards: Cards) -> None:
    """With activations computed again what is done is the same; and graphs reach the trainings of a cluster too."""
    need = needs(tmp_path).need
    sweep = str(tmp_path / "tiny.yaml"), "--store"
    cards.have(large=int(80e9), small=need.least - 1)
    done = cards.cluster.sweep(tmp_path, *sweep, str(tmp_path / "refused"))
    assert (done.code, cards.told()) == (2, []), done.err
    (line,) = [line for line in done.err.splitlines() if "even with activation checkpointing" in line]
    assert line.startswith("memloc: gradients trajectory of resnet9 on digits with batches of 128 needs ")
    assert "and NVIDIA small has" in line
    cards.have(small=need.plain - 1)
    done = cards.cluster.sweep(tmp_path, *sweep, str(tmp_path / "again"), "--cuda-graphs")
    assert done.code == 0, done.err
    assert "note: gradients trajectory of resnet9 on digits with batches of 128 needs " in done.err
    # The training itself fits as it is. Along it steps are observed, so they are plain whatever the plan says.
    assert sorted(cards.told()) == ["False True", "True True"]
    cards.have(small=need.plain)
    done = cards.cluster.sweep(tmp_path, *sweep, str(tmp_path / "plain"))
    assert done.code == 0, done.err
    assert "note:" not in done.err
    assert sorted(cards.told()) == ["False False", "False False"]
    for table in ("gradients", "evaluation", "examples"):
        assert contents(tmp_path / "again")[table].equals(contents(tmp_path / "plain")[table]), table


SEVERAL = """
about: Trainings alone.
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 40, noise: 0.1, epochs: 1, batch_size: 20}
blocks: {one: {axes: {seed: [0, 1, 2]}}}
"""


def several(folder: Path, cards: Cards, **fail: str) -> tuple[Finished, int]:
    """Trainings on cards of which some fail; how it ended, and the number of trainings that are committed."""
    (folder / "several.yaml").write_text(SEVERAL)
    cards.have(large=int(80e9), small=int(80e9))
    cards.fail(**fail)
    done = cards.cluster.sweep(folder, str(folder / "several.yaml"), "--store", str(folder / "store"))
    cards.fail()
    return done, len(Store(str(folder / "store")).snapshot().trainings())


def test_a_broken_card_takes_no_more_work(tmp_path: Path, cards: Cards) -> None:
    """No trial fails by it: each has another try, on the other card."""
    done, trained = several(tmp_path, cards, broken="small")
    assert (done.code, trained) == (0, 3), done.err
    (line,) = [line for line in done.err.splitlines() if "takes no more work" in line]
    words = "takes no more work in this run; it has failed again and again"  # its number is Ray's, by the hidden cards
    assert re.search(rf"GPU -?\d+ of {re.escape(platform.node())} {words}", line)
    assert "CUDA error: device-side assert triggered" in line


def test_where_no_card_is_left_the_run_ends(tmp_path: Path, cards: Cards) -> None:
    done, trained = several(tmp_path, cards, broken="small large")
    assert (done.code, trained) == (1, 0), done.err
    (line,) = [line for line in done.err.splitlines() if "no GPU is left that computes" in line]
    assert line.startswith("memloc: no GPU is left that computes; the last one was GPU ")
    assert "everything committed is kept. To go on when that is mended: " in done.err


def test_a_trial_that_fails_on_every_card_takes_none_away(tmp_path: Path, cards: Cards) -> None:
    done, trained = several(tmp_path, cards, poison="2")
    assert (done.code, trained) == (1, 2), done.err
    assert done.err.count("memloc: failed: train of trial ") == 1
    assert "takes no more work" not in done.err
