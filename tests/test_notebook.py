"""examples/memloc.ipynb: it has no outputs, and a kernel executes it on the store of the examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from memloc.store import Store
from tests.conftest import run_inline

EXAMPLES = Path(__file__).parents[1] / "examples"


def notebook() -> Any:
    return nbformat.read(EXAMPLES / "memloc.ipynb", as_version=4)


def test_no_outputs_are_committed() -> None:
    nbformat.validate(notebook())
    code = [cell for cell in notebook().cells if cell.cell_type == "code"]
    assert len(code) == 5
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_inline(tmp_path, (EXAMPLES / "recompute.yaml").read_text(), Store(str(tmp_path / "again")), "recompute")
    monkeypatch.setenv("MEMLOC_STORE", str(tmp_path / "again"))
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    ran = notebook()
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(ran, timeout=120, resources=resources).execute()  # an error in a cell is one here
    outputs = [cell.outputs for cell in ran.cells if cell.cell_type == "code"]
    assert all(len(of_cell) == 1 for of_cell in outputs)
    store, rows, trial, compared, chart = (of_cell[0].data for of_cell in outputs)
    assert "recompute" in store["text/html"]
    assert "noisy_loss" in rows["text/plain"]
    assert "resnet9" in trial["text/html"]
    numbers = [line.split()[1:] for line in compared["text/plain"].splitlines()[1:]]
    for again, stored in numbers:
        assert float(again) == pytest.approx(float(stored), abs=0.051)  # one of the 20 mislabeled images may fall otherwise
    assert len(numbers) == 3
    assert chart["image/svg+xml"].count("res2.conv2") > 0
