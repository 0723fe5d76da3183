"""The closing words of a sweep: on a finished smoke sweep, each number against the query that is printed with it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memloc import stages
from memloc.analysis.findings import _trial_fields, findings
from memloc.analysis.reader import known_tables
from memloc.api import open_store
from memloc.commands.query import text_table
from memloc.commands.words import bytes_in_words, labels, seconds_in_words
from memloc.models.architectures import resolved
from memloc.stages.gradients import summary as gradients
from memloc.statistics import Interval, in_brackets
from memloc.store import Store
from tests.conftest import TINY, run_inline
from tests.run.programs import Finished, contents, memloc

SCREEN = 28  # lines of a terminal 120 columns wide


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """(store, what was printed) of the shipped sweep that runs every stage."""
    home = tmp_path_factory.mktemp("smoke")
    done = memloc(home, "sweep", "smoke", "--executor", "inline", MEMLOC_STORE=str(home / "store"))
    assert done.code == 0, done.err
    return home / "store", done


def queries(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if " query " in line]


def rows_of(store: Path, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = open_store(str(store)).sql(sql).to_dict("records")
    return rows


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"[-+]?\d+\.\d+", text)]


def test_rows_in_every_table(smoke: tuple[Path, Finished]) -> None:
    tables = contents(smoke[0])
    assert set(tables) == set(known_tables())
    assert all(t.num_rows > 0 for t in tables.values())


def test_every_instrument_is_told_with_its_query_on_a_screen(smoke: tuple[Path, Finished]) -> None:
    _, done = smoke
    titles = [line for line in done.out.splitlines() if "(§" in line]
    assert [t.split(" (§")[0] for t in titles] == [i.title.split(" (§")[0] for i in stages.instruments()]
    assert len(queries(done.out)) == len(stages.instruments()) == 6
    assert sum(-(-len(line) // 120) for line in done.out.splitlines()) <= SCREEN


def test_the_printed_queries_can_be_typed(smoke: tuple[Path, Finished], tmp_path: Path) -> None:
    for line in queries(smoke[1].out):
        words = shlex.split(line)
        typed = words[words.index("query") :]
        asked = memloc(tmp_path, *typed, "--format", "json", MEMLOC_STORE=str(smoke[0]))
        assert asked.code == 0, asked.err
        assert json.loads(asked.out)


def test_the_numbers_are_those_of_the_tables(smoke: tuple[Path, Finished]) -> None:
    """Each line again, from whole tables by pandas."""
    path, done = smoke
    lines = {line.split(" (§")[0]: line.split("): ", 1)[-1] for line in done.out.splitlines() if "(§" in line}
    opened = open_store(str(path))
    rewind = opened.pandas("rewind")
    left = rewind[rewind.epoch < 10].groupby("layer").noisy_acc.mean()
    found = lines["Rewinding one layer to an earlier epoch"]
    assert numbers(found)[-2:] == pytest.approx([left.min(), left.max()], abs=6e-4)
    assert any(f"most critical {layer} " in found for layer in left[left < left.min() + 1e-9].index)
    retrain = opened.pandas("retrain")
    best = retrain[retrain.epoch > 0].groupby("layer").noisy_acc.max()
    found = lines["Retraining one layer on clean examples alone"]
    assert numbers(found)[-2:] == pytest.approx([best.min(), best.max()], abs=6e-4)
    flips = opened.pandas("flips")
    means = flips[flips.eligible].groupby("noisy")["count"].mean()
    clean, lo, hi, noisy, *_ = numbers(lines["Neurons to close until the prediction flips"])
    assert (clean, noisy) == pytest.approx((means[False], means[True]), abs=6e-3)
    assert lo < clean < hi
    detection = opened.pandas("detection")
    own = detection[(detection["sample"] == "flips") & (detection.score == "flips")].iloc[0]
    assert numbers(lines["Telling mislabeled examples by the number of neurons, or by their training"])[:3] == pytest.approx(
        [own.auc, own.auc_lo, own.auc_hi], abs=6e-4
    )
    evaluation = opened.pandas("evaluation").set_index(["mode", "rescale"])
    tied = next(line for line in done.out.splitlines() if line.startswith("  dropout=example_tied"))
    before, scaled, after = (evaluation.loc[(mode, "none")] for mode in ("own", "scaled", "dropped"))
    expected = [before.clean_acc, before.noisy_acc, scaled.test_acc, after.clean_acc, after.noisy_acc, after.test_acc]
    assert numbers(tied)[-6:] == pytest.approx([float(v) for v in expected], abs=6e-4)


def test_the_view_of_gradients_by_layer(smoke: tuple[Path, Finished]) -> None:
    """Norms and cosines by hand, from the squared norms and products of every tensor."""
    path, done = smoke
    table = open_store(str(path)).pandas("gradients")
    found = {(r["epoch"], r["layer"]): r for r in rows_of(path, "SELECT * FROM gradient_layers")}
    assert len(found) == 3 * 9
    for (epoch, layer), rows in table.groupby(["epoch", "layer"]):
        r = found[(epoch, layer)]
        for name in ("clean", "noisy", "control"):
            assert r[f"norm_{name}"] == pytest.approx(np.mean(np.sqrt(rows[f"sq_{name}"] / rows.numel)))
        total = rows.sq_clean + rows.sq_noisy + 2 * rows["dot"]
        assert r["norm_total"] == pytest.approx(np.mean(np.sqrt(total / rows.numel)))
        assert r["cosine"] == pytest.approx(rows["dot"].sum() / np.sqrt(rows.sq_clean.sum() * rows.sq_noisy.sum()))
        rest = total - rows.sq_control - 2 * rows.dot_control
        assert r["cosine_control"] == pytest.approx(rows.dot_control.sum() / np.sqrt(rows.sq_control.sum() * rest.sum()))
        assert -1 <= r["cosine"] <= 1
        squares = {**{name: rows[f"sq_{name}"] for name in ("clean", "noisy", "control")}, "total": total}
        for name, of in squares.items():
            assert r[f"norm_sum_{name}"] == pytest.approx(sum(np.sqrt(of / rows.numel)))
            assert r[f"norm_sum_{name}"] == pytest.approx(len(rows) * r[f"norm_{name}"])
            assert r[f"norm_concat_{name}"] == pytest.approx(np.sqrt(of.sum()) / np.sqrt(rows.numel.sum()))
        assert r["cosine_mean"] == pytest.approx(np.mean(rows["dot"] / np.sqrt(rows.sq_clean * rows.sq_noisy)))
        assert r["cosine_mean_control"] == pytest.approx(np.mean(rows.dot_control / np.sqrt(rows.sq_control * rest)))
    line = next(line for line in done.out.splitlines() if line.startswith("Gradients"))
    by_layer = {layer: [found[(t, layer)] for t in (0, 5, 10)] for layer in table.layer.unique()}
    ratios = [sum(r["norm_noisy"] for r in of) / sum(r["norm_clean"] for r in of) for of in by_layer.values()]
    cosines, controls = ([np.mean([r[c] for r in of]) for of in by_layer.values()] for c in ("cosine", "cosine_control"))
    expected = [v for values in (ratios, cosines, controls) for v in (min(values), max(values))]
    assert numbers(line) == pytest.approx(expected, abs=6e-3)


def test_settings_are_told_apart_and_seeds_pooled(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    text = TINY.replace("  standard:\n", "  standard:\n    axes: {seed: [0, 1], noise: [0.1, 0.2]}\n")
    text += "  other:\n    axes: {seed: [0]}\n    stages: {rewind: {epochs: [0], buffers: rewound}}\n"
    run_inline(tmp_path, text, store)
    found = {f.title.split(" ")[0]: f for f in findings(store, "tiny")}
    # The tied trainings differ from the others in more than noise, but they are not rewound.
    assert [label for label, _ in found["Rewinding"].lines] == [
        "noise=0.1 rewind_buffers=final rewind_epochs=[0,1,2]",
        "noise=0.1 rewind_buffers=rewound rewind_epochs=[0]",
        "noise=0.2 rewind_buffers=final rewind_epochs=[0,1,2]",
    ]
    assert len(found["Accuracy"].lines) == 3


def test_detections_of_different_flips_are_told_apart(tmp_path: Path) -> None:
    """They differ in nothing of their own, only in what they read."""
    store = Store(str(tmp_path / "store"))
    blocks = "".join(
        f"  {name}:\n    stages: {{flips: {{{flips}, post_eval: 0}}, detection: {{}}}}\n"
        for name, flips in (("one", "clean: 20, noisy: 10"), ("two", "clean: 8, noisy: 8, max_neurons: 2"))
    )
    head = TINY[: TINY.index("blocks:")].replace("epochs: 2, batch_size: 32", "epochs: 15, batch_size: 16")
    run_inline(tmp_path, head + "blocks:\n" + blocks, store)
    found = findings(store, "tiny")[-1]
    assert found.title.startswith("Telling")
    labels = ["flips_clean=20 flips_max_neurons=200 flips_noisy=10", "flips_clean=8 flips_max_neurons=2 flips_noisy=8"]
    assert sorted(label for label, _ in found.lines) == sorted(labels)
    rows = {(r["flips_clean"], r["sample"], r["score"]): r for r in rows_of(Path(store.uri), found.sql)}
    table = open_store(store.uri).pandas("detection")
    for analysis, of in table[table["sample"] == "flips"].groupby("analysis"):
        assert any(rows[(n, "flips", "aum")]["auc"] == of[of.score == "aum"].auc.item() for n in ("20", "8")), analysis


def test_a_peak_that_follows_from_the_epochs_is_not_named_and_one_that_does_not_is() -> None:
    def trials(*pairs: tuple[int, int]) -> list[dict[str, Any]]:
        return [{"config": json.dumps({"epochs": epochs, "peak_epoch": peak})} for epochs, peak in pairs]

    assert list(_trial_fields(trials((10, 2), (20, 4), (10, 2)))) == ["epochs"]
    assert list(_trial_fields(trials((10, 2), (20, 4), (10, 5)))) == ["epochs", "peak_epoch"]
    assert list(_trial_fields(trials((10, 2), (10, 5)))) == ["peak_epoch"]


def test_what_is_undefined_in_a_layer_is_left_out() -> None:
    dead = {"layer": "conv4", "ratio": float("nan"), "cosine": None, "control": None}
    alive = [{"layer": n, "ratio": r, "cosine": -r, "control": None} for n, r in (("conv1", 0.5), ("conv2", 2.0))]
    say = gradients.sentence
    assert (
        say([*alive, dead]) == "noisy norm / clean norm 0.50 (conv1) to 2.00 (conv2); cosine -2.00 (conv2) to -0.50 (conv1)"
    )
    assert say([dead]) == ""


def test_without_noisy_examples_nothing_is_claimed_about_them(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    stages = "stages: {rewind: {epochs: [0, 2]}, gradients: {epochs: [2]}, retrain: {epochs: 1}, evaluate: {}}"
    text = TINY[: TINY.index("blocks:")].replace("noise: 0.1", "noise: 0.0") + f"blocks:\n  plain:\n    {stages}\n"
    run_inline(tmp_path, text, store)
    assert [(f.title.split(" ")[0], len(f.lines)) for f in findings(store, "tiny")] == [("Accuracy", 1)]


def test_intervals_in_words() -> None:
    assert in_brackets(Interval(1.25, 1.0, 1.5), 2) == "1.25 [1.00, 1.50]"
    assert in_brackets(Interval(1.25, None, None), 1) == "1.2"


# --- words ------------------------------------------------------------------------------------------------------------


def test_text_table_aligns_numbers_right_and_text_left() -> None:
    assert text_table(["a", "number"], [["long text", "1.5"], ["b", "20"]]) == (
        "a          number\n"
        "---------  ------\n"
        "long text     1.5\n"
        "b              20\n"
    )  # fmt: skip


def test_labels_name_what_differs() -> None:
    base = {"dataset": "digits", "model": "resnet9"}
    a, b = resolved(**base, seed=0), resolved(**base, seed=1, dropout="example_tied", p_gen=0.2, p_mem=0.1)
    assert labels([a, b]) == ["dropout=none seed=0", "dropout=example_tied p_gen=0.2 p_mem=0.1 seed=1"]
    assert labels([a]) == ["dataset=digits model=resnet9"]


def test_words() -> None:
    assert [bytes_in_words(n) for n in (0, 999, 1500, 123e6, 2.5e12)] == ["0 B", "999 B", "1.5 KB", "123 MB", "2.5 TB"]
    assert [seconds_in_words(s) for s in (3, 600, 7200, 400000)] == ["3 s", "10 min", "2.0 h", "4.6 days"]
