"""The closing words of a sweep: each number against the tables, and what is not said of networks that have not memorized."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memloc import stages
from memloc.analysis.instruments import _sql, _trial_fields, instruments
from memloc.analysis.reader import known_tables
from memloc.api import OpenStore, open_store
from memloc.commands.formatting import seconds_in_words, training_labels
from memloc.commands.summary import next_steps, summary
from memloc.commands.text_table import text_table
from memloc.models.architectures import resolved
from memloc.papers.findings import findings
from memloc.papers.judging import judge
from memloc.papers.registry import paper
from memloc.sizes import bytes_in_words
from memloc.stages.instrument import in_words
from memloc.statistics import Interval, in_brackets
from memloc.store import Store
from tests.commands.test_query import run
from tests.conftest import TINY, run_inline
from tests.papers.maini2023.simulated import Simulated
from tests.run.programs import Finished, contents, memloc

BEYOND = ("depth", "edit", "inject", "locate", "units")  # stages that are not the paper's: no store of these tests has them
SCREEN = 28  # lines of a terminal 120 columns wide


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """(store, what was printed) of the shipped sweep that runs every stage, on fewer images."""
    home = tmp_path_factory.mktemp("smoke")
    smaller = ("subset=120", "width=0.0625", "flips.clean=6", "flips.noisy=6")
    done = memloc(home, "sweep", "smoke", *smaller, "--executor", "inline", MEMLOC_STORE=str(home / "store"))
    assert done.code == 0, done.err
    return home / "store", done


def rows_of(store: Path, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = open_store(str(store)).sql(sql).to_dict("records")
    return rows


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"[-+]?\d+\.\d+", text)]


def test_rows_in_every_table(smoke: tuple[Path, Finished]) -> None:
    """Of the paper's stages. Digits have neither names nor files, and no score is a plugin's."""
    tables = contents(smoke[0])
    assert set(tables) == set(known_tables())
    empty = {name for name, table in tables.items() if not table.num_rows}
    beyond = {name for stage in BEYOND for name in stages.STAGES[stage].tables}
    assert empty == beyond | {"labels", "files", "scores"}


# --- networks that memorized ------------------------------------------------------------------------------------------


def sections(text: str) -> dict[str, str]:
    """{title without the paper's section: the sentences below it, as one line}."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if " (§" in line and not line.startswith(" "):
            found[line.split(" (§")[0]] = []
        elif found and line.startswith("  "):
            found[list(found)[-1]].append(line.strip())
    return {title: " ".join(lines) for title, lines in found.items()}


def told(opened: OpenStore) -> str:
    return summary(opened._store, "tiny")


@pytest.mark.parametrize("columns", [40, 80])
def test_no_word_is_broken_on_a_narrow_terminal(
    memorizing: OpenStore, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    wide = told(memorizing)
    monkeypatch.setenv("COLUMNS", str(columns))
    narrow = told(memorizing)
    assert narrow.split() == wide.split()
    assert all(len(line) <= columns for line in narrow.splitlines())


SECTIONS = ["Gradients", "Layers", "Neurons", "Example-tied dropout"]


def test_next_steps_name_the_papers_of_the_sweeps_stages() -> None:
    lines = next_steps("mine", None, {"depth", "flips"}).splitlines()
    assert [line.split("memloc ")[1] for line in lines[2:]] == ["claims mine", "claims mine --paper baldock2021"]
    assert len(next_steps("mine", None, {"flips"}).splitlines()) == 3


def test_every_section_is_told_on_a_screen(memorizing: OpenStore) -> None:
    text = told(memorizing) + next_steps("tiny", None)
    assert list(sections(text)) == ["Accuracy", *SECTIONS]
    assert [s.name for s in paper().sections] == [*SECTIONS, "Atypical examples"]
    assert all(len(line) <= 100 for line in text.splitlines())
    assert len(text.splitlines()) <= SCREEN
    assert "SELECT" not in text
    assert "nothing to" not in text
    assert [line.split()[-2:] for line in text.splitlines()[-2:]] == [["report", "tiny"], ["claims", "tiny"]]


def test_the_numbers_are_those_of_the_scorecard(memorizing: OpenStore) -> None:
    """Every number of a section is an estimate, or an end of an interval, of `memloc claims`, rounded."""
    lines, judged = sections(told(memorizing)), memorizing.claims(sweep="tiny").set_index("id")
    known = {f"{v:.{digits}f}" for column in ("ours", "lo", "hi") for v in judged[column].dropna() for digits in (2, 3)}
    for title in SECTIONS:
        told_numbers = re.findall(r"-?\d+\.\d+", lines[title].replace("at 0.9 or more", "").replace("to 0.9 or more", ""))
        assert len(told_numbers) >= 5
        assert set(told_numbers) <= known, title
    for title, name in zip(SECTIONS, ("G1.digits", "L1.digits", "F1.noisy", "E1.digits.before.noisy"), strict=True):
        assert numbers(lines[title])[0] == pytest.approx(judged.ours[name], abs=6e-3)


def test_accuracies_of_plain_networks_are_means_of_the_table(memorizing: OpenStore) -> None:
    opened, lines = memorizing, sections(told(memorizing))
    dropouts = opened.pandas("trials").set_index("trial").dropout
    evaluation = opened.pandas("evaluation")
    plain = evaluation[(evaluation["mode"] == "plain") & (evaluation.trial.map(dropouts) == "none")]
    expected = [plain[f"{name}_acc"].mean() for name in ("clean", "noisy", "test")]
    assert numbers(lines["Accuracy"]) == pytest.approx(expected, abs=6e-4)
    assert "example_tied" not in lines["Accuracy"]


def test_the_queries_are_printed_ready_to_paste(
    memorizing: OpenStore, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ("--store", memorizing._store.uri)
    code, out, err = run(capfd, monkeypatch, "query", "--examples", "--sweep", "tiny", *store)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    titles = [line[2:] for line in lines if line.startswith("# ")]
    assert titles == [i.title for i in stages.instruments() if i.stage not in BEYOND]
    typed = [shlex.split(line) for line in lines if " query " in line]
    assert len(typed) == len(titles)
    for words in typed:
        code, rows, err = run(capfd, monkeypatch, *words[words.index("query") :], "--format", "json")
        assert (code, err) == (0, "")
        assert json.loads(rows)
    assert run(capfd, monkeypatch, "query", "--examples", "SELECT 1", *store)[0] == 2
    assert run(capfd, monkeypatch, "query", *store)[0] == 2
    code, out, _ = run(capfd, monkeypatch, "query", "--examples", *store)
    assert (code, out.count("--sweep"), out.count(" query ")) == (0, 0, len(typed))


# --- networks that have not memorized ---------------------------------------------------------------------------------


def test_nothing_is_said_of_layers_or_neurons_of_a_network_that_has_not_memorized(smoke: tuple[Path, Finished]) -> None:
    path, done = smoke
    text = done.out[done.out.index("smoke: means over seeds") :]
    opened = open_store(str(path))
    dropouts = opened.pandas("trials").set_index("trial").dropout
    evaluation = opened.pandas("evaluation")
    evaluation = evaluation.assign(dropout=evaluation.trial.map(dropouts)).set_index(["dropout", "mode", "rescale"])
    plain, own = (float(evaluation.noisy_acc[k]) for k in (("none", "plain", "none"), ("example_tied", "own", "none")))
    assert max(plain, own) < 0.95
    assert list(sections(text)) == ["Accuracy", "Example-tied dropout"]
    only = f"dropout none: only {100 * plain:.0f} % of the wrong labels are learned (95 % is needed)"
    assert f"{only}, so there is nothing to localize yet." in " ".join(text.split())
    nothing = "Too few wrong labels are learned, so there is nothing to drop yet (noisy accuracy "
    assert f"{nothing}{own:.3f} " in sections(text)["Example-tied dropout"]
    assert all(len(line) <= 100 for line in text[: text.index("Next:")].splitlines())
    for command in ("report", "claims"):
        assert any(line.split()[-2:] == [command, "smoke"] for line in text.splitlines()[-2:])


def test_its_queries_still_have_rows(smoke: tuple[Path, Finished]) -> None:
    used = instruments(Store(str(smoke[0])), "smoke")
    assert [len(rows_of(smoke[0], one.sql)) > 0 for one in used] == [True] * 6


def test_a_field_of_trainings_may_be_called_like_a_column_of_a_table(smoke: tuple[Path, Finished]) -> None:
    """Trainings that differ in their precision, beside the precision of a score."""
    differing = [{"precision": precision, "epochs": 1, "peak_epoch": 1} for precision in ("fp32", "bf16")]
    for one in stages.instruments():
        query = _sql(one, _trial_fields(differing, one.table), one.columns)
        found = {row["precision"] for row in rows_of(smoke[0], query)}
        assert found == (set() if one.stage in BEYOND else {"fp32"}), one.title


def test_trainings_that_have_not_memorized_are_left_out_of_a_setting(tmp_path: Path) -> None:
    """Three seeds of which one memorized, and another setting of which none did."""
    made = Simulated(tmp_path)
    for seed, evaluated, count in ((0, 0.99, 3), (1, 0.5, 30), (2, 0.2, 50)):
        made.flips(made.training(seed=seed, evaluated=evaluated, noisy_acc=[0.1] * 50), {True: [count] * 4, False: [9] * 4})
    made.flips(made.training(width=0.5, evaluated=0.25), {True: [3] * 4, False: [9] * 4})
    (finding,) = findings(judge(made.store, paper()), paper())
    assert numbers(finding.sentence) == [3.0, 3.0, 3.0, 9.0, 9.0, 9.0, 0.33, 0.33, 0.33]
    (flips,) = [one for one in instruments(made.store, None) if one.title.startswith("Neurons")]
    ((label, by_trial),) = flips.not_memorized.items()
    assert (label, list(by_trial.values())) == ("width 0.5", [0.25])
    assert {(r["noisy"], r["neurons"]) for r in rows_of(Path(made.store.uri), flips.sql)} == {(False, 9.0), (True, 3.0)}


def test_the_summary_has_one_style_of_naming_settings(tmp_path: Path) -> None:
    """Sections of the paper, instruments and trainings that have not memorized: of MNIST at two rates and widths."""
    made = Simulated(tmp_path)
    for noise, width, evaluated in ((0.1, 0.5, 1.0), (0.2, 1.0, 1.0), (0.05, 0.25, 0.5)):
        made.gradients(made.training(dataset="mnist", noise=noise, width=width, evaluated=evaluated), noisy=2.0)
    used = instruments(made.store, None)
    labels = {label for one in used for label, _ in one.lines} | {label for one in used for label in one.not_memorized}
    assert labels == {"10 % noise, width 0.5", "20 % noise, width 1.0", "5 % noise, width 0.25"}
    found = [finding.label for finding in findings(judge(made.store, paper()), paper())]
    assert found == ["20 % noise", "10 % noise, width 0.5"]


def test_rewinding_to_the_last_epoch_tells_whether_a_network_memorized(tmp_path: Path) -> None:
    made = Simulated(tmp_path)
    trial = made.training(evaluated=None, noisy_acc=[0.1] * 50)
    made.rewind(trial, {"conv1": 0.4, "linear": 0.8})
    (rewinding,) = instruments(made.store, None)
    assert (rewinding.title.split(" (")[0], rewinding.not_memorized) == ("One layer rewound to an earlier epoch", {})


def test_gradients_are_told_apart_by_where_they_are_taken_and_not_by_how_many_epochs(tmp_path: Path) -> None:
    made = Simulated(tmp_path)
    made.gradients(made.training(seed=0), noisy=2.0, epochs=range(1, 51))
    made.gradients(made.training(seed=1), noisy=4.0, epochs=range(2, 51, 2))
    made.gradients(made.training(seed=2), noisy=8.0, at=None)
    (gradients,) = [one for one in instruments(made.store, None) if one.title.startswith("Gradients")]
    rows = {(r["gradients_at"], r["layer"]): r["ratio"] for r in rows_of(Path(made.store.uri), gradients.sql)}
    assert rows[("checkpoint", "conv")] == 8.0
    assert rows[("trajectory", "conv")] == pytest.approx((50 * 2 + 25 * 4) / 75, abs=0.01)


def test_the_view_of_gradients_by_layer(smoke: tuple[Path, Finished]) -> None:
    """Norms and cosines by hand, from the squared norms and products of every tensor."""
    path, _ = smoke
    table = open_store(str(path)).pandas("gradients")
    found = {(r["analysis"], r["epoch"], r["layer"]): r for r in rows_of(path, "SELECT * FROM gradient_layers")}
    assert len(found) == (3 + 3) * 9  # along the trajectory, and at checkpoints
    for key, rows in table.groupby(["analysis", "epoch", "layer"]):
        r = found[key]
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


def test_settings_are_told_apart_and_seeds_pooled(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    text = TINY.replace("  standard:\n", "  standard:\n    axes: {seed: [0, 1], noise: [0.1, 0.2]}\n")
    text += "  other:\n    axes: {seed: [0]}\n    stages: {rewind: {epochs: [0], buffers: rewound}}\n"
    run_inline(tmp_path, text, store)
    used = {one.title.split(" ")[0]: one for one in instruments(store, "tiny")}
    # The tied trainings differ from the others in more than noise, but they are not rewound. None of them memorized.
    # The settings are those of the trainings, so that every instrument names them alike.
    labels = {label: len(by_trial) for label, by_trial in used["One"].not_memorized.items()}
    assert labels == {"dropout none, 10 % noise": 2, "dropout none, 20 % noise": 2}
    assert [label for label, _ in used["Accuracy"].lines] == ["dropout none, 10 % noise", "dropout none, 20 % noise"]


def test_detections_of_different_flips_are_told_apart(tmp_path: Path) -> None:
    """They differ in nothing of their own, only in what they read."""
    store = Store(str(tmp_path / "store"))
    blocks = "".join(
        f"  {name}:\n    stages: {{flips: {{{flips}, post_eval: 0}}, detection: {{}}}}\n"
        for name, flips in (("one", "clean: 20, noisy: 10"), ("two", "clean: 8, noisy: 8, max_neurons: 2"))
    )
    head = TINY[: TINY.index("blocks:")].replace("epochs: 2, batch_size: 32", "epochs: 15, batch_size: 16")
    run_inline(tmp_path, head + "blocks:\n" + blocks, store)
    found = instruments(store, "tiny")[-1]
    assert found.title.startswith("Finding")
    assert [len(by_trial) for by_trial in found.not_memorized.values()] == [1]  # one training, analysed twice
    rows = {(r["flips_clean"], r["sample"], r["score"]): r for r in rows_of(Path(store.uri), found.sql)}
    table = open_store(store.uri).pandas("detection")
    for analysis, of in table[table["sample"] == "flips"].groupby("analysis"):
        assert any(rows[(n, "flips", "aum")]["auc"] == of[of.score == "aum"].auc.item() for n in ("20", "8")), analysis


def test_a_peak_that_follows_from_the_epochs_is_not_named_and_one_that_does_not_is() -> None:
    def trials(*pairs: tuple[int, int]) -> list[dict[str, Any]]:
        return [{"epochs": epochs, "peak_epoch": peak} for epochs, peak in pairs]

    assert list(_trial_fields(trials((10, 2), (20, 4), (10, 2)))) == ["epochs"]
    assert list(_trial_fields(trials((10, 2), (20, 4), (10, 5)))) == ["epochs", "peak_epoch"]
    assert list(_trial_fields(trials((10, 2), (10, 5)))) == ["peak_epoch"]


def test_without_noisy_examples_nothing_is_claimed_about_them(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    stages = "stages: {rewind: {epochs: [0, 2]}, gradients: {epochs: [2]}, retrain: {epochs: 1}, evaluate: {}}"
    text = TINY[: TINY.index("blocks:")].replace("noise: 0.1", "noise: 0.0") + f"blocks:\n  plain:\n    {stages}\n"
    run_inline(tmp_path, text, store)
    assert list(sections(summary(store, "tiny"))) == ["Accuracy"]


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
    assert training_labels([a, b]) == ["dropout=none seed=0", "dropout=example_tied p_gen=0.2 p_mem=0.1 seed=1"]
    assert training_labels([a]) == ["dataset=digits model=resnet9"]


def test_words() -> None:
    assert [in_words(list(items)) for items in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
    assert [bytes_in_words(n) for n in (0, 999, 1500, 123e6, 2.5e12)] == ["0 B", "999 B", "1.5 KB", "123 MB", "2.5 TB"]
    assert [seconds_in_words(s) for s in (3, 600, 7200, 400000)] == ["3 s", "10 min", "2.0 h", "4.6 days"]
