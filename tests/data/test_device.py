"""Data on the device, and batches of it."""

from __future__ import annotations

import numpy as np
import torch

from memloc.config import DataConfig
from memloc.data import load, prepare
from memloc.data.catalogue import ByName
from memloc.data.device import OnDevice, images


def test_batches_are_the_rows_normalised_channels_last() -> None:
    data = prepare(load("digits"), DataConfig(source=ByName(dataset="digits"), subset=50, noise=0.2))
    on_device = OnDevice(data, torch.device("cpu"))
    rows = torch.tensor([3, 0, 49])
    batch = on_device.batch(rows)
    assert batch.dtype == torch.float32
    assert np.allclose(batch.numpy(), (data.x[[3, 0, 49]] / 255 - 0.5) / 0.5, atol=1e-6)
    assert on_device.x.dtype == torch.uint8
    assert on_device.y.tolist() == data.y.tolist()
    assert on_device.noisy.tolist() == data.noisy.tolist()
    assert on_device.x_test.shape == data.x_test.shape
    assert on_device.y_test.tolist() == data.y_test.tolist()
    color = images(torch.zeros(2, 3, 4, 5, dtype=torch.uint8))
    assert color.is_contiguous(memory_format=torch.channels_last)


def test_arrays_that_may_not_be_written_are_copied() -> None:
    data = prepare(load("digits"), DataConfig(source=ByName(dataset="digits"), subset=20))
    for array in (data.x, data.y, data.noisy, data.x_test, data.y_test):
        array.flags.writeable = False  # as Ray's object store hands them out
    on_device = OnDevice(data, torch.device("cpu"))
    on_device.x[0] = 7
    on_device.y[0] = 3 if data.y[0] != 3 else 4
    assert int(data.y[0]) != int(on_device.y[0])
    assert not (data.x[0] == 7).all()
