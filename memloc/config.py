"""Frozen, strict configurations, and identity by fingerprint.

A configuration is *resolved* when every field holds what the program will really use: defaults filled in, and None
for what the chosen model or dropout does not have. Only resolved configurations have an identity.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.fields import FieldInfo

from memloc.errors import UsageError, nearest

DATASETS = ("digits", "cifar10", "mnist", "fashion_mnist", "svhn")
# A file each, listed and not imported: PyTorch takes seconds.
MODELS = tuple(sorted(m.name for m in iter_modules([str(Path(__file__).parent / "models" / "architectures")])))

# What a field needs before it means anything: {field: (deciding field, its values)}. Elsewhere it is None.
USED_BY: dict[str, tuple[str, tuple[str, ...]]] = {
    "width": ("model", ("resnet9",)),
    "stem": ("model", ("resnet50",)),
    "tokens": ("model", ("vit_small",)),
    "p_gen": ("dropout", ("example_tied",)),
    "p_mem": ("dropout", ("example_tied",)),
    "masks": ("dropout", ("example_tied",)),
    "stochastic": ("batch_norm", ("frozen",)),
    "keep": ("dropout", ("standard", "sparse")),
    "unit": ("dropout", ("standard", "sparse")),
}
WHERE_USED = {"width": 1.0, "stem": "imagenet", "tokens": "patch", "masks": "site", "stochastic": "off"}  # by default
UNITS = {"standard": ("element", "channel"), "sparse": ("weight", "element", "channel")}  # the default first
KEEP = 0.4  # what Table 3's baselines keep


@dataclass(frozen=True)
class Neutral:
    """Marks a field that came later: the value that stands for what the program did before there was the field.

    This value stays out of the identity, so older trainings and analyses keep their ids. It never changes; a default may.
    """

    value: Any


class Config(BaseModel):
    """Types are taken at their word (`1` is not True, "3" is not 3); unknown fields, NaN and infinities are errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class StageConfig(Config):
    """Base of every analysis stage's configuration; the subclasses stand in the stage's own file."""

    def c_scores_from(self) -> str | None:
        """Which C-scores the analysis takes, PATH or sweep:NAME; None: it takes none."""
        return None

    def with_c_scores(self, identity: str) -> Self:
        """The same with the scores named by what they are: where they came from is not part of an identity."""
        raise NotImplementedError


class FieldError(ValueError):
    """A value of one stage field that does not fit the training it is asked of."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


def _dataset(value: str) -> str:
    if value in DATASETS or (value.startswith("npz:") and len(value) > len("npz:")):
        return value
    raise ValueError(f"valid: {', '.join(DATASETS)}, npz:PATH{nearest(value, DATASETS)}")


def _model(value: str) -> str:
    if value in MODELS:
        return value
    if value.startswith("timm:"):
        return _timm_model(value)
    raise ValueError(f"valid: {', '.join(MODELS)}, timm:NAME{nearest(value, (*MODELS, 'timm:'))}")


def _timm_model(value: str) -> str:
    import timm  # takes a second, and only who asks for it needs it

    name = value.removeprefix("timm:")
    if timm.is_model(name) and "." not in name:
        return value
    if timm.is_model(name):
        raise ValueError(f"valid: timm:{name.partition('.')[0]}: what follows the point names weights, and none are loaded")
    raise ValueError(f"valid: timm:NAME, NAME a model of timm {timm.__version__}{nearest(name, timm.list_models())}")


def as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _or_the_word_seed(value: Any, number: ValidatorFunctionWrapHandler) -> Any:
    return value if value == "seed" else number(value)


def distinct(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(value)) < len(value):
        raise ValueError("the same value twice")
    return value


Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]  # a fraction that must not be empty
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
DataSeed = Annotated[int, Field(ge=0, lt=2**63), WrapValidator(_or_the_word_seed)]  # resolved, it is a number
Epochs = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...],
    BeforeValidator(as_tuple),
    Field(min_length=1),
    AfterValidator(distinct),
    AfterValidator(lambda epochs: tuple(sorted(epochs))),
]


class TrainConfig(Config):
    """One training. The fields of science.md, sections Data, Models, Training and Example-tied dropout."""

    dataset: Annotated[str, AfterValidator(_dataset)]
    subset: Count | None = None
    augment: Literal["none", "crop", "crop_flip"] = "none"
    noise: Fraction = 0.0
    wrong: Literal["uniform", "offset"] = "uniform"
    noise_count: Annotated[Literal["round", "floor"], Neutral("round")] = "round"
    data_seed: DataSeed = 0
    ratio: Annotated[float, Field(gt=0, lt=1)] | None = None
    cut: Annotated[int, Field(ge=0)] | None = None

    model: Annotated[str, AfterValidator(_model)]
    width: Annotated[float, Field(gt=0, le=16)] | None = None
    stem: Literal["imagenet", "cifar"] | None = None
    tokens: Annotated[Literal["patch", "shifted"] | None, Neutral("patch")] = None

    dropout: Literal["none", "example_tied", "standard", "sparse"] = "none"
    p_gen: Share | None = None
    p_mem: Fraction | None = None
    masks: Annotated[Literal["site", "shared"] | None, Neutral("site")] = None
    keep: Share | None = None
    unit: Literal["element", "channel", "weight"] | None = None

    epochs: Count = 50
    batch_size: Annotated[int, Field(ge=2)] = 512
    lr: Positive = 0.1
    schedule: Literal["one_cycle", "warmup_cosine"] = "one_cycle"
    peak_epoch: Count | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    stop_after_perfect: Count | None = None
    batch_norm: Annotated[Literal["train", "frozen"], Neutral("train")] = "train"
    stochastic: Annotated[Literal["off", "on"] | None, Neutral("off")] = None
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    compile: Annotated[bool, Neutral(False)] = False
    seed: Seed = 0
    threads: Annotated[int, Field(ge=1, le=1024)] = 1


def unused(values: Mapping[str, Any]) -> dict[str, str]:
    """{field: why} of the fields that the chosen model and dropout do not have."""
    chosen = {"dropout": "none", "batch_norm": "train", **values}
    return {
        field: f"used only with {by}: {' or '.join(when)} (here {by} is {chosen.get(by)})"
        for field, (by, when) in USED_BY.items()
        if chosen.get(by) not in when
    }


def resolve_training(values: Mapping[str, Any]) -> tuple[TrainConfig | None, dict[str, str]]:
    """The resolved configuration of individually valid `values`, or {field: problem} of what does not fit together."""
    absent = unused(values)
    kept = {k: v for k, v in values.items() if k not in absent}
    problems = {f: f"required; valid: {valid_values(TrainConfig, f)}" for f in ("dataset", "model") if f not in kept}
    dropout = kept.get("dropout", "none")
    needed = ["p_gen", "p_mem"] if dropout == "example_tied" else []
    if dropout in UNITS:
        if kept.get("keep") is None:
            kept["keep"] = KEEP
        if kept.get("unit") is None:
            kept["unit"] = UNITS[dropout][0]
        elif kept["unit"] not in UNITS[dropout]:
            problems["unit"] = f"{kept['unit']!r} with dropout: {dropout}; valid: {', '.join(UNITS[dropout])}"
    for field, other in (("ratio", "cut"), ("cut", "ratio")):
        if kept.get(field) is None and kept.get(other) is not None:
            problems[field] = f"required with {other}; valid: {valid_values(TrainConfig, field)}"
    for field in needed:
        if kept.get(field) is None:
            problems[field] = f"required with dropout: {dropout}; valid: {valid_values(TrainConfig, field)}"
    if kept.get("compile") and str(kept.get("model")).startswith("timm:"):
        problems["compile"] = "True with model: timm:NAME, which runs operation by operation; valid here: false"
    if problems:
        return None, problems
    for field, default in WHERE_USED.items():
        if field not in absent and kept.get(field) is None:
            kept[field] = default
    if kept.get("data_seed") == "seed":
        kept["data_seed"] = kept.get("seed", 0)
    config = TrainConfig(**kept)
    if config.peak_epoch is None:
        config = config.model_copy(update={"peak_epoch": default_peak(config.schedule, config.epochs)})
    return config, {}


def default_peak(schedule: str, epochs: int) -> int:
    """The epoch in which the learning rate peaks unless the configuration says otherwise."""
    return max(1, round(epochs / (5 if schedule == "one_cycle" else 10)))


def resolved(**values: Any) -> TrainConfig:
    """The resolved training configuration of these values; raises UsageError naming every problem."""
    problems = []
    for name, value in values.items():
        problem = check_name(TrainConfig, name) or check(TrainConfig, name, value)[1]
        if problem:
            problems.append(f"{name}: {problem}")
    absent = unused(values)
    problems += [f"{name}: {absent[name]}" for name in values if name in absent and values[name] is not None]
    if problems:
        raise UsageError(*problems)
    config, more = resolve_training(values)
    if config is None:
        raise UsageError(*(f"{name}: {problem}" for name, problem in more.items()))
    return config


# --- checking one value at a time, so that every error of a file is reported at once, each at its own line ----------


def check_name(cls: type[Config], name: str) -> str | None:
    """What is wrong with a field's name, or None."""
    if name in cls.model_fields:
        return None
    return f"unknown field{nearest(name, cls.model_fields)}; valid: {', '.join(cls.model_fields) or 'no field at all'}"


def check(cls: type[Config], name: str, value: Any) -> tuple[Any, str | None]:
    """(the value as the field takes it, None), or (None, what is wrong: the bad value and the valid ones)."""
    info = cls.model_fields[name]
    annotation: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=cls.model_config)
    try:
        return adapter.validate_python(value), None
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "value_error":
            reason = str(first["ctx"]["error"])
            return (
                None,
                f"{value!r} is not valid: {reason}" if "valid:" not in reason else f"{value!r} is not valid; {reason}",
            )
        return None, f"{value!r} is not valid; valid: {valid_values(cls, name)}{_hint(info, value)}"


def valid_values(cls: type[Config], name: str) -> str:
    """In words, what a field takes."""
    if name == "dataset":
        return f"{', '.join(DATASETS)}, npz:PATH"
    if name == "model":
        return f"{', '.join(MODELS)}, timm:NAME"
    if name == "data_seed":
        return f"{valid_values(cls, 'seed')}, or seed"
    if name == "memorized":
        return "labels, c_score:PATH, c_score:sweep:NAME"
    info = cls.model_fields[name]
    return _describe(info.annotation, tuple(info.metadata))


def _describe(annotation: Any, metadata: tuple[Any, ...]) -> str:
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _describe(inner, (*metadata, *more))
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, get_args(annotation)))
    if get_origin(annotation) is tuple:
        return f"a non-empty list without duplicates, each {_describe(get_args(annotation)[0], ())}"
    options = get_args(annotation)
    if options:  # X | None, X | Y
        words = [_describe(a, metadata) for a in options if a is not type(None)]
        return " or ".join([*words, *(["null"] if len(words) < len(options) else [])])
    kind = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(annotation, str(annotation))
    return (kind + _interval(metadata)).strip()


def _interval(metadata: tuple[Any, ...]) -> str:
    flat = [m for entry in metadata for m in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]
    words = []
    for bound in flat:
        if isinstance(bound, Gt):
            words.append(f"> {bound.gt}")
        elif isinstance(bound, Ge):
            words.append(f">= {bound.ge}")
        elif isinstance(bound, Lt):
            words.append(f"< {bound.lt}")
        elif isinstance(bound, Le):
            words.append(f"<= {bound.le}")
        elif isinstance(bound, MinLen):
            words.append("not empty")
    return " " + " and ".join(words) if words else ""


def _hint(info: FieldInfo, value: Any) -> str:
    """The traps of YAML: `1e-3` and `no` are text, `30.0` is not a whole number."""
    wanted = str(info.annotation)
    if isinstance(value, str):
        options = str(_describe(info.annotation, tuple(info.metadata))).split(", ")
        if close := nearest(value, options):
            return close
        if "bool" in wanted and value.lower() in ("yes", "no", "on", "off", "y", "n"):
            return f" (write {'true' if value.lower() in ('yes', 'on', 'y') else 'false'})"
        return _hint_for_number(value, wanted)
    if isinstance(value, float) and value.is_integer() and "int" in wanted:
        return f" (write {int(value)})"
    return ""


def _hint_for_number(text: str, wanted: str) -> str:
    """What to write instead of a number that arrived as text: YAML wants `1.0e-3`, and quotes make anything text."""
    try:
        number = float(text)
    except ValueError:
        return ""
    if not math.isfinite(number):
        return ""
    if "e" not in text.lower():
        return f" (this is text: remove the quotes around {text})"
    if "float" not in wanted:
        return f" (YAML reads {text} as text: write {int(number)})" if number.is_integer() and abs(number) < 1e15 else ""
    if "e" in repr(number):
        return f" (YAML reads {text} as text: write it with a point and a sign, like 1.0e-3)"
    return f" (YAML reads {text} as text: write {number!r})"


# --- identity ---------------------------------------------------------------------------------------------------------


def canonical(value: Any) -> Any:
    """`value` in the one form that its meaning has: None left out of mappings, 1.0 as 1, tuples as lists.

    Of a configuration the neutral values are left out too.

    Raises:
        TypeError: for what has no canonical form (NaN, sets, objects, non-text keys).
    """
    if isinstance(value, Config):
        return canonical({name: v for name, v in value if not _is_neutral(type(value), name, v)})
    if isinstance(value, Mapping):
        if not all(isinstance(k, str) for k in value):
            raise TypeError(f"a key of {value!r} is not text")
        return {k: canonical(v) for k, v in sorted(value.items()) if v is not None}
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value!r} has no canonical form")
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{value!r} of type {type(value).__name__} has no canonical form")


def _is_neutral(cls: type[Config], name: str, value: Any) -> bool:
    return any(isinstance(m, Neutral) and m.value == value for m in cls.model_fields[name].metadata)


def canonical_json(value: Any) -> str:
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits (64 bits of sha256 over the canonical JSON): the same meaning, the same id."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]
