"""Does `fast` count as many neurons as `definition`? What sweeps/flip-study.yaml says.

    python -m benchmarks.flip_study [--store URI] [--figures FOLDER]

Runs the sweep (what is committed is not run again), prints the tables of docs/flips.md in Markdown and draws its figures.
Exit code 1 where `fast` with 16 reference images misses science.md's criterion: the 90 % interval of the ratio of mean
counts within ±5 %, clean and noisy; AUC within 0.01; layers' shares within a total variation of 0.05.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import memloc
from benchmarks.bootstrap import bootstrap_crossed, bootstrap_crossed_ratio, bootstrap_ratio
from memloc.seeds import stream
from memloc.statistics import Floats, Interval, auc, in_brackets

SWEEP = Path(memloc.__file__).parent.parent / "sweeps" / "flip-study.yaml"
SETS = {False: "clean", True: "noisy"}
WITHIN = {"ratio": 0.05, "auc": 0.01, "layers": 0.05}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="./memloc-store")
    parser.add_argument("--figures", type=Path, help="where to draw them; default: nowhere")
    options = parser.parse_args()
    subprocess.run([sys.executable, "-m", "memloc", "sweep", str(SWEEP), "--store", options.store], check=True)
    flips = searches(options.store)
    definition = flips[flips.estimator == "definition"]
    fast = {k: flips[flips.estimator == f"fast {k}"] for k in sorted(references(flips))}
    found = {k: compare(of, definition) for k, of in fast.items()}
    named = {f"fast, {k} images": c for k, c in found.items()}
    print(counted(named, definition))
    print(alike(named, definition))
    print(whole_batch(flips, definition, fast[16]))
    print(layers({"definition": definition, "fast, 16 images": fast[16]}))
    if options.figures:
        from benchmarks import flip_figures  # takes the extra `report`

        options.figures.mkdir(parents=True, exist_ok=True)
        flip_figures.draw(options.figures, definition, fast, {k: c.ratio for k, c in found.items()})
    return 0 if found[16].equivalent else 1


# --- data -------------------------------------------------------------------------------------------------------------


def searches(store: str) -> pd.DataFrame:
    """The eligible rows of table `flips`, with an `estimator`: definition, definition all, or fast N."""
    opened = memloc.open_store(store)
    named = {}
    for row in opened.table("analyses", sweep=SWEEP.stem).to_pylist():
        config = json.loads(row["config"])
        if row["stage"] == "flips":
            defined = "definition all" if config.get("batch") == "all" else "definition"
            named[row["analysis"]] = defined if "reference" not in config else f"fast {config['reference']}"
    flips = opened.pandas("flips", sweep=SWEEP.stem)
    flips = flips.assign(estimator=flips.analysis.map(named), training=flips.trial)
    return flips[flips.eligible]


def references(flips: pd.DataFrame) -> list[int]:
    return [int(name.split()[1]) for name in flips.estimator.unique() if name.startswith("fast")]


def counts(flips: pd.DataFrame, noisy: bool) -> pd.DataFrame:
    """Rows: (training, repeat); columns: (training, example); NaN where an example is another training's."""
    return flips[flips.noisy == noisy].pivot(index=["trial", "repeat"], columns=["training", "example"], values="count")


# --- comparison -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """An estimator against another on the same searches; by set where a set is meant ({noisy?: …}).

    ratio: of mean counts, 90 %, (training, repeat) resampled as clusters, which is science.md's interval; wide: examples
    resampled too. rank: Spearman's correlation of examples' mean counts. distance: of the distributions of
    counts (Kolmogorov–Smirnov). layers: total variation of the layers' shares of closed neurons.
    """

    mean: dict[bool, Interval]
    ratio: dict[bool, Interval]
    wide: dict[bool, Interval]
    rank: dict[bool, float]
    distance: dict[bool, float]
    layers: dict[bool, float]
    auc: float
    other_auc: float

    @property
    def equivalent(self) -> bool:
        edges = [edge for r in self.ratio.values() for edge in (r.lo, r.hi)]
        near = all(edge is not None and abs(edge - 1) <= WITHIN["ratio"] for edge in edges)
        same_layers = all(d <= WITHIN["layers"] for d in self.layers.values())
        return near and same_layers and abs(self.auc - self.other_auc) <= WITHIN["auc"]


def compare(one: pd.DataFrame, other: pd.DataFrame) -> Comparison:
    return Comparison(
        mean={s: mean(one, s) for s in SETS},
        ratio={s: ratio(one, other, s) for s in SETS},
        wide={s: wide_ratio(one, other, s) for s in SETS},
        rank={s: rank_correlation(one, other, s) for s in SETS},
        distance={s: distance(one, other, s) for s in SETS},
        layers={s: total_variation(shares(one, s), shares(other, s)) for s in SETS},
        auc=mean_auc(one),
        other_auc=mean_auc(other),
    )


def mean(flips: pd.DataFrame, noisy: bool) -> Interval:
    values: Floats = counts(flips, noisy).to_numpy(np.float64)
    found = bootstrap_crossed(values, stream(0, "flip study", "mean", int(noisy)))
    assert found is not None
    return found


def ratio(one: pd.DataFrame, other: pd.DataFrame, noisy: bool) -> Interval:
    both = pd.concat([one.assign(above=True), other.assign(above=False)])
    both = both[both.noisy == noisy]
    clusters = both.groupby(["trial", "repeat"]).ngroup().to_numpy()
    generator = stream(0, "flip study", "ratio", int(noisy))
    values = both["count"].to_numpy(np.float64)
    found = bootstrap_ratio(values, both.above.to_numpy(bool), clusters, generator, level=0.9)
    assert found is not None
    return found


def wide_ratio(one: pd.DataFrame, other: pd.DataFrame, noisy: bool) -> Interval:
    above, below = counts(one, noisy), counts(other, noisy)
    assert above.index.equals(below.index)
    assert above.columns.equals(below.columns)
    found = bootstrap_crossed_ratio(
        above.to_numpy(np.float64), below.to_numpy(np.float64), stream(0, "flip study", "wide", int(noisy)), level=0.9
    )
    assert found is not None
    return found


def rank_correlation(one: pd.DataFrame, other: pd.DataFrame, noisy: bool) -> float:
    means = [counts(of, noisy).mean(axis=0) for of in (one, other)]
    return float(spearmanr(*means).statistic)


def distance(one: pd.DataFrame, other: pd.DataFrame, noisy: bool) -> float:
    a, b = (np.sort(of[of.noisy == noisy]["count"].to_numpy()) for of in (one, other))
    at = np.union1d(a, b)
    below = [np.searchsorted(values, at, side="right") / len(values) for values in (a, b)]
    return float(np.abs(below[0] - below[1]).max())


def mean_auc(flips: pd.DataFrame) -> float:
    """Mean over trainings of the AUC of − mean count for the noisy examples."""
    found = []
    for _, of_training in flips.groupby("trial"):
        means = of_training.groupby("example").agg(count=("count", "mean"), noisy=("noisy", "first"))
        found.append(auc(-means["count"].to_numpy(np.float64), means["noisy"].to_numpy(bool)))
    return float(np.mean([a for a in found if a is not None]))


def shares(flips: pd.DataFrame, noisy: bool) -> dict[str, float]:
    """{layer: share of the closed neurons}."""
    return dict(flips[flips.noisy == noisy].layers.explode().dropna().value_counts(normalize=True).items())  # type: ignore[arg-type]


def total_variation(one: dict[str, float], other: dict[str, float]) -> float:
    return sum(abs(one.get(layer, 0.0) - other.get(layer, 0.0)) for layer in {*one, *other}) / 2


# --- words ------------------------------------------------------------------------------------------------------------


def markdown(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]) + "\n"


def counted(compared: dict[str, Comparison], definition: pd.DataFrame) -> str:
    """Mean counts, and their ratios to the definition's."""
    header = ["estimator", "set", "mean count", "ratio (90 %)", "examples resampled too"]
    rows = [["definition", SETS[s], in_brackets(mean(definition, s), 2), "", ""] for s in SETS]
    for name, c in compared.items():
        rows += [
            [name, SETS[s], in_brackets(c.mean[s], 2), *[in_brackets(r[s], 3) for r in (c.ratio, c.wide)]] for s in SETS
        ]
    return markdown(header, rows)


def alike(compared: dict[str, Comparison], definition: pd.DataFrame) -> str:
    """Whether the same examples need many, and of which layers; first the definition's own repeats against each other."""
    header = ["estimator", *[f"{what} {s}" for what in ("rank", "KS", "layers") for s in SETS.values()], "AUC"]
    again = [f"{half_against_half(definition, s):.3f} ¹" for s in SETS]
    rows = [["definition", *again, *[""] * 4, f"{mean_auc(definition):.3f}"]]
    for name, c in compared.items():
        numbers = [values[s] for values in (c.rank, c.distance, c.layers) for s in SETS]
        rows.append([name, *[f"{number:.3f}" for number in numbers], f"{c.auc:.3f}"])
    return markdown(header, rows)


def half_against_half(flips: pd.DataFrame, noisy: bool) -> float:
    """How well the definition ranks examples as itself does: two repeats against the other two."""
    table = counts(flips, noisy)
    late = table.index.get_level_values("repeat") >= 2
    return float(spearmanr(table[late].mean(axis=0), table[~late].mean(axis=0)).statistic)


def whole_batch(flips: pd.DataFrame, definition: pd.DataFrame, fast: pd.DataFrame) -> str:
    """Against the definition whose reference batch is the whole training set, on the examples that it was run on."""
    whole = flips[flips.estimator == "definition all"]
    key = ["trial", "repeat", "example"]
    rows = [["definition, all images", *[in_brackets(mean(whole, s), 2) for s in SETS], "", ""]]
    for name, of in (("definition, 512 images", definition), ("fast, 16 images", fast)):
        same = of.merge(whole[key], on=key)
        ratios = [in_brackets(ratio(same, whole, s), 3) for s in SETS]
        rows.append([name, *[in_brackets(mean(same, s), 2) for s in SETS], *ratios])
    return markdown(["estimator", "mean clean", "mean noisy", "ratio clean (90 %)", "ratio noisy (90 %)"], rows)


def layers(of: dict[str, pd.DataFrame]) -> str:
    found = {(name, s): shares(flips, s) for name, flips in of.items() for s in SETS}
    names = dict.fromkeys(layer for share in found.values() for layer in share)
    rows = [[layer, *[f"{share.get(layer, 0.0):.3f}" for share in found.values()]] for layer in names]
    return markdown(["layer", *[f"{name}, {SETS[s]}" for name, s in found]], rows)


if __name__ == "__main__":
    sys.exit(main())
