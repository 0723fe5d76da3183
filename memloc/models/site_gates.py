"""Gates on the channels at dropout sites instead of those of layers: they act where example-tied dropout does.

A site lies behind a residual sum where there is one, so its channels carry more than the layer before it has written.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from memloc.models.gates import Gates, Open
from memloc.models.groups import Network, State
from memloc.models.kept import Factor, Masks


class SiteGated(Network):
    """A network in evaluation mode whose neurons are the channels at its dropout sites; without gates it is the same."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.inner = network
        self.groups, self.sites, self.in_pieces = network.groups, network.sites, network.in_pieces
        self.neurons = {site: (shape[0],) for site, shape in network.sites.items()}

    def group_of(self, layer: str) -> str:
        """The group at whose end the site is."""
        return next(g for g in reversed(self.groups) if g == layer or g.startswith(layer + "."))

    def run_group(self, group: str, state: State, gates: Gates | None = None, masks: Masks | None = None) -> State:
        here = {site: gate for site, gate in (gates or {}).items() if self.group_of(site) == group}
        if not here:
            return self.inner.run_group(group, state, None, masks)
        factors: dict[str, Factor] = dict(masks or {})
        for site, gate in here.items():
            values = gate.values if isinstance(gate, Open) else gate
            each = values.repeat_interleave(len(state[0]) // len(values), dim=0)[:, :, None, None]
            factors[site] = each * floats_of(factors[site]) if site in factors else each
        return self.inner.run_group(group, state, None, factors)

    def modules_of(self, group: str) -> Sequence[nn.Module]:
        return self.inner.modules_of(group)

    def outputs(self, x: Tensor, masks: Masks | None = None) -> dict[str, Tensor]:
        """Nothing: a site's activations are not enough to go on without the layer before it."""
        return {}

    @torch.no_grad()
    def activations(self, x: Tensor, masks: Masks | None = None) -> dict[str, Tensor]:
        """{site: B×C×H×W}: what is there with every gate open. Behind a residual sum it is what the next group gets."""
        after: dict[str, Tensor] = {}
        state: State = (x,)
        for group in self.groups:
            state = self.inner.run_group(group, state, None, masks)
            after[group] = state[0]
        layers = self.inner.outputs(x, masks)
        masked = {site: floats_of(masks[site]) if masks and site in masks else 1.0 for site in self.neurons}
        return {s: layers[s] * masked[s] if s in layers else after[self.group_of(s)] for s in self.neurons}


def floats_of(factor: Factor) -> Tensor:
    """A dropout factor as float32."""
    return factor if isinstance(factor, Tensor) else factor.float()
