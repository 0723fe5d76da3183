"""E3, Table 3: standard dropout and sparse networks, which memorize all the same (paper §6.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from memloc.papers.charts import Table
from memloc.papers.claims import Claim, Estimates, here
from memloc.papers.deciding import decided
from memloc.papers.exhibits import Drawn, Evidence, Exhibit, Wanted, per_setting
from memloc.papers.judgement import Estimate
from memloc.papers.maini2023.dropout.accuracies import SETS, memorized, share, tied_rows
from memloc.papers.maini2023.dropout.before_after import MEMORIZES, in_per_cent, paper_in_per_cent
from memloc.papers.maini2023.dropout.grid import of_cells
from memloc.papers.observations import Observations, among
from memloc.papers.reaching import away
from memloc.papers.scope import Numbers
from memloc.papers.settings import Setting, percent
from memloc.statistics.trainings import OverTrainings, pooled

TABLE_3 = {  # clean, noisy; both readings of the dropout's 0.4: as the share that is kept, and as the share that is dropped
    **{f"standard.keep{keep}": (1.0, 0.995) for keep in (0.4, 0.6)},
    **{f"sparse.keep{keep}": (1.0, 0.998) for keep in (0.4, 0.6)},
    "example_tied": (0.908, 0.031),
}
NUMBERS: Numbers = {
    f"{row}.{what}": number for row, pair in TABLE_3.items() for what, number in zip(SETS[:2], pair, strict=True)
}
TIED_CELL = {"p_gen": 0.4, "p_mem": 0.2}


def baselines(
    plain: Mapping[str, tuple[list[str], OverTrainings]], paper: Mapping[str, float | None], sql: str
) -> dict[str, Estimate]:
    """E3: a baseline's plain accuracy on clean or noisy training examples, at least 0.95. plain: {part: trainings, it}."""
    quantities = pooled([quantity for _, quantity in plain.values()]) if plain else []
    return {
        part: decided(quantity, MEMORIZES, f"training accuracy{away(paper.get(part), quantity.value)}", trials, sql)
        for (part, (trials, _)), quantity in zip(plain.items(), quantities, strict=True)
    }


def _e3_settings(observations: Observations) -> list[Setting]:
    return observations.settings(
        "evaluate", dropout=("standard", "sparse", "example_tied"), without=("dropout", "keep", "unit", "p_gen", "p_mem")
    )


def _e3(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    """E3 by dropout and kept share, each in its usual unit. Example-tied dropout has the paper's (0.4, 0.2)."""
    rows: dict[str, list[str]] = {}
    for trial in setting.trials:
        config = observations.trials[trial]
        if config["dropout"] == "example_tied":
            if (config["p_gen"], config["p_mem"]) == (0.4, 0.2):
                rows.setdefault("example_tied", []).append(trial)
        elif config.get("unit") == {"standard": "element", "sparse": "weight"}[config["dropout"]]:
            rows.setdefault(f"{config['dropout']}.keep{config['keep']:g}", []).append(trial)
    estimates: dict[str, Estimate | None] = {}
    if tied := rows.pop("example_tied", []):
        own, sql = tied_rows(observations, setting.only(tied))
        kept, said = memorized(observations, own)
        estimates |= of_cells({"example_tied": kept}, {"example_tied": said}, numbers, sql)
    plain = observations.rows(observations.evaluation, setting)
    plain = observations.with_data_seed(plain[plain["mode"] == "plain"])
    sql = f"SELECT * FROM evaluation WHERE mode = 'plain' AND {among('analysis', setting.analyses.values())}"
    for what in SETS[:2]:
        shares = {}
        for row, trials in rows.items():
            known = plain[plain["trial"].isin(trials)].dropna(subset=[f"{what}_acc"])
            if len(known):
                size = getattr(observations.sizes[trials[0]], what) * known["data_seed"].nunique(dropna=False)
                shares[f"{row}.{what}"] = list(known["trial"]), share(list(known[f"{what}_acc"]), size)
        estimates |= baselines(shares, numbers, sql)
    return estimates


def _trainings(part: str) -> Mapping[str, object]:
    if part.startswith("example_tied"):
        return {"dropout": "example_tied", **TIED_CELL}
    dropout, keep, _ = re.split(r"\.(?=keep|clean|noisy)", part)
    return {"dropout": dropout, "keep": float(keep.removeprefix("keep"))}


E3 = Claim(
    "E3",
    "§6.2, Table 3",
    "standard dropout and sparse networks still memorize (the paper's example-tied row is Table 2's cell (0.3, 0.2), "
    "not (0.4, 0.2))",
    here(NUMBERS),
    "evaluate",
    _e3_settings,
    _e3,
    memorizing=False,
    floats=True,
    trainings=_trainings,
)

METHODS = {"standard": "standard dropout", "sparse": "sparse network"}


def _table_3(evidence: Evidence, setting: Setting, label: str) -> Drawn:
    """Nothing without a baseline."""
    numbers = evidence.numbers("E3", setting)
    methods = list(dict.fromkeys(part.rpartition(".")[0] for part in numbers))
    if not any("keep" in method for method in methods):
        return []
    rows = []
    for method in methods:
        parts = [f"{method}.{what}" for what in SETS[:2]]
        papers = [paper_in_per_cent(NUMBERS.get(part)) for part in parts]
        rows.append([_name(method), *(in_per_cent(numbers.get(part)) for part in parts), *papers])
    sql = f"SELECT * FROM evaluation WHERE {among('analysis', setting.analyses.values())}"
    head = ["accuracy, %", "clean", "noisy", "clean in the paper", "noisy in the paper"]
    return [Table(label, head, rows, sql)]


def _name(method: str) -> str:
    """`standard dropout, 40 % kept`."""
    dropout, _, keep = method.partition(".keep")
    if not keep:
        return "example-tied dropout (p_gen 0.4, p_mem 0.2), dropped"
    return f"{METHODS[dropout]}, {percent(float(keep))} kept"


TABLE = Exhibit(
    "table3",
    "Table 3",
    "Other dropouts, which memorize all the same",
    "§6.2",
    "Accuracy on the training set. The paper's 0.4 may be the share that is kept or the share that is dropped. Its "
    "example-tied row is Table 2's cell p_gen 0.3, p_mem 0.2.",
    "memloc sweep paper-grid --only block=baselines",
    _e3_settings,
    Wanted(("cifar10",), ("resnet9",), (0.1,)),
    per_setting(_table_3),
)
