"""A cluster with two cards of different memory: when a sweep begins, the smaller one decides what fits, and how.

Both nodes are on this machine. Their cards are simulated: Ray hands out places, and what a node says of its cards is given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from memloc.run.card_memory import Demand, demands
from memloc.run.pending import pending
from memloc.store import Snapshot, Store
from tests.conftest import planned
from tests.run.clusters import Cluster, started_cluster
from tests.run.programs import contents

pytestmark = pytest.mark.slow
SWEEP = """
about: A training and the gradients along it.
defaults: {dataset: digits, model: resnet9, width: 0.125, subset: 128, noise: 0.1, epochs: 1, batch_size: 128}
blocks: {one: {stages: {gradients: {epochs: [1]}, evaluate: {}}}}
"""
# What Python runs when it starts. The driver has it too: what it counts by shape has no data.
SITE = """
import importlib.machinery, os, sys
from pathlib import Path

FOLDER = Path(os.environ["CARDS"])


def with_cards(module):
    role = os.environ.get("CARD_OF_NODE", "large")
    module.smallest_card = lambda *_: module.CardMemory(f"NVIDIA {role}", int((FOLDER / role).read_text()))


def telling(module):
    plain = module.Training.pass_over

    def pass_over(self, *given):
        if self.device.type != "meta":
            from memloc.models.recomputation import is_recomputing

            with open(FOLDER / "told", "a") as told:
                told.write(f"{is_recomputing()} {module.graphed_steps.is_on()}\\n")
        return plain(self, *given)

    module.Training.pass_over = pass_over


class Finder:
    changed = {"memloc.run.memory": with_cards, "memloc.stages.training.loop": telling}

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
    """The cluster, and the folder that says what its cards have."""

    cluster: Cluster
    folder: Path

    def have(self, **memories: int) -> None:
        for role, memory in memories.items():
            (self.folder / role).write_text(str(memory))

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
