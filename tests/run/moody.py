"""A network that behaves as on a card whose memory is short, or which fails: in whatever process it runs forward."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from memloc import sweep
from memloc.run.events import Listener, Outcome
from memloc.run.pending import pending
from memloc.run.planner import build_plan
from memloc.stages import REGISTRY
from memloc.store import Store
from tests.conftest import carry_out

NETS = '''
import os
from pathlib import Path

import torch
from torch import nn

from memloc.models.recomputation import is_recomputing

MOODS = Path({moods!r})


class Card(nn.Identity):
    """Without the folder of moods it does nothing."""

    __module__ = "torch.nn"  # a leaf for torch.fx: its forward pass is a call

    def forward(self, x):
        if not MOODS.is_dir() or not torch.is_grad_enabled():
            return x
        fault = MOODS / "fault"
        mood = "fails" if fault.exists() else "fits" if is_recomputing() or not (MOODS / "short").exists() else "short"
        with open(MOODS / "told", "a") as told:
            told.write(f"{{os.getpid()}} {{mood}}\\n")
        if mood == "fails":
            fault.unlink()
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        if mood == "short":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return x


def make(channels, height, width, classes):
    pooled = nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, classes)
    return nn.Sequential(nn.Conv2d(channels, 8, 3), Card(), nn.ReLU(), *pooled)
'''
SWEEP = """
about: A training and its gradients on a network with moods.
defaults: {dataset: digits, model: "python:nets.py:make", subset: 60, noise: 0.1, epochs: 1, batch_size: 20}
blocks: {one: {stages: {gradients: {at: checkpoint, epochs: [1]}}}}
"""
RAN_OUT = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


@dataclass(frozen=True)
class Moody:
    """The sweep's file, and the folder of moods."""

    path: Path
    moods: Path

    def be(self, *moods: str) -> None:
        """`short`: memory runs out unless activations are computed again. `fault`: the next forward pass fails. Only those
        with gradients.
        """
        self.moods.mkdir(exist_ok=True)
        for mood in moods:
            (self.moods / mood).touch()

    def told(self) -> list[tuple[int, str]]:
        """[(process, what it met)] of every forward pass with gradients while there were moods, in order."""
        lines = (self.moods / "told").read_text().splitlines()
        return [(int(pid), mood) for pid, mood in (line.split() for line in lines)]


def moody(folder: Path) -> Moody:
    """The files of the sweep, in this folder."""
    moods = folder / "moods"
    (folder / "nets.py").write_text(NETS.format(moods=str(moods)))
    (folder / "moody.yaml").write_text(SWEEP)
    return Moody(folder / "moody.yaml", moods)


def run_moody(folder: Path, store: str, moods: Moody, tell: Listener = lambda event: None) -> Outcome:
    """Carries the sweep out in this process. store: the name of its folder."""
    loaded = sweep.load(moods.path, REGISTRY)
    plan, opened = build_plan(loaded, loaded.entries, folder), Store(str(folder / store))
    todo = pending(plan, opened, opened.snapshot(), "all")
    return carry_out(todo, opened, folder, tell, device=torch.device("cpu"))
