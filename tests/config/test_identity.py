"""Ids are pinned: from here on they change by a version alone, and a field that comes later leaves them as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, get_args

import pytest

from memloc.config import Config, Neutral, StageConfig, TrainConfig, canonical, canonical_json, fingerprint
from memloc.config.types import Variant
from memloc.models.architectures import ARCHITECTURES, resolved
from memloc.stages import STAGES
from memloc.stages.training.schema import VERSION

BASE: dict[str, Any] = {"dataset": "digits", "model": "resnet9"}
TIED: dict[str, Any] = {"dropout": "example_tied", "p_gen": 0.2, "p_mem": 0.1}
EVERYTHING: dict[str, Any] = {
    "subset": 100, "augment": "crop_flip", "noise": 0.2, "wrong": "offset", "noise_count": "floor", "data_seed": 3,
    "lr": 0.01, "schedule": "warmup_cosine", "peak_epoch": 7, "momentum": 0.5, "weight_decay": 0.0, "stop_after_perfect": 5,
    "precision": "fp16", "compile": True, "seed": 9, "threads": 2,
}  # fmt: skip

# A change of one of these makes every store out there start over. It must be meant: then a version is raised instead.
TRAININGS: list[tuple[dict[str, Any], str]] = [
    ({}, "6849993ca4900efa"),
    ({"width": 0.25, "noise": 0.1, "epochs": 30, "batch_size": 128}, "d57a3a431ec8c605"),
    (TIED, "8b6266b7bf81ae85"),
    ({**TIED, "masks": "shared"}, "84fab93de37fc97f"),
    ({"dropout": "standard"}, "a0c68f82a2928e62"),
    ({"dropout": "sparse"}, "9ae4a41f067e9b76"),
    ({"batch_norm": "frozen"}, "a54484a717881ba2"),
    ({"batch_norm": "frozen", "stochastic": "on"}, "ddc12a74de6e0329"),
    ({"ratio": 0.7, "cut": 2}, "6a538ec5c60e654b"),
    ({"model": "resnet50"}, "f0954f2612b2e4b6"),
    ({"model": "vit_small"}, "12e69bfd92780bac"),
    ({"model": "vit_small", "tokens": "shifted"}, "209e905d862f6e89"),
    ({"model": "timm:test_vit"}, "d20e32c03a4ef7a2"),
    (EVERYTHING, "0efe0908561f610b"),
]
MASKED = {"memorized": "labels"}
ANALYSES: dict[str, dict[str, Any]] = {
    "depth": {"epochs": [20], "neighbours": 10, "support": 5000},
    "detection": {"scores": ["learning_time", "forgetting", "aum", "el2n", "loss", "probability"]},
    "edit": {
        **MASKED, "epochs": [20], "groups": ["inner"], "unedited": [2, 4, 6, 8, 10, 12, 14, 16, 18, 20],
        "ranks": ["kfac", "activation", "gradient", "svd", "random", "magnitude"], "bn": ["final"], "images": ["train"],
        "rho": [0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99], "budget": ["energy", "pairs"],
    },
    "evaluate": {"epoch": 20, "modes": ["plain"]},
    "flips": {
        **MASKED, "clean": 1000, "noisy": 1000, "repeats": 1, "estimator": "fast", "reference": 16, "ablate": "activation",
        "max_neurons": 200, "post_eval": 2000, "group_size": 32,
    },
    "gradients": {**MASKED, "bn": "batch", "at": "trajectory", "epochs": list(range(1, 21))},
    "held_out": {"ratios": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "min_held_out": 20},
    "inject": {"networks": 2, "items": 5, "share": 0.02, "weights": "out", "steps": 150},
    "locate": {
        "truth": "deleted", "clean": 10, "noisy": 10, "before": 3, "evaluated": 100,
        "methods": [
            "activation", "activation_gradient", "activation_norm", "contrast", "contrast_label", "fisher", "flips",
            "gradient", "hard_concrete_drop", "hard_concrete_keep", "integrated_gradients", "slimming_drop",
            "slimming_keep", "weight_change", "zero_out", "norm_out", "other_item", "random", "reference_only",
        ],
    },
    "retrain": {**MASKED, "epochs": 20, "peak_epoch": 10, "lr": 0.1},
    "rewind": {**MASKED, "epochs": [0, 10, 20], "buffers": "final"},
    "second_split": {"epochs": 20},
    "units": {"epochs": [20], "copies": 10, "augment": "crop", "close": 0.05},
}  # fmt: skip
# What later fields stand for in older trainings and analyses: these values never change.
NEUTRAL = {
    "noise_count": "round", "tokens": "patch", "masks": "site", "batch_norm": "train", "stochastic": "off",
    "optimizer": "sgd", "pretrained": False, "stop": None,
    "compile": False, "freeze": "others", "batches": "clean", "scale": "n", "at": "checkpoint",
    "choose": "any", "noise_norm": "example", "perfect": "in_a_row",
}  # fmt: skip


@pytest.mark.parametrize(("fields", "pinned"), TRAININGS)
def test_a_trainings_identity_is_pinned(fields: dict[str, Any], pinned: str) -> None:
    assert fingerprint(resolved(**{**BASE, **fields})) == pinned


def test_the_version_is_pinned_with_it() -> None:
    """Raise it when the numbers of trainings change, and write what changed into docs/results.md."""
    assert VERSION == 3


def test_an_analysis_identity_is_pinned() -> None:
    """By what is hashed, so that a change says which field it is about."""
    train = resolved(**BASE, epochs=20)
    found = {name: canonical(stage.resolve(stage.config(), train, ())) for name, stage in STAGES.items()}
    assert found == ANALYSES


def configs() -> Iterator[type[Config]]:
    """Every class whose fields enter an identity."""
    yield TrainConfig
    for info in TrainConfig.model_fields.values():
        for option in get_args(info.annotation) or (info.annotation,):
            if isinstance(option, type) and issubclass(option, Config):
                yield option
    yield from ARCHITECTURES.values()
    yield from (stage.config for stage in STAGES.values())


def marker_of(metadata: Sequence[Any]) -> Neutral | None:
    return next((m for m in metadata if isinstance(m, Neutral)), None)


def test_neutral_values_never_change() -> None:
    marked: dict[str, Any] = {}
    for cls in configs():
        for name, info in cls.model_fields.items():
            flat = name if not (issubclass(cls, Variant) and name == cls.KIND) else "batch_norm"
            marked |= dict.fromkeys([flat], m.value) if (m := marker_of(info.metadata)) else {}
    assert marked == NEUTRAL


def test_every_option_that_is_not_in_a_pinned_id_is_neutral_or_absent() -> None:
    """A later field that is not marked would stand in the canonical form of the trainings above."""
    pinned = {name for fields, _ in TRAININGS for name in canonical(resolved(**{**BASE, **fields}))}
    for fields, _ in TRAININGS:
        flat = resolved(**{**BASE, **fields}).flat()
        left_out = {n: v for n, v in flat.items() if n not in canonical(resolved(**{**BASE, **fields}))}
        assert all(v is None or NEUTRAL[n] == v for n, v in left_out.items())
    assert pinned >= {"lr", "batch_norm", "stochastic", "masks", "tokens", "compile", "noise_count", "ratio", "cut"}


class Later(TrainConfig):
    """As if there were one more field."""

    shuffle: Literal["all", "none"] = "all"


class LaterMarked(TrainConfig):
    shuffle: Annotated[Literal["all", "none"], Neutral("all")] = "all"


def test_a_later_field_needs_a_neutral_value() -> None:
    """Without one the pinned id of every training changes, so the test above fails; with one it stays."""
    config = resolved(**BASE)
    given = {name: getattr(config, name) for name in TrainConfig.model_fields}
    assert fingerprint(Later(**given)) != TRAININGS[0][1]
    assert fingerprint(LaterMarked(**given)) == TRAININGS[0][1]
    assert fingerprint(LaterMarked(**given, shuffle="none")) not in (TRAININGS[0][1], fingerprint(Later(**given)))


class LaterAnalysis(StageConfig):
    depth: int = 3
    later: Annotated[bool, Neutral(False)] = False


def test_of_an_analysis_too() -> None:
    assert canonical(LaterAnalysis()) == {"depth": 3}
    assert canonical(LaterAnalysis(later=True)) == {"depth": 3, "later": True}


def test_a_whole_number_beyond_64_bits_stays_a_float() -> None:
    """As a whole number it would make every record and commit with it unreadable, `lr: 1.0e+30` for example."""
    assert canonical_json({"lr": 1e30, "large": 2.0**62}) == '{"large":4611686018427387904,"lr":1e+30}'
    assert canonical_json(resolved(**BASE, lr=1e30)).count('"lr":1e+30') == 1
