"""Presets: below everything that a sweep says itself, and no more than their values written out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from memloc import sweep
from memloc.config import canonical, fingerprint
from memloc.errors import UsageError
from memloc.models.architectures import TRAINING
from memloc.run.planner import build_plan
from memloc.stages import REGISTRY, STAGES
from memloc.sweep import Sweep, presets
from tests.sweep.test_sweep import load, problems, values

CONFIGS = {name: stage.config for name, stage in STAGES.items()}
HEAD = "preset: authors\ndefaults: {dataset: cifar10, model: resnet9}\n"
ALL = "{gradients: {}, rewind: {}, retrain: {}, evaluate: {}}"


def ids(loaded: Sweep) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(fingerprint(e.config), [(r.stage, fingerprint(r.config)) for r in e.requests]) for e in loaded.entries]


def resolved_by(tmp_path: Path, text: str, overrides: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Of each training the canonical configuration, with those of its stages under their names."""
    loaded = load(tmp_path, text, overrides)
    return [canonical(e.config) | {r.stage: canonical(r.config) for r in e.requests} for e in loaded.entries]


# --- precedence -------------------------------------------------------------------------------------------------------


def test_each_level_comes_before_the_one_below(tmp_path: Path) -> None:
    """lr: preset 0.01 < defaults < set < axes < command line; a field that nobody gives stays the preset's."""
    levels = [
        (HEAD + "blocks:\n  a: {}\n", [], [0.01]),
        (HEAD.replace("resnet9}", "resnet9, lr: 0.2}") + "blocks:\n  a: {}\n", [], [0.2]),
        (HEAD.replace("resnet9}", "resnet9, lr: 0.2}") + "blocks:\n  a: {set: {lr: 0.3}}\n", [], [0.3]),
        (HEAD.replace("resnet9}", "resnet9, lr: 0.2}") + "blocks:\n  a: {axes: {lr: [0.4, 0.5]}}\n", [], [0.4, 0.5]),
        (HEAD.replace("resnet9}", "resnet9, lr: 0.2}") + "blocks:\n  a: {axes: {lr: [0.4, 0.5]}}\n", ["lr=0.6"], [0.6]),
    ]
    for text, overrides, rates in levels:
        found = load(tmp_path, text, overrides)
        assert values(found, "lr", "wrong", "schedule") == [(rate, "offset", "warmup_cosine") for rate in rates]
    null = HEAD.replace("resnet9}", "resnet9, noise_count: round}") + "blocks:\n  a: {}\n"
    assert values(load(tmp_path, null), "noise_count", "wrong") == [("round", "offset")]


def test_of_a_stages_fields_too(tmp_path: Path) -> None:
    blocks = "blocks:\n  a: {stages: {retrain: {lr: 0.2, batches: clean}, rewind: {epochs: [3]}, gradients: {}}}\n"
    (found,) = resolved_by(tmp_path, HEAD + blocks, ["retrain.epochs=4"])
    assert found["retrain"] == {
        "memorized": "labels", "epochs": 4, "peak_epoch": 2, "lr": 0.2, "freeze": "none", "stop_after_perfect": 3,
        "perfect": "in_all",
    }  # fmt: skip
    assert (found["rewind"]["epochs"], found["gradients"]["scale"]) == ([3], "batch")
    (found,) = resolved_by(tmp_path, HEAD + blocks, ["retrain.stop_after_perfect=null", "rewind.epochs=[1, 2]"])
    assert "stop_after_perfect" not in found["retrain"]
    assert found["rewind"]["epochs"] == [1, 2]


def test_a_blocks_preset_comes_before_the_files_and_the_command_lines_before_both(tmp_path: Path) -> None:
    text = HEAD + "blocks:\n  a: {}\n  b: {preset: paper}\n  c: {preset: authors-flips}\n"
    assert values(load(tmp_path, text), "lr", "epochs", "precision") == [
        (0.01, 50, "fp32"), (0.1, 50, "fp32"), (0.1, 25, "fp16"),
    ]  # fmt: skip
    (one,) = load(tmp_path, text, ["preset=authors-flips"]).entries
    assert one.blocks == ["a", "b", "c"]
    assert (one.config.epochs, one.config.peak_epoch) == (25, 10)


def test_null_is_no_preset(tmp_path: Path) -> None:
    text = HEAD + "blocks:\n  a: {}\n  b: {preset: null}\n  c: {preset: authors-flips}\n"
    assert values(load(tmp_path, text), "lr", "precision") == [(0.01, "fp32"), (0.1, "fp32"), (0.1, "fp16")]
    bare = text.replace("preset: authors\n", "").replace("preset: null", "").replace("preset: authors-flips", "")
    assert ids(load(tmp_path, text, ["preset=null"])) == ids(load(tmp_path, bare))
    assert ids(load(tmp_path, text.replace("preset: authors\n", "preset: null\n"))) != ids(load(tmp_path, text))


def test_values_by_data_set_and_model(tmp_path: Path) -> None:
    text = HEAD + "blocks:\n  a: {axes: {dataset: [cifar10, mnist, svhn, digits], seed: [0, 7]}}\n"
    found = values(load(tmp_path, text), "dataset", "lr", "epochs", "peak_epoch", "data_seed")
    assert found == [
        ("cifar10", 0.01, 50, 5, 0), ("cifar10", 0.01, 50, 5, 7),
        ("mnist", 0.01, 100, 10, 0), ("mnist", 0.01, 100, 10, 7),
        ("svhn", 0.001, 50, 5, 0), ("svhn", 0.001, 50, 5, 7),
        ("digits", 0.01, 50, 5, 0), ("digits", 0.01, 50, 5, 7),
    ]  # fmt: skip
    assert values(load(tmp_path, text, ["lr=0.5", "seed=0"]), "lr") == [(0.5,)] * 4
    authors = presets.read(presets.presets()["authors"], REGISTRY)
    small = authors.under({"dataset": "mnist", "model": "resnet9"})
    of_vit = {"model": "vit_small", "batch_size": 128, "tokens": "shifted"}
    assert authors.under({"dataset": "mnist", "model": "vit_small"}) == small | of_vit
    assert authors.under({"dataset": "cifar10", "model": "vit_small"})["epochs"] == 100


def test_what_a_training_does_not_use_is_ignored(tmp_path: Path) -> None:
    blocks = """blocks:
  none: {}
  tied: {set: {dropout: example_tied, p_gen: 0.2, p_mem: 0.1}}
  other: {axes: {dropout: [standard, sparse]}}
"""
    found = values(load(tmp_path, HEAD + blocks), "masks", "keep", "unit")
    assert found == [(None, None, None), ("shared", None, None), (None, 0.6, "element"), (None, 0.6, "batch_element")]


def test_epochs_beyond_a_shorter_training_are_dropped_with_a_note(tmp_path: Path) -> None:
    text = "preset: authors\ndefaults: {dataset: digits, model: resnet9, epochs: 7}\nblocks:\n  a: {stages: {rewind: {}}}\n"
    loaded = load(tmp_path, text)
    assert loaded.entries[0].requests[0].config.epochs == (0, 2, 4, 6)  # type: ignore[attr-defined]
    assert loaded.notes == ("rewind.epochs: 8, 10, 12, 14 dropped, training ends at epoch 7",)
    late = text.replace("authors", "late")
    preset = tmp_path / "presets" / "late.yaml"
    preset.parent.mkdir()
    preset.write_text("stages:\n  rewind: {epochs: [8, 10]}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "presets", lambda: {"late": preset})
        assert problems(tmp_path, late) == [
            "presets/late.yaml:2:stages.rewind.epochs: none is left of 8, 10: the training ends at epoch 7; "
            "give rewind.epochs=…"
        ]
        assert load(tmp_path, late, ["rewind.epochs=[0]"]).entries
    # What the file itself says is an error as ever.
    assert "beyond the last epoch" in problems(tmp_path, text.replace("rewind: {}", "rewind: {epochs: [8]}"))[0]


# --- identity ---------------------------------------------------------------------------------------------------------


def test_the_papers_preset_is_what_holds_without_one(tmp_path: Path) -> None:
    for name in ("demo", "paper-grid", "smoke"):
        path = sweep.find(name)
        assert ids(sweep.load(path, REGISTRY, ["preset=paper"])) == ids(sweep.load(path, REGISTRY))


def test_the_papers_preset_names_every_field_of_the_others() -> None:
    """So `preset: paper` undoes all that they set, but for what differs between dropouts and the peak, which follows T."""
    paper, *others = (presets.read(presets.presets()[n], REGISTRY) for n in ("paper", "authors", "authors-flips"))
    derived = {"unit", "peak_epoch"}
    for other in others:
        by_name = [values for group in other.by_name.values() for values in group.values()]
        fields = {f for of in (other.training, *by_name) for f in of}
        assert fields - paper.training.keys() <= derived
        for stage, fields_of in other.stages.items():
            assert fields_of.keys() <= paper.stages[stage].keys()
    decided = {"dataset": "digits", "model": "vit_small", "dropout": "example_tied"}
    defaults = {name: TRAINING.default(name, decided) for name in paper.training.keys() - {"keep"}}
    assert paper.training == {**defaults, "keep": TRAINING.default("keep", {**decided, "dropout": "standard"})}
    for stage, fields_of in paper.stages.items():
        assert CONFIGS[stage](**fields_of) == CONFIGS[stage]()


WRITTEN_OUT = {
    "authors": (
        "{schedule: warmup_cosine, lr: 0.01, epochs: 50, wrong: offset, noise_count: floor, data_seed: 3, seed: 3, "
        "batch_norm: frozen}",
        "{gradients: {at: trajectory, scale: batch}, rewind: {epochs: [0, 2, 4, 6, 8, 10, 12, 14]}, "
        "retrain: {lr: 0.01, freeze: none, stop_after_perfect: 3, perfect: in_all, batches: filtered, batch_norm: train}}",
        "{seed: 3}",
        "{gradients: {}, rewind: {}, retrain: {}}",
    ),
    "authors-flips": (
        "{schedule: one_cycle, lr: 0.1, epochs: 25, peak_epoch: 10, precision: fp16, stop_after_perfect: 5, "
        "augment: crop_flip, wrong: offset, noise_count: floor, data_seed: 0, seed: 3}",
        "{flips: {ablate: weight, choose: positive, noise_norm: batch, estimator: definition, batch: own}}",
        "{seed: 3}",
        "{flips: {}}",
    ),
}


@pytest.mark.parametrize("name", list(WRITTEN_OUT))
def test_a_preset_is_its_values(tmp_path: Path, name: str) -> None:
    """science.md's table, written out: the same ids; its name is in none."""
    fields, stages, few, bare = WRITTEN_OUT[name]
    text = "defaults: {{dataset: cifar10, model: resnet9}}\nblocks:\n  a: {{{}set: {}, stages: {}}}\n"
    written = load(tmp_path, text.format("", fields, stages))
    assert ids(load(tmp_path, text.format(f"preset: {name}, ", few, bare))) == ids(written)
    assert ids(load(tmp_path, text.format("", few, bare))) != ids(written)


@pytest.mark.parametrize(
    "override",
    [
        "schedule=one_cycle", "lr=0.1", "epochs=30", "wrong=uniform", "noise_count=round", "data_seed=0",
        "batch_norm=train", "gradients.scale=n", "rewind.epochs=[0, 10]", "retrain.lr=0.1", "retrain.freeze=others",
        "retrain.stop_after_perfect=null", "retrain.perfect=in_a_row", "retrain.batches=clean", "retrain.batch_norm=frozen",
    ],
)  # fmt: skip
def test_each_difference_is_switched_by_itself(tmp_path: Path, override: str) -> None:
    """One field or one stage's field changes, and what follows from it; nothing else."""
    text = HEAD + f"blocks:\n  a: {{set: {{seed: 4}}, stages: {ALL}}}\n"
    (before,), (after,) = resolved_by(tmp_path, text), resolved_by(tmp_path, text, [override])
    changed = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    field = override.partition("=")[0].split(".")[0]
    follow = {
        "schedule": {"peak_epoch"},
        "epochs": {"peak_epoch", "evaluate", "gradients"},
        "batch_norm": {"gradients"},  # their bn
    }
    assert field in changed
    assert changed <= {field} | follow.get(field, set())


# --- errors -----------------------------------------------------------------------------------------------------------


def test_unknown_presets_at_their_place(tmp_path: Path) -> None:
    valid = "valid: authors, authors-flips, paper, a file of your own such as ./mine.yaml, or null for no preset"
    assert problems(tmp_path, HEAD.replace("authors", "author") + "blocks: {a: {set: {dropout: example_tied}}}\n") == [
        f"mine.yaml:1:preset: 'author' is no preset (did you mean 'authors'?); {valid}"
    ]  # and not, too, that p_gen and p_mem are missing
    assert problems(tmp_path, HEAD + "blocks:\n  a: {preset: papr}\n  b: {preset: 3}\n") == [
        f"mine.yaml:4:blocks.a.preset: 'papr' is no preset (did you mean 'paper'?); {valid}",
        f"mine.yaml:5:blocks.b.preset: 3 is no preset; {valid}",
    ]
    assert problems(tmp_path, HEAD + "blocks: {a: {}}\n", ["preset=nobody"]) == [
        f"command line:preset: 'nobody' is no preset; {valid}"
    ]


def test_a_presets_field_that_does_not_fit_is_told_at_its_place(tmp_path: Path) -> None:
    text = HEAD.replace("resnet9", "resnet50") + "blocks:\n  a: {preset: authors-flips, stages: {flips: {}}}\n"
    (problem,) = problems(tmp_path, text)
    assert problem.endswith(
        "presets/authors-flips.yaml:15:stages.flips.ablate: 'weight' with model: resnet50; valid here: activation; "
        "weight is for resnet9"
    )
    assert load(tmp_path, text, ["flips.ablate=activation"]).entries


def test_what_a_presets_stage_does_not_use_is_ignored(tmp_path: Path) -> None:
    """As with trainings: `batch` and `noise_norm` are of the other estimator."""
    text = HEAD + "blocks:\n  a: {preset: authors-flips, stages: {flips: {estimator: fast}}}\n"
    (found,) = resolved_by(tmp_path, text)
    assert found["flips"].keys().isdisjoint({"batch", "noise_norm"})
    assert found["flips"]["ablate"] == "weight"


def test_a_broken_preset_says_so_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("training:\n  lr: 1e-3\n  speed: 2\nstages:\n  retrain: {freeze: all}\n  fly: {}\ndataset: {}\n")
    with pytest.raises(UsageError) as caught:
        presets.read(path, REGISTRY)
    found = [p.replace(str(tmp_path) + "/", "") for p in caught.value.problems]
    assert [p.split(": ")[0] for p in found] == [
        "mine.yaml:7:dataset", "mine.yaml:2:training.lr", "mine.yaml:3:training.speed",
        "mine.yaml:5:stages.retrain.freeze", "mine.yaml:6:stages.fly",
    ]  # fmt: skip


# --- a file of one's own ----------------------------------------------------------------------------------------------

OWN = "about: mine\ntraining: {lr: 0.3}\nmodels:\n  resnet9: {width: 0.5}\nstages:\n  flips: {clean: 7, c_score: x}\n"


def test_a_file_of_ones_own_is_found_beside_the_sweep_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = OWN.replace(", c_score: x", ", memorized: 'c_score:low.npz'")
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "own.yaml").write_text(own)
    text = HEAD.replace("authors", "settings/own.yaml") + "blocks:\n  a: {stages: {flips: {}}}\n"
    (found,) = resolved_by(tmp_path, text)
    assert (found["lr"], found["width"], found["flips"]["clean"]) == (0.3, 0.5, 7)
    assert found["flips"]["memorized"] == f"c_score:{tmp_path}/settings/low.npz"  # relative to the preset's file
    assert resolved_by(tmp_path, text, ["lr=0.4"])[0]["lr"] == 0.4
    monkeypatch.chdir(tmp_path / "settings")  # on the command line it is relative to the working directory
    assert resolved_by(tmp_path, HEAD + "blocks:\n  a: {}\n", ["preset=./own.yaml"])[0]["lr"] == 0.3
    in_block = HEAD + "blocks:\n  a: {}\n  b: {preset: ./settings/own.yaml}\n"
    assert [found["lr"] for found in resolved_by(tmp_path, in_block)] == [0.01, 0.3]


NETS = "from torch import nn\ndef make(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(192, classes))\n"


def test_values_by_data_and_networks_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names are paths, in a preset relative to its own file."""
    (tmp_path / "settings").mkdir()
    (tmp_path / "nets.py").write_text(NETS)
    np.savez(tmp_path / "mine.npz", x_train=np.zeros((6, 8, 8, 3), np.uint8), y_train=np.arange(6) % 2)
    own = "datasets:\n  npz:../mine.npz: {lr: 0.3}\nmodels:\n  python:../nets.py:make: {batch_size: 3}\n"
    (tmp_path / "settings" / "own.yaml").write_text(own)
    text = "preset: settings/own.yaml\ndefaults: {dataset: npz:mine.npz, model: python:nets.py:make, epochs: 1, test: 0}\n"
    text += "blocks: {a: {}}\n"
    assert values(load(tmp_path, text), "lr", "batch_size") == [(0.3, 3)]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert values(load(tmp_path, text.replace("settings/own", "~/settings/own")), "lr", "batch_size") == [(0.3, 3)]
    assert values(load(tmp_path, text, ["preset=~/settings/own.yaml"]), "lr", "batch_size") == [(0.3, 3)]
    monkeypatch.chdir(tmp_path / "settings")
    assert values(load(tmp_path, text, ["dataset=npz:../mine.npz"]), "lr", "batch_size") == [(0.3, 3)]
    assert "~nobody" in problems(tmp_path, text.replace("settings/", "~nobody-at-all/"))[0]
    (tmp_path / "settings" / "own.yaml").write_text(own.replace("{lr: 0.3}", "{lr: 0.3}\n  npz:./../mine.npz: {lr: 0.4}"))
    twice = "settings/own.yaml:3:datasets.npz:./../mine.npz: npz:mine.npz stands here twice; keep one"
    assert problems(tmp_path, text) == [twice]
    (tmp_path / "settings" / "own.yaml").write_text(own.replace("lr: 0.3", "peak_epoch: 3, schedule: constant"))
    assert problems(tmp_path, text)[0].startswith("settings/own.yaml:2:datasets.npz:../mine.npz.")


def test_what_is_wrong_with_a_file_of_ones_own(tmp_path: Path) -> None:
    text = HEAD.replace("authors", "./own.yaml") + "blocks:\n  a: {stages: {flips: {}}}\n"
    assert problems(tmp_path, text) == ["mine.yaml:1:preset: ./own.yaml: no such file (own.yaml)"]
    (tmp_path / "own.yaml").write_text("")
    assert problems(tmp_path, text) == ["own.yaml: is empty; a preset needs `training:` or `stages:`"]
    (tmp_path / "own.yaml").write_text("- 1\n")
    assert problems(tmp_path, text) == ["own.yaml:1: [1] is not a mapping (name: value, …)"]
    (tmp_path / "own.yaml").write_text(
        "training: 3\nmodels: {resnet: {lr: 1}}\nstages:\n  flips: [1]\n  rewind: {epoch: 3}\n"
    )
    assert [problem.partition(";")[0].partition(" (did")[0] for problem in problems(tmp_path, text)] == [
        "own.yaml:2:models.resnet: 'resnet' is not valid",
        "own.yaml:1:training: 3 is not a mapping (name: value, …)",
        "own.yaml:4:stages.flips: [1] is not a mapping (name: value, …)",
        "own.yaml:5:stages.rewind.epoch: unknown field",
    ]
    # What does not fit the rest of a training is told where the preset says it.
    (tmp_path / "own.yaml").write_text("training: {ratio: 0.5}\n")
    assert [problem.partition(";")[0].partition(" (did")[0] for problem in problems(tmp_path, text)] == [
        "mine.yaml:4:blocks.a.cut: required with ratio"
    ]
    (tmp_path / "own.yaml").write_text(
        "dropouts:\n  sparse:\n    unit: batch_element\n    keep: 0.5\n  standard: {unit: weight}\n"
    )
    standard = text.replace("resnet9}", "resnet9, dropout: standard}")
    assert [problem.partition(";")[0].partition(" (did")[0] for problem in problems(tmp_path, standard)] == [
        "own.yaml:5:dropouts.standard.unit: 'weight' with dropout: standard"
    ]


# --- the shipped ones -------------------------------------------------------------------------------------------------


def test_presets_are_no_sweeps_and_say_what_they_are() -> None:
    assert set(presets.presets()) == {"paper", "authors", "authors-flips"}
    assert not presets.presets().keys() & (sweep.shipped().keys() - {"authors"})
    for path in presets.presets().values():
        assert yaml.safe_load(path.read_text())["about"]


def test_the_sweep_of_the_published_code(tmp_path: Path) -> None:
    """All with the authors' labels; retraining and flips with trainings of their own, whose batch norms are not frozen."""
    loaded = sweep.load(sweep.find("authors"), REGISTRY)
    plan = build_plan(loaded, loaded.entries, tmp_path)
    assert len(plan.trials) == 27 + 27 + 30 + 36 + 6 + 6
    assert {(t.config.wrong, t.config.noise_count) for t in plan.trials} == {("offset", "floor")}
    flips = [t for t in plan.trials if t.blocks == ("flips",)]
    assert {(t.config.precision, t.config.augment, t.config.data_seed) for t in flips} == {("fp16", "crop_flip", 0)}
    assert all(t.config.data_seed == t.config.seed for t in plan.trials if t not in flips)
    retraining = [t.config for t in plan.trials if t.blocks == ("retraining",)]
    assert {(c.schedule, c.lr, c.epochs, c.peak_epoch) for c in retraining} == {("one_cycle", 0.1, 25, 10)}
    trained = {(*t.blocks, t.config.batch_norm.kind) for t in plan.trials}
    train, frozen = ("retraining", "flips"), ("main", "tied", "tied_other", "baselines")
    assert trained == {*((block, "train") for block in train), *((block, "frozen") for block in frozen)}
    assert {t.size.n_noisy for t in plan.trials if t.config.dataset == "svhn" and t.config.noise == 0.05} == {3662}
    assert loaded.notes == ()


def test_fashion_mnists_block_shows_what_frozen_statistics_do_and_nothing_else() -> None:
    """Pairs that differ in batch_norm and in their gradients' bn; but for schedule and rate, `standard`'s trainings."""
    entries = sweep.load(sweep.find("fashion-mnist"), REGISTRY).entries
    standard = [e for e in entries if "standard" in e.blocks]
    mine = [e for e in entries if e.blocks == ["authors"]]
    assert len(mine) == 4
    train, frozen = ([e for e in mine if e.config.batch_norm.kind == kind] for kind in ("train", "frozen"))
    for theirs, one, other in zip(standard, train, frozen, strict=True):
        published = {"schedule": "warmup_cosine", "lr": 0.01, "peak_epoch": 3}
        assert canonical(one.config) == {**canonical(theirs.config), **published}
        assert canonical(other.config) == {**canonical(one.config), "batch_norm": "frozen"}
        asked = [r.config for r in theirs.requests]
        (gradients, evaluation), (own, same) = ([r.config for r in entry.requests] for entry in (one, other))
        assert canonical(gradients)["at"] == "trajectory"
        assert gradients.model_copy(update={"epochs": tuple(range(1, 31))}) in asked  # which has every epoch
        assert evaluation in asked
        assert own == gradients.model_copy(update={"bn": "running"}) != gradients
        assert same == evaluation
