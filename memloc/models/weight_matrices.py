"""Which layers of a network are a matrix that is applied to every patch, or to every token: what K-FAC is defined for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from memloc.models.blocks import GatedLinear
from memloc.models.groups import Network

# What is multiplied by the weights as they are: a subclass may change them, or the images, before it does.
FORWARDS = (nn.Conv2d.forward, nn.Linear.forward, GatedLinear.forward)


@dataclass(frozen=True)
class WeightMatrices:
    """layers: {group: its layers that are such a matrix}. others: {group: why one of its weights is none}, of some."""

    layers: Mapping[str, tuple[str, ...]]
    others: Mapping[str, str]


def weight_matrices(network: Network) -> WeightMatrices:
    """Of a network that need not have numbers. Its weights are parameters with `weight` in their name, of two axes or more.

    So a class token, positions and the scales of norms are no weights.
    """
    parameters = dict(network.named_parameters(remove_duplicate=False))
    layers: dict[str, list[str]] = {group: [] for group in network.groups}
    others: dict[str, str] = {}
    for group in network.groups:
        for name in network.parameters_of(group):
            if "weight" not in name or parameters[name].ndim < 2:
                continue
            sharing = [other for other, p in parameters.items() if p is parameters[name] and other != name]
            problem = f"{name} is {sharing[0]} too" if sharing else _problem(network, name)
            if problem is None:
                layers[group].append(name.rpartition(".")[0])
            else:
                others.setdefault(group, problem)
    return WeightMatrices({group: tuple(names) for group, names in layers.items()}, others)


def _problem(network: Network, parameter: str) -> str | None:
    """Why a weight is no matrix that is applied to patches or tokens; None: it is one."""
    name, _, last = parameter.rpartition(".")
    module = network.get_submodule(name)
    if last != "weight" or type(module).forward not in FORWARDS:
        return f"{name or parameter} is a {type(module).__name__}"
    if isinstance(module, nn.Conv2d):
        if module.groups > 1:
            return f"{name} is a convolution in {module.groups} groups"
        if module.padding_mode != "zeros" or isinstance(module.padding, str):
            return f"{name} is a convolution with padding {module.padding!r} of {module.padding_mode}"
    runs = network.runs(name)
    return None if runs == 1 else f"{name} runs {runs} times" if runs else f"{name} runs inside an operation"
