"""A1, Figures 8, 9 and 19: atypical examples behave as mislabeled ones do (paper §7, B.2).

No label is wrong. The noisy set of an analysis holds the examples with a low C-score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from memloc.analysis.observations import Observations
from memloc.analysis.settings import Scope, Setting
from memloc.config import canonical_json
from memloc.papers.claims import Case, Claim, Estimates, of_stage
from memloc.papers.deciding import Estimate, untestable
from memloc.papers.exhibits import Exhibit, Wanted, per_setting
from memloc.papers.maini2023.gradients.norms import alike, dots, measured, shown_layer
from memloc.papers.maini2023.layers import retraining
from memloc.papers.maini2023.layers.accuracies import KEPT, Sets, drawn_by_layer
from memloc.papers.maini2023.layers.rewinding import same_groups
from memloc.papers.paper import Judged, Section
from memloc.statistics.regions import Region

ALL = Region(lo=1.0)  # every group can be retrained
C_SCORES = "memloc sweep cscore"  # estimates the C-scores that say which examples are atypical
SETS: Sets = {"typical": ("clean_acc", None), "atypical": ("noisy_acc", None)}  # a store does not say how many they are
NORMED = {"clean": "typical", "noisy": "atypical", "total": "total", "control": "control"}
ESTIMATES: Mapping[str, Callable[[Case], Estimate]] = {
    "gradients": alike,
    "rewind": same_groups,
    "retrain": partial(retraining.retrained, asked=ALL),
}


def _settings(observations: Observations) -> list[Setting]:
    """Each setting once. Its analyses are of one of the three stages; `_a1` looks the others up."""
    return list({key: s for stage in reversed(tuple(ESTIMATES)) for key, s in _of(observations, stage).items()}.values())


def _of(observations: Observations, stage: str) -> dict[str, Setting]:
    """{training and source of C-scores: its analyses of a stage}: those with the fewest unusual options."""
    several = sorted(observations.settings(stage, atypical=True), key=lambda s: -len(s.variant))
    return {_key(s): s for s in several}


def _key(setting: Setting) -> str:
    return canonical_json(
        [setting.config, setting.data, setting.variant.get("memorized"), setting.variant.get("c_score_below")]
    )


def _a1(case: Case) -> Estimates:
    """Gradients as in G1, rewinding as in W2, retraining as in R1, except that all layers must reach 0.9.

    A store does not say how many examples a set by C-score has. So the intervals of retraining are of the trainings alone.
    """
    estimates: dict[str, Estimate | None] = {}
    for stage, estimate in ESTIMATES.items():
        analysed = _of(case.observations, stage).get(_key(case.setting))
        if analysed is not None:
            there = Case(case.observations, analysed)
            kept, said = case.observations.testable(there.trials, atypical=True)
            estimates[stage] = estimate(there.only(kept)) if kept else untestable(said, [], there.select(stage))
    return estimates


A1 = Claim(
    "A1",
    "§7, B.2, Figures 8, 9, 19",
    "atypical examples behave as mislabeled ones do, but every layer can be retrained (§7 swaps the two set sizes)",
    "gradients",
    _a1,
    {Scope(d, noise=0.0): {"gradients": 1.0, "rewind": None, "retrain": 1.0} for d in ("cifar10", "mnist")},
    atypical=True,
    settings=_settings,
    part_stages={stage: (stage,) for stage in ESTIMATES},
    first=lambda part: C_SCORES,
)

_exhibit = partial(Exhibit, command="memloc sweep atypical", atypical=True, first=C_SCORES)
EXHIBITS = (
    _exhibit(
        "fig08",
        "Figure 8",
        "Gradient norms by layer, of typical and atypical examples",
        "§7",
        "Means over epochs. Atypical examples have a C-score below 0.5; no label is wrong. The paper finds the norms "
        "similar.",
        settings=partial(measured, atypical=True),
        draw=per_setting(lambda subject: dots(subject, NORMED)),
        wanted=Wanted(("cifar10", "mnist"), ("resnet9",), (0.0,)),
        claims=("A1",),
    ),
    _exhibit(
        "fig09",
        "Figure 9",
        "Accuracy on typical and atypical examples with one layer set back to an earlier epoch",
        "§7",
        "Atypical examples have a C-score below 0.5, and no label is wrong. The paper finds memorization dispersed "
        "over layers.",
        settings=of_stage("rewind", atypical=True),
        draw=per_setting(drawn_by_layer("rewind", SETS)),
        wanted=Wanted(("cifar10",), ("resnet9",), (0.0,)),
    ),
    _exhibit(
        "fig19",
        "Figure 19",
        "Accuracy while one layer is trained again on typical examples alone",
        "B.2",
        "Atypical examples have a C-score below 0.5, and no label is wrong. The paper finds that every layer reaches a high "
        "accuracy on them.",
        settings=of_stage("retrain", atypical=True),
        draw=per_setting(retraining.drawn(SETS)),
        wanted=Wanted(("cifar10", "mnist"), ("resnet9",), (0.0,)),
    ),
)


def sentence(judged: Judged) -> str:
    """The ratio of norms, and how many layers reach a high accuracy by retraining."""
    parts = judged.get("A1", {})
    sentences = []
    if ratio := parts.get("gradients"):
        layer = shown_layer(ratio, "the two differ most", "the two clearly differ")
        sentences.append(
            f"The gradient of atypical examples has {ratio.printed(2)} times the norm of the typical ones, in {layer}."
        )
    if share := parts.get("retrain"):
        sentences.append(
            "With one layer trained again on typical examples alone, accuracy on atypical ones comes back to at least "
            f"{KEPT} in a share of {share.printed(2)} of the layers."
        )
    return " ".join(sentences)


SECTION = Section("Atypical examples", "§7, B.2", (A1,), EXHIBITS, sentence)
