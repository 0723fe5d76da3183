"""L1, W1 and R1 against the width of the network."""

from __future__ import annotations

from memloc.papers.maini2023.layers import retraining, rewinding
from memloc.papers.maini2023.layers.accuracies import KEPT
from memloc.papers.maini2023.widths import Picture, against_width

SHARE = (0.0, 1.0)
_CLAIMS = {claim.id: claim for claim in (*rewinding.CLAIMS, *retraining.CLAIMS)}

EXHIBITS = (
    against_width(
        "width-rewinding",
        "rewind",
        "What is left of noisy examples with one layer set back, against the width",
        f"(a) The share of pairs of a layer and an epoch that keep noisy accuracy {KEPT} (L1). The epochs are those before "
        "noisy examples are learned. (b) The lowest noisy accuracy that is left with one of the last two layers set back "
        "(W1). All networks of the paper have width 1. It says that most layers keep the noisy examples, and that the last "
        "ones do.",
        (
            Picture(_CLAIMS["L1"], {"": "kept"}, "share of layers and epochs", "(a) All layers", SHARE),
            Picture(_CLAIMS["W1"], {"": "left"}, "noisy accuracy left", "(b) The last two layers", SHARE),
        ),
    ),
    against_width(
        "width-retraining",
        "retrain",
        "The layers that relearn noisy examples from clean ones, against the width",
        f"The share of layers that reach noisy accuracy {KEPT} while they are trained again on clean examples alone (R1).",
        (Picture(_CLAIMS["R1"], {"": "reached"}, "share of layers", y_range=SHARE),),
    ),
)
