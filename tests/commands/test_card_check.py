"""A sweep begins on GPUs: what needs more memory than a card has is said at once, and what computes activations again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from memloc.commands import app
from memloc.commands.card_check import check_memory
from memloc.commands.launch import _decided, _priced
from memloc.commands.launch_options import ExecutorName, Options
from memloc.errors import UsageError
from memloc.models.recomputation import is_recomputing
from memloc.run import parts, trainer
from memloc.run.card_memory import demands, largest
from memloc.run.executor import Capacity
from memloc.run.kinds import CardMemory
from memloc.run.pending import Work, pending
from memloc.run.placement import Resources
from memloc.run.plan import TrialPlan
from memloc.run.schedule import Slots
from memloc.store import Snapshot, Store
from tests.conftest import planned, run_inline

SWEEP = """
defaults: {dataset: digits, model: vit_small, epochs: 1, subset: 256, batch_size: 256}
blocks:
  one: {axes: {seed: [0, 1]}, stages: {gradients: {}, evaluate: {}}}
  small: {set: {model: resnet9, width: 0.0625}}
"""


@pytest.fixture
def works(tmp_path: Path) -> list[Work]:
    store = Store(str(tmp_path / "store"))
    return pending(planned(tmp_path, SWEEP), store, Snapshot({}, {}, []), "all", set_aside=False)


def options(folder: Path, **more: Any) -> Options:
    return Options(None, folder, ExecutorName.ray, Resources(**more), None, False)


def with_cards(monkeypatch: pytest.MonkeyPatch, *memories: float) -> None:
    cards = [SimpleNamespace(name=f"NVIDIA Test {k}", total_memory=int(m)) for k, m in enumerate(memories)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(cards))
    monkeypatch.setattr(torch.cuda, "get_device_properties", cards.__getitem__)


def test_all_fits(works: list[Work], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    with_cards(monkeypatch, 80e9)
    check_memory(works, options(tmp_path))
    assert {work.trial.recompute for work in works} == {frozenset()}
    assert capsys.readouterr() == ("", "")


def test_what_is_compiled_is_for_the_compiler(tmp_path: Path) -> None:
    """It computes no activations again, so nothing may be promised."""
    text = SWEEP.replace("batch_size: 256", "batch_size: 256, compile: true").replace("gradients: {}, ", "")
    works = pending(planned(tmp_path, text), Store(str(tmp_path / "s")), Snapshot({}, {}, []), "all", set_aside=False)
    assert list(demands(works, tmp_path)) == []


def test_without_a_gpu_nothing_is_counted(works: list[Work], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memloc.run.card_memory.demands", lambda *_: pytest.fail("counted"))
    for how in (options(tmp_path, gpus=0), options(tmp_path, address="auto")):
        with_cards(monkeypatch, 1.0)
        check_memory(works, how)


def test_the_smallest_card_decides(works: list[Work], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Between what the transformer's training needs as it is and with recomputation; the small network fits anyway."""
    training = next(d for d in demands(works, tmp_path) if d.of.startswith("vit_small"))
    with_cards(monkeypatch, 80e9, training.need.plain - 1)
    check_memory(works, options(tmp_path))
    told = capsys.readouterr().err
    assert "training of vit_small on digits with batches of 256 needs" in told
    assert "on each GPU, and NVIDIA Test 1 has" in told
    assert "gradients trajectory of vit_small" in told
    assert [work.trial.recompute for work in works] == [frozenset({"train", "gradients"})] * 2 + [frozenset()]


def test_only_cards_that_it_may_get_count(
    works: list[Work], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """--gpus 1 takes the first one, and so does one process."""
    with_cards(monkeypatch, 80e9, 1e9)
    check_memory(works, options(tmp_path, gpus=1))
    check_memory(works, replace(options(tmp_path), executor=ExecutorName.inline))
    assert capsys.readouterr() == ("", "")
    with pytest.raises(UsageError):
        check_memory(works, options(tmp_path, gpus=2))


def test_what_is_done_needs_no_memory(works: list[Work], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on a larger card: what is left fits."""
    for work in works:
        work.train = "done"
        work.parts = [item for item in work.parts if item[0].stage == "evaluate"]
    with_cards(monkeypatch, 1e9)
    check_memory(works, options(tmp_path))
    assert largest(demands(works, tmp_path)) is None


def test_analyses_of_every_trial_count(works: list[Work], tmp_path: Path) -> None:
    """Also where the training that stands for those alike has none of them."""
    others = tuple(analysis for analysis in works[0].trial.analyses if analysis.stage == "evaluate")
    works[0].parts = [item for item in works[0].parts if item[0] in others]
    works[0].trial = replace(works[0].trial, analyses=3 * others)
    found = [d for d in demands(works, tmp_path) if d.of.startswith("vit_small")]
    assert [d.need.what for d in found] == ["training", "gradients trajectory"]
    assert found[1].part_ids == {i for a, i, _ in works[1].parts if a.stage == "gradients"}


def test_stages_that_train_do_as_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after it, when it is done: they are never refused, since they need less."""
    plan = planned(tmp_path, SWEEP.replace("gradients: {}", "retrain: {}, second_split: {}").partition("  small")[0])
    works = pending(plan, Store(str(tmp_path / "store")), Snapshot({}, {}, []), "all", set_aside=False)
    need = next(demands(works, tmp_path)).need
    with_cards(monkeypatch, need.plain - 1)
    works[1].train = "done"
    check_memory(works, options(tmp_path))
    stages = frozenset({"retrain", "second_split"})
    assert [work.trial.recompute for work in works] == [stages | {"train"}, stages]
    with_cards(monkeypatch, need.least - 1)
    check_memory(works[1:], options(tmp_path))
    with pytest.raises(UsageError):
        check_memory(works, options(tmp_path))


def test_later_rounds_know_what_was_decided(works: list[Work], tmp_path: Path) -> None:
    plan = planned(tmp_path, SWEEP)
    works[0].trial = replace(works[0].trial, recompute=frozenset({"train"}))
    decided = _decided(plan, works[:2])
    assert [trial.recompute for trial in decided.trials] == [frozenset({"train"}), frozenset(), frozenset()]
    assert decided.trials == plan.trials


def test_the_cards_of_a_cluster(works: list[Work], tmp_path: Path) -> None:
    """They are known when its nodes have said what they have, before anything is priced."""
    need = next(d for d in demands(works, tmp_path) if d.of.startswith("vit_small")).need
    store, told = Store(str(tmp_path / "store")), list[str]()
    progress: Any = SimpleNamespace(notice=told.append)

    def priced(total: int | None) -> int:
        card = None if total is None else CardMemory("NVIDIA Far", total)
        capacity = Capacity("cuda", Slots(2), Resources(), False, card)
        return len(_priced(works, capacity, store, options(tmp_path, address="head:1"), progress).trials)

    assert priced(None) == priced(int(80e9)) == len(works)
    assert ([work.trial.recompute for work in works], told) == ([frozenset()] * 3, [])
    assert priced(need.plain - 1) == len(works)
    assert [work.trial.recompute for work in works] == [frozenset({"train", "gradients"})] * 2 + [frozenset()]
    assert told[0].startswith("note: training of vit_small on digits with batches of 256 needs ")
    assert " on each GPU, and NVIDIA Far has " in told[0]
    with pytest.raises(UsageError, match="NVIDIA Far"):
        priced(int(1e9))


def test_what_cannot_fit_is_refused(works: list[Work], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_cards(monkeypatch, 1e9)
    with pytest.raises(UsageError) as refused:
        check_memory(works, options(tmp_path))
    assert len(refused.value.problems) == 2
    assert refused.value.problems[0].startswith("training of vit_small on digits with batches of 256 needs ")
    assert refused.value.problems[0].endswith("take a smaller batch_size or width, or a GPU with more memory")


def test_the_largest_is_named(works: list[Work], tmp_path: Path) -> None:
    most = largest(demands(works, tmp_path))
    assert most is not None
    said = most.in_words()
    assert said.startswith("needs ")
    assert "on each GPU (gradients trajectory of vit_small on digits with batches of 256" in said


def test_the_stages_that_are_named_compute_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And their checkpoints and rows are the same bits; the other stages and trials do not."""
    seen: dict[str, bool] = {}
    train, together = trainer.train, parts._Computation.run

    def trains(*given: Any) -> Any:
        seen["train"] = is_recomputing()
        return train(*given)

    def computes(self: Any, bunch: Any) -> Any:
        seen[self.analysis.stage] = is_recomputing()
        return together(self, bunch)

    def told(self: TrialPlan, *given: Any, **more: Any) -> None:
        plain(self, *given, **more)
        object.__setattr__(self, "recompute", stages)

    plain = TrialPlan.__init__
    monkeypatch.setattr(TrialPlan, "__init__", told)
    monkeypatch.setattr(trainer, "train", trains)
    monkeypatch.setattr(parts._Computation, "run", computes)
    text = (
        SWEEP.replace("vit_small", "resnet9, width: 0.0625")
        .replace("seed: [0, 1]", "seed: [0]")
        .partition("  small")[0]
        .replace("256", "64")
    )
    sums = []
    for stages in (frozenset(), frozenset({"train", "gradients"})):
        store = Store(str(tmp_path / f"store{len(stages)}"))
        run_inline(tmp_path, text, store)
        expected = {"train": bool(stages), "gradients": bool(stages), "evaluate": False}
        assert seen == expected
        commits = store.snapshot().trainings().values()
        sums.append([c.sha256 for commit in commits for c in commit.checkpoints])
    assert sums[0] == sums[1] != []


def test_memloc_model_says_what_a_gpu_needs() -> None:
    shown = CliRunner().invoke(app, ["model", "resnet9", "width=0.125"])
    assert shown.exit_code == 0
    header, _, training, gradients = shown.output.partition("memory of a GPU, batches of 512")[2].splitlines()[:4]
    assert "with activation checkpointing" in header
    assert training.split()[0] == "training"
    assert gradients.split()[:2] == ["gradients", "trajectory"]
