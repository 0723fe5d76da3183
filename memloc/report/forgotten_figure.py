"""Clean examples that dropping the memorization neurons forgets, with their images (paper §6.2): Figure 7."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from memloc.data.arrays import U8
from memloc.errors import MemlocError
from memloc.report.charts import Exhibit, Gallery, Number, Picture, Table
from memloc.report.selection import Wanted, select
from memloc.report.setting_rows import JOINS, KEYS, SettingRows, name_of, near_the_papers_cell, seeds_in_words, split
from memloc.report.source import Source

PICTURES = 24  # of one setting

FORGOTTEN = f"""SELECT {KEYS}, example, any_value(label) AS label, any_value(c_score) AS c_score,
       list(trial ORDER BY trial) AS trials, list(predicted ORDER BY trial) AS predicted,
       list(learning_time ORDER BY trial) AS learning_time
FROM forgotten {JOINS}
GROUP BY ALL ORDER BY setting, analysis, count(*) DESC, example"""


def figure7(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "fig07",
        "Figure 7",
        "Clean examples that dropping the memorization neurons forgets",
        "6.2",
        "The examples that most trainings forget come first. Each has its class, then what the network says without these "
        "neurons. The paper: most are mislabeled, ambiguous or unusual.",
        "memloc sweep etd-grid",
    )
    settings = near_the_papers_cell(split(source.frame(FORGOTTEN)))
    selection = select(settings, Wanted(("cifar10", "mnist", "svhn"), ("resnet9",), (0.1,)), shown=3)
    galleries, tables, numbers, absent = [], [], [], []
    for s in selection.settings:
        numbers.append(_number(s))
        try:
            galleries.append(_gallery(s, source))
        except MemlocError as error:
            source.problems.append(f"Figure 7 has no images of {s.label}: {error.problems[0]}")
            absent.append(name_of(s.dataset))
            tables.append(_table(s))
    filled = selection.fill(
        exhibit,
        FORGOTTEN,
        charts=galleries,
        tables=tables,
        numbers=numbers,
        seeds=seeds_in_words(sorted({t for trials in s.rows.trials for t in trials}) for s in selection.settings),
    )
    names = ", ".join(dict.fromkeys(absent))
    return selection.remark(filled, f"Without images: {names} was not in the data directory.") if absent else filled


def _number(setting: SettingRows) -> Number:
    """How many examples are forgotten. A training that forgets none has no rows."""
    times = sum(len(trials) for trials in setting.rows.trials)
    return Number(
        f"clean examples forgotten in a training at least, {setting.label}", f"{len(setting.rows)} ({times} times)"
    )


def _words(row: Mapping[Any, Any]) -> str:
    """`4 → 9`: the class, and the prediction after dropping."""
    return f"{int(row['label'])} → {', '.join(sorted({str(int(p)) for p in row['predicted']}))}"


def _table(setting: SettingRows) -> Table:
    first = setting.rows.head(PICTURES).to_dict("records")
    rows = [[str(row["example"]), _words(row), str(len(row["trials"]))] for row in first]
    return Table(setting.label, ["example", "class → said", "times forgotten"], rows)


def _gallery(setting: SettingRows, source: Source) -> Gallery:
    from memloc.data import check_identity, load

    first = setting.rows.head(PICTURES)
    raw = load(setting.dataset, source.data_dir)
    trial = str(first.trials[0][0])
    (training,) = [c for c in source.reader.seen.commits if c.id == trial]
    check_identity(raw, setting.dataset, str(training.part["data"]))
    pictures = [Picture(png(raw.x_train[int(row["example"])]), _words(row)) for row in first.to_dict("records")]
    return Gallery(setting.label, pictures)


def png(image: U8) -> bytes:
    """An image, uint8 C×H×W, as PNG, the same bytes every time."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(sink, format="PNG", compress_level=9)
    return sink.getvalue()
