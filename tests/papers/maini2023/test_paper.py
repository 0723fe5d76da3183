"""The paper's numbers, typed again from the paper: those that the scorecard shows beside ours, on an empty store."""

from __future__ import annotations

from pathlib import Path

import pytest

from memloc import sweep
from memloc.papers.maini2023.dropout.accuracies import CELL
from memloc.papers.registry import paper
from memloc.stages import REGISTRY
from memloc.stages.instrument import LEAST_MEMORIZED
from tests.papers.maini2023.simulated import Simulated

# Percent. Before dropping: clean, noisy, test; after.
TABLE_1 = """
cifar10 99.9 99.3 79.3 90.8 3.1 82.7
mnist 100 100 99.0 99.2 0.1 99.3
svhn 99.9 99.6 89.5 95.8 1.4 89.6
"""

# Percent. p_gen, p_mem, clean, noisy.
TABLE_2 = """
0.1 0.1 84.2 2.9
0.2 0.1 86.9 2.8
0.3 0.1 87.1 2.9
0.4 0.1 89.9 3.1
0.5 0.1 92.0 3.9
0.6 0.1 93.0 4.9
0.1 0.2 86.9 2.8
0.2 0.2 88.2 3.0
0.3 0.2 90.8 3.1
0.4 0.2 91.7 3.4
0.5 0.2 93.6 4.7
0.6 0.2 95.0 6.9
"""

# Percent, clean and noisy; "p = 0.4" is read both ways.
TABLE_3 = """
standard.keep0.4 100 99.5
standard.keep0.6 100 99.5
sparse.keep0.4 100 99.8
sparse.keep0.6 100 99.8
example_tied 90.8 3.1
"""

IN_THE_TEXT = {
    "G2": -0.75,
    "G3.noise0.01": 1.0,
    "G3.noise0.99": None,
    "G3.trend": None,
    "G4": None,
    "G5": 10.0,
    "L1.cifar10": None,
    "L1.cifar10.resnet50": None,
    "L1.cifar10.vit_small": None,
    "W3.cifar10.resnet50": None,
    "W3.mnist.resnet50": None,
    "R2.mnist.during": 0.7,
    "R2.mnist.end": 0.1,
    "F1.noisy": 5.1,
    "F1.clean": 15.7,
    "F1.ratio": 0.32484,
    "F2": 0.9,
    "F3": 0.1,
    "F4": None,
    "F5": None,
    "D1.flips": 0.89,
    "D1.flips.single": None,
    "D1.learning_time": 0.87,
    "D1.second_split": 0.93,
    "E2.trend": None,
    "E4.cifar10.cost": 0.092,
    "E4.mnist.cost": 0.008,
    "E4.svhn.cost": 0.042,
    "E4.cifar10.gap": 0.125,  # 99.9 − 79.3 − (90.8 − 82.7)
    "E4.mnist.gap": 0.011,  # 100 − 99.0 − (99.2 − 99.3)
    "E4.svhn.gap": 0.042,  # 99.9 − 89.5 − (95.8 − 89.6)
    "E5.learning_time": None,
    "E5.c_score": None,
    "A1.cifar10.gradients": 1.0,
    "A1.cifar10.rewind": None,
    "A1.cifar10.retrain": 1.0,
    "A1.mnist.gradients": 1.0,
    "A1.mnist.rewind": None,
    "A1.mnist.retrain": 1.0,
}


def expected() -> dict[str, float | None]:
    """{id: number}."""
    found: dict[str, float | None] = dict(IN_THE_TEXT)
    for dataset in ("cifar10", "mnist", "svhn"):
        for noise in (".noise0.05", "", ".noise0.2"):
            found[f"R1.{dataset}{noise}"] = None  # "most layers"
            for model in ("", ".resnet50", ".vit_small"):
                found[f"G1.{dataset}{model}{noise}"] = 1.0
                found[f"W1.{dataset}{model}{noise}"] = found[f"W2.{dataset}{model}{noise}"] = None
    parts = ("before.clean", "before.noisy", "before.test", "after.clean", "after.noisy", "after.test")
    for dataset, *percents in map(str.split, TABLE_1.strip().splitlines()):
        found |= {f"E1.{dataset}.{part}": float(p) / 100 for part, p in zip(parts, percents, strict=True)}
    for p_gen, p_mem, clean, noisy in map(str.split, TABLE_2.strip().splitlines()):
        cell = f"E2.p_gen{p_gen}.p_mem{p_mem}"
        found |= {f"{cell}.clean": float(clean) / 100, f"{cell}.noisy": float(noisy) / 100}
    for row, clean, noisy in map(str.split, TABLE_3.strip().splitlines()):
        found |= {f"E3.{row}.clean": float(clean) / 100, f"E3.{row}.noisy": float(noisy) / 100}
    return found


def test_every_number_of_the_paper(tmp_path: Path) -> None:
    simulated = Simulated(tmp_path)
    simulated.training(noise=0.0, evaluated=None)
    found = {name: j.paper for name, j in simulated.judged().items()}
    want = expected()
    assert set(found) == set(want)
    assert {k: v for k, v in found.items() if v is None} == {k: v for k, v in want.items() if v is None}
    assert {k: v for k, v in found.items() if v is not None} == {
        k: pytest.approx(v, rel=1e-4) for k, v in want.items() if v is not None
    }


def test_what_is_beside_the_numbers() -> None:
    """Of which noise rates a claim speaks, which claims need memorization, from when on it is one, and Table 1's cell."""
    assert {c.id: c.rates for c in paper().claims if c.rates != (0.0, 0.5)} == {"G1": (0.05, 0.2), "G5": (0.05, 0.2)}
    assert {c.id for c in paper().claims if not c.memorizing} == {"G3", "E1", "E2", "E3"}
    assert LEAST_MEMORIZED == 0.95
    assert CELL == {"p_gen": 0.3, "p_mem": 0.2}


def test_every_exhibit_says_what_runs_it() -> None:
    """Its commands select trainings of shipped sweeps; its ids are its own, those of its claims are the paper's."""
    exhibits = [*(exhibit for section in paper().sections for exhibit in section.exhibits), *paper().pictures]
    loaded = {name: sweep.load(path, REGISTRY) for name, path in sweep.shipped().items()}
    for exhibit in exhibits:
        for command in filter(None, (exhibit.first, exhibit.command)):
            memloc, word, name, *options = command.split()
            assert (memloc, word, set(options[::2]) - {"--only"}) == ("memloc", "sweep", set()), exhibit.id
            assert sweep.only(loaded[name].entries, options[1::2], REGISTRY), exhibit.id
        assert set(exhibit.claims) <= {claim.id for claim in paper().claims}
    assert len({exhibit.id for exhibit in exhibits}) == len(exhibits)
