"""The grammar of sweep files, expansion, overrides, filters."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from memloc import sweep
from memloc.config import TrainConfig
from memloc.errors import UsageError
from memloc.stages import REGISTRY, STAGES
from memloc.stages.evaluate.config import ResolvedEvaluate
from memloc.stages.rewind.config import ResolvedRewind
from memloc.sweep import Sweep, loading

DEFAULTS = "defaults: {dataset: digits, model: resnet9, width: 0.25, noise: 0.1, epochs: 30}\n"


def load(tmp_path: Path, text: str, overrides: Sequence[str] = (), many: bool = False) -> Sweep:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return sweep.load(path, REGISTRY, overrides, many)


def problems(tmp_path: Path, text: str, overrides: Sequence[str] = ()) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text, overrides)
    return [p.replace(str(tmp_path) + "/", "") for p in caught.value.problems]


def values(loaded: Sweep, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(e.config.flat().get(n) for n in names) for e in loaded.entries]


# --- expansion


def test_a_block_is_the_product_of_its_axes_in_order(tmp_path: Path) -> None:
    loaded = load(tmp_path, DEFAULTS + "blocks:\n  a:\n    axes: {noise: [0.1, 0.2], seed: [3, 1]}\n")
    assert values(loaded, "noise", "seed") == [(0.1, 3), (0.1, 1), (0.2, 3), (0.2, 1)]
    assert loaded.name == "mine"


def test_precedence(tmp_path: Path) -> None:
    text = DEFAULTS + "blocks:\n  a: {}\n  b: {set: {epochs: 20}}\n  c: {axes: {epochs: [10, 11]}}\n"
    assert values(load(tmp_path, text), "epochs") == [(30,), (20,), (10,), (11,)]
    assert values(load(tmp_path, text, ["epochs=7"]), "epochs") == [(7,)]  # all blocks now ask for the same training


@pytest.mark.parametrize(
    ("typed", "images"),
    [
        ("[32, 48]", ["32x48"]),
        ("[32, 32]", ["32x32"]),
        ("[[32, 48], 8]", ["32x48", "8x8"]),
        ("[32x48, 8x8]", ["32x48", "8x8"]),
        ("[8, 16, 32]", ["8x8", "16x16", "32x32"]),
    ],
)
def test_a_list_on_the_command_line_that_is_valid_as_one_value_is_one(tmp_path: Path, typed: str, images: list[str]) -> None:
    for k in range(4):
        folder = tmp_path / "pets" / "ab"[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (k, 0, 0)).save(folder / f"{k}.png")
    text = "defaults: {dataset: folder:pets, model: resnet9, test: 0}\nblocks:\n  a: {}\n"
    loaded = load(tmp_path, text, [f"image={typed}", "seed=[0, 1]"])
    assert values(loaded, "image", "seed") == [(image, seed) for image in images for seed in (0, 1)]


def test_trainings_are_shared_across_blocks(tmp_path: Path) -> None:
    text = DEFAULTS + (
        "blocks:\n  a: {axes: {seed: [0, 1]}, stages: {rewind: {}, evaluate: {}}}\n"
        "  b: {set: {seed: 1, lr: 0.10, width: 0.25}, stages: {rewind: {epochs: [0]}, evaluate: {}}}\n"
    )
    zero, one = load(tmp_path, text).entries
    assert (zero.blocks, one.blocks) == (["a"], ["a", "b"])
    assert [(r.stage, r.block) for r in one.requests] == [
        ("rewind", "a"),
        ("evaluate", "a"),
        ("rewind", "b"),
        ("evaluate", "b"),
    ]
    assert one.requests[1].config == one.requests[3].config


def test_stages_are_resolved_for_their_training(tmp_path: Path) -> None:
    tied = "  b:\n    set: {dropout: example_tied, p_gen: 0.2, p_mem: 0.1}\n    stages: {evaluate: {}}\n"
    loaded = load(tmp_path, DEFAULTS + "blocks:\n  a: {stages: {rewind: {}, evaluate: {}}}\n" + tied)
    first, second = loaded.entries
    assert first.requests[0].config == ResolvedRewind(epochs=(0, 10, 20, 30))
    assert first.requests[1].config == ResolvedEvaluate(epoch=30, modes=("plain",))
    assert second.requests[0].config == ResolvedEvaluate(
        epoch=30, modes=("plain", "own", "scaled", "dropped"), rescale=("none", "authors", "consistent")
    )


def test_what_is_not_used_is_ignored_from_defaults_and_an_error_in_set_and_axes(tmp_path: Path) -> None:
    base = "defaults: {dataset: digits, model: resnet9, p_gen: 0.2, p_mem: 0.1}\n"
    loaded = load(tmp_path, base + "blocks: {a: {}, b: {set: {dropout: example_tied}}}\n")
    assert values(loaded, "dropout", "p_gen") == [("none", None), ("example_tied", 0.2)]
    why = "used only with dropout: example_tied (here dropout is none)"
    assert problems(tmp_path, DEFAULTS + "blocks:\n  a: {set: {p_gen: 0.2}}\n") == [f"mine.yaml:3:blocks.a.set.p_gen: {why}"]
    assert problems(tmp_path, DEFAULTS + "blocks:\n  a:\n    axes: {p_mem: [0.1]}\n") == [
        f"mine.yaml:4:blocks.a.axes.p_mem: {why}"
    ]
    # But its range is checked wherever it stands.
    assert "valid: a number > 0" in problems(tmp_path, base.replace("p_gen: 0.2", "p_gen: 2") + "blocks: {a: {}}\n")[0]


def test_an_axis_over_dropouts(tmp_path: Path) -> None:
    text = DEFAULTS + "blocks:\n  a:\n    axes: {dropout: [none, example_tied]}\n    set: {p_mem: 0.1}\n"
    assert problems(tmp_path, text)[0].startswith("mine.yaml:5:blocks.a.set.p_mem: used only with")


# --- errors


def test_a_shorter_training_drops_checkpoints_not_the_length_of_a_retraining(tmp_path: Path) -> None:
    text = """defaults: {dataset: digits, model: resnet9, epochs: 30}
blocks:
  a: {stages: {rewind: {epochs: [0, 10, 30]}, retrain: {epochs: 20}}}
"""
    (tmp_path / "mine.yaml").write_text(text)
    loaded = sweep.load(tmp_path / "mine.yaml", REGISTRY, ["epochs=12"])
    rewind, retrain = (r.config for r in loaded.entries[0].requests)
    assert (rewind.epochs, retrain.epochs) == ((0, 10), 20)  # type: ignore[attr-defined]
    assert loaded.notes == ("rewind.epochs: 30 dropped, training ends at epoch 12",)


def test_every_error_at_once_each_at_its_place(tmp_path: Path) -> None:
    text = """about: 3
defaults: {dataset: digitz, noise: 1.5, model: resnet9}
blocks:
  a:
    axes: {seed: [], noise: [0.1, 0.10], data_seed: 3, sed: [1]}
    set: {nois: 0.1, batch_size: "12"}
    stages: {rewnd: {}, rewind: {epochs: [0, 0]}, evaluate: {modes: [bare, own, owm]}}
    about: 7
    stage: {}
  b: [1]
block: {}
"""
    found = problems(tmp_path, text)
    begins = [
        "mine.yaml:11:block: unknown key (did you mean 'blocks'?)",
        "mine.yaml:1:about: 3 is not text",
        "mine.yaml:2:defaults.dataset: 'digitz' is not valid; valid: digits, cifar10, mnist, fashion_mnist, svhn, csv:FILE, "
        "folder:DIR, hf:DIR, npz:FILE, parquet:PATH (did you mean 'digits'?)",
        "mine.yaml:2:defaults.noise: 1.5 is not valid; valid: a number >= 0 and <= 1",
        "mine.yaml:8:blocks.a.about: 7 is not text",
        "mine.yaml:9:blocks.a.stage: unknown key (did you mean 'stages'?)",
        "mine.yaml:6:blocks.a.set.nois: unknown field (did you mean 'noise'?)",
        "mine.yaml:6:blocks.a.set.batch_size: '12' is not valid; valid: a whole number >= 2",
        "mine.yaml:5:blocks.a.axes.seed: [] is not a non-empty list",
        "mine.yaml:5:blocks.a.axes.noise.1: 0.1 stands in this axis twice",
        "mine.yaml:5:blocks.a.axes.data_seed: 3 is not a non-empty list",
        "mine.yaml:5:blocks.a.axes.sed: unknown field (did you mean 'seed'?)",
        f"mine.yaml:7:blocks.a.stages.rewnd: unknown stage (did you mean 'rewind'?); valid: {', '.join(sorted(STAGES))}",
        "mine.yaml:7:blocks.a.stages.rewind.epochs: [0, 0] is not valid",
        "mine.yaml:7:blocks.a.stages.evaluate.modes.0: 'bare' is not valid; valid: plain, own, scaled, dropped",
        "mine.yaml:7:blocks.a.stages.evaluate.modes.2: 'owm' is not valid; valid: plain, own, scaled, dropped (did you mean",
        "mine.yaml:10:blocks.b: [1] is not a mapping",
    ]
    assert len(found) == len(begins)
    for begin in begins:
        assert any(p.startswith(begin) for p in found), begin


def test_what_does_not_fit_together_is_said_with_the_rest(tmp_path: Path) -> None:
    text = DEFAULTS.replace("noise: 0.1", "noise: 2") + (
        "blocks:\n"
        "  a: {set: {p_gen: 0.2}, stages: {rewind: {epochs: [31]}, evaluate: {epoch: late}}}\n"
        "  b: {set: {keep: 0.4}, axes: {seed: [x]}}\n"
    )
    assert [p.split(":")[2].strip() for p in problems(tmp_path, text)] == [
        "defaults.noise",
        "blocks.a.stages.evaluate.epoch",
        "blocks.b.axes.seed.0",
        "blocks.a.set.p_gen",
        "blocks.a.stages.rewind.epochs",
        "blocks.b.set.keep",
    ]
    last = problems(tmp_path, DEFAULTS + "blocks: {a: {stages: {rewind: {epochs: [31]}}}}\n", ["noise=2", "seed=[]"])
    assert [p.split(":")[0] for p in last] == ["command line", "command line", "mine.yaml"]


@pytest.mark.parametrize(
    "body",
    [
        "{set: {dropout: exampl_tied, p_gen: 0.2, p_mem: 0.1}}",
        "{set: {dropot: example_tied, p_gen: 0.2, p_mem: 0.1}}",
        "{sett: {dropout: example_tied}, axes: {p_gen: [0.2], p_mem: [0.1]}}",
        "{set: [dropout, example_tied], axes: {p_gen: [0.2], p_mem: [0.1]}}",
        "{set: {epochs: 0}, stages: {rewind: {epochs: [60]}, evaluate: {epoch: 60}}}",
        "{set: {dropout: example_tied, p_gen: 2, p_mem: 0.1}}",
        "{set: {dropout: example_tied, p_mem: 0.1}, axes: {p_gen: [2]}}",
        "{set: {dropout: example_tied, p_gen: 0.2, p_mem: 0.1}, stages: {rewind: {mask_mode: onw}}}",
        "{set: {dataset: digitz}}",
        "{set: {model: resnet}}",
    ],
)
def test_one_slip_is_one_problem(tmp_path: Path, body: str) -> None:
    """What follows only from a slip is not held against the rest of the block."""
    assert len(problems(tmp_path, DEFAULTS + f"blocks:\n  a: {body}\n")) == 1


@pytest.mark.parametrize("better", ["set: {epochs: 5}", "axes: {epochs: [5]}"])
def test_a_slip_in_the_defaults_that_a_block_replaces_hides_nothing_there(tmp_path: Path, better: str) -> None:
    text = DEFAULTS.replace("epochs: 30", "epochs: 0") + f"blocks:\n  a: {{{better}, stages: {{rewind: {{epochs: [9]}}}}}}\n"
    assert [p.split(":")[2] for p in problems(tmp_path, text)] == ["defaults.epochs", "blocks.a.stages.rewind.epochs"]


def test_a_slip_at_the_top_is_one_problem(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, DEFAULTS.replace("defaults", "default") + "blocks: {a: {}}\n")
    assert found.startswith("mine.yaml:1:default: unknown key (did you mean 'defaults'?)")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{stages: {rewind: {epochs: [0, 31, 40]}}}",
         "3:blocks.a.stages.rewind.epochs: 31, 40 beyond the last epoch; valid: 0 to 30"),
        ("{stages: {evaluate: {epoch: 31}}}", "3:blocks.a.stages.evaluate.epoch: 31 beyond the last epoch; valid: 0 to 30"),
        ("{stages: {evaluate: {modes: [own]}}}", "3:blocks.a.stages.evaluate.modes: own with dropout: none; valid: plain"),
        ("{stages: {evaluate: {rescale: [none]}}}", "3:blocks.a.stages.evaluate.rescale: used only with mode dropped"),
        ("{stages: {rewind: {mask_mode: own}}}", "3:blocks.a.stages.rewind.mask_mode: used only with dropout: example_tied"),
        ("{set: {seed: 1}, axes: {seed: [1]}}", "3:blocks.a.axes.seed: stands in `set` too"),
        ("{set: {dropout: example_tied, p_gen: 0.2}}", "3:blocks.a.p_mem: required with dropout: example_tied"),
        ("{set: {dropout: standard, keep: 0.4, unit: weight}}", "3:blocks.a.set.unit: 'weight' with dropout: standard"),
        ("{axes: {width: [1, 1.0]}}", "3:blocks.a.axes.width.1: 1.0 stands in this axis twice"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together(tmp_path: Path, body: str, message: str) -> None:
    (found,) = problems(tmp_path, DEFAULTS + f"blocks:\n  a: {body}\n")
    assert found.startswith("mine.yaml:" + message)


def test_a_tied_training_needs_a_mask_mode_to_be_rewound(tmp_path: Path) -> None:
    tied = "{set: {dropout: example_tied, p_gen: 0.2, p_mem: 0.1}, stages: {rewind: {%s}}}"
    (found,) = problems(tmp_path, DEFAULTS + f"blocks:\n  a: {tied % ''}\n")
    assert "mask_mode: required on a training with dropout: example_tied; valid: plain, own, scaled, dropped" in found
    loaded = load(tmp_path, DEFAULTS + f"blocks:\n  a: {tied % 'mask_mode: own'}\n")
    assert loaded.entries[0].requests[0].config == ResolvedRewind(mask_mode="own", epochs=(0, 10, 20, 30))


def test_required_fields(tmp_path: Path) -> None:
    found = problems(tmp_path, "blocks: {a: {}}\n")
    assert [p.split(":")[2] for p in found] == ["blocks.a.dataset", "blocks.a.model"]
    assert problems(tmp_path, "defaults: {}\n")[0].startswith("mine.yaml:1:blocks: no blocks")


def test_more_than_100000_trials(tmp_path: Path) -> None:
    seeds = ", ".join(map(str, range(318)))
    text = DEFAULTS + f"blocks:\n  a:\n    axes: {{seed: [{seeds}], data_seed: [{seeds}]}}\n"
    (found,) = problems(tmp_path, text)
    assert "101,124 trials; more than 100,000 need --yes" in found


def test_exactly_as_many_as_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loading.MANY == 100_000
    monkeypatch.setattr(loading, "MANY", 6)
    text = DEFAULTS + "blocks: {a: {axes: {seed: [0, 1], noise: [0.1, 0.2]}}, b: {axes: {lr: [0.1, 0.2%s]}}}\n"
    assert len(load(tmp_path, text % "").entries) == 5  # seed 0, noise 0.1, lr 0.1 stands in both
    assert problems(tmp_path, text % ", 0.3") == ["mine.yaml: 7 trials; more than 6 need --yes"]
    assert len(load(tmp_path, text % ", 0.3", many=True).entries) == 6


def test_a_training_that_a_block_reaches_twice_is_analysed_once(tmp_path: Path) -> None:
    text = DEFAULTS + "blocks:\n  a: {axes: {peak_epoch: [6, null]}, stages: {rewind: {}, evaluate: {}}}\n"
    (entry,) = load(tmp_path, text).entries  # 6 is what null means for 30 epochs
    assert [r.stage for r in entry.requests] == ["rewind", "evaluate"]
    loaded = load(tmp_path, TWO, ["p_gen=[0.2, 0.4]"])  # an axis over what no block uses
    assert [len(e.requests) for e in loaded.entries] == [1, 1, 0]


@pytest.mark.parametrize("name", ["a@b", "my sweep", "-x", "a,b"])
def test_names_that_a_store_could_not_tell_apart(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(DEFAULTS + "blocks: {a: {}}\n")
    with pytest.raises(UsageError, match="a sweep is named by its file"):
        sweep.load(path, REGISTRY)


JUNK = st.sampled_from(
    [None, 0, -1, 1.5, True, "x", "", [], {}, [1], [None], {"a": 1}, math.nan, 10**30, "1e-3", [[1]], "npz:~nobody-here/x"]
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_stands_anywhere_is_taken_or_answered_line_by_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    document = yaml.safe_load(sweep.shipped()["demo"].read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        value = document
        while True:  # down from the top to anywhere
            key = data.draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
            if not isinstance(value[key], dict | list) or not value[key] or data.draw(st.booleans()):
                break
            value = value[key]
        value[key] = copy.deepcopy(data.draw(JUNK))
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_text(yaml.safe_dump(document))
    try:
        sweep.load(path, REGISTRY)
    except UsageError as error:
        lines = str(error).splitlines()
        found = len(lines), [line for line in lines if not line.startswith(f"{path}:")]
        assert found == (len(error.problems), [])  # noqa: PT017


# --- the command line


TWO = DEFAULTS + "blocks:\n  a: {axes: {noise: [0.1, 0.2]}, stages: {rewind: {epochs: [0, 5, 30]}}}\n  b: {set: {seed: 1}}\n"


def test_overrides_replace_axes_and_literals(tmp_path: Path) -> None:
    assert values(load(tmp_path, TWO, ["noise=0.3"]), "noise", "seed") == [(0.3, 0), (0.3, 1)]
    assert values(load(tmp_path, TWO, ["seed=[4,5]"]), "noise", "seed") == [(0.1, 4), (0.1, 5), (0.2, 4), (0.2, 5)]
    axes = DEFAULTS + "blocks: {a: {axes: {noise: [0.1, 0.2], seed: [0, 1]}}}\n"
    assert values(load(tmp_path, axes, ["noise=[0.3,0.4]"]), "noise", "seed") == [(0.3, 0), (0.3, 1), (0.4, 0), (0.4, 1)]
    assert values(load(tmp_path, TWO, ["p_gen=0.5"]), "p_gen") == [(None,)] * 3  # not used: ignored
    loaded = load(tmp_path, TWO, ["rewind.epochs=[0,1]", "rewind.buffers=rewound"])
    assert loaded.entries[0].requests[0].config == ResolvedRewind(epochs=(0, 1), buffers="rewound")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("noise=1.5", "command line:noise: 1.5 is not valid; valid: a number >= 0 and <= 1"),
        ("noise=.nan", "command line:noise: .nan is not valid"),
        ("noise=", "command line:noise: '' is not valid"),
        ("p_gen=0", "command line:p_gen: 0 is not valid"),  # range-checked though not used
        ("nois=0.1", "command line:nois: unknown field (did you mean 'noise'?)"),
        ("rewind.epoch=[0]", "command line:rewind.epoch: unknown field (did you mean 'epochs'?)"),
        ("rewind.epochs=[40]", "command line:rewind.epochs: 40 beyond the last epoch"),
        ("evaluate.epoch=3", "command line:evaluate.epoch: no block of this sweep has the stage evaluate"),
        ("rewnd.epochs=[0]", "command line:rewnd.epochs: unknown stage (did you mean 'rewind'?)"),
        ("seed=[1,1]", "command line:seed: 1 stands in this axis twice"),
        ("seed=[]", "command line:seed: [] is not a non-empty list"),
        ("noise=[0.1", "command line:noise:1: not YAML: while parsing a flow sequence expected ',' or ']', but got the end"),
        ("noise=*x", "command line:noise:1: anchors and aliases"),
        ("noise={a: 1}", "command line:noise: {a: 1} is not valid"),
        ("seed=2020-01-01", "command line:seed: '2020-01-01' is not valid; valid: a whole number"),
        (
            "dataset=npz:~nobody-here/x.npz",
            "command line:dataset: 'npz:~nobody-here/x.npz' is not valid: Could not determine",
        ),
        ('dataset="npz:a\\0b"', "command line:dataset: 'npz:a\\x00b' is not valid: embedded null byte"),
        ("noise", "command line:noise: is not FIELD=VALUE"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, message: str) -> None:
    (found,) = problems(tmp_path, TWO, [override])
    assert found.startswith(message)


def test_given_twice(tmp_path: Path) -> None:
    assert problems(tmp_path, TWO, ["seed=1", "seed=2"]) == ["command line:seed: given twice"]


def test_a_bad_value_is_named_once_and_not_missed_in_any_block(tmp_path: Path) -> None:
    text = "defaults: {model: resnet9}\nblocks: {a: {}, b: {}}\n"
    (problem,) = problems(tmp_path, text, ["dataset=nope"])
    assert problem.startswith("command line:dataset: 'nope' is not valid; valid: digits, ")


def test_a_shorter_training_drops_epochs_and_says_so(tmp_path: Path) -> None:
    loaded = load(tmp_path, TWO, ["epochs=10"])
    assert loaded.entries[0].requests[0].config == ResolvedRewind(epochs=(0, 5))
    assert loaded.notes == ("rewind.epochs: 30 dropped, training ends at epoch 10",)
    assert load(tmp_path, TWO, ["epochs=5"]).entries[0].requests[0].config == ResolvedRewind(epochs=(0, 5))


def test_a_shorter_training_that_leaves_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    """Neither the usual list nor that of a preset takes its place in silence."""
    text = DEFAULTS + "blocks: {a: {stages: {rewind: {epochs: [20, 30]}, evaluate: {epoch: 20}}}}\n"
    for preset in ("", "preset: authors\n"):
        assert problems(tmp_path, preset + text, ["epochs=15"]) == [
            f"mine.yaml:{2 + bool(preset)}:blocks.a.stages.{field}: {beyond}: the training ends at epoch 15; give {field}=…"
            for field, beyond in (
                ("rewind.epochs", "none is left of 20, 30"),
                ("evaluate.epoch", "20 is beyond the last epoch"),
            )
        ]
    loaded = load(tmp_path, text, ["epochs=15", "rewind.epochs=[5]", "evaluate.epoch=null"])
    assert [r.config for r in loaded.entries[0].requests] == [
        ResolvedRewind(epochs=(5,)),
        ResolvedEvaluate(epoch=15, modes=("plain",)),
    ]


def test_a_peak_beyond_the_last_epoch(tmp_path: Path) -> None:
    text = DEFAULTS + "blocks:\n  a: {set: {peak_epoch: 20}, stages: {retrain: {epochs: 8, peak_epoch: 8}}}\n"
    assert values(load(tmp_path, text), "epochs", "peak_epoch") == [(30, 20)]
    late = "20 is beyond the last epoch; valid: 1 to 10, or null"
    assert problems(tmp_path, text.replace("epochs: 30", "epochs: 10")) == [f"mine.yaml:3:blocks.a.set.peak_epoch: {late}"]
    assert problems(tmp_path, text, ["peak_epoch=20", "epochs=10"]) == [f"command line:peak_epoch: {late}"]
    axis = text.replace("set: {peak_epoch: 20}", "axes: {peak_epoch: [2, 31]}")
    assert problems(tmp_path, axis) == [
        "mine.yaml:3:blocks.a.axes.peak_epoch: 31 is beyond the last epoch; valid: 1 to 30, or null"
    ]
    retrain = "9 is beyond retrain.epochs; valid: 1 to 8, or null"
    assert problems(tmp_path, text.replace("peak_epoch: 8", "peak_epoch: 9")) == [
        f"mine.yaml:3:blocks.a.stages.retrain.peak_epoch: {retrain}"
    ]
    assert problems(tmp_path, text, ["retrain.peak_epoch=9"]) == [f"command line:retrain.peak_epoch: {retrain}"]
    assert problems(tmp_path, text, ["retrain.epochs=7", "retrain.lr=0.5"]) == [
        "mine.yaml:3:blocks.a.stages.retrain.peak_epoch: 8 is beyond retrain.epochs; valid: 1 to 7, or null; "
        "beside retrain.epochs=7, retrain.lr=0.5 on the command line"
    ]


def test_a_training_that_the_command_line_shortens_keeps_its_peak_and_says_so(tmp_path: Path) -> None:
    """As before: the id of such a training holds. So does that of a preset's peak beside the file's own epochs."""
    note = "peak_epoch: 20 is beyond the last epoch 10: the learning rate rises to the end"
    text = DEFAULTS.replace("epochs: 30", "epochs: 30, peak_epoch: 20") + "blocks: {a: {}}\n"
    loaded = load(tmp_path, text, ["epochs=10"])
    assert (values(loaded, "epochs", "peak_epoch"), loaded.notes) == ([(10, 20)], (note,))
    loaded = load(tmp_path, "preset: authors-flips\n" + DEFAULTS.replace("30", "5") + "blocks: {a: {}}\n")
    assert values(loaded, "epochs", "peak_epoch") == [(5, 10)]
    assert loaded.notes == ("peak_epoch: 10 is beyond the last epoch 5: the learning rate rises to the end",)


def test_npz_paths_are_relative_to_the_file_or_to_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    text = 'defaults: {dataset: "npz:x.npz", model: resnet9}\nblocks: {a: {}}\n'
    assert load(tmp_path, text).entries[0].config.dataset == f"npz:{tmp_path}/x.npz"
    overridden = load(tmp_path, text, ["dataset=npz:x.npz"])
    assert overridden.entries[0].config.dataset == f"npz:{tmp_path}/elsewhere/x.npz"
    assert sweep.only(overridden.entries, ["dataset=npz:x.npz"], REGISTRY) == list(overridden.entries)


@pytest.mark.parametrize("spelled", ["{}/sweeps/paper-grid.yaml", "{}/sweeps/../sweeps/paper-grid.yaml"])
def test_a_shipped_file_is_the_shipped_sweep_however_its_path_is_written(
    spelled: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its C-scores lie in the data directory, also where one names the file by its path in a clone."""
    folder = sweep.find("paper-grid").parent.parent
    monkeypatch.chdir(folder)
    (tmp_path / "linked").symlink_to(folder)
    whole = sweep.load(sweep.find("paper-grid"), REGISTRY)
    for clone in (".", str(tmp_path / "linked")):
        loaded = sweep.load(Path(spelled.format(clone)), REGISTRY)
        assert [(e.config, [r.config for r in e.requests]) for e in loaded.entries] == [
            (e.config, [r.config for r in e.requests]) for e in whole.entries
        ]
    scores = {r.config.c_scores_from() for e in whole.entries for r in e.requests} - {None}
    assert scores == {"c_scores/cifar10.npz", "c_scores/mnist.npz"}


# --- filters


def kept(loaded: Sweep, *filters: str) -> list[tuple[Any, ...]]:
    return [(e.config.noise, e.config.seed) for e in sweep.only(loaded.entries, filters, REGISTRY)]


def test_only(tmp_path: Path) -> None:
    loaded = load(tmp_path, TWO)
    assert kept(loaded) == [(0.1, 0), (0.2, 0), (0.1, 1)]
    assert kept(loaded, "noise=0.1") == [(0.1, 0), (0.1, 1)]
    assert kept(loaded, "noise=0.10,0.2", "seed=0") == [(0.1, 0), (0.2, 0)]
    assert kept(loaded, "block=b") == [(0.1, 1)]
    assert kept(loaded, "block=a,b", "seed=1") == [(0.1, 1)]


@pytest.mark.parametrize("filters", [("block=a,b", "block=b"), ("block=b", "block=a,b"), ("block=b", "block=b")])
def test_filters_of_blocks_keep_what_fits_all_of_them(tmp_path: Path, filters: tuple[str, str]) -> None:
    text = DEFAULTS + "blocks:\n  a: {stages: {rewind: {}}}\n  b: {stages: {evaluate: {}}}\n  c: {set: {seed: 1}}\n"
    (entry,) = sweep.only(load(tmp_path, text).entries, filters, REGISTRY)
    assert ([r.stage for r in entry.requests], entry.blocks) == (["evaluate"], ["b"])


@pytest.mark.parametrize("filters", [("block=a", "block=b"), ("noise=0.2", "block=b"), ("block=b", "noise=0.2")])
def test_filters_that_fit_no_trial_together(tmp_path: Path, filters: tuple[str, str]) -> None:
    """A block that an earlier filter has left out is still a block of the sweep."""
    with pytest.raises(UsageError, match=f"^command line:--only {filters[1]}: no trial fits"):
        sweep.only(load(tmp_path, TWO).entries, filters, REGISTRY)


def test_only_a_block_keeps_only_its_analyses(tmp_path: Path) -> None:
    text = DEFAULTS + "blocks:\n  a: {stages: {rewind: {}}}\n  b: {stages: {evaluate: {}}}\n"
    (entry,) = sweep.only(load(tmp_path, text).entries, ["block=b"], REGISTRY)
    assert [r.stage for r in entry.requests] == ["evaluate"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nois=0.1", "command line:--only nois=0.1: unknown field (did you mean 'noise'?)"),
        ("noise", "command line:--only noise: is not FIELD=VALUE,VALUE"),
        ("noise=x", "command line:--only noise=x: 'x' is not valid"),
        ("noise=0.7", "command line:--only noise=0.7: no trial fits; noise there: 0.1, 0.2"),
        ("block=c", "command line:--only block=c: unknown block; valid: a, b"),
    ],
)
def test_bad_filters(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        sweep.only(load(tmp_path, TWO).entries, [text], REGISTRY)
    assert caught.value.problems[0].startswith(message)


# --- what is shipped


def test_shipped_sweeps_load_and_say_what_they_are() -> None:
    assert "demo" in sweep.shipped()
    for name, path in sweep.shipped().items():
        assert sweep.find(name) == path
        assert sweep.about(path)
        assert sweep.load(path, REGISTRY).entries
    human = sweep.load(sweep.find("human"), REGISTRY).entries[0].config.source.flat()
    assert human["dataset"] == "parquet:cifar10-jpeg"  # in the data directory
    with pytest.raises(UsageError, match=r"no such sweep \(did you mean 'demo'"):
        sweep.find("demos")
    assert sweep.find("./demo") == Path("./demo")


def test_a_file_by_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sweep.find("MY.YML") == Path("MY.YML")
    (tmp_path / "mine.txt").touch()
    name_it = r"^mine.txt: is a file whose name does not end in .yaml; name it mine.txt.yaml, or type ./mine.txt$"
    with pytest.raises(UsageError, match=name_it):
        sweep.find("mine.txt")


def test_the_demo_is_what_was_asked_for() -> None:
    entries = sweep.load(sweep.find("demo"), REGISTRY).entries
    common = {"dataset": "digits", "model": "resnet9", "width": 0.25, "batch_size": 128, "epochs": 30, "noise": 0.1}
    assert all(e.config.flat()[k] == v for e in entries for k, v in common.items())
    assert [tuple(e.config.flat().get(f) for f in ("dropout", "seed", "p_gen", "p_mem")) for e in entries] == [
        ("none", 0, None, None),
        ("none", 1, None, None),
        ("example_tied", 0, 0.2, 0.1),
        ("example_tied", 0, 0.4, 0.1),
    ]
    assert isinstance(entries[0].config, TrainConfig)


TWINS = ("paper-grid", "noise-curve", "etd-grid", "flips", "atypical", "cscore")


@pytest.mark.parametrize("name", TWINS)
def test_every_large_sweep_has_a_small_twin(name: str) -> None:
    """The same blocks with the same stages, on bundled data alone; there is one block for the atypical of both data sets."""
    large, small = (yaml.safe_load(sweep.find(n).read_text()) for n in (name, f"{name}-mini"))

    def stages(blocks: dict[str, Any]) -> dict[str, list[str]]:
        return {re.sub("^atypical_.*", "atypical", block): list(b["stages"]) for block, b in blocks.items()}

    assert stages(small["blocks"]) == stages(large["blocks"])
    assert {e.config.dataset for e in sweep.load(sweep.find(f"{name}-mini"), REGISTRY).entries} == {"digits"}


def test_what_needs_gpus_uses_their_tensor_cores() -> None:
    """And the sweeps of a laptop keep what they have computed: on a CPU tf32 is fp32 under another id."""
    for name, path in sweep.shipped().items():
        precisions = {entry.config.precision for entry in sweep.load(path, REGISTRY).entries}
        expected = {"authors": {"tf32", "fp16"}}.get(name, {"tf32"} if name in TWINS else {"fp32"})
        assert precisions == expected, name


@pytest.mark.parametrize("name", [*TWINS, "fashion-mnist"])
def test_every_block_says_what_of_the_paper_it_is(name: str) -> None:
    for of in {name, f"{name}-mini"} & set(sweep.shipped()):
        for block, content in yaml.safe_load(sweep.find(of).read_text())["blocks"].items():
            assert re.search(r"Figure|Table|§", content.get("about", "")), f"{of}: {block}"
