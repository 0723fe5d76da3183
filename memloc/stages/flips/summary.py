"""What a summary says of the neurons that carry a prediction."""

from __future__ import annotations

import numpy as np

from memloc.seeds import stream
from memloc.stages.instrument import Instrument, Row
from memloc.statistics import bootstrap_crossed, in_brackets


def sentence(rows: list[Row]) -> str:
    """Means over eligible rows; intervals resample examples and (training, repeat), whose draws all examples share."""
    means = []
    for name, noisy in (("clean", False), ("noisy", True)):
        counts = [r for r in rows if r["noisy"] == noisy]
        columns = {example: k for k, example in enumerate(sorted({e for r in counts for e in r["examples"]}))}
        values = np.full((len(counts), len(columns)), np.nan)
        for k, row in enumerate(counts):
            values[k, [columns[e] for e in row["examples"]]] = row["counts"]
        if interval := bootstrap_crossed(values, stream(0, "neurons to flip", name)):
            means.append(f"{in_brackets(interval, 2)} neurons flips a {name} example")
    return f"Closing {', closing '.join(means)}." if means else ""


INSTRUMENT = Instrument(
    50,
    "Neurons that carry a prediction (§6.1)",
    "flips",
    "flip_counts",
    "noisy, avg(neurons) AS neurons, avg((neurons < 10)::INT) AS below_10, avg(clean_acc) AS clean, avg(test_acc) AS test",
    sentence,
    detail="noisy, trial, analysis, repeat, list(neurons) AS counts, list(example) AS examples",
    named=("memorized",),
)
