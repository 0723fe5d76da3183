"""Settings: trainings that differ in their seeds alone, each with the one analysis on which it is judged; and their names.

analysis/pooling.py says which trainings and analyses are of one setting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from memloc.config import canonical_json
from memloc.models.architectures import TRAINING
from memloc.stages import STAGES

SEEDS = ("seed", "data_seed")
ATYPICAL = {"c_score_below": 0.5}  # the usual values of a field of several stages, if a resolved configuration has it
USUAL_NETWORK = {"width": 1, "stem": "imagenet"}
PAPERS_PRECISION = ("fp32", "tf32")  # its hardware had tf32; science.md, Training
UNKNOWN = ("threads", "compile")  # training fields of which nobody knows what the paper had

GIVEN = "given"  # value of `wrong` where labels are wrong as they are given: Observations says so, no field does

# Of the paper. They come first where settings are sorted.
DATASETS = ("cifar10", "mnist", "svhn")
MODELS = ("resnet9", "resnet50", "vit_small")
NAMES = {
    "cifar10": "CIFAR-10",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "svhn": "SVHN",
    "resnet9": "ResNet-9",
    "resnet50": "ResNet-50",
    "vit_small": "ViT-small",
}


@dataclass(frozen=True)
class Scope:
    """A setting in short: data set, network and noise rate. The usual ones are not named in ids.

    labels: where labels are wrong as they are given, the column that has them (`given` if no field names one); "" where
    the noise is drawn. noise is then the share of the data set's labels that are wrong.
    """

    dataset: str = "cifar10"
    model: str = "resnet9"
    noise: float = 0.1
    labels: str = ""


@dataclass(frozen=True)
class Setting:
    """A setting of a store.

    config: the training's fields without the seeds. variant: options of the analysis that are not the usual ones. analyses:
    {trial: analysis}. data: the identity of the data, which a file of the same name need not share.
    """

    config: Mapping[str, Any]
    variant: Mapping[str, Any]
    analyses: Mapping[str, str]
    data: str = ""

    @property
    def trials(self) -> list[str]:
        """Its trainings, sorted."""
        return sorted(self.analyses)

    @property
    def scope(self) -> Scope:
        """Data set, network, noise rate, and whose the wrong labels are."""
        labels = (self.config.get("labels") or GIVEN) if self.config.get("wrong") == GIVEN else ""
        return Scope(self.config["dataset"], self.config["model"], self.config.get("noise", Scope.noise), labels)

    @property
    def deviations(self) -> dict[str, Any]:
        """Every field that has not its usual value, besides data set, model and noise rate."""
        named = ["dataset", "model", "noise", "dropout", "given_sha256"]  # each question states its dropout itself
        if self.scope.labels:
            named += ["labels", "wrong"]
        of_training = {k: v for k, v in self.config.items() if k not in named and v != usual(self, k)}
        return {**of_training, **self.variant}

    @property
    def unlike_paper(self) -> dict[str, Any]:
        """The deviations in what is computed; those in its arithmetic aside."""
        aside = (*UNKNOWN, *(("precision",) if self.config.get("precision") in PAPERS_PRECISION else ()))
        return {k: v for k, v in self.deviations.items() if k not in aside}

    @property
    def words(self) -> str:
        """`digits, resnet9, noise 0.1, width 0.25, epochs 30`; `mine.npz, resnet9, person labels (9 % wrong)`."""
        scope = self.scope
        more = [f"{k} {v}" for k, v in self.deviations.items()]
        masked = [f"dropout {d}" for d in [self.config.get("dropout", "none")] if d != "none"]
        drawn = [f"noise {scope.noise:g}"] if "noise" in self.config else []
        rate = [rate_in_words(scope)] if scope.labels else drawn
        return ", ".join([without_folder(scope.dataset), scope.model, *rate, *masked, *more])

    @property
    def place(self) -> tuple[Any, ...]:
        """A key that sorts settings for a reader: the usual data sets and networks first, then by name and noise rate."""
        scope = self.scope
        names = ((scope.dataset, DATASETS), (scope.model, MODELS))
        known = [(order.index(name) if name in order else len(order), name) for name, order in names]
        return *known, scope.noise, canonical_json([self.config, self.variant])

    def only(self, trials: Sequence[str]) -> Setting:
        """Some of its trainings."""
        return replace(self, analyses={t: self.analyses[t] for t in trials})

    def same_as(self, other: Setting) -> bool:
        """Are these the same settings, perhaps with other trainings?"""
        return (self.config, self.variant, self.data) == (other.config, other.variant, other.data)


def usual(setting: Setting, name: str) -> Any:
    """A training field's usual value: that of preset `paper`."""
    if name in USUAL_NETWORK:
        return USUAL_NETWORK[name]
    if name == "peak_epoch":
        return max(1, round(setting.config["epochs"] / 5))
    return TRAINING.default(name, setting.config)


# --- names ------------------------------------------------------------------------------------------------------------


def nearness(setting: Setting, scope: Scope) -> tuple[Any, ...]:
    """A key that sorts settings by their distance from a scope: data set, model, whose labels, noise rate, other fields.

    Of two equally near settings the one with more trainings comes first.
    """
    own = setting.scope
    return (
        own.dataset != scope.dataset,
        own.model != scope.model,
        own.labels != scope.labels,
        abs(own.noise - scope.noise),
        len(setting.variant),
        len(setting.deviations),
        -len(setting.analyses),
        canonical_json([setting.config, setting.variant]),
    )


def named(
    several: Sequence[Setting], name: Callable[[Scope], str], taken: Mapping[str, Setting] | None = None
) -> dict[str, Setting]:
    """{name in ids: setting}.

    Of settings that share data set, model and noise rate, the one with the fewest unusual fields has the plain name. The
    names of the others also have the fields in which they differ from it. taken: names that others have already.
    """
    names: dict[str, Setting] = {}
    taken = taken or {}
    for setting in sorted(several, key=lambda s: nearness(s, s.scope)):
        plain = name(setting.scope)
        plainest = names.get(plain) or next((s for s in taken.values() if s.scope == setting.scope), None)
        fields = unlike(setting, plainest) if plainest else setting.deviations
        longer = ".".join([plain, *(_word(k, v) for k, v in fields.items())])
        numbered = (f"{longer}.{k}" for k in count(2))  # files of one name, for example
        names[next(n for n in chain((plain, longer), numbered) if n not in names and n not in taken)] = setting
    return names


def unlike(setting: Setting, other: Setting) -> dict[str, Any]:
    """Its unusual fields and those of the other, as far as the two differ in them, with its own values."""
    own, others = setting.deviations, other.deviations
    absent = object()
    differing = [k for k in {**own, **others} if own.get(k, absent) != others.get(k, absent)]
    return {k: own[k] if k in own else usual_in_words(setting, k) for k in differing}


def scope_name(scope: Scope) -> str:
    """`cifar10`, or `mnist.resnet50.noise0.2` if model or noise rate are not the usual ones; `mine.person` by the labels."""
    words = [re.sub(r"[^\w-]+", "_", Path(without_folder(scope.dataset)).stem)]
    if scope.model != "resnet9":
        words.append(re.sub(r"[^\w-]+", "_", scope.model))
    if scope.labels:
        words.append(re.sub(r"[^\w-]+", "_", scope.labels))
    elif scope.noise != Scope.noise and scope.noise != 0:
        words.append(f"noise{scope.noise:g}")
    return ".".join(words)


def _word(name: str, value: Any) -> str:
    return re.sub(r"[^\w.-]+", "_", f"{name}{value:g}" if isinstance(value, float) else f"{name}{value}")


def name_of(word: str) -> str:
    """The name of a data set or network as people write it."""
    return NAMES.get(word, without_folder(word))


def without_folder(dataset: str) -> str:
    """The name in a configuration, without the folders of `npz:FILE`, which are a machine's own: `mine.npz`.

    Of several files that of the first one.
    """
    return Path(dataset.split(":")[1]).name if ":" in dataset and "/" in dataset else dataset


def percent(fraction: float) -> str:
    """`10 %`."""
    return f"{100 * fraction:.6g} %"


def usual_in_words(setting: Setting, name: str) -> str:
    """The usual value of a training field or of a stage's option."""
    options = {k: v for stage in STAGES.values() for k, v in {**ATYPICAL, **stage.usual}.items()}
    if name in setting.variant or (name in options and name not in setting.config):
        of_training = setting.config.get(name.partition(".")[2], "none")  # `second_split.epochs` is usually the training's
        return str(options.get(name, of_training))
    value = usual(setting, name)
    return {"subset": "all", "test_subset": "all"}.get(name, "none") if value is None else str(value)


def in_words(fields: Mapping[str, Any]) -> dict[str, str]:
    """{field: `MNIST`, `20 % noise`, `width 0.5`}."""
    words = {k: name_of(v) if k in ("dataset", "model") else f"{k} {v}" for k, v in fields.items()}
    return {**words, **({"noise": f"{percent(float(fields['noise']))} noise"} if "noise" in fields else {})}


def rate_in_words(scope: Scope) -> str:
    """`10 % noise`, or `human_1 labels (17.2 % wrong)`."""
    rate = percent(scope.noise)
    return f"{scope.labels} labels ({rate} wrong)" if scope.labels else f"{rate} noise"


def _described(setting: Setting) -> dict[str, str]:
    """{field: in words}: data set, model, noise rate, and what is not usual."""
    scope = setting.scope
    words = in_words({"dataset": scope.dataset, "model": scope.model, **setting.deviations})
    return {"dataset": words.pop("dataset"), "model": words.pop("model"), "noise": rate_in_words(scope), **words}


def differing(settings: Sequence[Setting]) -> list[str]:
    """The words that tell each setting from the others: `MNIST, 20 % noise`. "" if there is one setting.

    Usual values are named only where a setting has nothing else that tells it from the others.
    """
    if len(settings) < 2:
        return ["" for _ in settings]
    described = [_described(s) for s in settings]
    fields = dict.fromkeys(k for d in described for k in d)
    telling = [k for k in fields if len({d.get(k) for d in described}) > 1]
    labels = [", ".join(d[k] for k in telling if k in d) for d in described]
    usually = (", ".join(f"{k} {usual_in_words(s, k)}" for k in telling) for s in settings)
    return [label or usual for label, usual in zip(labels, usually, strict=True)]
