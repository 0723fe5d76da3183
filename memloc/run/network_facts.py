"""What a plan and a person need to know of a network: its size and groups, and what can be done with it.

Imports no torch: `aside` says where a network is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from memloc.aside import aside
from memloc.config import ArchitectureConfig, ExampleTied, FrozenStatistics, NoDropout, Sparse, Standard, TrainConfig
from memloc.config.training import Dropout
from memloc.stages import STAGES
from memloc.stages.base import NetworkFacts


@dataclass(frozen=True)
class Built:
    """numbers: how many numbers its state has. groups: layer groups."""

    numbers: int
    groups: tuple[str, ...]
    facts: NetworkFacts


def built(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> Built:
    """The network of a training for images of shape (C, H, W), by its size. A thousand seeds have one network."""
    return _built(config.model_copy(update={"seed": 0, "held_out": None}), shape, classes)


@lru_cache(maxsize=64)
def _built(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> Built:
    return aside(_described, config, shape, classes)


def _described(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> Built:
    import torch

    from memloc.models.build import build
    from memloc.models.dropouts import computed_weights
    from memloc.models.running_statistics import batch_norms
    from memloc.models.weight_matrices import weight_matrices

    with torch.device("meta"):
        network = build(config, shape, classes)
    state = network.state_dict()
    weights, neurons = weight_matrices(network), sum(prod(s) for s in network.neurons.values())
    computed = tuple(computed_weights(network))
    running = bool(batch_norms(network))
    facts = NetworkFacts(neurons, tuple(network.sites), running, weights.layers, weights.others, computed)
    return Built(sum(t.numel() for t in state.values()), network.groups, facts)


def misfits(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> dict[str, str]:
    """{training field: problem} where its network cannot be built for images of shape (C, H, W)."""
    return _misfits(config.architecture, shape, classes)


@lru_cache(maxsize=64)
def _misfits(architecture: ArchitectureConfig, shape: tuple[int, int, int], classes: int) -> dict[str, str]:
    return aside(architecture.misfits, shape, classes)


def _needs_sites(dropout: Dropout) -> bool:
    """Does this dropout act on activations at dropout sites?"""
    return not isinstance(dropout, NoDropout) and getattr(dropout, "unit", "") != "weight"


def unmet_by_network(config: TrainConfig, facts: NetworkFacts) -> dict[str, str]:
    """{training field: problem} of what the network cannot do."""
    if _needs_sites(config.dropout) and not facts.sites:
        kind = config.dropout.kind
        why = f"{kind} with model: {config.model}: it has no dropout sites, since no group hands on one tensor"
        return {"dropout": f"{why}; valid: none, or sites: 'a pattern of modules'"}
    if isinstance(config.dropout, Sparse) and config.dropout.unit == "weight" and facts.computed:
        what = f"sparse with unit: weight, and model: {config.model}"
        why = f"{facts.computed[0]} computes its weight anew in every pass (weight_norm, for example), so none can be masked"
        return {"dropout": f"{what}: {why}; valid: unit: element or channel, or none"}
    return {}


@dataclass(frozen=True)
class Ability:
    """what: a stage, perhaps with a setting, or a setting of a training. problem: why the network cannot do it, or None."""

    what: str
    problem: str | None


def abilities(config: TrainConfig, facts: NetworkFacts) -> Iterator[Ability]:
    """What can be done with the network of a training: every stage, and the settings that not every network allows."""
    for name, stage in STAGES.items():
        for setting, problem in stage.fits(config, facts).items():
            yield Ability(f"{name}, {setting}" if setting else name, problem)
    dropouts = {
        "example_tied": ExampleTied(p_gen=0.5, p_mem=0.5),
        "standard": Standard(),
        "sparse, unit: weight": Sparse(unit="weight"),
        "sparse, unit: element": Sparse(unit="element"),
    }
    for written, dropout in dropouts.items():
        unmet = unmet_by_network(config.model_copy(update={"dropout": dropout}), facts)
        yield Ability(f"dropout: {written}", unmet.get("dropout"))
    none = None if facts.running_statistics else "it has no batch norms"
    yield Ability(f"batch_norm: {FrozenStatistics().kind}", none)
    yield Ability("compile: true", config.architecture.NOT_COMPILED)
