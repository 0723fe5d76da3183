"""Does `fast` count as many neurons as `definition`? The same searches by both, and what their means say.

    python -m benchmarks.flip_estimators [--store URI]

Runs benchmarks/flip-estimators.yaml (about a quarter of an hour on two cores; what is committed is not run again), then
prints the mean counts with their intervals and the ratio. Exit code 1 where a mean lies outside the other's interval.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import memloc
from memloc.analysis.findings import in_brackets
from memloc.seeds import stream
from memloc.statistics import Interval, auc, bootstrap_crossed

SWEEP = Path(__file__).with_name("flip-estimators.yaml")
ESTIMATORS = ("definition", "fast")

Floats = npt.NDArray[np.float64]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="./memloc-store")
    store = parser.parse_args().store
    subprocess.run([sys.executable, "-m", "memloc", "sweep", str(SWEEP), "--store", store], check=True)
    tables = {name: counts(store, name) for name in ESTIMATORS}
    agreed = [compare("clean", tables, False), compare("noisy", tables, True)]
    for name, (values, noisy) in tables.items():
        print(f"AUC, {name}: {auc(-values.mean(axis=0), noisy):.3f}")
    return 0 if all(agreed) else 1


def counts(store: str, estimator: str) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """(counts: float64[repeats, examples], which examples are noisy) of the eligible examples in order."""
    opened = memloc.open_store(store)
    analyses: list[dict[str, Any]] = opened.table("analyses", sweep=SWEEP.stem).to_pylist()
    mine = [a["analysis"] for a in analyses if json.loads(a["config"]).get("estimator") == estimator]
    flips = opened.pandas("flips", sweep=SWEEP.stem)
    flips = flips[flips.analysis.isin(mine) & flips.eligible]
    table = flips.pivot(index="repeat", columns="example", values="count")
    noisy = flips.drop_duplicates("example").set_index("example").noisy.loc[table.columns]
    return table.to_numpy(np.float64), noisy.to_numpy(bool)


def compare(name: str, tables: dict[str, tuple[Floats, npt.NDArray[np.bool_]]], noisy: bool) -> bool:
    """Prints both means and their ratio; does each mean lie in the other's 95 % interval?"""
    chosen = {e: values[:, of == noisy] for e, (values, of) in tables.items()}
    found = {e: bootstrap_crossed(values, stream(0, "estimators", e, name)) for e, values in chosen.items()}
    definition, fast = (found[e] for e in ESTIMATORS)
    assert definition is not None
    assert fast is not None
    difference = bootstrap_crossed(chosen["fast"] - chosen["definition"], stream(0, "estimators", "difference", name))
    assert difference is not None
    print(
        f"{name}: definition {in_brackets(definition, 2)}, fast {in_brackets(fast, 2)}, "
        f"ratio {fast.value / definition.value:.3f}, difference {in_brackets(difference, 2)}"
    )
    return within(definition.value, fast) and within(fast.value, definition)


def within(value: float, interval: Interval) -> bool:
    return interval.lo is not None and interval.hi is not None and interval.lo <= value <= interval.hi


if __name__ == "__main__":
    sys.exit(main())
