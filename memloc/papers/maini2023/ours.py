"""Each claim on a store: the settings it can be judged in, and the rows that its test gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import pandas as pd

from memloc.papers.maini2023 import detection, dropout, flips, gradients, layers
from memloc.papers.maini2023.evidence import Evidence, among, first_reaching
from memloc.papers.maini2023.judgement import Found
from memloc.papers.maini2023.paper import HERE, TABLE_1_CELL, Numbers
from memloc.papers.maini2023.settings import Setting

Parts: TypeAlias = dict[str, Found]
Judge: TypeAlias = Callable[[Evidence, Setting, Numbers], Mapping[str, Found | None]]


@dataclass(frozen=True)
class Ours:
    """settings: those of a store that a claim can be judged in. judge: its numbers in one of them, {part: found}."""

    settings: Callable[[Evidence], list[Setting]]
    judge: Judge


def of_stage(stage: str) -> Callable[[Evidence], list[Setting]]:
    return lambda evidence: evidence.settings(stage)


# --- gradients --------------------------------------------------------------------------------------------------------


def _gradients(evidence: Evidence, setting: Setting) -> tuple[pd.DataFrame, str]:
    sql = f"SELECT * FROM gradient_layers WHERE {among('analysis', setting.analyses.values())} ORDER BY trial, epoch, layer"
    return evidence.rows(evidence.gradient_layers, setting), sql


def _windows(evidence: Evidence, setting: Setting) -> dict[str, tuple[int, int]]:
    """{trial: the epochs in which it memorizes}: 10 to 30 in the paper's setting, else where noisy accuracy climbs."""
    if setting.scope == HERE and not setting.deviations:
        return dict.fromkeys(setting.trials, (10, 30))
    begins, ends = (first_reaching(evidence.epochs, level) for level in (0.2, 0.8))
    return {t: (begins[t], ends[t]) for t in setting.trials if t in begins and t in ends}


def _g3_settings(evidence: Evidence) -> list[Setting]:
    return evidence.settings("gradients", without=("noise",))


def _g3(evidence: Evidence, setting: Setting, numbers: Numbers) -> Mapping[str, Found]:
    noisy = {t: evidence.trials[t]["noise"] for t in setting.trials if 0 < evidence.trials[t]["noise"] < 1}
    frame, sql = _gradients(evidence, setting.only(list(noisy)))
    return gradients.by_noise(frame, noisy, sql) if noisy else {}


def _g5(evidence: Evidence, setting: Setting, numbers: Numbers) -> Mapping[str, Found]:
    shares = {t: evidence.sizes[t].clean / evidence.sizes[t].noisy for t in setting.trials}
    frame, sql = _gradients(evidence, setting)
    return {"": gradients.per_example(frame, shares, sql)}


# --- layers -----------------------------------------------------------------------------------------------------------


def _rewound(evidence: Evidence, setting: Setting) -> tuple[pd.DataFrame, str]:
    sql = f"SELECT * FROM rewind WHERE {among('analysis', setting.analyses.values())}"
    return evidence.rows(evidence.rewind, setting), sql


def _climbs(evidence: Evidence, setting: Setting) -> dict[str, int]:
    reached = first_reaching(evidence.epochs, layers.LEARNS)
    return {t: reached[t] for t in setting.trials if t in reached}


def _last_epochs(evidence: Evidence, setting: Setting) -> dict[str, int]:
    return {t: int(evidence.trials[t]["epochs"]) for t in setting.trials}


def _l1(evidence: Evidence, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = _rewound(evidence, setting)
    return {"": layers.kept_early(frame, _climbs(evidence, setting), sql)}


def _w1(evidence: Evidence, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = _rewound(evidence, setting)
    return {"": layers.last_groups(frame, _climbs(evidence, setting), sql)}


def _w2(evidence: Evidence, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = _rewound(evidence, setting)
    return {"": layers.same_groups(frame, _last_epochs(evidence, setting), sql)}


def _w3_settings(evidence: Evidence) -> list[Setting]:
    found = evidence.settings("rewind")
    return [s for s in found if s.scope.model == "resnet50" and s.scope.dataset in layers.CRITICAL]


def _w3(evidence: Evidence, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = _rewound(evidence, setting)
    expected = layers.CRITICAL[setting.scope.dataset]
    return {"": layers.critical(frame, _last_epochs(evidence, setting), expected, sql)}


def _retrained(evidence: Evidence, setting: Setting) -> tuple[pd.DataFrame, str]:
    sql = (
        "SELECT analysis, trial, layer, max(noisy_acc) AS best, arg_max(noisy_acc, epoch) AS final FROM retrain "
        f"WHERE epoch > 0 AND {among('analysis', setting.analyses.values())} GROUP BY ALL ORDER BY trial, layer"
    )
    return evidence.rows(evidence.retrain, setting), sql


def _r1(evidence: Evidence, setting: Setting, numbers: Numbers) -> Parts:
    return {"": layers.retrained(*_retrained(evidence, setting))}


def _r2(evidence: Evidence, setting: Setting, numbers: Numbers) -> Parts:
    return layers.forgets_again(*_retrained(evidence, setting))


# --- flips, detection -------------------------------------------------------------------------------------------------


def _flips(evidence: Evidence, setting: Setting) -> tuple[pd.DataFrame, str]:
    sql = f"SELECT * FROM flip_counts WHERE {among('analysis', setting.analyses.values())}"
    return evidence.rows(evidence.flips, setting), sql


def _f1(evidence: Evidence, setting: Setting, numbers: Numbers) -> Parts:
    searches = evidence.rows(evidence.searches, setting).groupby("noisy")["n"].sum()
    return flips.counts(*_flips(evidence, setting), {bool(noisy): int(n) for noisy, n in searches.items()})


def _f2(evidence: Evidence, setting: Setting, numbers: Numbers) -> Parts:
    return {"": flips.few_neurons(*_flips(evidence, setting))}


def _f3(evidence: Evidence, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = _flips(evidence, setting)
    sizes = {t: (evidence.sizes[t].clean, evidence.sizes[t].noisy) for t in setting.trials}
    return {"": flips.accuracy_left(frame, sizes, sql)}


def _f4(evidence: Evidence, setting: Setting, numbers: Numbers) -> Parts:
    sql = (
        "SELECT noisy, layer, count(*) AS n FROM (SELECT noisy, unnest(layers[1:5]) AS layer FROM flips WHERE eligible "
        f"AND {among('analysis', setting.analyses.values())}) GROUP BY ALL ORDER BY ALL"
    )
    return {"": flips.same_layers(evidence.rows(evidence.closings, setting), setting.trials, sql)}


def _f5(evidence: Evidence, setting: Setting, numbers: Numbers) -> Parts:
    return {"": flips.cost_on_test(*_flips(evidence, setting))}


def _d1(evidence: Evidence, setting: Setting, numbers: Numbers) -> Mapping[str, Found | None]:
    chosen = among("analysis", setting.analyses.values())
    sql = f"SELECT * FROM detection WHERE {chosen} ORDER BY sample, score, trial"
    frame, pairs = (evidence.rows(table, setting) for table in (evidence.detection, evidence.detection_pairs))
    found = {
        score: detection.found_by(frame, pairs, score, numbers.get(score), sql)
        for score in ("learning_time", "second_split")
    }
    reads = {a["analysis"]: a["reads"] for a in evidence.analyses}
    read = {r for analysis in setting.analyses.values() for r in reads[analysis]}
    counts = evidence.flips[evidence.flips["analysis"].isin(read)]
    of_counts = f"SELECT * FROM flip_counts WHERE {among('analysis', counts['analysis'].unique())}"
    return {"flips": detection.found_by_counts(frame, pairs, counts, numbers.get("flips"), of_counts), **found}


# --- dropout ----------------------------------------------------------------------------------------------------------

TIED = ("example_tied",)


def _tied_settings(evidence: Evidence) -> list[Setting]:
    return evidence.settings("evaluate", dropout=TIED, without=("p_gen", "p_mem"))


def _table_1_settings(evidence: Evidence) -> list[Setting]:
    """Each with the trainings of one (p_gen, p_mem): the paper's, or the nearest to it that was run."""
    found = []
    for setting in _tied_settings(evidence):
        cells = {t: (evidence.trials[t]["p_gen"], evidence.trials[t]["p_mem"]) for t in setting.trials}
        nearest = min(set(cells.values()), key=lambda c: (abs(c[0] - TABLE_1_CELL[0]) + abs(c[1] - TABLE_1_CELL[1]), c))
        one = setting.only([t for t, cell in cells.items() if cell == nearest])
        found.append(replace(one, config={**one.config, "p_gen": nearest[0], "p_mem": nearest[1]}))
    return found


def _tied(evidence: Evidence, setting: Setting) -> tuple[pd.DataFrame, str]:
    sql = (
        "SELECT p_gen, p_mem, seed, mode, rescale, clean_acc, noisy_acc, test_acc FROM evaluation JOIN trials USING (trial) "
        f"WHERE rescale = 'none' AND {among('analysis', setting.analyses.values())} ORDER BY ALL"
    )
    frame = dropout.accuracies(evidence.rows(evidence.evaluation, setting))
    for field in ("p_gen", "p_mem", "seed", "data_seed"):
        frame[field] = frame["trial"].map({t: evidence.trials[t].get(field) for t in setting.trials})
    return frame, sql


def _memorized(evidence: Evidence, frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of trainings that memorized, and what to say of the others."""
    kept, said = evidence.testable(list(frame["trial"]))
    return frame[frame["trial"].isin(kept)], said


def _e1(evidence: Evidence, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = _tied(evidence, setting)
    sizes = evidence.sizes[setting.trials[0]]
    every = dropout.before_and_after(frame, sizes, numbers, sql)
    kept, said = _memorized(evidence, frame)
    tested = dropout.before_and_after(kept, sizes, numbers, sql)
    untested = Found(None, None, said, [], sql)
    after = {part: _saying(tested.get(part, untested), said) for part in every if part.startswith("after")}
    return {**every, **after}


def _e2(evidence: Evidence, setting: Setting, numbers: Numbers) -> Mapping[str, Found | None]:
    frame, sql = _tied(evidence, setting)
    sizes = evidence.sizes[setting.trials[0]]
    found: dict[str, Found | None] = {}
    for _, rows in frame.groupby(["p_gen", "p_mem"]):
        kept, said = _memorized(evidence, rows)
        tested, untested = dropout.cells(kept, sizes, numbers, sql), Found(None, None, said, [], sql)
        found |= {part: _saying(tested.get(part, untested), said) for part in dropout.cells(rows, sizes, {}, sql)}
    found["trend"] = dropout.trend(_memorized(evidence, frame)[0], sql)
    return found


def _e3_settings(evidence: Evidence) -> list[Setting]:
    return evidence.settings(
        "evaluate", dropout=("standard", "sparse", *TIED), without=("dropout", "keep", "unit", "p_gen", "p_mem")
    )


def _e3(evidence: Evidence, setting: Setting, numbers: Numbers) -> Mapping[str, Found | None]:
    """Per dropout and what it keeps, each in its usual unit; example-tied is the paper's (0.4, 0.2)."""
    found: dict[str, Found | None] = {}
    rows: dict[str, list[str]] = {}
    for trial in setting.trials:
        config = evidence.trials[trial]
        if config["dropout"] == "example_tied":
            if (config["p_gen"], config["p_mem"]) == (0.4, 0.2):
                rows.setdefault("example_tied", []).append(trial)
        elif config.get("unit") == {"standard": "element", "sparse": "weight"}[config["dropout"]]:
            rows.setdefault(f"{config['dropout']}.keep{config['keep']:g}", []).append(trial)
    for row, trials in rows.items():
        of, sizes = setting.only(trials), evidence.sizes[trials[0]]
        if row == "example_tied":
            frame, sql = _tied(evidence, of)
            kept, said = _memorized(evidence, frame)
            for what in ("clean", "noisy"):
                part = f"{row}.{what}"
                untested = Found(None, None, said, [], sql)
                found[part] = dropout.dropped(kept, what, sizes, numbers.get(part), sql) or untested
            continue
        sql = f"SELECT * FROM evaluation WHERE mode = 'plain' AND {among('analysis', of.analyses.values())}"
        plain = evidence.rows(evidence.evaluation, of)
        plain = plain[plain["mode"] == "plain"].rename(columns={"clean_acc": "clean", "noisy_acc": "noisy"})
        for what in ("clean", "noisy"):
            part = f"{row}.{what}"
            found[part] = dropout.baseline(plain, what, sizes, numbers.get(part), sql)
    return found


def _e4(evidence: Evidence, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = _tied(evidence, setting)
    return dropout.generalization(frame, evidence.sizes[setting.trials[0]], numbers, sql)


def _e5(evidence: Evidence, setting: Setting, numbers: Numbers) -> Mapping[str, Found | None]:
    chosen, trials = among("analysis", setting.analyses.values()), among("trial", setting.trials)
    modes = ", ".join(f"bool_or(correct) FILTER (mode = '{mode}') AS {mode}" for mode in ("own", "dropped"))
    forgotten = (
        "SELECT trial, example, NOT dropped AS forgotten, learning_time "
        f"FROM (SELECT trial, example, {modes} FROM predictions WHERE rescale = 'none' AND {chosen} GROUP BY ALL) "
        f"JOIN (SELECT trial, example, learning_time FROM examples WHERE NOT noisy AND {trials}) USING (trial, example) "
        "WHERE own AND dropped IS NOT NULL"
    )
    frame = evidence.frame(
        f"SELECT trial, forgotten, learning_time AS score, count(*) AS n FROM ({forgotten}) GROUP BY ALL ORDER BY ALL"
    )
    found = {"learning_time": dropout.atypical(frame, "learning time", forgotten)}
    if (scores := evidence.c_scores(setting.trials)) is not None:
        each = evidence.frame(forgotten).merge(scores, on=["trial", "example"])
        counted = (
            each.assign(score=-each["c_score"]).groupby(["trial", "forgotten", "score"]).size().rename("n").reset_index()
        )
        found["c_score"] = dropout.atypical(counted, "1 − C-score", forgotten)
    return found


# --- atypical examples ------------------------------------------------------------------------------------------------


def _a1_settings(evidence: Evidence) -> list[Setting]:
    """Of trainings without label noise; a setting's analyses are of one of the three stages, the others are looked up."""
    found: dict[tuple[str, ...], Setting] = {}
    for stage in ("gradients", "rewind", "retrain"):
        for setting in evidence.settings(stage, atypical=True):
            if setting.scope.noise == 0:
                found.setdefault(tuple(f"{k}={v}" for k, v in sorted(setting.config.items())), setting)
    return list(found.values())


def _a1(evidence: Evidence, setting: Setting, numbers: Numbers) -> Mapping[str, Found | None]:
    """Gradients as G1, rewinding as W2, retraining as R1 but of all layers."""
    found: dict[str, Found | None] = {}
    for stage in ("gradients", "rewind", "retrain"):
        of = next((s for s in evidence.settings(stage, atypical=True) if s.config == setting.config), None)
        if of is None:
            continue
        kept, said = evidence.testable(of.trials, atypical=True)
        if not kept:
            found[stage] = Found(
                None, None, said, [], f"SELECT * FROM {stage} WHERE {among('analysis', of.analyses.values())}"
            )
        elif stage == "gradients":
            found[stage] = gradients.alike(*_gradients(evidence, of.only(kept)))
        elif stage == "rewind":
            found[stage] = _w2(evidence, of.only(kept), numbers)[""]
        else:
            found[stage] = layers.retrained(*_retrained(evidence, of.only(kept)), most=False)
    return found


def _saying(found: Found, said: str) -> Found:
    """With what is to be said of trainings that were left out."""
    return replace(found, reason=f"{found.reason}; {said}") if said and found.holds is not None else found


OURS: Mapping[str, Ours] = {
    "G1": Ours(of_stage("gradients"), lambda e, s, n: {"": gradients.alike(*_gradients(e, s))}),
    "G2": Ours(
        of_stage("gradients"),
        lambda e, s, n: {"": gradients.opposed(_gradients(e, s)[0], _windows(e, s), _gradients(e, s)[1])},
    ),
    "G3": Ours(_g3_settings, _g3),
    "G4": Ours(of_stage("gradients"), lambda e, s, n: {"": gradients.cancel(*_gradients(e, s))}),
    "G5": Ours(of_stage("gradients"), _g5),
    "L1": Ours(of_stage("rewind"), _l1),
    "W1": Ours(of_stage("rewind"), _w1),
    "W2": Ours(of_stage("rewind"), _w2),
    "W3": Ours(_w3_settings, _w3),
    "R1": Ours(of_stage("retrain"), _r1),
    "R2": Ours(of_stage("retrain"), _r2),
    "F1": Ours(of_stage("flips"), _f1),
    "F2": Ours(of_stage("flips"), _f2),
    "F3": Ours(of_stage("flips"), _f3),
    "F4": Ours(of_stage("flips"), _f4),
    "F5": Ours(of_stage("flips"), _f5),
    "D1": Ours(of_stage("detection"), _d1),
    "E1": Ours(_table_1_settings, _e1),
    "E2": Ours(_tied_settings, _e2),
    "E3": Ours(_e3_settings, _e3),
    "E4": Ours(_table_1_settings, _e4),
    "E5": Ours(_table_1_settings, _e5),
    "A1": Ours(_a1_settings, _a1),
}


def judged(
    evidence: Evidence, claim: str, setting: Setting, numbers: Numbers, memorizing: bool, parts: Sequence[str]
) -> Parts:
    """{part: found} of one claim in one setting; parts: those that are said to be not testable where nothing is.

    numbers: the paper's of this setting, empty where it has none.
    """
    kept, said = evidence.testable(setting.trials) if memorizing and claim != "A1" else (setting.trials, "")
    if not kept:
        sql = f"SELECT trial, epoch, noisy_acc FROM epochs WHERE {among('trial', setting.trials)} ORDER BY ALL"
        return {part: Found(None, None, said, [], sql) for part in parts}
    found = OURS[claim].judge(evidence, setting.only(kept), numbers)
    return {part: _saying(one, said) for part, one in found.items() if one is not None}
