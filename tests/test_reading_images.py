"""The benchmark of reading images, on a few: both ways give the same pixels, and memory is counted from its own start."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import reading_images
from tests.data.pictures import encoded, pixels


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Thirty JPEGs with labels, as Hugging Face writes them."""
    rows = [{"bytes": encoded(pixels(k, 32, 32), "JPEG"), "path": f"{k}.jpg"} for k in range(30)]
    file = tmp_path / reading_images.FILE
    file.parent.mkdir()
    pq.write_table(pa.table({"image": rows, "label": [k % 3 for k in range(30)]}), file)
    return file


def test_both_ways_give_the_same_pixels_of_the_first_rows(tmp_path: Path, table: Path) -> None:
    first = tmp_path / "first.parquet"
    reading_images.first_rows(table, 7, first)
    by_memloc, by_pillow = (way(first) for way in reading_images.WAYS.values())
    assert (by_memloc.shape, by_memloc.dtype) == ((7, 3, 32, 32), np.uint8)
    assert np.array_equal(by_memloc, by_pillow)
    whole = reading_images.by_pillow(table)
    assert np.array_equal(whole[:7], by_pillow)


def test_what_it_prints(table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without processes of their own, which import torch."""
    monkeypatch.setattr(reading_images, "cost", reading_images.own_cost)
    arguments = ["reading_images", "--data-dir", str(table.parents[1]), "--images", "5", "20", "--turns", "2", "--json"]
    monkeypatch.setattr("sys.argv", arguments)
    assert reading_images.main() == 0
    few, many = json.loads(capsys.readouterr().out)
    assert (few["images"], many["images"]) == (5, 20)
    for found in (few, many):
        assert found["agrees"]
        assert 0 < found["ratio_min"] <= found["ratio"] <= found["ratio_max"]
        assert found["pixels"] == pytest.approx(found["images"] * 3 * 32 * 32 / 1e6)
        assert found["megabytes"] > -1  # the system counts pages of a process in lots


def test_other_pixels_are_told(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_images, "cost", reading_images.own_cost)
    monkeypatch.setitem(reading_images.WAYS, "Pillow", lambda file: reading_images.by_memloc(file) ^ 1)
    assert not reading_images.compared(table, 1).agrees
