"""The course of a trial, step by step: what may run when, and every way in which it can end."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from memloc.run.events import Event, PartResult, Room, TrainingResult
from memloc.run.fanout import PricedPart
from memloc.run.trial_run import TrialRun, TrialSteps

A, B = PricedPart("a", "x", "rewind", 1.0), PricedPart("b", "x", "rewind", 1.0)
C = PricedPart("c", "y", "detection", 1.0, needs=("b",))


class Driven(TrialRun):
    """A trial whose every part is a task, with what it told and how often it pruned."""

    def __init__(self, trains: bool = True, prunes: bool = False, waves: Sequence[Sequence[PricedPart]] = ((A, B), (C,))):
        self.told: list[Event] = []
        self.pruned = 0
        steps = TrialSteps("t", trains, tuple(tuple(wave) for wave in waves), prunes)
        super().__init__(steps, lambda wave: [[part] for part in wave], self._remove, self.told.append)

    def _remove(self) -> None:
        self.pruned += 1

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.told]

    def train(self) -> Driven:
        self.training_ended(TrainingResult(True, 2.0))
        return self

    def run(self, error: str = "") -> str:
        """The next task, to its end."""
        (part,) = self.take()
        self.part_ended(part.stage, PartResult(part.id, 0.5, 0.75, error))
        self.task_ended([])
        return part.id


def test_what_runs_out_of_memory_comes_again_with_more_room() -> None:
    trial = Driven()
    assert trial.room("t") is Room.SHARE
    for room in (Room.CARD, Room.MOST):
        trial.training_again(TrainingResult(False, memory="no memory"))
        assert (trial.phase, trial.room("t"), trial.room("a", "b")) == ("train", room, Room.SHARE)
    assert trial.told[-1] == Event("again", "t", "train", part_id="t", error="no memory")
    trial.train()
    (part,) = trial.take()
    trial.part_again(part, PartResult(part.id, memory="no memory"))
    trial.task_ended([])
    assert trial.told[-1] == Event("again", "t", "rewind", part_id="a", error="no memory")
    assert trial.room("b", "a") is Room.CARD
    assert [trial.run() for _ in range(3)] == ["b", "a", "c"]  # behind the others of its wave, before the next wave
    assert trial.kinds[-1] == "finished"


def test_from_the_training_to_the_last_wave() -> None:
    trial = Driven(prunes=True)
    assert (trial.phase, trial.queued, trial.kinds) == ("train", 0, ["started"])
    trial.placed("there")
    trial.reached(0, {})
    trial.reached(1, {"loss": 0.5, "clean_acc": 1.0, "noisy_acc": None, "test_acc": 0.25, "lr": 0.1, "seconds": 3.0})
    assert trial.told[1] == Event("placed", "t", "train", host="there")
    assert trial.told[2] == Event("epoch", "t", "train", epoch=0)
    metrics = {"loss": 0.5, "clean_acc": 1.0, "noisy_acc": None, "test_acc": 0.25}
    assert trial.told[3] == Event("epoch", "t", "train", epoch=1, metrics=metrics, seconds=3.0)
    trial.train()
    assert trial.told[4] == Event("trained", "t", "train", seconds=2.0)
    assert (trial.phase, trial.queued) == ("analyse", 2)
    first, second = trial.take(), trial.take()
    assert (first, second, trial.queued) == ([A], [B], 0)
    assert trial.told[5:] == [Event("placed", "t", "rewind")]  # once for a stage
    trial.part_ended("rewind", PartResult("b", 0.5, 0.75))
    trial.task_ended([])
    assert trial.queued == 0  # the second wave waits for all of the first
    trial.part_ended("rewind", PartResult("a", 0.5))
    trial.task_ended([])
    assert trial.told[6] == Event("part", "t", "rewind", part_id="b", seconds=0.5, share=0.75)
    assert (trial.queued, trial.pruned) == (1, 0)
    assert trial.run() == "c"
    assert (trial.phase, trial.pruned, trial.kinds[-1]) == ("ended", 1, "finished")


def test_nothing_to_train_and_nothing_at_all() -> None:
    assert Driven(trains=False).phase == "analyse"
    only_prunes = Driven(trains=False, prunes=True, waves=())
    assert (only_prunes.phase, only_prunes.pruned, only_prunes.kinds) == ("ended", 1, ["started", "finished"])
    assert Driven(waves=()).train().kinds == ["started", "trained", "finished"]


def test_a_training_that_fails_ends_the_trial() -> None:
    trial = Driven(prunes=True)
    trial.training_ended(TrainingResult(False, error="ValueError: no"))
    assert trial.told[1:] == [Event("failed", "t", "train", part_id="t", error="ValueError: no"), Event("unfinished", "t")]
    assert (trial.phase, trial.failed, trial.pruned) == ("ended", {"t"}, 0)


def test_a_training_that_was_told_to_stop() -> None:
    trial = Driven()
    trial.drain()
    assert trial.phase == "train"  # until it has ended its epoch
    trial.training_ended(TrainingResult(False))
    assert (trial.phase, trial.failed, trial.kinds) == ("ended", set(), ["started", "unfinished"])


def test_a_training_that_ends_while_draining_leaves_its_parts() -> None:
    trial = Driven()
    trial.drain()
    assert trial.train().kinds == ["started", "trained", "unfinished"]
    last = Driven(waves=())
    last.drain()
    assert last.train().kinds == ["started", "trained", "finished"]  # nothing was left


def test_what_needs_a_failed_part_is_left_out_and_nothing_is_pruned() -> None:
    trial = Driven(trains=False, prunes=True)
    trial.run()
    assert trial.run(error="E: no") == "b"
    assert trial.told[-2:] == [Event("failed", "t", "rewind", part_id="b", error="E: no"), Event("unfinished", "t")]
    assert (trial.phase, trial.failed, trial.pruned) == ("ended", {"b"}, 0)
    other = Driven(trains=False)
    assert other.run(error="E: no") == "a"  # which c does not need
    other.run()
    assert other.run() == "c"


def test_a_part_that_was_not_begun_is_still_to_do() -> None:
    trial = Driven(trains=False, waves=((A, B),))
    (part,) = trial.take()
    trial.drain()
    assert (trial.phase, trial.queued) == ("analyse", 0)  # no other begins
    trial.task_ended([part])
    assert (trial.phase, trial.kinds) == ("ended", ["started", "placed", "unfinished"])


def test_what_ends_while_draining_with_nothing_left_is_finished() -> None:
    trial = Driven(trains=False, prunes=True, waves=((A,),))
    (part,) = trial.take()
    trial.drain()
    trial.part_ended(part.stage, PartResult("a", 1.0))
    trial.task_ended([])
    assert (trial.kinds, trial.pruned) == (["started", "placed", "part", "finished"], 1)


@given(
    st.booleans(),
    st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=3),
    st.integers(0, 12),
    st.sets(st.integers(0, 11)),
    st.randoms(use_true_random=False),
)
def test_whatever_happens_it_ends_and_every_part_ends_once(
    trains: bool, needed: list[list[int]], drains_after: int, failing: set[int], order: object
) -> None:
    """Parts need earlier ones, some fail, the order to stop comes at any moment: nothing runs too early, or twice."""
    waves, ids = [], 0
    for wave in needed:
        earlier = ids
        waves.append([])
        for need in wave:
            needs = (f"p{need}",) if need < earlier else ()
            waves[-1].append(PricedPart(f"p{ids}", "x", f"stage{len(waves)}", 1.0, needs=needs))
            ids += 1
    trial = Driven(trains, True, [wave for wave in waves if wave])
    if trains:
        trial.train()
    running: list[PricedPart] = []
    for step in range(100):
        if step == drains_after:
            trial.drain()
        while trial.queued:
            running += trial.take()
        if not running:
            break
        part = running.pop(order.randrange(len(running)))  # type: ignore[attr-defined]
        assert not set(part.needs) & trial.failed
        trial.part_ended(part.stage, PartResult(part.id, 1.0, error="E" if int(part.id[1:]) in failing else ""))
        trial.task_ended([])
    assert trial.phase == "ended"
    ended = [event.part_id for event in trial.told if event.kind in ("part", "failed")]
    assert len(ended) == len(set(ended))
    assert trial.kinds.count("finished") + trial.kinds.count("unfinished") == 1
    assert trial.pruned == ("finished" in trial.kinds)
    if "finished" in trial.kinds:
        assert not trial.failed
    if "finished" in trial.kinds or not trial._draining:
        possible = {p.id for wave in waves for p in wave if not set(p.needs) & trial.failed}
        assert set(ended) == possible
