"""A small ResNet-9 in float64 with the weights of nothing in particular, and the plain network with the same weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.models.groups import Network
from tests.models.plain import Plain, randomise


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pair() -> tuple[Network, Plain]:
    """(ours, plain), evaluation mode: 16×16 grey images, 10 classes, width 1/16 (4, 8 and 16 channels)."""
    ours = build(resolved(dataset="digits", model="resnet9", width=0.0625), (1, 16, 16), 10).to(torch.float64)
    randomise(ours, 0)
    plain = Plain(1, 10, 0.0625).to(torch.float64).load(ours.state_dict())
    return ours.eval(), plain.eval()
