"""The paper's claims as data (science.md, The paper's numbers): the place of each, its numbers, and what it needs.

A claim has numbers by setting (data set, model, noise rate) and part. Known slips of the paper are noted with the claim.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

Numbers = Mapping[str, float | None]  # {part: the paper's number, None where it has words alone}


@dataclass(frozen=True)
class Scope:
    """A setting of the paper."""

    dataset: str = "cifar10"
    model: str = "resnet9"
    noise: float = 0.1


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    scopes: the paper's settings with their numbers. stage: the stage whose analyses it needs. floats: the paper has one
    setting; the ids do not name it, and the nearest setting of the store takes its place if it is missing. rates: the range
    of noise rates of the claim. memorizing: all of its numbers need trainings that memorized (else only some, or none).
    """

    id: str
    where: str
    text: str
    scopes: Mapping[Scope, Numbers]
    stage: str
    floats: bool = False
    rates: tuple[float, float] = (0.0, 0.5)
    memorizing: bool = True


HERE = Scope()
PRESENT: Numbers = {"": None}


def _grid(numbers: Numbers, models: tuple[str, ...] = ("resnet9", "resnet50", "vit_small")) -> dict[Scope, Numbers]:
    """The three data sets × models × noise rates of Figures 12–18."""
    return {Scope(*s): numbers for s in product(("cifar10", "mnist", "svhn"), models, (0.05, 0.1, 0.2))}


TABLE_1 = {  # before clean, noisy, test; after clean, noisy, test
    "cifar10": (0.999, 0.993, 0.793, 0.908, 0.031, 0.827),
    "mnist": (1.0, 1.0, 0.990, 0.992, 0.001, 0.993),
    "svhn": (0.999, 0.996, 0.895, 0.958, 0.014, 0.896),
}
ACCURACIES = tuple(f"{when}.{what}" for when in ("before", "after") for what in ("clean", "noisy", "test"))
COSTS = {"cifar10": 0.092, "mnist": 0.008, "svhn": 0.042}

TABLE_2 = {  # p_mem: (clean, noisy) for p_gen 0.1, 0.2, … 0.6
    0.1: ((0.842, 0.029), (0.869, 0.028), (0.871, 0.029), (0.899, 0.031), (0.920, 0.039), (0.930, 0.049)),
    0.2: ((0.869, 0.028), (0.882, 0.030), (0.908, 0.031), (0.917, 0.034), (0.936, 0.047), (0.950, 0.069)),
}
P_GEN = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
TABLE_1_CELL = (0.3, 0.2)  # for CIFAR-10; the paper does not say which p_gen and p_mem Table 1 has

TABLE_3 = {  # both readings of the dropout's 0.4: as the share that is kept, and as the share that is dropped
    **{f"{dropout}.keep{keep}": row for dropout, row in (("standard", (1.0, 0.995)), ("sparse", (1.0, 0.998)))
       for keep in (0.4, 0.6)},
    "example_tied": (0.908, 0.031),
}  # fmt: skip


def cell(p_gen: float, p_mem: float) -> str:
    """The name of a cell of Table 2 in ids."""
    return f"p_gen{p_gen:g}.p_mem{p_mem:g}"


TIED_CELLS: Mapping[str, Mapping[str, float]] = {cell(g, m): {"p_gen": g, "p_mem": m} for m in TABLE_2 for g in P_GEN}


def wants(claim: Claim, part: str) -> dict[str, object]:
    """The training fields that a number needs, besides data set, model and noise rate. A tuple: it needs all values."""
    if claim.id == "G3":
        return {"noise": {"noise0.01": 0.01, "noise0.99": (0.01, 0.99)}.get(part, (0.01, 0.1, 0.99)), "dropout": "none"}
    if claim.id == "E2":
        return {"dropout": "example_tied", **TIED_CELLS.get(part.rpartition(".")[0], {"p_gen": P_GEN})}
    if claim.id == "E3" and not part.startswith("example_tied"):
        dropout, keep, _ = re.split(r"\.(?=keep|clean|noisy)", part)
        return {"dropout": dropout, "keep": float(keep.removeprefix("keep"))}
    if claim.stage == "evaluate":
        return {"dropout": "example_tied", "p_gen": 0.4 if claim.id == "E3" else TABLE_1_CELL[0], "p_mem": TABLE_1_CELL[1]}
    return {"dropout": "none"}


def _cells() -> dict[str, float | None]:
    cells = {
        f"{cell(g, m)}.{what}": number
        for m, row in TABLE_2.items()
        for g, pair in zip(P_GEN, row, strict=True)
        for what, number in zip(("clean", "noisy"), pair, strict=True)
    }
    return {**cells, "trend": None}


CLAIMS = (
    Claim(
        "G1",
        "§4.1, Figures 1, 12–14",
        "the gradient norm of the noisy examples is about that of all clean ones, and no layer stands out",
        _grid({"": 1.0}),
        "gradients",
        rates=(0.05, 0.2),
    ),
    Claim(
        "G2",
        "§4.2, Figure 2",
        "while noisy examples are memorized, the cosine of clean and noisy gradients is below -0.75 at every layer",
        {HERE: {"": -0.75}},
        "gradients",
        floats=True,
    ),
    Claim(
        "G3",
        "A.2, Figure 11",
        "the ratio of noisy to clean gradient norms: slightly below 1 at 1 % noise, very high at 99 %",
        {HERE: {"noise0.01": 1.0, "noise0.99": None, "trend": None}},
        "gradients",
        floats=True,
        memorizing=False,
    ),
    Claim(
        "G4",
        "§4.2, Figure 1",
        "clean and noisy gradients cancel: the norm of their sum is below both",
        {HERE: PRESENT},
        "gradients",
        floats=True,
    ),
    Claim(
        "G5",
        "§1, §4.1",
        "per example, the noisy gradient norm is an order of magnitude above the clean one",
        {HERE: {"": 10.0}},
        "gradients",
        floats=True,
        rates=(0.05, 0.2),
    ),
    Claim(
        "L1",
        "§5.1, Figure 3",
        "noisy accuracy is below 20 % for long, yet rewinding one layer to then mostly keeps it (§5.1: until epoch 30; "
        "§4.2 dates memorization to epochs 10–30)",
        {Scope(model=m): PRESENT for m in ("resnet9", "resnet50", "vit_small")},
        "rewind",
    ),
    Claim(
        "W1",
        "§5.1, Figures 3, 15–17",
        "rewinding the last layers has little impact on noisy accuracy",
        _grid(PRESENT),
        "rewind",
    ),
    Claim(
        "W2",
        "§5.1, Figures 3, 15–17",
        "the layers critical for noisy examples are those critical for clean ones",
        _grid(PRESENT),
        "rewind",
    ),
    Claim(
        "W3",
        "B.1, Figures 15, 16",
        "the critical group of ResNet-50 is layer3 on CIFAR-10, layer4 on MNIST",
        {Scope(d, "resnet50"): PRESENT for d in ("cifar10", "mnist")},
        "rewind",
    ),
    Claim(
        "R1",
        "§5.2, Figures 4, 18",
        "retrained on clean examples alone, most layers reach about 100 % on noisy ones they never saw",
        _grid({"": 1.0}, ("resnet9",)),
        "retrain",
    ),
    Claim(
        "R2",
        "§5.2, Figure 4b",
        "layer 5 (res2.conv1) on MNIST passes 70 % on noisy examples while it is retrained, and ends below 10 %",
        {Scope("mnist"): {"during": 0.7, "end": 0.1}},
        "retrain",
    ),
    Claim(
        "F1",
        "§6.1, Figure 5a",
        "noisy examples need fewer neurons to flip",
        {HERE: {"noisy": 5.1, "clean": 15.7, "ratio": 5.1 / 15.7}},
        "flips",
        floats=True,
    ),
    Claim(
        "F2",
        "§6.1",
        "more than 90 % of the noisy examples need fewer than 10 neurons",
        {HERE: {"": 0.9}},
        "flips",
        floats=True,
    ),
    Claim(
        "F3",
        "§6.1, Figure 5b",
        "after flipping a noisy example more accuracy is left on the training set than after a clean one",
        {HERE: {"": 0.1}},
        "flips",
        floats=True,
    ),
    Claim(
        "F4",
        "§6.1, Figure 5c",
        "the neurons that flip clean and noisy examples are in the same layers",
        {HERE: PRESENT},
        "flips",
        floats=True,
    ),
    Claim(
        "F5",
        "§6.2",
        "flipping clean examples costs more test accuracy than flipping noisy ones",
        {HERE: PRESENT},
        "flips",
        floats=True,
    ),
    Claim(
        "D1",
        "§6.1",
        "mislabeled examples are found by the number of neurons, and by learning and second-split forgetting time",
        {HERE: {"flips": 0.89, "flips.single": None, "learning_time": 0.87, "second_split": 0.93}},
        "detection",
        floats=True,
    ),
    Claim(
        "E1",
        "§6.2, Table 1",
        "dropping the memorization neurons takes the noisy labels away and costs little else (the paper does not state "
        "p_gen, p_mem; its CIFAR-10 row is (0.3, 0.2))",
        {Scope(d): dict(zip(ACCURACIES, row, strict=True)) for d, row in TABLE_1.items()},
        "evaluate",
        memorizing=False,
    ),
    Claim(
        "E2",
        "§6.2, Table 2",
        "so it does for all p_gen and p_mem, and clean accuracy grows with p_gen",
        {HERE: _cells()},
        "evaluate",
        memorizing=False,
        floats=True,
    ),
    Claim(
        "E3",
        "§6.2, Table 3",
        "standard dropout and sparse networks still memorize (the paper's example-tied row is Table 2's cell (0.3, 0.2), "
        "not (0.4, 0.2))",
        {
            HERE: {
                f"{row}.{what}": number
                for row, pair in TABLE_3.items()
                for what, number in zip(("clean", "noisy"), pair, strict=True)
            }
        },
        "evaluate",
        memorizing=False,
        floats=True,
    ),
    Claim(
        "E4",
        "§6.2",
        "dropping costs few clean examples and narrows the generalization gap (§6.2 counts from 100 %; "
        "Table 1's differences are 0.1 points smaller)",
        {Scope(d): {"cost": COSTS[d], "gap": round((row[0] - row[2]) - (row[3] - row[5]), 3)} for d, row in TABLE_1.items()},
        "evaluate",
    ),
    Claim(
        "E5",
        "§6.2, Figure 7",
        "the clean examples that dropping forgets are atypical",
        {HERE: {"learning_time": None, "c_score": None}},
        "evaluate",
        floats=True,
    ),
    Claim(
        "A1",
        "§7, B.2, Figures 8, 9, 19",
        "atypical examples behave as mislabeled ones do, but every layer can be retrained (§7 swaps the two set sizes)",
        {Scope(d, noise=0.0): {"gradients": 1.0, "rewind": None, "retrain": 1.0} for d in ("cifar10", "mnist")},
        "gradients",
    ),
)
