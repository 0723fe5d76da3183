"""Clean examples that dropping the memorization neurons forgets, with their images (paper §6.2): Figure 7."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from memloc.api import OpenStore
from memloc.errors import MemlocError
from memloc.report.charts import Exhibit, Gallery, Number, Picture
from memloc.report.choice import Wanted, choose
from memloc.report.settings import JOINS, KEYS, Setting, near_the_papers_cell, seeds_in_words, split
from memloc.report.source import Source

PICTURES = 24  # of one setting

# Right under its own mask, wrong once the memorization neurons are dropped.
FORGOTTEN = f"""WITH before AS (
  SELECT analysis, trial, example FROM predictions WHERE mode = 'own' AND correct),
after AS (
  SELECT analysis, trial, example, predicted, correct FROM predictions WHERE mode = 'dropped' AND rescale = 'none')
SELECT {KEYS}, example, any_value(true_label) AS label,
       list(trial ORDER BY trial) AS trials,
       list((NOT correct)::INT ORDER BY trial) AS forgotten,
       list(CASE WHEN NOT correct THEN predicted END ORDER BY trial) AS predicted
FROM before JOIN after USING (analysis, trial, example) JOIN examples USING (trial, example) {JOINS}
WHERE NOT noisy
GROUP BY ALL HAVING max((NOT correct)::INT) = 1
ORDER BY setting, analysis, sum((NOT correct)::INT) DESC, example"""


def figure7(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "fig07",
        "Figure 7",
        "Clean examples that dropping the memorization neurons forgets",
        "6.2",
        "Those forgotten in most trainings first; its class, then what the network says without these neurons. The paper: "
        "most are mislabeled, ambiguous or unusual.",
        "memloc sweep etd-grid",
    )
    settings = near_the_papers_cell(split(source.frame(FORGOTTEN)))
    chosen = choose(settings, Wanted(("cifar10", "mnist", "svhn"), ("resnet9",), (0.1,)), shown=3)
    galleries, numbers, problems = [], [], []
    for s in chosen.settings:
        numbers.append(_number(s))
        try:
            galleries.append(_gallery(s, source))
        except MemlocError as error:
            problems.append(f"{s.label}: no images: {error.problems[0]}")
    filled = chosen.fill(
        exhibit,
        FORGOTTEN,
        charts=galleries,
        numbers=numbers,
        seeds=seeds_in_words(v for s in chosen.settings for v in s.rows.trials),
    )
    return chosen.remark(filled, " ".join(problems)) if problems else filled


def _number(setting: Setting) -> Number:
    forgotten = [int(v) for values in setting.rows.forgotten for v in values]
    return Number(
        f"clean examples forgotten in a training at least, {setting.label}", f"{len(setting.rows)} ({sum(forgotten)} times)"
    )


def _gallery(setting: Setting, source: Source) -> Gallery:
    first = setting.rows.head(PICTURES)
    data = OpenStore(source.store).trial(str(first.trials[0][0])).data()
    place = {int(e): k for k, e in enumerate(data.example)}
    pictures = []
    for row in first.to_dict("records"):
        image = data.x[place[int(row["example"])]].numpy()
        says = sorted({str(int(p)) for p in row["predicted"] if p is not None and p == p})
        pictures.append(Picture(png(image), f"{int(row['label'])} → {', '.join(says)}"))
    return Gallery(setting.label, pictures)


def png(image: Any) -> bytes:
    """An image C×H×W in [−1, 1] as PNG, the same bytes every time."""
    from PIL import Image

    pixels = np.clip(np.rint((image + 1.0) * 127.5), 0, 255).astype(np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(sink, format="PNG", compress_level=9)
    return sink.getvalue()


EXHIBITS = (figure7,)
