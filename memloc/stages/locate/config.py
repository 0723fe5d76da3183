"""Localization: which truth, which methods, what it costs, and the table of its rows (docs/instruments.md)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pyarrow as pa

from memloc.config import Checkpoints, CountOrZero, FieldError, StageConfig, TrainConfig, UnusedFieldError
from memloc.counts import counted
from memloc.stages.base import NetworkFacts, Part, Size, Tables
from memloc.stages.columns import BOOL, FLOAT, INT, SMALL, SMALLS, TEXT, TEXTS, of_analysis
from memloc.stages.extensible import Extensible, names_of
from memloc.stages.fields import check_epochs
from memloc.stages.locate.method import Method, built_in
from memloc.stages.neurons.injection import USUAL
from memloc.stages.neurons.named import atlas_of

if TYPE_CHECKING:
    from memloc.stages.inputs import Inputs

METHODS = built_in()
GROUP = 8  # examples of one part
EXAMPLES = 10  # of each set, unless the configuration says otherwise
REFERENCES = 32  # clean examples with which a method may compare
NAMED = 10  # neurons by which view atlas says in which layers an example is
EACH = 2200.0  # forward passes that an example costs, as a mean over methods, for estimates

Truth = Literal["injected", "tied", "deleted"]
_Methods = names_of([method.name for method in METHODS])


class LocateConfig(StageConfig):
    """Which examples are looked for, by which methods, and by what the methods are judged."""

    truth: Truth | None = None
    """injected: the channels into which stage inject has put an example. tied: the memorization channels of an example-tied
    training, beside those of a decoy. deleted: no truth; channels are closed until the label is lost. null: injected beside
    stage inject, tied with dropout: example_tied, else deleted. [memloc]
    """
    methods: _Methods = None  # type: ignore[valid-type]
    """The methods that are compared (docs/instruments.md); null: all. The controls always run. [memloc]"""
    clean: CountOrZero | None = None
    """The number of clean examples; null: 10. Used with truth: tied, deleted. [memloc]"""
    noisy: CountOrZero | None = None
    """The number of mislabeled examples; null: 10. Used with truth: tied, deleted. [memloc]"""
    before: Annotated[CountOrZero, Checkpoints()] | None = None
    """The checkpoint before memorization, from which the method weight_change measures; null: max(1, ⌊T/6⌋). Used with
    truth: tied, deleted; an injected network is compared with the one that it was made of. [memloc]
    """
    evaluated: CountOrZero = 100
    """The number of examples of each set (clean, mislabeled, test) on which accuracy after closing is measured. [memloc]"""


class ResolvedLocate(LocateConfig):
    """A resolved `LocateConfig`. The other fields are those of the injection that it reads, None for the other truths."""

    truth: Truth
    methods: tuple[str, ...]
    networks: int | None = None
    items: int | None = None
    share: float | None = None
    weights: str | None = None
    steps: int | None = None


def _before(epochs: int) -> int:
    """The usual checkpoint before memorization."""
    return max(1, epochs // 6)


class Locate(Extensible[ResolvedLocate]):
    """How well each method names the neurons that hold an example."""

    name: ClassVar[str] = "locate"
    version: ClassVar[int] = 4
    reads = ("inject",)
    usual: ClassVar[Mapping[str, Any]] = USUAL
    extent: ClassVar[tuple[str, ...]] = ("methods", "clean", "noisy", "evaluated", "networks")
    atlas: ClassVar[tuple[str, ...]] = atlas_of(
        "SELECT analysis, trial, 'locate.' || method AS method, example, layers, indices FROM located WHERE NOT control",
        first=NAMED,
    )
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "located": of_analysis(
            ("example", INT), ("noisy", BOOL), ("method", TEXT), ("control", BOOL), ("layers", TEXTS), ("indices", SMALLS)
        ),
        "localization": of_analysis(
            ("network", SMALL),
            ("truth", TEXT),
            ("example", INT),
            ("noisy", BOOL),
            ("method", TEXT),
            ("control", BOOL),
            ("k", SMALL),
            ("n_truth", SMALL),
            ("n_candidates", SMALL),
            ("recall", FLOAT),
            ("recall_2k", FLOAT),
            ("auc", FLOAT),
            ("auc_live", FLOAT),
            ("auc_within", FLOAT),
            ("spec_auc", FLOAT),
            ("auc_plain", FLOAT),
            ("k_star", SMALL),
            ("censored", BOOL),
            ("own_flip", BOOL),
            ("own_true", BOOL),
            ("clean_drop", FLOAT),
            ("noisy_drop", FLOAT),
            ("test_drop", FLOAT),
            ("skipped", BOOL),
            ("seconds", FLOAT),
        ),
    }
    takes, noun, listed, built_in, written = Method, "method", "methods", METHODS, LocateConfig

    @classmethod
    def usual_on(cls, epochs: int) -> Mapping[str, Any]:
        return {**cls.usual, "before": _before(epochs)}

    def resolve(self, config: LocateConfig, train: TrainConfig, beside: Collection[str] = ()) -> ResolvedLocate:
        usual: Truth = "injected" if "inject" in beside else "tied" if train.example_tied else "deleted"
        truth = config.truth or usual
        _check_truth(truth, train, "inject" in beside)
        asked: set[str] = set(config.methods or [method.name for method in self.unasked])
        methods = tuple(
            method.name for method in self.objects if (method.control and method in self.unasked) or method.name in asked
        )
        if truth == "injected":
            for unused in ("clean", "noisy", "before"):
                if getattr(config, unused) is not None:
                    raise UnusedFieldError(unused, "used only with truth: tied or deleted (here truth is injected)")
            return config.resolved_as(ResolvedLocate, truth=truth, methods=methods)
        sizes = {name: EXAMPLES if getattr(config, name) is None else getattr(config, name) for name in ("clean", "noisy")}
        if not any(sizes.values()):
            raise FieldError("noisy", "0, and clean is 0 too; at least one of them must be above 0")
        for name, count in sizes.items():
            if truth == "tied" and count % 2:
                raise FieldError(name, f"{count}, and truth tied takes pairs of examples; valid: {count - 1} or {count + 1}")
        before = _before(train.epochs) if config.before is None else config.before
        check_epochs("before", [before], train)
        return config.resolved_as(ResolvedLocate, truth=truth, methods=methods, before=before, **sizes)

    def completed(self, config: ResolvedLocate, read: Mapping[str, StageConfig]) -> ResolvedLocate:
        injected = read.get("inject")
        names = ("networks", *USUAL)
        return config.model_copy(update={name: getattr(injected, name) for name in names}) if injected else config

    def fits(self, train: TrainConfig, network: NetworkFacts) -> Mapping[str, str | None]:
        chain = train.architecture.WEIGHT_GATES
        name = train.architecture.name
        return {"": None if chain else f"model: {name} is not one chain of convolutions; valid here: resnet9"}

    @classmethod
    def looked_at(cls, config: Mapping[str, Any]) -> tuple[int, ...]:
        return (sum(int(config.get(name) or 0) for name in ("networks", "clean", "noisy")),)

    def misfit(self, config: ResolvedLocate, train: TrainConfig, size: Size, network: NetworkFacts) -> FieldError | None:
        others = {"tied": 2, "deleted": 1}.get(config.truth, 0)
        for field, kind, there in (("clean", "clean", size.n - size.n_noisy), ("noisy", "mislabeled", size.n_noisy)):
            if getattr(config, field) and 0 < there <= others:
                needed = f"truth {config.truth} compares an example with {counted(others, 'other')} of the same kind"
                return FieldError(field, f"{getattr(config, field)}, but {there} {kind} in all; {needed}")
        left = size.n - size.n_noisy - (config.items or 3)
        if left < REFERENCES:
            problem = (
                f"only {size.n - size.n_noisy} clean examples, and {REFERENCES} besides the item and others are references"
            )
            return FieldError("truth", f"{config.truth}: {problem}; take more images")
        return None

    def parts(self, config: ResolvedLocate, train: TrainConfig, size: Size) -> Sequence[Part]:
        groups = config.networks or -(-_examples(config, size) // GROUP)
        return [{"group": group, "method": method} for group in range(groups) for method in config.methods]

    def epochs(self, config: ResolvedLocate, train: TrainConfig, part: Part) -> Sequence[int]:
        return [train.epochs] if config.before is None else [config.before, train.epochs]

    def passes(self, config: ResolvedLocate, size: Size) -> float:
        return EACH * (config.items or min(GROUP, _examples(config, size)))

    def rows(self, config: ResolvedLocate, size: Size) -> Mapping[str, int]:
        if config.truth == "deleted":
            return {"localization": GROUP * 3, "located": GROUP}
        return {"localization": config.items or GROUP}

    def run(self, config: ResolvedLocate, inputs: Inputs, part: Part) -> Tables:
        compute: Any = import_module("memloc.stages.locate.compute")
        method = next(method for method in self.objects if method.name == part["method"])
        tables: Tables = compute.run(config, inputs, int(part["group"]), method)
        return tables


def _examples(config: ResolvedLocate, size: Size) -> int:
    return min(config.clean or 0, size.n - size.n_noisy) + min(config.noisy or 0, size.n_noisy)


def _check_truth(truth: Truth, train: TrainConfig, injects: bool) -> None:
    """Raises FieldError if the training, or the block's other stages, cannot have this truth."""
    kind = train.dropout.kind
    if truth == "injected" and not injects:
        raise FieldError("truth", "injected needs that stage; add `inject: {}` to the stages of this block")
    if truth != "injected" and injects:
        raise FieldError("truth", f"{truth} beside the stage inject; valid here: injected; put {truth} into another block")
    if truth == "tied" and not train.example_tied:
        raise FieldError("truth", f"tied needs dropout: example_tied (here dropout is {kind})")
    if truth == "deleted" and kind not in ("none", "standard"):
        valid = "tied" if train.example_tied else "a training with dropout: none or standard"
        raise FieldError("truth", f"deleted on a training with dropout: {kind}; valid: {valid}")


STAGE = Locate()
