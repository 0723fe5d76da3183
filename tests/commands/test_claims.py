"""`memloc claims`: what it prints, for people and for machines, and its exit codes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import memloc
from memloc.api import OpenStore
from memloc.commands.prose import WIDTH
from memloc.store import Files, Store
from tests.commands.test_query import run
from tests.papers.maini2023.simulated import Simulated

KEYS = ["id", "paper_id", "where", "claim", "paper", "ours", "lo", "hi", "verdict", "leans", "reason", "sql"]


@pytest.fixture
def simulated(tmp_path: Path) -> Simulated:
    made = Simulated(tmp_path)
    trial = made.training()
    made.flips(trial, {True: [3] * 10, False: [12] * 20}, left={True: 0.8, False: 0.9})
    for seed in (0, 1):
        again = made.training(dataset="mnist", seed=seed)
        made.flips(again, {True: [3] * 10, False: [12] * 20}, left={True: 0.8, False: 0.9})
    made.gradients(made.training(seed=1, evaluated=0.5))
    return made


def test_for_machines(simulated: Simulated, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run(capfd, monkeypatch, "claims", "--json", "--store", simulated.store.uri)
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert all(list(row) == KEYS for row in rows)
    assert {row["verdict"] for row in rows} == {"holds", "does_not_hold", "inconclusive", "not_testable", "not_run"}
    by_id = {row["id"]: row for row in rows}
    noisy = by_id["F1.noisy"]
    assert (noisy["paper"], noisy["ours"], noisy["verdict"]) == (5.1, 3.0, "not_testable")
    assert noisy["reason"].startswith("cifar10, resnet9, noise 0.1: mean count of")
    assert (by_id["F1.ratio"]["verdict"], by_id["F1.ratio"]["leans"]) == ("inconclusive", "for")
    assert (by_id["F3"]["verdict"], by_id["F3"]["leans"]) == ("inconclusive", "against")
    assert [by_id[name]["verdict"] for name in ("F1.mnist.ratio", "F3.mnist")] == ["holds", "does_not_hold"]
    assert by_id["G1.cifar10"]["verdict"] == "not_testable"
    assert by_id["D1.flips"]["ours"] is None


def without(lines: list[str], store: Store) -> list[str]:
    """A command is a line as long as the store's name makes it."""
    return [line.replace(store.uri, "") for line in lines]


def test_for_people(simulated: Simulated, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run(capfd, monkeypatch, "claims", "--store", simulated.store.uri)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert all(len(line) <= WIDTH for line in without(lines, simulated.store))
    (noisy,) = [line for line in lines if line.strip().startswith("F1.noisy")]
    assert noisy.split() == ["F1.noisy", "5.1", "3.000", "[3.000,", "3.000]", "not", "testable", "a,", "n", "=", "1"]
    (ratio,) = [line for line in lines if line.strip().startswith("F1.ratio")]
    assert "inconclusive, leans for" in ratio
    assert [line.strip() for line in lines if line.startswith("  a  ")] == ["a  cifar10, resnet9, noise 0.1"]
    assert "not testable" in next(line for line in lines if line.strip().startswith("G1.cifar10"))
    missing = lines[lines.index("Not run") :]
    assert any("--only block=tied_other" in line and f"--store {simulated.store.uri}" in line for line in missing)
    assert "E1 (12), E4 (4)" in "\n".join(missing)
    k = next(k for k, line in enumerate(missing) if line.strip() == "A1 (6)")
    assert [line.split()[1:3] for line in missing[k + 1 : k + 3]] == [["sweep", "cscore"], ["sweep", "atypical"]]
    assert all(line.endswith(f"--store {simulated.store.uri}") for line in missing[k + 1 : k + 3])


def test_on_a_narrow_terminal(
    simulated: Simulated, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that has no room beside its id stands below it. No line is broken."""
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run(capfd, monkeypatch, "claims", "--store", simulated.store.uri)
    lines = out.splitlines()
    judged = lines[: lines.index("Not run")]
    assert [line for line in judged if len(line) > 80] == []
    k = next(k for k, line in enumerate(judged) if line.strip() == "F1.ratio")
    assert "inconclusive, leans for" in judged[k + 1]
    (header,) = (
        line for line in judged[:k] if "verdict" in line and line.index("verdict") == judged[k + 1].index("inconcl")
    )
    assert header.index("paper") < header.index("ours")


def test_a_long_id_has_a_line_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Simulated(tmp_path)
    for fields in ({}, {"width": 0.25, "batch_size": 64, "lr": 0.05}):
        made.flips(made.training(**fields), {True: [3] * 10, False: [12] * 20})  # type: ignore[arg-type]
    _, out, _ = run(capfd, monkeypatch, "claims", "--store", made.store.uri)
    lines = out.splitlines()
    k = next(k for k, line in enumerate(lines) if "F1.cifar10" in line and line.endswith(".noisy"))
    assert lines[k + 1].split() == ["3.000", "[3.000,", "3.000]", "not", "testable", "b,", "n", "=", "1"]
    assert all(len(line) <= WIDTH for line in without(lines, made.store))


def test_of_one_sweep(tiny: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run(capfd, monkeypatch, "claims", "tiny", "--store", str(tiny))
    assert code == 0
    assert "W1.digits" in out
    code, out, err = run(capfd, monkeypatch, "claims", "tinny", "--store", str(tiny))
    assert (code, out) == (2, "")
    assert "did you mean 'tiny'?" in err


def test_without_a_store(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run(capfd, monkeypatch, "claims", "--store", str(tmp_path / "none"))
    assert (code, out) == (3, "")
    assert len(err.splitlines()) == 1


def test_from_python(simulated: Simulated) -> None:
    frame = memloc.open_store(simulated.store.uri).claims().set_index("id")
    assert frame.loc["F1.noisy", "ours"] == 3.0
    assert frame.loc["F1.noisy", "seeds"] == 1
    assert set(KEYS[1:]) <= set(frame.columns)


# --- a real store -----------------------------------------------------------------------------------------------------


def test_numbers_again_from_the_tables(memorizing: OpenStore) -> None:
    """By pandas, from whole tables; that these trainings memorized is asserted, so that nothing is skipped."""
    opened = memorizing
    claims = opened.claims().set_index("id")
    trials = opened.pandas("trials").set_index("trial")
    evaluation = opened.pandas("evaluation")
    plain = evaluation[evaluation["trial"].map(trials["dropout"]) == "none"]
    assert (plain["noisy_acc"] >= 0.95).all()

    flips = opened.pandas("flips")
    flips = flips[flips["eligible"]]
    flips["left"] = (90 * flips["clean_acc"] + 10 * flips["noisy_acc"]) / 100
    own = flips.groupby(["noisy", "trial", "example"])[["count", "left"]].mean()
    means = own.groupby(["noisy", "trial"]).mean().groupby("noisy").mean()
    assert claims.loc["F1.noisy", "ours"] == pytest.approx(means["count"][True])
    assert claims.loc["F1.clean", "ours"] == pytest.approx(means["count"][False])
    assert claims.loc["F3", "ours"] == pytest.approx(means["left"][True] - means["left"][False])

    detection = opened.pandas("detection")
    of_times = detection[(detection["score"] == "learning_time") & (detection["sample"] == "flips")]["auc"]
    assert claims.loc["D1.learning_time", "ours"] == pytest.approx(of_times.mean())
    averaged = own.groupby(["noisy", "example"])["count"].mean().reset_index()
    assert claims.loc["D1.flips", "ours"] == pytest.approx(roc_auc_score(averaged["noisy"], -averaged["count"]))

    gradients = opened.pandas("gradients")
    for s in ("clean", "noisy"):
        gradients[s] = np.sqrt(gradients[f"sq_{s}"] / gradients["numel"])
    groups = gradients.groupby(["trial", "epoch", "layer"])[["clean", "noisy"]].mean().groupby(["trial", "layer"]).mean()
    ratio = np.log(groups["noisy"] / groups["clean"]).groupby("layer").mean()
    farthest = ratio[ratio.abs().idxmax()]  # [0.5, 2] is as far to either side of 1
    assert claims.loc["G1.digits", "ours"] == pytest.approx(np.exp(farthest))

    retrain = opened.pandas("retrain")
    best = retrain[retrain["epoch"] > 0].groupby(["trial", "layer"])["noisy_acc"].max()
    assert claims.loc["R1.digits", "ours"] == pytest.approx((best.groupby("layer").mean() >= 0.9).mean())
    assert claims.loc["R1.digits", "seeds"] == 2

    dropped = evaluation[(evaluation["mode"] == "dropped") & (evaluation["rescale"] == "none")].iloc[0]
    own = evaluation[evaluation["mode"] == "own"].iloc[0]
    assert claims.loc["E1.digits.before.noisy", "ours"] == own.noisy_acc
    assert own.noisy_acc >= 0.95
    assert claims.loc["E1.digits.after.clean", "ours"] == dropped.clean_acc


@pytest.mark.parametrize("sweep", [[], ["tiny"]])
@pytest.mark.parametrize("arguments", [["claims"], ["claims", "--json"], ["report"], ["report", "--figure", "3"]])
def test_the_store_is_listed_once(
    tiny: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sweep: list[str],
) -> None:
    """All numbers are of one snapshot: every folder is listed once, however many queries there are."""
    listed: Counter[str] = Counter()
    listing = Files._infos

    def counted(files: Files, folder: str, recursive: bool = True) -> Iterator[tuple[str, object]]:
        listed[folder] += 1
        return listing(files, folder, recursive)

    monkeypatch.setattr(Files, "_infos", counted)
    ending = "pdf" if "--figure" in arguments else "html"
    output = ["-o", str(tmp_path / f"report.{ending}")] if arguments[0] == "report" else []
    code, _, _ = run(capfd, monkeypatch, *arguments[:1], *sweep, *arguments[1:], *output, "--store", str(tiny))
    assert code == 0
    assert dict(listed) == dict.fromkeys(("manifests", "commits", *(("sweeps", "sweeps/tiny") if sweep else ())), 1)
