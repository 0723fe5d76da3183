"""The closing words of a sweep: what it found, in one table, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memloc.analysis.query import read_table
from memloc.commands.query import text_table
from memloc.commands.words import interpreter, program
from memloc.store import Store


def summary(store: Store, sweep: str, labels: Mapping[str, str]) -> str:
    """Accuracies before and after dropping, and the most critical layer, of every trial that has them."""
    evaluation = read_table(store, "evaluation", sweep).to_pylist()
    rewind = read_table(store, "rewind", sweep).to_pylist()
    by_trial: dict[str, list[dict[str, Any]]] = {}
    for row in evaluation:
        by_trial.setdefault(row["trial"], []).append(row)
    rows = [
        [trial[:8], label, _before(by_trial.get(trial, [])), _after(by_trial.get(trial, [])), critical_layer(rewind, trial)]
        for trial, label in labels.items()
        if trial in by_trial or any(r["trial"] == trial for r in rewind)
    ]
    if not rows:
        return ""
    header = ["trial", "training", "clean / noisy / test", "after dropping", "most critical layer"]
    keep = [i for i in range(len(header)) if i < 2 or any(row[i] for row in rows)]
    table = text_table([header[i] for i in keep], [[row[i] for i in keep] for row in rows])
    return table + "\n" + _explanation(rows)


def _triple(row: Mapping[str, Any], test: float | None) -> str:
    return " / ".join("–" if v is None else f"{v:.3f}" for v in (row["clean_acc"], row["noisy_acc"], test))


def _before(rows: list[dict[str, Any]]) -> str:
    """Example-tied: own masks on the training sets, scaled on test; else plain."""
    modes = {r["mode"]: r for r in rows if r["rescale"] == "none"}
    if "own" in modes:
        return _triple(modes["own"], modes["scaled"]["test_acc"] if "scaled" in modes else None)
    return _triple(modes["plain"], modes["plain"]["test_acc"]) if "plain" in modes else ""


def _after(rows: list[dict[str, Any]]) -> str:
    dropped = [r for r in rows if r["mode"] == "dropped" and r["rescale"] == "none"]
    return _triple(dropped[0], dropped[0]["test_acc"]) if dropped else ""


def critical_layer(rewind: list[dict[str, Any]], trial: str) -> str:
    """The layer whose rewinding costs most noisy accuracy, averaged over the epochs rewound to (without T)."""
    rows = [r for r in rewind if r["trial"] == trial and r["noisy_acc"] is not None]
    if not rows:
        return ""
    last = max(r["epoch"] for r in rows)
    means: dict[str, list[float]] = {}
    for r in rows:
        if r["epoch"] < last:
            means.setdefault(r["layer"], []).append(r["noisy_acc"])
    if not means:
        return ""
    layer, values = min(means.items(), key=lambda item: sum(item[1]) / len(item[1]))
    return f"{layer} (noisy {sum(values) / len(values):.3f})"


def _explanation(rows: list[list[str]]) -> str:
    lines = ["Accuracies on the correctly labeled (clean) and mislabeled (noisy) training examples, and on test."]
    if any(row[3] for row in rows):
        lines.append("After dropping: the memorization neurons of example-tied dropout are zero (paper §6.2).")
    if any(row[4] for row in rows):
        lines.append(
            "Most critical: rewinding it to earlier epochs costs most noisy accuracy (paper §5.1); the mean that is left."
        )
    return "\n".join(lines) + "\n"


def next_steps(sweep: str, store: str | None) -> str:
    """What to type next; `store` as the user named it, None for the default."""
    at = f" --store {store}" if store else ""
    opened = f'"{store}"' if store else ""
    sql = "SELECT layer, epoch, clean_acc, noisy_acc FROM rewind ORDER BY trial, layer, epoch"
    return (
        "Next:\n"
        f'  {program()} query "{sql}" --sweep {sweep}{at}\n'
        f"  {program()} status {sweep}{at}\n"
        f"  {interpreter()} -c 'import memloc; print(memloc.open_store({opened}).trials())'\n"
    )
