"""What view `flips_auc_pooled` says of some settings. The view pools the searches of the whole store."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.observations import Observations
from memloc.analysis.searches import searched
from memloc.statistics import Bools, Floats


def aucs_by_draws(observations: Observations, analyses: Collection[str]) -> pd.DataFrame:
    """Settings × draws 1, 2, …: the AUC of counts that are averaged over so many (training, repeat), by seed, then repeat.

    A setting is all trainings that differ in `seed` alone and were searched alike; those of `analyses` are shown, each with
    all of its trainings. NaN where examples of one set are missing.
    """
    setting = "json_merge_patch(t.config, '{\"seed\": null}')::VARCHAR"
    families = observations.frame(
        f"""WITH placed AS (SELECT analysis, trial, t.seed, {setting} AS setting, a.config AS config
                            FROM analyses AS a JOIN trials AS t USING (trial) WHERE stage = 'flips')
            SELECT * FROM placed SEMI JOIN (SELECT setting, config FROM placed WHERE {among("analysis", analyses)}) AS shown
            USING (setting, config) ORDER BY setting, config, seed, trial"""
    )
    rows = {}
    for (name, _), trainings in families.groupby(["setting", "config"], sort=True):
        aucs = _of_family(searched(observations, trainings["analysis"].tolist()), trainings["trial"].tolist())
        if not np.isnan(aucs).all():
            rows[name] = pd.Series(aucs, range(1, len(aucs) + 1))
    return pd.DataFrame(rows).T.dropna(axis=1, how="all")


def _of_family(rows: pd.DataFrame, trials: list[str]) -> Floats:
    """float64[draws]. rows: of `searches.searched`; trials: in the order of draws."""
    order = rows["trial"].map({t: k for k, t in enumerate(trials)}).astype(np.int64)
    draw = pd.DataFrame({"trial": order, "repeat": rows["repeat"]}).groupby(["trial", "repeat"]).ngroup().to_numpy()
    draws, rows = int(draw.max(initial=-1)) + 1, rows.assign(draw=draw)[rows["eligible"]]
    unit = rows.groupby(["example", "noisy"]).ngroup().to_numpy()
    first = np.unique(unit, return_index=True)[1]
    noisy, shape = rows["noisy"].to_numpy()[first], (draws, len(first))
    cells, size = rows["draw"].to_numpy() * len(first) + unit, draws * len(first)
    totals, searches = (np.bincount(cells, w, size).reshape(shape).cumsum(axis=0) for w in (rows["count"].to_numpy(), None))
    return np.array([_auc(total[n > 0] / n[n > 0], noisy[n > 0]) for total, n in zip(totals, searches, strict=True)])


def _auc(counts: Floats, noisy: Bools) -> float:
    """Of minus the counts, by midranks. NaN without examples of both sets."""
    from scipy.stats import rankdata

    m, n = int(noisy.sum()), len(noisy)
    if m in (0, n):
        return np.nan
    return float((rankdata(-counts)[noisy].sum() - m * (m + 1) / 2) / (m * (n - m)))
