"""Which tensors belong to a layer group."""

from __future__ import annotations

from memloc.models.groups import Network


def tensors_of(network: Network, group: str) -> list[str]:
    """The names of the group's parameters and buffers in `state_dict()`, for networks whose groups are prefixes of names."""
    return [name for name in network.state_dict() if name.startswith(f"{group}.")]
