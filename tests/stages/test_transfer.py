"""Tensors between host and device without waiting."""

from __future__ import annotations

import pytest
import torch

from memloc.stages.training.transfer import HostCopies, to_device

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.cuda),
]


@pytest.mark.parametrize("name", DEVICES)
def test_copies_are_of_the_moment_contiguous_and_owned(name: str) -> None:
    """Whatever overwrites the tensors right after, as the next epoch's updates do."""
    device = torch.device(name)
    x = torch.arange(2 * 3 * 64 * 64, dtype=torch.float32).reshape(2, 3, 64, 64)
    counts = torch.arange(5)
    there = {"x": to_device(x, device).contiguous(memory_format=torch.channels_last)}
    there["counts"] = to_device(counts.clone(), device)
    copies = HostCopies(device)
    first = copies.take(there)
    second = copies.take({"counts": there["counts"]})
    for tensor in there.values():
        tensor.zero_()
    copies.wait()
    for name, expected in (("x", x), ("counts", counts)):
        assert torch.equal(first[name], expected)
        assert first[name].is_contiguous()
        assert first[name].device.type == "cpu"
    assert second["counts"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", DEVICES)
def test_no_copy_of_a_parameter_takes_a_gradient(name: str) -> None:
    parameter = torch.nn.Parameter(torch.ones(3, device=name))
    copies = HostCopies(torch.device(name))
    copy = copies.take({"p": parameter})["p"]
    copies.wait()
    assert not copy.requires_grad
    assert copy.data_ptr() != parameter.data_ptr()


@pytest.mark.cuda
def test_neither_way_waits_for_the_device() -> None:
    device = torch.device("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        there = to_device(torch.arange(1000), device)
        copies = HostCopies(device)
        copy = copies.take({"there": there})["there"]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    copies.wait()
    assert copy.is_pinned()
    assert torch.equal(copy, torch.arange(1000))
