"""E5, Figure 7: the clean examples that dropping the memorization neurons forgets (paper §6.2)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.observed import by_example, trials_of, two_sided
from memloc.analysis.settings import DATASETS
from memloc.analysis.views import RIGHT_SCORES
from memloc.data.arrays import U8
from memloc.errors import MemlocError
from memloc.papers.charts import Gallery, Picture, Table
from memloc.papers.claims import Case, Estimates, here
from memloc.papers.deciding import ABOVE_HALF, Estimate, decided, untestable
from memloc.papers.exhibits import Drawn, Exhibit, Subject, Wanted, per_setting
from memloc.papers.maini2023.dropout.accuracies import CELL, nearest_cells, of_cell
from memloc.statistics.quantities import mean_auc

PICTURES = 24  # of one setting
BY_ROW = "ORDER BY trial, example"


def forgotten_are_atypical(frame: pd.DataFrame, what: str, sql: str) -> Estimate:
    """E5: clean examples that dropping forgets are more atypical than those that it keeps: the AUC is above 0.5.

    A training that forgets no example, or all of them, has no AUC.

    frame: columns trial, data_seed, example, forgotten, score (higher: more atypical). sql: returns its rows.
    """
    both = two_sided(frame, "forgotten")
    if both.empty:
        return untestable("dropping forgets no clean example, or all of them", trials_of(frame), sql)
    quantity = mean_auc(*by_example(both, "score", "forgotten"))
    if quantity is None:
        return untestable("a score is not a number", trials_of(both), sql)
    compared = (
        f"AUC of {what} for clean examples that dropping forgets ({both['forgotten'].sum() / quantity.k:.0f} a training) "
        "against those it keeps"
    )
    trials = trials_of(both)
    return decided(quantity, ABOVE_HALF, compared, trials, f"SELECT * FROM ({sql}) WHERE {among('trial', trials)} {BY_ROW}")


def _e5(case: Case) -> Estimates:
    observations, chosen, trials = case.observations, case.where, among("trial", case.trials)
    modes = ", ".join(f"bool_or(correct) FILTER (mode = '{mode}') AS {mode}" for mode in ("own", "dropped"))
    forgotten = (
        "SELECT trial, example, NOT dropped AS forgotten, learning_time "
        f"FROM (SELECT trial, example, {modes} FROM predictions WHERE rescale = 'none' AND {chosen} GROUP BY ALL) "
        f"JOIN (SELECT trial, example, learning_time FROM examples WHERE NOT noisy AND {trials}) USING (trial, example) "
        "WHERE own AND dropped IS NOT NULL"
    )
    scored = (
        f"SELECT * FROM ({forgotten}) JOIN ({RIGHT_SCORES}) AS chosen USING (trial) "
        "JOIN (SELECT scores, example, c_score FROM c_scores) USING (scores, example)"
    )
    by_time, by_c_score = (observations.with_data_seed(observations.frame(f"{sql} {BY_ROW}")) for sql in (forgotten, scored))
    by_time = by_time.assign(score=by_time["learning_time"])
    estimates = {"learning_time": forgotten_are_atypical(by_time, "learning time", forgotten)}
    if len(by_c_score):
        by_c_score = by_c_score.assign(score=-by_c_score["c_score"])
        estimates["c_score"] = forgotten_are_atypical(by_c_score, "1 − C-score", scored)
    return estimates


CLAIMS = (
    of_cell(
        "E5",
        "§6.2, Figure 7",
        "the clean examples that dropping forgets are atypical",
        estimate=_e5,
        scopes=here({"learning_time": None, "c_score": None}),
        first=lambda part: "memloc sweep cscore" if part == "c_score" else "",
    ),
)


def _forgotten(subject: Subject) -> Drawn:
    """The images of the examples that dropping forgets; a table if there are no images."""
    label, chosen = subject.label, subject.where
    if not {"own", "dropped"} <= set(subject.rows("evaluation")["mode"]):
        return []
    sql = f"""SELECT example, any_value(label) AS label, count(*) AS times,
  list(DISTINCT predicted ORDER BY predicted) AS said
FROM forgotten WHERE {chosen} GROUP BY example ORDER BY times DESC, example"""
    first = subject.observations.frame(sql).head(PICTURES).to_dict("records")
    if first and (images := _images(subject)) is not None:
        return [Gallery(label, [Picture(png(images[r["example"]]), _words(r), int(r["example"])) for r in first], sql)]
    title = ", ".join(word for word in (label, "without images" if first else "") if word)
    rows = [[str(r["example"]), _words(r), str(r["times"])] for r in first]
    return [Table(title, ["example", "class → said", "trainings that forget it"], rows or [["none", "–", "0"]], sql)]


def _images(subject: Subject) -> U8 | None:
    """uint8 N×C×H×W. None where the data are not there as they were trained on, or are no pictures; a problem says so."""
    from memloc.data import images_of

    try:
        return images_of(subject.setting.config, subject.setting.data, subject.evidence.data_dir).x_train
    except MemlocError as error:
        subject.evidence.problems.append(f"Figure 7 has no images: {error.problems[0]}")
        return None


def _words(row: Mapping[Any, Any]) -> str:
    """`4 → 9`: the class, and what is predicted after dropping."""
    return f"{int(row['label'])} → {', '.join(str(int(p)) for p in row['said'])}"


def png(image: U8) -> bytes:
    """An image, uint8 C×H×W, as PNG, the same bytes every time."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(sink, format="PNG", compress_level=9)
    return sink.getvalue()


EXHIBITS = (
    Exhibit(
        "fig07",
        "Figure 7",
        "Clean examples that dropping the memorization neurons forgets",
        "§6.2",
        "Those that most trainings forget come first. Each has its class, then what networks say without these neurons. The "
        "paper finds that most are mislabeled, ambiguous or unusual.",
        "memloc sweep etd-grid --only block=tied --only p_gen=0.3 --only p_mem=0.2",
        nearest_cells,
        per_setting(_forgotten),
        Wanted(DATASETS, ("resnet9",), (0.1,), CELL),
        claims=("E5",),
        shown=3,
    ),
)
