"""What `memloc detect` found: a table, files, and a page with the images of the suspects."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from memloc.analysis.reader import Reader
from memloc.analysis.reading import reading
from memloc.analysis.settings import name_of
from memloc.analysis.suspects import Check, Suspects, judgements, suspects
from memloc.config import TrainConfig
from memloc.data import CHANNELS, Raw, check_identity, load
from memloc.data.source import with_truth
from memloc.errors import UsageError
from memloc.report import sprite
from memloc.report.offline import for_script, rendered
from memloc.statistics import auc
from memloc.statistics.trainings import OverTrainings
from memloc.store import Store

LARGEST = 10_000_000  # bytes of the picture with the thumbnails as the page has it
MOST = 4_000  # suspects on a page
# With less of `Check.told`, right labels that look as bad as wrong ones make the estimate much too large: three times, in
# simulations with 10 % wrong labels.
TOLD = 0.85
MOST_WRONG = 0.5  # a larger share is also what networks that tell nothing give: 0.9


@dataclass(frozen=True)
class Truth:
    """How the ranking compares with true labels that the data set has.

    wrong: how many labels are wrong. precision: the share of them among as many of the most suspect. auc: of the ranking.
    suggested: of those whose true label is known, the share whose suggested label is the true one; None if there are none.
    reported: how many labels are wrong by the estimate. reported_precision, recall: of so many of the most suspect the share
    that is wrong, and the share of the wrong labels that is among them; None if the estimate is 0 or there is none.
    """

    wrong: int
    precision: float
    auc: float
    suggested: float | None
    reported: int
    reported_precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Found:
    """The suspects of a data set, with its images. name: of the data set, without folders. model: the network.

    trainings: how many there are.
    """

    suspects: Suspects
    raw: Raw
    name: str
    model: str
    trainings: int

    @cached_property
    def table(self) -> pd.DataFrame:
        """The columns of `Suspects.table`, of all examples, with the names of labels and files."""
        names = self.raw.origin.class_names
        table = self.suspects.table.copy()
        if self.raw.origin.files:
            table["file"] = [self.raw.origin.files[example] for example in table["example"]]
        if names:
            for column in ("given", "suggested"):
                table[column] = [names[label] for label in table[column]]
        return table

    @cached_property
    def truth(self) -> Truth | None:
        """None if nobody knows the true labels, or none is wrong."""
        if self.raw.y_true is None:
            return None
        table, true = self.suspects.table, self.raw.y_true[self.suspects.table["example"].to_numpy()]
        wrong = table["given"].to_numpy() != true
        k = int(wrong.sum())
        area = auc(table["score"].to_numpy(), wrong)
        if area is None:
            return None
        known = wrong & (true >= 0)
        right = table["suggested"].to_numpy()[known] == true[known]
        most = self.suspects.number
        hits = int(wrong[:most].sum())
        return Truth(
            wrong=k,
            precision=float(wrong[:k].mean()),
            auc=area,
            suggested=float(right.mean()) if len(right) else None,
            reported=most,
            reported_precision=hits / most if most else None,
            recall=hits / k if most else None,
        )

    def sentences(self) -> list[str]:
        """What was found, a sentence or a few each."""
        said = [f"{self.name}: {len(self.table):,} labels, judged by {self.trainings} trainings of {self.model}."]
        if self.suspects.wrong is not None:
            said += [self._how_many(self.suspects.wrong), self._how_well(self.suspects.checks)]
        else:
            said.append("There are too few to make some wrong on purpose, so nothing says how many labels are wrong.")
        if self.truth is not None:
            said.append(_against(self.truth))
        return said

    def _how_many(self, wrong: OverTrainings) -> str:
        share, n = wrong.printed, len(self.table)
        number = f"About {self.suspects.number:,}"
        if share.lo is None or share.hi is None:
            return f"{number} labels are wrong ({100 * share.value:.1f} %)."
        ends = f"[{math.floor(n * share.lo):,}, {math.ceil(n * share.hi):,}]"
        return f"{number} {ends} labels are wrong ({100 * share.value:.1f} %). The brackets hold a 95 % interval."

    def _how_well(self, checks: Sequence[Check]) -> str:
        planted, found, told, wrong = np.mean([(c.share.n_planted, c.found, c.told, c.share.value) for c in checks], axis=0)
        check = f"Check: {planted:.0f} labels of a training were made wrong on purpose. "
        if told >= TOLD and wrong <= MOST_WRONG:
            return (
                f"{check}It finds {100 * found:.0f} % of them. If your wrong labels are harder to see than these, there are "
                "more of them."
            )
        why = "the networks tell little" if told < TOLD else "most labels are wrong, or the networks tell little"
        return (
            f"{check}Such a label is more suspect than a right one in {100 * told:.0f} % of the cases, and guessing has "
            f"50 %. So {why}, and the number of wrong labels may be far too large. More epochs, a wider network (width=1) "
            "or more images help."
        )

    def rows(self, k: int) -> list[dict[str, str]]:
        """The k most suspect as texts of one line."""
        top = self.table.head(k)
        digits = {"score": 4, "agreement": 2, "neurons": 1}
        texts = {str(name): [_text(value, digits.get(str(name))) for value in top[name]] for name in top}
        return [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)]

    def as_json(self, k: int) -> dict[str, Any]:
        """For `--json`: the estimate, the check, and the k most suspect."""
        one = self.suspects
        share = None if one.wrong is None else one.wrong.printed
        return {
            "n": len(self.table),
            "wrong": None if share is None else {"share": share.value, "lo": share.lo, "hi": share.hi, "number": one.number},
            "checks": [{"planted": c.share.n_planted, "found": c.found, "auc": c.auc} for c in one.checks],
            "truth": None if self.truth is None else vars(self.truth),
            "suspects": json.loads(self.table.head(k).to_json(orient="records")),
        }


def find(store: Store, sweep: str, trials: Mapping[str, TrainConfig], identity: str, data_dir: Path) -> Found:
    """What the trainings of a sweep of `memloc detect` say of their data set. identity: of the data that they saw.

    Raises:
        UsageError: the data set has changed since, so its images and names would be those of other examples; or no training
            that could rank them has a finite loss.
    """
    config = next(iter(trials.values()))
    raw = load(with_truth(config.source), data_dir)
    check_identity(raw if with_truth(config.source) == config.source else raw.without_truth(), config.source, identity)

    def read(reader: Reader) -> Suspects:
        judged = judgements(reader, list(trials))
        if all(one.planted.any() or one.neurons for one in judged):
            raise UsageError("every training on the labels as given has diverged, so there is no ranking; try a smaller lr")
        return suspects(judged, raw.classes)

    return Found(reading(store, read, sweep), raw, name_of(config.dataset), config.model, len(trials))


def _text(value: Any, digits: int | None) -> str:
    if pd.isna(value):
        return ""
    return _on_one_line(str(value)) if digits is None else f"{value:.{digits}f}"


def _on_one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _against(truth: Truth) -> str:
    k = f"{truth.wrong:,}"
    known = "Which labels are wrong is known" if truth.suggested is None else "The true labels are known"
    said = f"{known}: {k} are wrong. Of the {k} most suspect, {100 * truth.precision:.1f} % are wrong (AUC {truth.auc:.4f})."
    if truth.recall is not None and truth.reported_precision is not None:
        said += (
            f" Of the {truth.reported:,} most suspect, as many as are wrong by the estimate, "
            f"{100 * truth.reported_precision:.1f} % are wrong (precision). They are {100 * truth.recall:.1f} % of the "
            "wrong labels (recall)."
        )
    if truth.suggested is None:
        return said
    return f"{said} For {100 * truth.suggested:.0f} % of the wrong ones the suggested label is the true one."


def _is_formula(text: str) -> bool:
    """Would a spreadsheet take it for one? -1 is a number."""
    return text[:1] in tuple("=+-@\t\r\n") and not re.fullmatch(r"[+-][0-9]+", text)


def csv(found: Found, k: int) -> str:
    """The k most suspect. A text that a spreadsheet would take for a formula begins with an apostrophe."""
    table = found.table.head(k).copy()
    for column in ("file", "given", "suggested"):
        table[column] = [f"'{v}" if isinstance(v, str) and _is_formula(v) else v for v in table[column]]
    text = str(table.to_csv(index=False, lineterminator="\r\n", float_format="%.6g"))  # so a \r in a name is quoted
    return text.replace("\r\n", "\n")


def parquet(found: Found) -> bytes:
    """Every training example, in the order of `example`."""
    sink = io.BytesIO()
    table = pa.Table.from_pandas(found.table.sort_values("example"), preserve_index=False)
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


def page(found: Found, k: int, name: str) -> str:
    """The page: thumbnails of the k most suspect, which one judges by the keys y and n. name: under which it keeps them."""
    rows = found.table.head(min(k, MOST))
    images = {((found.name, ""), int(e)): found.raw.x_train[e] for e in rows["example"]}
    sheet = sprite.sprite(images, LARGEST) if found.raw.shape[0] in CHANNELS else sprite.Sprite()
    data: dict[str, Any] = {
        "cell": sheet.cell,
        "columns": sprite.COLUMNS,
        "rows": [
            [*json.loads(rows.iloc[[i]].to_json(orient="values"))[0], sheet.tiles.get(((found.name, ""), int(e)))]
            for i, e in enumerate(rows["example"])
        ],
        "tiles": len(sheet.tiles),
        "of": len(found.table),
        "name": name,
        "identity": found.raw.identity[:16],
    }
    title = f"Suspects of {found.name}"
    return rendered("suspects.html.j2", title=title, sentences=found.sentences(), sprite=sheet.uri, data=for_script(data))
