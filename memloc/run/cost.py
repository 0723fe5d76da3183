"""Prices: seconds of trainings and of analysis parts on one kind of device, fitted to the parts that a store holds.

A commit says how many seconds its part took, and at how many forward passes of one example it was estimated. The rate of a
network's stage is the sum of the seconds over the sum of the passes. The sums are over the commits of the same stage
configuration if there are any, else over all commits of the stage; of trainings, over those of the same batch size if there
are any, else over all of the network. So a constant error of an estimate drops out. A stage that this network has not run
yet has the network's training rate times the stage's factor. The factor is fitted to the other networks in the store:
seconds / (passes · training rate of their own network).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple

from memloc.config import canonical, canonical_json
from memloc.counts import counted
from memloc.run.cards import card_name
from memloc.run.fanout import PricedPart
from memloc.run.pending import Work, needs, waves
from memloc.run.plan import AnalysisPlan, TrialPlan
from memloc.run.quantities import part_passes, retrained_passes, train_passes
from memloc.store import Snapshot

Shape = tuple[int, int, int]
IMAGES = 128  # of a step that is timed on a CPU, at most: a dry run waits for it, and holds its activations in memory
PRICED = ("trial", "where", "stage", "config", "seconds", "passes")  # what prices take of a commit
Shapes = Mapping[tuple[str, str | None], Shape]  # by `images_of`


def images_of(config: Mapping[str, Any]) -> tuple[str, str | None]:
    """What the shape of a training's images follows from: the data set, and the size to which they are brought."""
    return config["dataset"], config.get("image")


class NetworkKind(NamedTuple):
    """What a rate depends on besides the device. shape: C, H, W of an image; None if it is not known any more."""

    model: str
    variant: tuple[float | str | None, ...]  # width, stem, tokens
    shape: Shape | None
    threads: int
    precision: str

    @staticmethod
    def of(config: Mapping[str, Any], shapes: Shapes) -> NetworkKind:
        """The kind of a training's network."""
        shape = shapes.get(images_of(config))
        variant = tuple(config.get(field) for field in ("width", "stem", "tokens"))
        return NetworkKind(config["model"], variant, shape, config["threads"], config.get("precision", "fp32"))


class Rate(NamedTuple):
    """Seconds per forward pass of one example. basis: a phrase that says where the number comes from."""

    seconds: float
    basis: str


@dataclass
class _Sums:
    """Sums over commits that are alike."""

    count: int = 0
    seconds: float = 0.0
    passes: float = 0.0

    def add(self, seconds: float, passes: float) -> None:
        self.count += 1
        self.seconds += seconds
        self.passes += passes

    @property
    def rate(self) -> float:
        return self.seconds / self.passes


@dataclass
class CostModel:
    """Seconds on one kind of device.

    device: cpu or cuda. card: of the GPUs (`run/cards.py`); commits of other cards say nothing. None: commits of any card.
    unknown: the training rate of a network that the store has not trained, which is asked for once for each batch size.
    largest: of these, all from here on have one rate; None: each has its own. forward: the same of stages that mostly run it
    forward (`Stage.forward_only`); None: they have the training's.
    spread: the factor by which an unknown part is slower than at the training's rate, because its task holds only a share of
    a GPU (measured rates contain this factor).
    """

    snapshot: Snapshot
    device: str
    shapes: Shapes
    unknown: Callable[[TrialPlan, Shape], Rate]
    spread: float = 1.0
    card: str | None = None
    forward: Callable[[TrialPlan, Shape], Rate] | None = None
    largest: int | None = None
    _fits: dict[tuple[NetworkKind, str], _Sums] = field(default_factory=dict)
    _alike: dict[tuple[NetworkKind, str, str], _Sums] = field(default_factory=dict)  # also by stage configuration
    _factors: dict[str, _Sums] = field(default_factory=dict)
    _batches: dict[tuple[NetworkKind, int], _Sums] = field(default_factory=dict)  # trainings by their batch size
    _unknown: dict[tuple[NetworkKind, int], Rate] = field(default_factory=dict)
    _basis: _Basis = field(default_factory=lambda: _Basis())

    def __post_init__(self) -> None:
        every = self.snapshot.every
        own = every.trainings()
        configs = dict(zip(own.said("trial"), own.said("config"), strict=True))
        network_of = cache(lambda trial: NetworkKind.of(configs[trial], self.shapes))
        texts: dict[int, str] = {}  # by the configuration: commits share them
        known = [
            (
                trial,
                network_of(trial),
                stage,
                texts.get(id(c)) or texts.setdefault(id(c), canonical_json(c)),
                seconds,
                passes,
            )
            for trial, where, stage, c, seconds, passes in zip(*(every.said(name) for name in PRICED), strict=True)
            if trial in configs and self._is_here(where) and (passes or stage != "train")
        ]
        for trial, network, stage, config, seconds, passes in known:
            of = [
                self._fits.setdefault((network, stage), _Sums()),
                self._alike.setdefault((network, stage, config), _Sums()),
            ]
            if stage == "train":
                of.append(self._batches.setdefault((network, configs[trial].get("batch_size", 0)), _Sums()))
            for sums in of:
                sums.add(seconds, passes)
        for _, network, stage, _, seconds, passes in known:
            train = self._fits.get((network, "train"))
            if stage != "train" and train and train.passes:
                self._factors.setdefault(stage, _Sums()).add(seconds, passes * train.rate)

    def _is_here(self, where: Mapping[str, Any]) -> bool:
        """Was it computed on this kind of device? Every commit has the product's name of its GPU."""
        if where.get("device") != self.device:
            return False
        return self.card is None or card_name(str(where.get("device_name", ""))) == self.card

    def network(self, trial: TrialPlan) -> NetworkKind:
        """What the rate of the trial's network depends on."""
        return NetworkKind.of(canonical(trial.config), self.shapes)

    def alike(self, work: Work) -> Hashable:
        """Equal for works of which everything costs the same."""
        trial, counts = work.trial, Counter(a.id for a, _, _ in work.parts)
        analyses = tuple((a.stage, a.config, a.size, bool(a.reads), counts[a.id]) for a in trial.analyses if a.id in counts)
        before = tuple(work.starts[i].before if i in work.starts else None for _, i, _ in work.parts if work.starts)
        kind = self.network(trial), trial.config.batch_size
        return kind, trial.config.epochs, trial.size, work.train, work.reached, work.until, analyses, before

    def train(self, work: Work) -> float:
        """Seconds of the rest of the training; 0 if there is nothing to train."""
        if work.train == "done":
            return 0.0
        epochs = work.until - work.reached
        return self._train_rate(work.trial) * train_passes(work.trial) * epochs / work.trial.config.epochs

    def part(self, trial: TrialPlan, analysis: AnalysisPlan) -> float:
        """Seconds of a part that runs alone."""
        passes, stage = part_passes(trial, analysis), analysis.stage
        network = self.network(trial)
        alike = self._alike.get((network, stage, canonical_json(analysis.config)))
        whole_stage, factor = self._fits.get((network, stage)), self._factors.get(stage)
        fit = alike or whole_stage
        if not passes:  # no estimate of passes: the mean of its parts
            own = fit or factor
            return own.seconds / own.count if own else 0.0
        if fit and whole_stage and fit.passes:
            self._basis.fitted[network, stage] = whole_stage.count
            return passes * fit.rate
        if factor and factor.passes:
            self._basis.by_factor[stage] = None
            return passes * factor.rate * self._train_rate(trial)
        if self.forward is not None and analysis.kind.forward_only and (network, "train") not in self._fits:
            return passes * self.spread * self._forward_rate(trial)
        self._basis.by_rate[stage] = None
        return passes * self.spread * self._train_rate(trial)

    def waves(self, work: Work) -> tuple[tuple[PricedPart, ...], ...]:
        """The parts of each wave with their costs, in order."""
        prices = {a.id: self._price(work.trial, a) for a in {a.id: a for a, _, _ in work.parts}.values()}
        return tuple(tuple(self._own(work, prices[a.id], i) for a, i, _ in wave) for wave in waves(work.parts))

    def _own(self, work: Work, price: PricedPart, part_id: str) -> PricedPart:
        """The price of one part: that of its analysis, and of the epochs that are trained again before it."""
        start = work.starts.get(part_id)
        if start is None:
            return replace(price, id=part_id)
        if not start.before:
            return replace(price, id=part_id, chain=start.chain)
        passes = retrained_passes(work.trial, start.before)
        seconds = price.seconds + passes * self._train_rate(work.trial)
        return replace(price, id=part_id, chain=start.chain, seconds=seconds, passes=price.passes + passes)

    def _price(self, trial: TrialPlan, analysis: AnalysisPlan) -> PricedPart:
        """The price that all parts of an analysis have in common."""
        seconds = self.part(trial, analysis)
        shared = seconds * analysis.kind.shared(analysis.config, analysis.size)
        passes = part_passes(trial, analysis)
        return PricedPart("", analysis.id, analysis.stage, seconds, shared, passes, tuple(needs(trial, analysis)))

    def basis(self) -> str:
        """A phrase that says where the prices computed so far come from."""
        return self._basis.in_words()

    def reliable(self) -> bool:
        """Were all prices computed so far fitted to measurements of the stages themselves?"""
        return not (self._basis.unknown or self._basis.by_rate)

    def calibration(self, trials: Iterable[TrialPlan]) -> dict[str, tuple[int, float]]:
        """{network: (trainings in the store, their time / the time that is believed without them)}."""
        found: dict[str, tuple[int, float]] = {}
        for trial in {self.network(trial): trial for trial in trials}.values():
            fit = self._fits.get((self.network(trial), "train"))
            if fit and fit.passes:
                name = f"{trial.config.model} ({trial.config.precision})"
                found[name] = fit.count, fit.rate / self._believed(trial).seconds
        return found

    def _believed(self, trial: TrialPlan) -> Rate:
        return self.unknown(trial, self.shapes[images_of(trial.config.source.flat())])

    def _forward_rate(self, trial: TrialPlan) -> float:
        assert self.forward is not None
        rate = self.forward(trial, self.shapes[images_of(trial.config.source.flat())])
        self._basis.unknown[rate.basis] = None
        return rate.seconds

    def _train_rate(self, trial: TrialPlan) -> float:
        network, batch = self.network(trial), trial.config.batch_size
        fit = self._fits.get((network, "train"))
        if fit and fit.passes:
            own = self._batches.get((network, batch))
            self._basis.fitted[network, "train"] = fit.count
            return own.rate if own and own.passes else fit.rate
        kind = network, batch if self.largest is None else min(batch, self.largest)
        if kind not in self._unknown:
            self._unknown[kind] = self._believed(trial)
        self._basis.unknown[self._unknown[kind].basis] = None
        return self._unknown[kind].seconds


@dataclass
class _Basis:
    """Where the prices come from. The dictionaries without values are ordered sets."""

    fitted: dict[tuple[NetworkKind, str], int] = field(default_factory=dict)  # parts
    unknown: dict[str, None] = field(default_factory=dict)
    by_factor: dict[str, None] = field(default_factory=dict)
    by_rate: dict[str, None] = field(default_factory=dict)

    def in_words(self) -> str:
        trainings = sum(n for (_, stage), n in self.fitted.items() if stage == "train")
        parts = sum(n for (_, stage), n in self.fitted.items() if stage != "train")
        measured = [counted(n, noun) for n, noun in ((trainings, "training"), (parts, "part")) if n]
        phrases = [f"{' and '.join(measured)} of the same network in this store"] if measured else []
        phrases += self.unknown
        phrases += [f"{', '.join(self.by_factor)} as in other networks of this store"] if self.by_factor else []
        phrases += [f"{', '.join(self.by_rate)} at the rate of training"] if self.by_rate else []
        return "; ".join(phrases)
