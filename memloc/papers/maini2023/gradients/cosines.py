"""G2, Figure 2: the cosine of the clean and the noisy gradient (paper §4.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from memloc.counts import counted
from memloc.papers.charts import Heat, by_training, over
from memloc.papers.claims import HERE, Case, here
from memloc.papers.deciding import Estimate, decided, untestable
from memloc.papers.exhibits import Drawn, Exhibit, Subject, per_setting
from memloc.papers.maini2023.gradients.norms import gradients, measured, of_gradients, sql_of, titled
from memloc.statistics import in_brackets
from memloc.statistics.quantities import mean_of_trainings
from memloc.statistics.regions import Region
from memloc.statistics.scales import REAL
from memloc.statistics.trainings import OverTrainings

COSINE = replace(REAL, lo=-1.0, hi=1.0)
OPPOSED = Region(hi=-0.75, open_hi=True)  # G2
LEAST_EPOCHS = 3  # of G2's window; a median of fewer says little
NOTHING = (1, 0)  # no epochs


def opposed(case: Case) -> Estimate:
    """G2: the median, over the epochs of the window, of the largest cosine of any group is below −0.75.

    Trainings with fewer than three of these epochs are left out.
    """
    frame, windows, sql = gradients(case), _windows(case), sql_of(case)
    begins, ends = (frame["trial"].map(lambda t, end=end: windows.get(t, NOTHING)[end]) for end in (0, 1))
    inside = frame[(begins <= frame["epoch"]) & (frame["epoch"] <= ends)].dropna(subset=["cosine"])
    highest = inside.groupby(["trial", "epoch"])[["cosine", "cosine_control"]].max()
    stored = highest.groupby("trial").size()
    enough = stored[stored >= LEAST_EPOCHS]
    if enough.empty:
        return untestable(_too_few_epochs(windows, stored), [], sql)
    medians = highest.groupby("trial").median().loc[enough.index]
    span = _span([windows[str(t)] for t in enough.index])
    compared = f"median over {span} ({enough.mean():.3g} stored) of the largest cosine of any group"
    beside = f"; {_control(medians['cosine_control'])}"
    return decided(over_trainings(list(medians["cosine"])), OPPOSED, compared, list(enough.index), sql, beside)


def over_trainings(cosines: list[float]) -> OverTrainings:
    """The mean cosine over trainings."""
    return mean_of_trainings(cosines, COSINE)


def _control(medians: pd.Series) -> str:
    """What random sets say. Near a stationary point any two sets cancel, and G2 says nothing of noise."""
    if medians.isna().any():
        return "the cosine of random sets is not known, so this may not be about noise"
    control = over_trainings(list(medians)).printed
    has = f"random sets as large have {in_brackets(control, 2)}"
    if control.lo is None:
        return f"{has}: one training does not show whether this is about noise"
    if control.lo <= OPPOSED.hi:
        return f"{has}, perhaps below {OPPOSED.hi} too: any two sets cancel near a minimum, so this may not be about noise"
    return f"{has}, above {OPPOSED.hi}: this is about noise"


def _too_few_epochs(windows: Mapping[str, tuple[int, int]], stored: pd.Series) -> str:
    asked = _span(list(windows.values())) if windows else "the epochs"
    has = f"gradients of only {counted(int(stored.max()), 'epoch')}" if len(stored) else "no gradients"
    return f"{has} in {asked}, where noisy accuracy climbs: list at least {LEAST_EPOCHS} such epochs in `gradients.epochs`"


def _span(windows: Sequence[tuple[int, int]]) -> str:
    return f"epochs {min(first for first, _ in windows)} to {max(last for _, last in windows)}"


def _windows(case: Case) -> dict[str, tuple[int, int]]:
    """{trial: the epochs in which it memorizes}: 10 to 30 in the paper's setting, else where noisy accuracy climbs."""
    if case.scope == HERE and not case.setting.unlike_paper:
        return dict.fromkeys(case.trials, (10, 30))
    begins, ends = (case.observations.first_reaching(level) for level in (0.2, 0.8))
    return {t: (begins[t], ends[t]) for t in case.trials if t in begins and t in ends}


CLAIMS = (
    of_gradients(
        "G2",
        "§4.2, Figure 2",
        "while noisy examples are memorized, the cosine of clean and noisy gradients is below -0.75 at every layer",
        estimate=opposed,
        scopes=here({"": -0.75}),
    ),
)


def _heat(subject: Subject) -> Drawn:
    frame = gradients(subject)
    layers, epochs = subject.layers(frame["layer"]), sorted(int(e) for e in frame["epoch"].unique())
    cells = {
        "clean and noisy examples": _cells(frame, "cosine", layers, epochs),
        "two random sets of these sizes": _cells(frame, "cosine_control", layers, epochs),
    }
    return [Heat(titled(subject), layers, epochs, cells, "epoch", "cosine of the two gradients", sql_of(subject))]


def _cells(frame: pd.DataFrame, column: str, layers: Sequence[str], epochs: list[int]) -> list[list[OverTrainings | None]]:
    tables = [by_training(frame[frame["layer"] == layer], "epoch", column).reindex(columns=epochs) for layer in layers]
    return [[over(table[epoch], over_trainings) for epoch in epochs] for table in tables]


EXHIBITS = (
    Exhibit(
        "fig02",
        "Figure 2",
        "Cosine of the clean and the noisy gradient, by layer and epoch",
        "§4.2",
        "The paper finds it below −0.75 in all layers for most of epochs 10 to 30. The figure also shows two random sets "
        "of the same sizes.",
        "memloc sweep paper-grid --only block=main --only dataset=cifar10 --only noise=0.1",
        measured,
        per_setting(_heat),
        claims=("G2",),
    ),
)
