"""The check of a GPU (benchmarks/gpu), on a CPU and tiny: it runs with today's names, and tells what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import __main__ as program
from benchmarks.gpu import bits, sweeps
from benchmarks.gpu.setting import Setting
from memloc.stages.neurons import task
from memloc.stages.training.graphed import Recorded
from tests.numerics import kept_numerics
from tests.run.programs import environment, python

SWEEP = """
defaults: {{dataset: digits, model: resnet9, width: {width}, noise: 0.1, epochs: 2, batch_size: 25, subset: {subset}}}
blocks:
  one: {{stages: {{flips: {{clean: {flips}, noisy: {flips}, max_neurons: 3, post_eval: 0}}}}}}
"""
QUICK = ("machine", "against_cpu", "deterministic", "no_waiting", "graphs")


def checked(folder: Path, device: str, *names: str) -> list[dict[str, object]]:
    only = ("--only", ",".join(names)) if names else ()
    small = ("--small",) if device == "cpu" else ()
    done = python(environment(folder, OUT=str(folder)), "-m", "benchmarks.gpu", "--device", device, *small, *only)
    assert done.code == 0, done.out + done.err
    rows: list[dict[str, object]] = json.loads((folder / "gpu.json").read_text())
    for row in rows:
        assert str(row["what"]) in done.out
    assert {row["check"] for row in rows} - {"warnings"} == set(names or program.CHECKS)
    return rows


def test_on_a_cpu(tmp_path: Path) -> None:
    rows = checked(tmp_path, "cpu", *QUICK)
    assert {row["check"] for row in rows if row["right"]} == {"against_cpu", "deterministic", "graphs"}
    assert not any(row["right"] is False for row in rows)


@pytest.mark.slow
def test_all_of_it_on_a_cpu(tmp_path: Path) -> None:
    rows = checked(tmp_path, "cpu")
    assert {row["check"] for row in rows if row["right"]} == {
        "against_cpu",
        "deterministic",
        "same_bits",
        "sweeps",
        "graphs",
    }


@pytest.mark.cuda
def test_all_of_it_on_a_gpu(tmp_path: Path) -> None:
    checked(tmp_path, "cuda")


def test_what_is_wrong_fails_the_check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A resumed training with other bits, and a check that raises. The others go on."""
    real, calls = bits.train, []

    def drifting(*arguments: object, **more: object) -> object:
        calls.append(1)
        for epoch in real(*arguments, **more):  # type: ignore[arg-type]
            for weights in epoch.weights.values() if len(calls) == 3 else ():
                weights.add_(1)
            yield epoch

    def broken(setting: Setting) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(bits, "train", drifting)
    monkeypatch.setattr(bits, "_kinds", lambda setting: [("resnet9", {})])
    monkeypatch.setitem(program.CHECKS, "machine", broken)
    monkeypatch.setattr("sys.argv", ["gpu", "--device", "cpu", "--small", "--only", "machine,same_bits"])
    monkeypatch.delenv("OUT", raising=False)
    with kept_numerics():
        assert program.main() == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["same_bits", "resnet9", "differs", "resumed", "NO"] in lines
    assert ["machine", "failed", "RuntimeError:", "no", "such", "kernel", "NO"] in lines


def test_a_graph_with_other_bits_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second kind's graphs forget what they compute."""
    setting, repeat = Setting(torch.device("cpu"), small=True), Recorded.repeat

    def forgetting(self: Recorded) -> None:
        repeat(self)
        if setting.rows:
            self.outputs[-1].zero_()

    monkeypatch.setattr(Recorded, "repeat", forgetting)
    with kept_numerics():
        bits.graphs(setting)
    assert [(row.found, row.right) for row in setting.rows] == [("same bits", True), ("differs", False)]


def test_a_sweep_with_another_table_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checkpoints are the same: only the images of the third way's flip searches have another noise."""
    setting, begun = Setting(torch.device("cpu"), small=True), list[str]()
    planned = sweeps._planned

    def watched(folder: Path, small: bool) -> object:
        begun.append(folder.name)
        if len(begun) == 3:
            monkeypatch.setattr(task, "NOISE", 3.0)
        return planned(folder, small)

    monkeypatch.setattr(sweeps, "_ways", lambda setting: ("inline", "inline again", "inline with noise"))
    monkeypatch.setattr(sweeps, "_planned", watched)
    monkeypatch.setattr(sweeps, "SWEEP", SWEEP)
    with kept_numerics():
        sweeps.same_tables(setting)
    assert [(row.what, row.right) for row in setting.rows] == list(zip(begun, (True, True, False), strict=True))


def test_the_budget() -> None:
    setting = Setting(torch.device("cpu"), small=True)
    program.checked(setting, ["machine", "sweeps"], budget=-1.0)
    assert [(row.check, row.what, row.right) for row in setting.rows] == [
        ("machine", "not begun", None),
        ("sweeps", "not begun", None),
    ]


def test_a_network_too_large_for_the_card_is_told_and_the_next_one_begins() -> None:
    setting = Setting(torch.device("cpu"), small=True, check="same_bits")
    for what in ("large", "small"):
        with setting.fitting(what):
            if what == "large":
                raise torch.OutOfMemoryError("CUDA out of memory")
            setting.told(what, "again", right=True)
    assert [(row.what, row.found, row.right) for row in setting.rows] == [
        ("large", "memory ran out", None),
        ("small", "again", True),
    ]


@pytest.mark.parametrize(("arguments", "message"), [(["--only", "speed"], "speed: no such"), ([], "torch sees no GPU")])
def test_bad_arguments(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gpu", *arguments])
    with pytest.raises(SystemExit):
        program.main()
    assert message in capsys.readouterr().err
