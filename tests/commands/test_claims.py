"""`memloc claims`: what it prints, for people and for machines, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import memloc
from memloc.commands.claims import WIDTH
from tests.analysis.claims.simulated import Simulated
from tests.commands.test_query import run

KEYS = ["id", "where", "claim", "paper", "ours", "lo", "hi", "verdict", "reason"]


@pytest.fixture
def simulated(tmp_path: Path) -> Simulated:
    made = Simulated(tmp_path)
    trial = made.training()
    made.flips(trial, {True: [3] * 10, False: [12] * 20}, left={True: 0.8, False: 0.9})
    made.gradients(made.training(seed=1, evaluated=0.5))
    return made


def test_for_machines(simulated: Simulated, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run(capfd, monkeypatch, "claims", "--json", "--store", simulated.store.uri)
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert all(list(row) == KEYS for row in rows)
    assert {row["verdict"] for row in rows} == {"holds", "does_not_hold", "not_testable", "not_run"}
    by_id = {row["id"]: row for row in rows}
    assert (by_id["F1.noisy"]["paper"], by_id["F1.noisy"]["ours"], by_id["F1.noisy"]["verdict"]) == (5.1, 3.0, "holds")
    assert by_id["F1.noisy"]["reason"].startswith("cifar10, resnet9, noise 0.1: mean counts of")
    assert by_id["F3"]["verdict"] == "does_not_hold"
    assert by_id["G1.cifar10"]["verdict"] == "not_testable"
    assert by_id["D1.flips"]["ours"] is None


def test_for_people(simulated: Simulated, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run(capfd, monkeypatch, "claims", "--store", simulated.store.uri)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert all(len(line) <= WIDTH for line in lines if "sweep paper-grid" not in line)
    (noisy,) = [line for line in lines if line.strip().startswith("F1.noisy")]
    assert noisy.split() == ["F1.noisy", "5.1", "3.000", "[3.000,", "3.000]", "holds", "a,", "n", "=", "1"]
    assert [line.strip() for line in lines if line.startswith("  a  ")] == ["a  cifar10, resnet9, noise 0.1"]
    assert "not testable" in next(line for line in lines if line.strip().startswith("G1.cifar10"))
    missing = lines[lines.index("Not run") :]
    assert any("--only block=tied_other" in line and f"--store {simulated.store.uri}" in line for line in missing)
    assert "E1 (12), E4 (4)" in "\n".join(missing)


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
