"""When a sweep would be done: on this machine, and on numbers of GPUs, with the time that no schedule can undercut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from memloc.commands.formatting import seconds_in_words
from memloc.commands.text_table import text_table
from memloc.counts import counted
from memloc.run.capacity import usable_cpus
from memloc.run.cards import CARDS, DEFAULT, Card
from memloc.run.estimate import TimeEstimate, card_of, cost_model, estimate, price_alike
from memloc.run.machine import machine
from memloc.run.pending import Work
from memloc.run.placement import ONE_BY_ONE, Resources, check_capacity
from memloc.run.rates import card_here, timed
from memloc.run.schedule import CriticalPath, Slots
from memloc.store import Snapshot

if TYPE_CHECKING:
    from memloc.commands.launch_options import Options

GPUS = (1, 8, 64, 1024)
WORTH_A_TABLE = 600.0  # seconds: a sweep that ends sooner on this machine needs no GPUs


@dataclass(frozen=True)
class Forecast:
    """An estimate for `count` workers (processes of this machine's CPUs) or GPUs.

    card: of the GPUs. calibration: {network: (trainings in the store from this card, measured time / believed time)}.
    assumed: what is assumed of the card, in words.
    """

    count: int
    unit: str
    estimate: TimeEstimate
    card: str = ""
    calibration: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    assumed: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """The forecast as `--dry-run --json` prints it."""
        e = self.estimate
        path = path_as_json(e.critical)
        return {
            "slots": self.count, "unit": self.unit, "seconds": round(e.seconds, 1), "bound": round(e.bound, 1),
            "critical_path": path, "basis": e.basis,
        } | ({"card": self.card, "assumed": list(self.assumed)} if self.card else {})  # fmt: skip

    def calibration_as_json(self) -> list[dict[str, Any]]:
        """The calibration in the same way; ratio: measured over believed."""
        return [
            {"network": network, "card": self.card, "trainings": count, "ratio": ratio}
            for network, (count, ratio) in self.calibration.items()
        ]


def path_as_json(path: CriticalPath | None) -> dict[str, Any] | None:
    """The critical path as `--dry-run --json` prints it."""
    if path is None:
        return None
    stages = [{"stage": stage, "seconds": round(seconds, 1)} for stage, seconds in path.stages]
    return {"trial": path.trial, "seconds": round(path.seconds, 1), "stages": stages}


def forecasts(works: Sequence[Work], snapshot: Snapshot, options: Options) -> list[Forecast]:
    """The forecast for this machine, then those for 1, 8, 64, 1024 GPUs and for as many as --gpus says.

    Raises:
        UsageError: a process of these works needs more than this machine has, and the run would be here.
    """
    check_capacity_here(works, options)
    counts = sorted({*GPUS, options.resources.gpus or 1})
    here = _here(works, snapshot, options)
    asked = options.card is not None or options.as_json or here[0].estimate.seconds >= WORTH_A_TABLE
    return [*here, *(_on_gpus(works, snapshot, options, options.resources, counts) if asked else ())]


def check_capacity_here(works: Sequence[Work], options: Options) -> None:
    """Raises UsageError, as the run would, if a process of these works needs more than this machine has."""
    if options.resources.address != "local" or options.executor.value == "inline":
        return
    gpus = machine().gpus if options.resources.gpus is None else options.resources.gpus
    node = {"CPU": float(options.resources.cpus or usable_cpus()), "GPU": float(gpus)}
    check_capacity([work for work in works if work.anything], [node], options.resources)


def _here(works: Sequence[Work], snapshot: Snapshot, options: Options) -> list[Forecast]:
    """The one of this machine: on its GPUs if it has any, else on its CPUs."""
    if machine().device != "cuda" or options.resources.gpus == 0:
        return [_on_cpus(works, snapshot, options)]
    one_by_one = options.executor.value == "inline"
    count = 1 if one_by_one else options.resources.gpus or machine().gpus
    shares = ONE_BY_ONE if one_by_one else options.resources
    return _on_gpus(works, snapshot, options, shares, [count], here=True)


def _on_cpus(works: Sequence[Work], snapshot: Snapshot, options: Options) -> Forecast:
    model = cost_model(works, snapshot, options.data_dir, None, lambda trial, shape: timed(trial, shape, "cpu"))
    threads = max((w.trial.config.threads for w in works), default=1)
    if options.executor.value == "inline":
        return Forecast(1, "workers", estimate(price_alike(works, model, Slots(1), ONE_BY_ONE)))
    cpus = options.resources.cpus or usable_cpus()
    slots = Slots(1, float(max(cpus, threads)))
    return Forecast(max(1, cpus // threads), "workers", estimate(price_alike(works, model, slots)))


def _on_gpus(
    works: Sequence[Work],
    snapshot: Snapshot,
    options: Options,
    resources: Resources,
    counts: Sequence[int],
    here: bool = False,
) -> list[Forecast]:
    """The forecast for each count of GPUs. The works are priced once."""
    unknown = (lambda trial, shape: timed(trial, shape, "cuda")) if here and options.card is None else None
    card = options.card or (card_here() if here else card_of(snapshot) or CARDS[DEFAULT])
    model = cost_model(works, snapshot, options.data_dir, resources, unknown, card)
    plan = price_alike(works, model, Slots(1), resources)
    name = card.name if isinstance(card, Card) else card or "GPU"
    # Nothing shows that of this machine, and it would time steps of networks that the store knows.
    known = {} if here else model.calibration(work.trial for work in works)
    assumed = [card.believed(precision) for precision in _precisions(works)] if isinstance(card, Card) else []
    forecast = partial(Forecast, unit="GPUs", card=name, calibration=known, assumed=assumed)
    return [forecast(count=count, estimate=estimate(replace(plan, slots=Slots(count)))) for count in counts]


# --- in words ---------------------------------------------------------------------------------------------------------


def in_words(every: Sequence[Forecast], label: Callable[[str], str], address: str = "local") -> list[str]:
    """Lines of text. label: what tells a trial, given by its id, from the others. address: where the run would be."""
    here, *on_gpus = every
    elsewhere = "" if address == "local" else f" of this machine, not of the cluster at {address}"
    lines = [f"time: about {_about(here)}{elsewhere} (basis: {here.estimate.basis})"]
    if here.estimate.critical:
        lines.append(_path(here.estimate.critical, label))
    if not on_gpus:
        return lines
    rows = [
        [
            str(f.count),
            seconds_in_words(f.estimate.seconds),
            seconds_in_words(f.estimate.bound),
            f"{f.estimate.seconds / f.estimate.bound:.2f}",
        ]
        for f in on_gpus
    ]
    last = on_gpus[-1].estimate
    lines += ["", f"on {on_gpus[-1].card}, simulated (basis: {last.basis}):"]
    lines.append(text_table(["GPUs", "time", "bound", "time/bound"], rows).rstrip())
    lines.append("bound: the larger of the critical path and all work spread evenly")
    lines += [_path(last.critical, label)] if last.critical else []
    return lines + _calibration(on_gpus[-1])


def _calibration(forecast: Forecast) -> list[str]:
    """How the store's trainings on this card compare with what is believed without them; a line for each network."""
    return [
        f"calibration: {counted(count, 'training')} of {network} in this store took {ratio:.2f} times what is believed of "
        f"{forecast.card}"
        for network, (count, ratio) in forecast.calibration.items()
    ]


def believed(name: str, every: Sequence[Forecast], works: Sequence[Work], count: int) -> str:
    """`paper-grid on 8 × h100, tf32: 1.5 h`: the headline of a forecast for so many GPUs; empty if there is none."""
    found = next((forecast for forecast in every[1:] if forecast.count == count), None)
    if found is None:
        return ""
    precisions = ", ".join(_precisions(works))
    headline = f"{name} on {count} × {found.card}, {precisions}: {seconds_in_words(found.estimate.seconds)}"
    return "; ".join([headline, *found.assumed])


def _precisions(works: Sequence[Work]) -> list[str]:
    return list(dict.fromkeys(work.trial.config.precision for work in works))


def _about(here: Forecast) -> str:
    return f"{seconds_in_words(here.estimate.seconds)} on {counted(here.count, here.unit.removesuffix('s'))}"


def _path(path: CriticalPath, label: Callable[[str], str]) -> str:
    stages = ", then ".join(f"{stage} {seconds_in_words(seconds)}" for stage, seconds in path.stages)
    return f"critical path: {seconds_in_words(path.seconds)} ({stages}) of {path.trial[:8]} {label(path.trial)}"
