"""python -m benchmarks.coverage [--json] [--transformed]: how often the 95 % intervals over trainings hold the truth."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.coverage.effects import EFFECTS, Effect, How, Simulation
from benchmarks.coverage.scores import MeanCount, Ranking, TwoCounts
from benchmarks.coverage.seeds_only import Family, Norms
from benchmarks.coverage.shares import Accuracy, Gap, Groups
from memloc.commands.text_table import text_table
from memloc.seeds import stream

TRAININGS = (2, 3, 5, 30)
CELLS = 9  # of a family: the groups of a ResNet-9
NUMBERS = 4_000_000  # drawn at once, at most: what fits into memory several times
SIMULATIONS: tuple[Simulation, ...] = (
    *(Accuracy(*setting) for setting in ((0.5, 100), (0.9, 140), (0.98, 140), (0.9, 1_000), (0.99, 1_000), (0.9, 10_000))),
    Gap(Accuracy(0.99, 1_000), Accuracy(0.9, 360)),
    Groups((0.3, 0.5, 0.7, 0.8, 0.84, 0.95, 0.97, 0.99, 0.999), 1_000, "none near 0.9"),
    Groups((0.3, 0.5, 0.7, 0.8, 0.901, 0.95, 0.97, 0.99, 0.999), 1_000, "one at 0.901"),
    Groups((0.901,) * 9, 1_000, "all at 0.901"),
    MeanCount(20),
    MeanCount(100),
    *(TwoCounts(n, n, kind) for kind in ("difference", "ratio") for n in (20, 100)),
    *(Ranking(*setting) for setting in ((0.8, 50, 50), (0.95, 50, 50), (0.9, 20, 20), (0.9, 100, 100))),
    *(Ranking(*setting, averaged=True, anew=0.5) for setting in ((0.8, 50, 50), (0.9, 50, 50))),
    Norms(),
    Family(factor=4.0),
    Family(factor=4.0, widest=True),
    Family(shared=0.5),
    Family(shared=0.9),
)


@dataclass(frozen=True)
class Coverage:
    """How often the interval held the truth. k: trainings. error: the standard error of `coverage`."""

    estimator: str
    setting: str
    effect: float
    unit: str
    k: int
    how: How
    coverage: float
    error: float


def coverage(simulation: Simulation, effect: Effect, k: int, how: How, runs: int) -> Coverage:
    """By `runs` keyed simulations, each of them of a whole family where cells are pooled."""
    cells = CELLS if how == "pooled" else 1
    key = (*simulation.name, effect.unit, round(100 * effect.size), k, how)
    generator, truth, held = stream(0, "coverage", *key), simulation.truth(effect, k), []
    at_once = max(1, NUMBERS // (cells * k * 200))
    for start in range(0, runs, at_once):
        lo, hi = simulation.limits(generator, effect, (min(at_once, runs - start), cells, k), how)
        held.append((lo <= truth + 1e-12) & (truth <= hi + 1e-12))  # shares of groups are rounded
    share = float(np.mean(np.concatenate(held)))
    error = float(np.sqrt(share * (1 - share) / runs))
    return Coverage(*simulation.name, effect.size, effect.unit, k, how, share, error)


def coverages(simulations: tuple[Simulation, ...], transformed: bool, fraction: float) -> Iterator[Coverage]:
    """Of all settings, effects and numbers of trainings. transformed: of the estimators that can be formed on that scale."""
    for simulation in simulations:
        for effect in EFFECTS:
            if isinstance(simulation, Norms) and effect.size == 0:
                continue  # neither seeds nor examples move anything
            runs = max(1, round(simulation.runs * fraction))
            if simulation.pools and not transformed:
                yield coverage(simulation, effect, 2, "pooled", max(1, runs // 4))
            for k in TRAININGS if simulation.apart else ():
                if not transformed or simulation.transforms:
                    yield coverage(simulation, effect, k, "transformed" if transformed else "own", runs)


def table(results: list[Coverage]) -> str:
    """The lowest coverage over the effects of each unit."""
    columns = [(2, True), *((k, False) for k in TRAININGS)]
    rows: dict[tuple[str, str, str], dict[tuple[int, bool], float]] = {}
    for r in results:
        row = rows.setdefault((r.estimator, r.setting, r.unit), {})
        at = r.k, r.how == "pooled"
        row[at] = min(row.get(at, 1.0), r.coverage)
    header = ["estimator", "setting", "seeds' effects in", *(f"{k}{' pooled' if p else ''}" for k, p in columns)]
    return text_table(header, [[*key, *(f"{row[c]:.3f}" if c in row else "" for c in columns)] for key, row in rows.items()])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--json", action="store_true", help="every effect by itself")
    parser.add_argument("--transformed", action="store_true", help="form intervals of shares by logits, of AUCs by probits")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the simulations")
    options = parser.parse_args()
    if not 0 < options.fraction <= 1:
        parser.error(f"--fraction {options.fraction}: must be above 0 and at most 1")
    clock = time.perf_counter()
    results = list(coverages(SIMULATIONS, options.transformed, options.fraction))
    print(json.dumps([asdict(r) for r in results]) if options.json else table(results))
    print(f"{time.perf_counter() - clock:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
