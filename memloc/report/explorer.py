"""The explorer of examples as data: labels, scores, predictions, closed neurons, and one picture with the thumbnails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.observations import Observations
from memloc.analysis.settings import differing, name_of, named, rate_in_words, scope_name
from memloc.counts import counted
from memloc.data import Raw, images_of
from memloc.data.arrays import U8
from memloc.errors import MemlocError
from memloc.report import neurons, sprite, training_sets
from memloc.report.offline import for_script
from memloc.report.sprite import Key
from memloc.report.training_sets import TrainingSet, means, quotas, ranks, scores, short

IMAGES = 4_000  # thumbnails on a page
LARGEST = 7_500_000  # bytes of the data and the picture as the page has them; the whole page has at most 10 MB

NAMES = {  # of scores, where the column's own name would not do
    "aum": "area under the margin",
    "el2n": "EL2N",
    "mean_prob": "mean probability",
    "correct": "right at the end",
    "margin": "margin at the end",
    "flips": "neurons to flip",
    "c_score": "C-score",
    "forgotten": "forgotten by dropping",
}
NETWORK_NAMES = {  # of (dropout, mode, rescale) in predictions
    ("none", "plain", "none"): "Trained without dropout",
    ("standard", "plain", "none"): "Trained with standard dropout",
    ("sparse", "plain", "none"): "Trained with sparse dropout",
    ("example_tied", "plain", "none"): "Example-tied dropout, all neurons on",
    ("example_tied", "own", "none"): "Example-tied dropout, its own neurons on",
    ("example_tied", "scaled", "none"): "Memorization neurons scaled",
    ("example_tied", "dropped", "none"): "Memorization neurons dropped",
    ("example_tied", "dropped", "authors"): "Dropped, rescaled as in the published code",
    ("example_tied", "dropped", "consistent"): "Dropped, rescaled to the expected sum",
}


@dataclass(frozen=True)
class Explorer:
    """data: what page/explorer.js reads. sprite: the picture with the thumbnails as a data URI, or "".

    homes: {analysis: the name of its set}.
    """

    data: Mapping[str, Any]
    sprite: str
    homes: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> str:
        """The data as text that ends no script element."""
        return for_script(self.data)

    def link(self, example: int, sql: str) -> str:
        """The link to an example, as page/explorer.js has it: in the set whose analyses a query names."""
        home = next((name for analysis, name in self.homes.items() if analysis in sql), None)
        return f"#example={example}" + (f"&of={home}" if home and len(self.data["sets"]) > 1 else "")


def explorer(observations: Observations, data_dir: Path | None, problems: list[str]) -> Explorer | None:
    """The examples of a store, or None if it has none. problems: gets a line for each data set without images."""
    sets = training_sets.training_sets(observations)
    if not sets:
        return None
    if any(one.left_out for one in sets):
        observations = observations.of_trials({trial for one in sets for trial in one.trials})
    frames = [frame.assign(rank=ranks(frame)) for frame in means(observations, sets)]
    kept, described, room = _fitting(observations, sets, frames)
    sheet = sprite.sprite(_images(sets, kept, data_dir, problems), room)
    names = {trial: words["name"] for one, words in zip(sets, described, strict=True) for trial in one.trials}
    homes = {row["analysis"]: names[row["trial"]] for row in observations.analyses if row["trial"] in names}
    return Explorer(_data(sets, described, frames, sheet), sheet.uri, homes)


def _fitting(
    observations: Observations, sets: Sequence[TrainingSet], frames: Sequence[pd.DataFrame]
) -> tuple[list[pd.DataFrame], list[dict[str, Any]], int]:
    """(the examples of each set, what the page says of them, the bytes that are left for the picture).

    They are as many as `LARGEST` holds: long names of files, in letters of three bytes, can be too much for it.
    """
    most = training_sets.ROWS
    while True:
        kept = [
            frame.sort_values("rank", kind="stable").head(quota).sort_values("example")
            for frame, quota in zip(frames, quotas(frames, most), strict=True)
        ]
        described: list[dict[str, Any]] = [
            {**names, **_columns(frame, rows), "classes": one.class_names(observations),
             "files": one.files(observations, rows["example"].tolist()),
             "networks": _networks(observations, one, rows["example"].tolist()),
             "neurons": neurons.closed(observations, one, rows["example"].tolist()),
             "located": neurons.located(observations, one, rows["example"].tolist())}
            for one, names, frame, rows in zip(sets, _names(sets), frames, kept, strict=True)
        ]  # fmt: skip
        # Without a picture the data are longest: `null` for each tile, and a longer sentence about it.
        size = len(Explorer(_data(sets, described, frames, sprite.Sprite()), "").json.encode())
        there = sum(map(len, kept))
        if size <= LARGEST or there <= len(sets):
            return kept, described, LARGEST - size
        most = max(len(sets), min(there - 1, there * LARGEST // size))


def _data(
    sets: Sequence[TrainingSet], described: Sequence[Mapping[str, Any]], frames: Sequence[pd.DataFrame], sheet: sprite.Sprite
) -> dict[str, Any]:
    """What the page's script reads: the sets as they are described, and where their images are in the picture."""
    whole = []
    for one, words, frame in zip(sets, described, frames, strict=True):
        tiles, size = [sheet.tiles.get((one.source, e)) for e in words["example"]], sheet.sizes.get(one.source)
        whole.append({**words, "tile": tiles, "size": size, **_about(one, len(frame), tiles, size is not None)})
    return {"cell": sheet.cell, "columns": sprite.COLUMNS, "tiles": len(sheet.tiles), "sets": whole}


def _images(
    sets: Sequence[TrainingSet], kept: Sequence[pd.DataFrame], data_dir: Path | None, problems: list[str]
) -> dict[Key, U8]:
    """The images for the picture, by rank, in turn of the sets."""
    raws = {s.source: _raw(s, data_dir, problems) for s in {s.source: s for s in sets}.values()}
    wanted = [
        (rank, place, one.source, example)
        for place, (one, rows) in enumerate(zip(sets, kept, strict=True))
        for rank, example in zip(rows["rank"].tolist(), rows["example"].tolist(), strict=True)
    ]
    images = {(source, e): raw.x_train[e] for _, _, source, e in sorted(wanted) if (raw := raws[source]) is not None}
    return {key: images[key] for key in list(images)[:IMAGES]}


def _raw(one: TrainingSet, data_dir: Path | None, problems: list[str]) -> Raw | None:
    try:
        return images_of(one.setting.config, one.source[1], data_dir)
    except MemlocError as error:
        problems.append(f"the explorer of examples has no images of {name_of(one.source[0])}: {error.problems[0]}")
        return None


def _names(sets: Sequence[TrainingSet]) -> list[dict[str, str]]:
    """name: of a set in links. title: what tells it from the others."""
    settings = [s.setting for s in sets]
    names = {id(setting): name for name, setting in named(settings, scope_name).items()}
    plain = [f"{name_of(s.scope.dataset)}, {name_of(s.scope.model)}, {rate_in_words(s.scope)}" for s in settings]
    titles = [words or p for words, p in zip(differing(settings), plain, strict=True)]
    return [{"name": names[id(s)], "title": title} for s, title in zip(settings, titles, strict=True)]


def _about(one: TrainingSet, n: int, tiles: Sequence[int | None], has_images: bool) -> dict[str, Any]:
    """n: examples of the set. about: sentences. query: returns the scores of all of them, if some are left out."""
    k, out = len(one.scored), n - len(tiles)
    about = [f"Scores are means over {k} trainings {one.kind}." if k > 1 else f"Scores are of one training {one.kind}."]
    if one.dropped:
        about.append(f"Memorization neurons were dropped in {counted(len(one.dropped), 'training')}.")
    if one.left_out:
        k, every = len(one.trials), len(one.trials) + one.left_out
        about.append(f"The page has {k:,} of {every:,} trainings: first those with searches, then those with low seeds.")
    if out:
        about.append(
            f"Left out: {counted(out, 'example')} of {n:,}. Those that were searched by flipping, mislabeled, forgotten by "
            "dropping or extreme in a score came first. The query returns the scores of all."
        )
    bare, name = tiles.count(None), name_of(one.source[0])
    if not has_images:
        about.append(f"There are no images: {name} was not there as it was trained on, or has not 1, 3 or 4 channels.")
    elif bare:
        about.append(f"Without thumbnail, so that the page stays small: {counted(bare, 'example')}.")
    query = f"SELECT * FROM leaderboard WHERE {among('trial', one.scored)} ORDER BY example"
    return {"n": n, "about": about, "query": query if out else ""}


def _columns(frame: pd.DataFrame, rows: pd.DataFrame) -> dict[str, Any]:
    """Labels and scores of the rows, column by column. cuts: percentiles 0 to 100 of a score over all n that have it."""
    described = []
    for key in scores(frame):
        known = np.sort(frame[key][np.isfinite(frame[key])])
        cuts = [known[max(0, -(-len(known) * percentile // 100) - 1)] for percentile in range(101)]
        name = NAMES.get(key, key.replace("_", " "))
        described.append({"key": key, "name": name, "n": len(known), "values": short(rows[key]), "cuts": short(cuts)})
    true = [None if math.isnan(label) else int(label) for label in rows["true_label"].tolist()]
    labels = {"example": rows["example"].tolist(), "label": rows["label"].tolist(), "true": true}
    return {**labels, "scores": described}


def _networks(observations: Observations, one: TrainingSet, examples: Sequence[int]) -> list[dict[str, Any]]:
    """Of every kind of network at the last epoch: name; said: per example class, in how many trainings, class, ….

    The most frequent class comes first. said is None where an example has no prediction.
    """
    last = observations.frame(
        f"""SELECT analysis, trial FROM analyses AS a JOIN trials AS t USING (trial)
            WHERE {among("trial", one.trials)} AND TRY_CAST(a.config->>'epoch' AS INTEGER) = t.epochs"""
    )
    if last.empty:
        return []
    # Few trainings have several such analyses: the first one by id that has an example counts.
    first = "QUALIFY row_number() OVER (PARTITION BY trial, mode, rescale, example ORDER BY analysis) = 1"
    rows = observations.frame(
        f"""WITH last AS (SELECT trial, mode, rescale, example, predicted FROM predictions
                          WHERE {among("analysis", last["analysis"])} {first if last["trial"].duplicated().any() else ""})
            SELECT dropout, mode, rescale, example, predicted, count(*) AS n
            FROM last JOIN (SELECT trial, dropout FROM trials) USING (trial)
            GROUP BY ALL ORDER BY dropout, mode, rescale, example, n DESC, predicted"""
    )
    said: dict[Any, dict[int, list[int]]] = {}
    for *network, example, predicted, n in rows.itertuples(index=False, name=None):
        said.setdefault(tuple(network), {}).setdefault(example, []).extend((predicted, n))
    order = [*(key for key in NETWORK_NAMES if key in said), *sorted(set(said) - set(NETWORK_NAMES))]
    return [{"name": NETWORK_NAMES.get(k, ", ".join(k)), "said": [said[k].get(e) for e in examples]} for k in order]
