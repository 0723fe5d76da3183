"""What is compared with what, engine by engine. {name: (name of a size) -> comparisons}."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.engines.flips import flip_accuracy, flip_search
from benchmarks.engines.layers import gradient_accounting, retraining, rewinding
from benchmarks.engines.training import tied_step, training_epoch
from benchmarks.harness import Comparison

ENGINES: dict[str, Callable[[str], Sequence[Comparison]]] = {
    "train": training_epoch,
    "tied": tied_step,
    "gradients": gradient_accounting,
    "rewind": rewinding,
    "retrain": retraining,
    "flips_search": flip_search,
    "flips_after": flip_accuracy,
}
