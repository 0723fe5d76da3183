"""Redundancy against width, compared with loops over the simulated rows."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from memloc import sweep
from memloc.papers.charts import BANDS, Curves
from memloc.papers.exhibits import Shown
from memloc.papers.maini2023 import layers, neurons
from memloc.report import still
from memloc.report.drawing import drawing
from memloc.stages import REGISTRY
from tests.papers.maini2023.simulated import Simulated
from tests.papers.maini2023.test_neurons_exhibits import Search, search

WIDTHS, SEEDS, LAYERS = (0.25, 0.5, 1.0), (0, 1), ("stem", "block", "another", "head")
REWINDING, RETRAINING = layers.SECTION.exhibits[-2:]
NEURONS = neurons.SECTION.exhibits[-1]


def charts(shown: Shown) -> list[Curves]:
    assert all(isinstance(chart, Curves) and chart.x_label == "width" for chart in shown.charts)
    return [chart for chart in shown.charts if isinstance(chart, Curves)]


def values(chart: Curves, panel: str = "") -> dict[str, dict[float, float]]:
    """{line: {width: value}}."""
    return {
        line.name: {x: v.value for x, v in zip(line.x, line.values, strict=True) if v is not None}
        for line in chart.panels[panel]
    }


@pytest.fixture
def made(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path)


def test_layers_against_width(made: Simulated) -> None:
    """Two seeds at each width. A training with C-scores or of one width alone says nothing here."""
    left: dict[tuple[float, int], dict[str, float]] = {}
    for width in WIDTHS:
        for seed in SEEDS:
            trial = made.training(width=width, seed=seed)
            drawn = np.random.default_rng([int(8 * width), seed]).uniform(0.8, 1.0, len(LAYERS))
            left[width, seed] = dict(zip(LAYERS, drawn.tolist(), strict=True))
            made.rewind(trial, left[width, seed])
            made.retrain(trial, {layer: (0.1, value, 0.2) for layer, value in left[width, seed].items()})
    made.rewind(made.training(width=0.5, dataset="mnist"), left[0.5, 0])  # of one width
    rewinding, retraining = made.drawn(REWINDING, RETRAINING)
    means = {w: {layer: fmean(left[w, seed][layer] for seed in SEEDS) for layer in LAYERS} for w in WIDTHS}
    shares = {w: fmean(float(v >= 0.9) for v in means[w].values()) for w in WIDTHS}
    kept, last = charts(rewinding)
    assert (rewinding.setting, rewinding.differences) == ("Beyond the paper.", ())
    (panel,) = kept.panels
    assert values(kept, panel) == {"kept": pytest.approx(shares)}
    assert values(last, panel) == {"left": pytest.approx({w: min(means[w][k] for k in LAYERS[-2:]) for w in WIDTHS})}
    (line,) = last.panels[panel]
    assert [list(values) for values in line.each] == [
        [min(left[w, s][k] for k in LAYERS[-2:]) for w in WIDTHS] for s in SEEDS
    ]
    (reached,) = charts(retraining)
    assert values(reached) == {"reached": pytest.approx(shares)}  # the paper says "most layers", and no share of them
    assert len({*shares.values()}) > 1
    rows = made.rows(kept.sql)
    assert len(rows) == 6 * len(LAYERS) * 4
    assert {row["trial"] for row in rows} == {row["trial"] for row in made.rows(reached.sql)}


def test_neurons_against_width(made: Simulated) -> None:
    counts = {0.25: (2, 4), 1.0: (6, 9)}
    for width, (noisy, clean) in counts.items():
        search(made, made.training(width=width), [Search(e, noisy if e < 10 else clean) for e in range(20)])
    (shown,) = made.drawn(NEURONS)
    (chart,) = charts(shown)
    svg = still.drawn(drawing(chart), 300).body
    assert [svg.count(f">{width}</text>") for width in ("0.25", "0.3", "1")] == [1, 0, 1]
    assert values(chart) == {
        "noisy": {0.25: 2.0, 1.0: 6.0},
        "the paper's, noisy": {1.0: 5.1},
        "clean": {0.25: 4.0, 1.0: 9.0},
        "the paper's, clean": {1.0: 15.7},
    }


def test_one_width_is_no_picture(made: Simulated) -> None:
    trial = made.training(width=0.25)
    made.rewind(trial, dict.fromkeys(LAYERS, 0.9))
    made.retrain(trial, dict.fromkeys(LAYERS, (0.1, 0.9)))
    assert [shown.charts for shown in made.drawn(REWINDING, RETRAINING, NEURONS)] == [()] * 3


def test_the_command_makes_what_it_shows() -> None:
    for exhibit in (REWINDING, RETRAINING, NEURONS):
        assert exhibit.command == "memloc sweep width"
    entries = sweep.load(sweep.find("width"), REGISTRY).entries
    assert {entry.config.flat()["width"] for entry in entries} == set(WIDTHS)
    assert all({"rewind", "retrain", "flips"} <= {r.stage for r in entry.requests} for entry in entries)


def test_of_many_trainings_none_is_read_by_itself(made: Simulated) -> None:
    """Five are drawn as a band. Two of another width are still drawn as themselves."""
    for width, seeds in ((0.5, 2), (1.0, BANDS)):
        for seed in range(seeds):
            made.rewind(made.training(width=width, seed=seed), dict.fromkeys(LAYERS, 0.9 + 0.01 * seed))
    (rewinding,) = made.drawn(REWINDING)
    _, last = charts(rewinding)
    (panel,) = last.panels
    (line,) = last.panels[panel]
    assert [list(values) for values in line.each] == [[pytest.approx(0.9), None], [pytest.approx(0.91), None]]
    assert [line.count(k) for k in (0, 1)] == [2, BANDS]
    assert values(last, panel)["left"] == pytest.approx({0.5: 0.905, 1.0: 0.92})
    rows = [row for row in drawing(last).rows if row[1] == "left"]
    drawn = {(row[2], row[3]) for row in rows}
    assert drawn == {(0.5, None), (0.5, 1), (0.5, 2), (1.0, None)}
    assert {row[-1] for row in rows if row[2] == 1.0} == {BANDS}
