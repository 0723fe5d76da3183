"""The files that docs/sweeps.md shows are read as it says."""

from __future__ import annotations

import re
from pathlib import Path

from memloc.stages import REGISTRY
from memloc.sweep import presets
from tests.sweep.test_sweep import load, values

PAGE = Path(__file__).parents[2] / "docs" / "sweeps.md"


def test_the_files_of_the_page(tmp_path: Path) -> None:
    first, paired, sample, stop, preset = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(load(tmp_path, first).entries) == 6
    assert values(load(tmp_path, paired, ["seed=0"]), "dataset", "lr", "dropout", "p_gen") == [
        ("digits", 0.1, "none", None),
        ("mnist", 0.01, "none", None),
        ("digits", 0.1, "example_tied", 0.2),
    ]
    assert len(load(tmp_path, sample).entries) == 100
    assert len(load(tmp_path, stop).entries) == 30
    (tmp_path / "own.yaml").write_text(preset)
    read = presets.read(tmp_path / "own.yaml", REGISTRY)
    flat = {"dataset": "digits", "model": "resnet9", "dropout": "standard"}
    assert read.under(flat) == flat | {"lr": 0.05, "epochs": 20, "augment": "crop", "width": 0.5, "keep": 0.6}
