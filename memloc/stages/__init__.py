"""The experiments, one idea per file. `train` makes a training's checkpoints; every other stage analyses one."""

from __future__ import annotations

from typing import Any

from memloc.stages.base import Stage
from memloc.stages.detection import Detection
from memloc.stages.evaluate import Evaluate
from memloc.stages.flips import Flips
from memloc.stages.gradients import Gradients
from memloc.stages.held_out import HeldOut
from memloc.stages.retrain import Retrain
from memloc.stages.rewind import Rewind
from memloc.stages.second_split import SecondSplit

__all__ = ["STAGES"]

# In the order in which a summary tells of them.
STAGES: dict[str, Stage[Any]] = {
    stage.name: stage
    for stage in (Gradients(), Rewind(), Retrain(), Flips(), Evaluate(), SecondSplit(), HeldOut(), Detection())
}
