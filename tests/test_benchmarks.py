"""The harness by hand, and one whole comparison through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import checked_reads
from benchmarks.engines import ENGINES
from benchmarks.harness import Comparison, Operations, compare

KEYS = {
    "name", "size", "reference", "ratio", "ratio_min", "ratio_max", "bound", "flops", "flops_reference", "peak_fraction",
    "agrees",
}  # fmt: skip


def test_a_comparison_by_hand() -> None:
    """The plain way multiplies three matrices, and does a quarter of what the engine does once."""
    a = torch.randn(48, 48)
    found = compare(Comparison("n", "s", "r", lambda: a @ a, lambda: [a @ a for _ in range(3)], lambda x, y: True, 4), 3)
    assert (found.flops, found.flops_reference, found.bound) == (2 * 48**3, 4 * 3 * 2 * 48**3, 12)
    assert 0 < found.ratio_min <= found.ratio <= found.ratio_max
    assert found.agrees
    assert set(found.as_json()) >= KEYS


def test_operations_of_forward_and_backward_passes() -> None:
    """A convolution of C×3×3 to D: 2·B·D·C·9 per pixel, as much again for each gradient; also where autograd is off."""
    x, w = torch.randn(2, 3, 8, 8), torch.randn(5, 3, 3, 3, requires_grad=True)
    forward = 2 * 2 * 5 * 3 * 9 * 36
    with Operations() as counter:
        F.conv2d(x, w).sum().backward()
    assert counter.flops == 2 * forward
    with Operations() as counter, torch.inference_mode():
        F.linear(torch.randn(7, 3), torch.randn(2, 3))
    assert counter.flops == 2 * 7 * 3 * 2


def test_disagreement_is_reported() -> None:
    def wrong(found: Tensor, expected: Tensor) -> bool:
        return bool(torch.equal(found, expected))

    a = torch.randn(8, 8)
    assert not compare(Comparison("n", "s", "r", lambda: a @ a, lambda: 2 * (a @ a), wrong), 1).agrees


@pytest.mark.slow
def test_the_command_line() -> None:
    assert list(ENGINES) == ["train", "tied", "gradients", "rewind", "retrain", "flips_search", "flips_after"]
    command = [sys.executable, "-m", "benchmarks", "rewind", "--size", "digits", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found = json.loads(done.stdout)
    assert [set(r) >= KEYS for r in found] == [True, True]
    assert all(r["agrees"] and r["name"] == "rewind" and r["size"] == "digits" for r in found)


def test_checked_reads_are_the_same_rows(tmp_path: Path) -> None:
    store, commits = checked_reads.made(str(tmp_path), files=2, rows=5)
    timed = list(checked_reads.ways(store, commits).values())
    unchecked, pages, checked, footers, whole = (action() for action in timed)
    assert unchecked.num_rows == 10
    assert unchecked.equals(pages)
    assert unchecked.equals(checked)
    assert footers == [None, None]
    assert [len(content) for content in whole] == [f.size for c in commits for f in c.files]
