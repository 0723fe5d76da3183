"""Tests compute on the CPU on a machine with GPUs too. One GPU is simulated: torch counts it as NVIDIA's library would."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from memloc.run.worker import default_device
from tests import cards
from tests.run.programs import environment


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # count, and ask no driver
    monkeypatch.setattr(torch.cuda, "_raw_device_count_nvml", lambda: 1)


@pytest.mark.usefixtures("one_gpu")
def test_no_test_sees_a_gpu() -> None:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == cards.NONE
    assert (torch.cuda.device_count(), torch.cuda.is_available()) == (0, False)
    assert default_device() == torch.device("cpu")


@pytest.mark.usefixtures("one_gpu")
def test_it_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert (torch.cuda.device_count(), torch.cuda.is_available()) == (1, True)
    assert default_device() == torch.device("cuda")


def test_no_process_of_a_test_sees_one(tmp_path: Path) -> None:
    assert environment(tmp_path)["CUDA_VISIBLE_DEVICES"] == cards.NONE
