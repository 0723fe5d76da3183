"""Configurations: strict values, and the same meaning under the same id."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memloc import data
from memloc.config import (
    Fields,
    NoDropout,
    Sparse,
    Standard,
    canonical,
    fields_of,
    fingerprint,
    written,
)
from memloc.errors import UsageError
from memloc.models.architectures import ARCHITECTURES, TRAINING, resolved
from memloc.models.architectures.resnet9.config import ResNet9
from memloc.models.architectures.resnet50.config import ResNet50
from memloc.models.architectures.timm.config import Timm
from memloc.models.architectures.vit_small.config import ViTSmall
from memloc.models.build import build
from memloc.models.groups import Network
from memloc.stages.flips.config import FlipsConfig
from memloc.stages.gradients.config import GradientsConfig
from memloc.stages.retrain.config import RetrainConfig

BASE: dict[str, Any] = {"dataset": "digits", "model": "resnet9"}
PINNED = {"base": "6849993ca4900efa", "tied": "5a1b4846cea797b9", "plain": "9bf82b679e26d627"}


def test_the_names_in_config_are_the_ones_that_exist() -> None:
    assert [name for name in data.KINDS if not name.endswith(":")] == list(data.SOURCES)
    assert list(ARCHITECTURES) == ["resnet50", "resnet9", "vit_small", "python:", "timm:"]


@pytest.mark.parametrize("name", ["resnet50", "resnet9", "vit_small"])
def test_an_architecture_is_its_folder(name: str) -> None:
    assert isinstance(build(resolved(dataset="cifar10", model=name), (3, 32, 32), 10), Network)


# --- identity


def test_todays_ids_are_pinned() -> None:
    """A change here makes every store out there start over: it must be meant (then raise a version instead)."""
    assert fingerprint(resolved(**BASE)) == PINNED["base"]
    tied = resolved(**BASE, width=0.25, noise=0.1, dropout="example_tied", p_gen=0.2, p_mem=0.1)
    assert fingerprint(tied) == PINNED["tied"]
    assert fingerprint({"b": [1, 2.5, "x", True], "a": None, "c": {"z": 1e-3}}) == PINNED["plain"]


def test_same_meaning_same_id() -> None:
    spelled_out = resolved(**BASE).flat()
    same = [
        BASE,
        {"model": "resnet9", "dataset": "digits"},  # order
        {**BASE, "width": 1, "noise": 0},  # 1 and 1.0
        {**BASE, "width": 1.0, "noise": -0.0},
        {**BASE, "epochs": 50, "lr": 0.1, "peak_epoch": 10, "subset": None},  # defaults spelled out
        spelled_out,
    ]
    assert len({fingerprint(resolved(**values)) for values in same}) == 1


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"data_seed": 1}, {"noise": 0.1}, {"threads": 2}, {"epochs": 51}, {"peak_epoch": 11}, {"subset": 100},
     {"test_subset": 100},
     {"wrong": "offset"}, {"augment": "crop"}, {"precision": "tf32"}, {"dropout": "standard", "keep": 0.4}],
)  # fmt: skip
def test_another_meaning_another_id(change: dict[str, Any]) -> None:
    assert fingerprint(resolved(**BASE)) != fingerprint(resolved(**BASE, **change))


Json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=4), Json, max_size=5))
def test_order_absence_and_number_format_do_not_matter(value: dict[str, Any]) -> None:
    def rewritten(v: Any) -> Any:
        if isinstance(v, dict):
            return {**{k: rewritten(v[k]) for k in reversed(list(v))}, "absent!": None}
        if isinstance(v, list):
            return tuple(rewritten(x) for x in v)
        if isinstance(v, int) and not isinstance(v, bool):
            return float(v)
        return v

    assert fingerprint(value) == fingerprint(rewritten(value))


@given(Json, Json)
def test_different_values_have_different_canonical_forms(a: Any, b: Any) -> None:
    def plain(v: Any) -> Any:
        if isinstance(v, dict):
            return {k: plain(x) for k, x in v.items() if x is not None}
        return [plain(x) for x in v] if isinstance(v, list) else (type(v) is bool, v)

    assert (fingerprint([a]) == fingerprint([b])) == (plain([a]) == plain([b]))


@pytest.mark.parametrize("value", [math.nan, math.inf, {1}, object(), {1: 2}, b"x"])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        fingerprint({"x": value})


def test_canonical_keeps_false_zero_and_empty_text() -> None:
    assert canonical({"a": False, "b": 0, "c": "", "d": None, "e": []}) == {"a": False, "b": 0, "c": "", "e": []}


# --- values


@pytest.mark.parametrize(
    ("field", "value"),
    [("noise", 1.5), ("noise", -0.1), ("noise", math.nan), ("noise", "0.1"), ("noise", True), ("epochs", 0), ("epochs", 2.5),
     ("epochs", True), ("epochs", "3"), ("batch_size", 1), ("lr", 0), ("lr", math.inf), ("momentum", 1), ("seed", -1),
     ("seed", 2**63), ("threads", 0), ("width", 0), ("p_gen", 0), ("p_gen", 1.1), ("p_mem", -0.1), ("p_mem", 1.01),
     ("keep", 0), ("subset", 0), ("dataset", "digitz"), ("dataset", "npz:"), ("model", "resnet"), ("dropout", None),
     ("schedule", "cosine"), ("augment", False), ("precision", "fp64"), ("unit", "neuron"), ("peak_epoch", 0)],
)  # fmt: skip
def test_bad_values_name_themselves_and_the_valid_ones(field: str, value: Any) -> None:
    taken, problem = TRAINING.check(field, value)
    assert taken is None
    assert problem is not None
    assert problem.startswith(f"{written(value)} is not valid")
    assert "valid:" in problem
    assert "\n" not in problem


def test_the_traps_of_yaml_are_explained() -> None:
    assert "YAML reads 1e-3 as text: write 0.001" in str(TRAINING.check("lr", "1e-3")[1])
    assert str(TRAINING.check("augment", False)[1]).endswith("valid: none, crop, crop_flip")
    for word, meant in [("no", "false"), ("off", "false"), ("Yes", "true"), ("on", "true")]:
        assert str(TRAINING.check("compile", word)[1]).endswith(f"valid: true or false (write {meant})")
    assert "remove the quotes" in str(TRAINING.check("epochs", "12")[1])
    assert "write 30" in str(TRAINING.check("epochs", 30.0)[1])
    assert "YAML reads 1e1 as text: write 10)" in str(TRAINING.check("epochs", "1e1")[1])
    assert "write it with a point and a sign, like 1.0e-3" in str(TRAINING.check("lr", "1e-7")[1])
    assert "remove the quotes around 0.5" in str(TRAINING.check("lr", "0.5")[1])
    assert str(TRAINING.check("lr", "nan")[1]).endswith("valid: a number > 0")
    assert "did you mean 'crop_flip'?" in str(TRAINING.check("augment", "cropflip")[1])


def test_unused_fields_are_not_there_and_refused_when_given() -> None:
    plain = resolved(**BASE)
    assert plain.dropout == NoDropout()
    assert plain.flat().keys().isdisjoint({"p_gen", "p_mem", "masks", "keep", "unit", "stem", "tokens", "stochastic", "cut"})
    with pytest.raises(UsageError, match="p_gen: used only with dropout: example_tied"):
        resolved(**BASE, p_gen=0.1)
    with pytest.raises(UsageError, match="stem: used only with model: resnet50"):
        resolved(**BASE, stem="cifar")


def test_what_a_choice_requires_is_asked_for_all_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        resolved(**BASE, dropout="example_tied")
    assert [p.split(":")[0] for p in caught.value.problems] == ["p_gen", "p_mem"]
    with pytest.raises(UsageError, match="unit: 'weight' with dropout: standard; valid: element, channel"):
        resolved(**BASE, dropout="standard", keep=0.5, unit="weight")
    assert resolved(**BASE, dropout="standard", keep=0.5).dropout == Standard(keep=0.5, unit="element")
    assert resolved(**BASE, dropout="sparse", keep=0.5).dropout == Sparse(keep=0.5, unit="weight")
    assert [resolved(**BASE, dropout=d).flat()["keep"] for d in ("standard", "sparse")] == [0.4, 0.4]


@pytest.mark.parametrize(
    ("epochs", "schedule", "peak"),
    [(50, "one_cycle", 10), (30, "one_cycle", 6), (1, "one_cycle", 1), (2, "one_cycle", 1), (8, "one_cycle", 2),
     (50, "warmup_cosine", 5)],
)  # fmt: skip
def test_peak_epoch_by_default(epochs: int, schedule: str, peak: int) -> None:
    assert resolved(**BASE, epochs=epochs, schedule=schedule).peak_epoch == peak


def test_configurations_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        resolved(**BASE).seed = 3  # type: ignore[misc]


# --- the published code's options -------------------------------------------------------------------------------------

OPTIONS = {
    "noise_count": ("round", "floor"),
    "stop_after_perfect": (None, 5),
    "compile": (False, True),
    "batch_norm": ("train", "frozen"),
    "stochastic": ("off", "on"),
    "masks": ("site", "shared"),
}


@pytest.mark.parametrize("field", list(OPTIONS))
def test_the_papers_way_stays_out_of_the_identity(field: str) -> None:
    """A training of before there was the option keeps its id; the other way is another training."""
    used_with: dict[str, dict[str, Any]] = {
        "masks": {"dropout": "example_tied", "p_gen": 0.2, "p_mem": 0.1},
        "stochastic": {"batch_norm": "frozen"},
    }
    fields = BASE | used_with.get(field, {})
    usual, other = OPTIONS[field]
    assert field not in canonical(resolved(**fields))
    assert fingerprint(resolved(**fields, **{field: usual})) == fingerprint(resolved(**fields))
    assert fingerprint(resolved(**fields, **{field: other})) != fingerprint(resolved(**fields))


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("masks", "shared", "used only with dropout: example_tied (here dropout is none)"),
        ("stochastic", "on", "used only with batch_norm: frozen (here batch_norm is train)"),
    ],
)
def test_what_is_not_used_is_refused(field: str, value: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolved(**BASE, **{field: value})
    assert caught.value.problems == (f"{field}: {problem}",)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        *((TRAINING, f) for f in ("noise_count", "batch_norm", "compile", "wrong", "augment", "width", "masks", "keep")),
        *((fields_of(RetrainConfig), f) for f in ("freeze", "batches")),
        *((fields_of(GradientsConfig), f) for f in ("scale", "at")),
        (fields_of(FlipsConfig), "choose"),
    ],
)
def test_null_is_no_value_of_an_option(fields: Fields, field: str) -> None:
    taken, problem = fields.check(field, None)
    assert taken is None
    assert str(problem).startswith("null is not valid; valid: ")


@pytest.mark.parametrize(("fields", "number"), [({}, 0), ({"seed": 3}, 3), ({"seed": 2**63 - 1}, 2**63 - 1)])
def test_data_seed_can_follow_the_seed(fields: dict[str, int], number: int) -> None:
    """The resolved configuration holds the number, so it is the same training as with the number written out."""
    config = resolved(**BASE, data_seed="seed", **fields)
    assert config.data_seed == number
    assert fingerprint(config) == fingerprint(resolved(**BASE, data_seed=number, **fields))


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("seeds", " (did you mean 'seed'?)"),
        (-1, ""),
        (1.0, " (write 1)"),
        (2**63, ""),
        (None, ""),
        ("1", " (this is text: remove the quotes around 1)"),
    ],
)
def test_data_seed_is_a_number_or_the_word(value: Any, hint: str) -> None:
    taken, problem = TRAINING.check("data_seed", value)
    assert taken is None
    shown = "null" if value is None else repr(value)
    assert problem == f"{shown} is not valid; valid: a whole number >= 0 and < {2**63}, or seed{hint}"


def test_timm_models_are_not_compiled() -> None:
    with pytest.raises(UsageError, match=r"^compile: true with model: timm:test_vit: networks of timm .*; valid: false$"):
        resolved(dataset="digits", model="timm:test_vit", compile=True)
    assert resolved(dataset="digits", model="timm:test_vit", compile=False).compile is False


def test_each_models_own_fields() -> None:
    assert resolved(dataset="digits", model="resnet50").architecture == ResNet50(stem="imagenet")
    assert resolved(dataset="digits", model="resnet9", width=2).architecture == ResNet9(width=2.0)
    assert resolved(dataset="digits", model="vit_small", tokens="shifted").architecture == ViTSmall(tokens="shifted")
    assert resolved(dataset="digits", model="timm:test_vit").architecture == Timm(name="timm:test_vit")
    for model, field, value in (("vit_small", "stem", "cifar"), ("resnet50", "width", 0.5), ("resnet9", "tokens", "patch")):
        with pytest.raises(UsageError, match=f"^{field}: used only with model: "):
            resolved(dataset="digits", model=model, **{field: value})
