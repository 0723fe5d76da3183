"""Layer rewinding, plainly: for each group the final network with that group's early weights, and a whole evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from memloc.models.groups import Network

GROUP = 256


def rewound_logits(network: Network, early: Mapping[str, Tensor], group: str, x: Tensor) -> Tensor:
    """Logits of normalised images with the group's parameters from `early`; the network is as before afterwards."""
    own = network.parameters_of(group)
    final = {name: t.clone() for name, t in network.state_dict().items() if name in own}
    network.load_state_dict({name: early[name] for name in own}, strict=False)
    with torch.inference_mode():
        logits = torch.cat([network(x[i : i + GROUP]) for i in range(0, len(x), GROUP)])
    network.load_state_dict(final, strict=False)
    return logits
