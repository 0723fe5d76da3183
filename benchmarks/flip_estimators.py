"""Does `fast` count as many neurons as `definition`? The same searches by both, and what their counts say.

    python -m benchmarks.flip_estimators [--store URI]

Runs benchmarks/flip-estimators.yaml (about ten minutes on two cores; what is committed is not run again), then prints the
mean counts with their intervals, their ratio, the AUCs, and how the closed neurons spread over the layers. Exit code 1 where
a mean lies outside the other's 95 % interval. Whether the two are equal to within 5 % is for a larger sample to say
(science.md's criterion: the 90 % interval of the ratio within ±5 %, AUC within 0.01, layers within 0.05).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import memloc
from memloc.analysis.findings import in_brackets
from memloc.seeds import stream
from memloc.statistics import Floats, Interval, auc, bootstrap_crossed, bootstrap_crossed_ratio

SWEEP = Path(__file__).with_name("flip-estimators.yaml")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="./memloc-store")
    store = parser.parse_args().store
    subprocess.run([sys.executable, "-m", "memloc", "sweep", str(SWEEP), "--store", store], check=True)
    definition, fast = (searches(store, name) for name in ("definition", "fast"))
    agreed = [compare(definition, fast, noisy) for noisy in (False, True)]
    print(f"AUC: definition {score(definition):.3f}, fast {score(fast):.3f}")
    for noisy in (False, True):
        distance = total_variation(shares(definition, noisy), shares(fast, noisy))
        print(f"layers of the closed neurons, {name_of(noisy)}: total variation {distance:.3f}")
    return 0 if all(agreed) else 1


def name_of(noisy: bool) -> str:
    return "noisy" if noisy else "clean"


def searches(store: str, estimator: str) -> pd.DataFrame:
    """The eligible rows of table `flips` by one estimator."""
    opened = memloc.open_store(store)
    analyses = opened.table("analyses", sweep=SWEEP.stem).to_pylist()
    mine = [a["analysis"] for a in analyses if json.loads(a["config"]).get("estimator") == estimator]
    flips = opened.pandas("flips", sweep=SWEEP.stem)
    return flips[flips.analysis.isin(mine) & flips.eligible]


def counts(flips: pd.DataFrame, noisy: bool) -> Floats:
    """float64[repeats, examples]."""
    table: Floats = flips[flips.noisy == noisy].pivot(index="repeat", columns="example", values="count").to_numpy(np.float64)
    return table


def compare(definition: pd.DataFrame, fast: pd.DataFrame, noisy: bool) -> bool:
    """Prints both means and their ratio; does each mean lie in the other's 95 % interval?"""
    one, other = counts(fast, noisy), counts(definition, noisy)
    of_fast = bootstrap_crossed(one, stream(0, "estimators", "fast", int(noisy)))
    of_definition = bootstrap_crossed(other, stream(0, "estimators", "definition", int(noisy)))
    ratio = bootstrap_crossed_ratio(one, other, stream(0, "estimators", "ratio", int(noisy)), level=0.9)
    assert of_fast is not None
    assert of_definition is not None
    assert ratio is not None
    print(
        f"{name_of(noisy)}: definition {in_brackets(of_definition, 2)}, fast {in_brackets(of_fast, 2)}, "
        f"ratio {in_brackets(ratio, 3)} (90 %)"
    )
    return within(of_definition.value, of_fast) and within(of_fast.value, of_definition)


def within(value: float, interval: Interval) -> bool:
    return interval.lo is not None and interval.hi is not None and interval.lo <= value <= interval.hi


def score(flips: pd.DataFrame) -> float:
    """AUC of − mean count for the noisy examples."""
    means = flips.groupby("example").agg(count=("count", "mean"), noisy=("noisy", "first"))
    found = auc(-means["count"].to_numpy(np.float64), means["noisy"].to_numpy(bool))
    assert found is not None
    return found


def shares(flips: pd.DataFrame, noisy: bool) -> dict[str, float]:
    """{layer: share of the closed neurons}."""
    return dict(flips[flips.noisy == noisy].layers.explode().dropna().value_counts(normalize=True).items())  # type: ignore[arg-type]


def total_variation(one: dict[str, float], other: dict[str, float]) -> float:
    return sum(abs(one.get(layer, 0.0) - other.get(layer, 0.0)) for layer in {*one, *other}) / 2


if __name__ == "__main__":
    sys.exit(main())
