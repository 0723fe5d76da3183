"""A1, Figures 8, 9 and 19: atypical examples behave as mislabeled ones do (paper §7, B.2).

No label is wrong. The noisy set of an analysis holds the examples with a low C-score.
"""

from __future__ import annotations

from functools import partial

from memloc.analysis.observations import Observations, among
from memloc.analysis.settings import Scope, Setting
from memloc.config import canonical_json
from memloc.papers.claims import Claim, Estimates, Numbers, of_stage
from memloc.papers.deciding import untestable
from memloc.papers.exhibits import Exhibit, Wanted, memorizing, per_setting
from memloc.papers.judgement import Estimate
from memloc.papers.maini2023.gradients.norms import alike, dots, gradient_rows, measured
from memloc.papers.maini2023.layers import retraining, rewinding
from memloc.papers.maini2023.layers.accuracies import KEPT, Sets, by_layer
from memloc.papers.paper import Judged, Section
from memloc.statistics.regions import Region

STAGES = ("gradients", "rewind", "retrain")
ALL = Region(lo=1.0)  # every group can be retrained
C_SCORES = "memloc sweep cscore"  # estimates the C-scores that say which examples are atypical
SETS: Sets = {"typical": ("clean_acc", None), "atypical": ("noisy_acc", None)}  # a store does not say how many they are
NORMED = {"clean": "typical", "noisy": "atypical", "total": "total", "control": "control"}


def _settings(observations: Observations) -> list[Setting]:
    """Each setting once. Its analyses are of one of the three stages; `_a1` looks the others up."""
    analysed = [s for stage in reversed(STAGES) for s in _of(observations, stage).values()]
    return list({canonical_json(s.config): s for s in analysed}.values())


def _of(observations: Observations, stage: str) -> dict[str, Setting]:
    """{training configuration: its analyses of a stage}: those with the fewest unusual options."""
    several = sorted(observations.settings(stage, atypical=True), key=lambda s: -len(s.variant))
    return {canonical_json(s.config): s for s in several}


def _a1(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    """Gradients as in G1, rewinding as in W2, retraining as in R1, except that all layers must reach 0.9.

    A store does not say how many examples a set by C-score has. So the intervals of retraining are of the trainings alone.
    """
    estimates: dict[str, Estimate | None] = {}
    for stage in STAGES:
        analysed = _of(observations, stage).get(canonical_json(setting.config))
        if analysed is None:
            continue
        kept, said = observations.testable(analysed.trials, atypical=True)
        if not kept:
            sql = f"SELECT * FROM {stage} WHERE {among('analysis', analysed.analyses.values())}"
            estimates[stage] = untestable(said, [], sql)
        elif stage == "gradients":
            estimates[stage] = alike(*gradient_rows(observations, analysed.only(kept)))
        elif stage == "rewind":
            estimates[stage] = rewinding.same_groups(rewinding.rewound_in(observations, analysed.only(kept)))
        else:
            estimates[stage] = retraining.retrained(*retraining.retrain_rows(observations, analysed.only(kept)), ALL)
    return estimates


A1 = Claim(
    "A1",
    "§7, B.2, Figures 8, 9, 19",
    "atypical examples behave as mislabeled ones do, but every layer can be retrained (§7 swaps the two set sizes)",
    {Scope(d, noise=0.0): {"gradients": 1.0, "rewind": None, "retrain": 1.0} for d in ("cifar10", "mnist")},
    "gradients",
    _settings,
    _a1,
    part_stages={stage: (stage,) for stage in STAGES},
    atypical=True,
    first=lambda part: C_SCORES,
)

NORMS = Exhibit(
    "fig08",
    "Figure 8",
    "Gradient norms by layer, of typical and atypical examples",
    "§7",
    "Means over epochs. Atypical examples have a C-score below 0.5; no label is wrong. The paper finds the norms similar.",
    "memloc sweep atypical",
    memorizing(partial(measured, atypical=True), atypical=True),
    Wanted(("cifar10", "mnist"), ("resnet9",), (0.0,)),
    per_setting(lambda evidence, setting, label: [dots(evidence.observations, setting, label, NORMED)]),
    ("A1",),
    C_SCORES,
)
REWINDING = Exhibit(
    "fig09",
    "Figure 9",
    "Accuracy on typical and atypical examples with one layer set back to an earlier epoch",
    "§7",
    "Atypical examples have a C-score below 0.5, and no label is wrong. The paper finds memorization dispersed over layers.",
    "memloc sweep atypical",
    memorizing(of_stage("rewind", atypical=True), atypical=True),
    Wanted(("cifar10",), ("resnet9",), (0.0,)),
    per_setting(lambda evidence, setting, label: [by_layer(evidence.observations, setting, label, "rewind", SETS)]),
    first=C_SCORES,
)
RETRAINING = Exhibit(
    "fig19",
    "Figure 19",
    "Accuracy while one layer is trained again on typical examples alone",
    "B.2",
    "Atypical examples have a C-score below 0.5, and no label is wrong. The paper finds that every layer reaches a high "
    "accuracy on them.",
    "memloc sweep atypical",
    memorizing(of_stage("retrain", atypical=True), atypical=True),
    Wanted(("cifar10", "mnist"), ("resnet9",), (0.0,)),
    per_setting(lambda evidence, setting, label: [by_layer(evidence.observations, setting, label, "retrain", SETS)]),
    first=C_SCORES,
)


def sentence(judged: Judged) -> str:
    """The ratio of norms, and how many layers reach a high accuracy by retraining."""
    parts = judged.get("A1", {})
    sentences = []
    if ratio := parts.get("gradients"):
        sentences.append(
            f"The gradient of atypical examples has {ratio.printed(2)} times the norm of the typical ones, in the layer "
            "where the two differ most."
        )
    if share := parts.get("retrain"):
        sentences.append(
            "With one layer trained again on typical examples alone, accuracy on atypical ones comes back to at least "
            f"{KEPT} in a share of {share.printed(2)} of the layers."
        )
    return " ".join(sentences)


SECTION = Section("Atypical examples", "§7, B.2", (A1,), (NORMS, REWINDING, RETRAINING), sentence)
