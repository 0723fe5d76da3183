"""Simulated schedules: small ones by hand, any against what must hold and against a simulation in small steps of time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memloc.run.fanout import PricedPart, cut, least, together
from memloc.run.schedule import Slots, TrialCost, bound, critical_path, in_order
from memloc.run.simulation import simulate


def trial(name: str, train: float, *waves: list[float], trainer: float = 1.0, task: float = 1.0) -> TrialCost:
    """Every part an analysis of its own, so that each is a task."""
    made = tuple(
        tuple(PricedPart(f"{name}{w}{i}", f"{name}{w}{i}", f"stage{w}", s) for i, s in enumerate(parts))
        for w, parts in enumerate(waves)
    )
    return TrialCost(name, train, made, trainer, task)


def test_one_slot_takes_the_sum() -> None:
    trials = [trial("a", 5, [1, 2, 3], [4]), trial("b", 7, [1])]
    assert simulate(trials, Slots(1)) == 23
    assert bound(trials, Slots(1)) == 23
    assert simulate([], Slots(1)) == bound([], Slots(1)) == 0


def test_two_slots_by_hand() -> None:
    """a: 0–4, its parts of 3 and 2 s at 4–7 and 6–8; b: 0–6. Two trainings, then parts, longest first."""
    trials = [trial("a", 4, [2, 3]), trial("b", 6)]
    assert simulate(trials, Slots(2)) == 8
    assert bound(trials, Slots(2)) == 7.5  # (4 + 5 + 6) / 2
    assert critical_path(trials).stages == (("train", 4), ("stage0", 3))
    assert critical_path(trials).seconds == 7


def test_waves_wait_for_each_other() -> None:
    assert simulate([trial("a", 1, [2, 5], [3])], Slots(2)) == 1 + 5 + 3
    assert bound([trial("a", 1, [2, 5], [3])], Slots(8)) == 1 + 5 + 3


def test_a_training_comes_before_tasks_for_half_a_gpu() -> None:
    """One GPU. a's halves run in pairs; b, third in line and larger than a task, trains first: 2 + 10 + 4·3/2."""
    trials = [trial("a", 2, [3.0] * 4, trainer=1.0, task=0.5), trial("b", 10, trainer=1.0, task=0.5)]
    assert simulate(trials, Slots(1)) == 2 + 10 + 6
    alone = [trial("a", 0, [3.0] * 40, trainer=1.0, task=0.5), *[trial(str(i), 10, trainer=1.0, task=0.5) for i in range(4)]]
    # Two GPUs, four coordinators: three trainings at once with the parts; the fourth still gets its GPU before their end.
    assert simulate(alone, Slots(2)) < (40 * 3 * 0.5 + 40) / 2 + 10


def test_a_small_process_passes_a_larger_one_that_does_not_fit() -> None:
    """As Ray's do. One GPU: a holds half of it from 0 to 4. b needs all of it and waits. c takes the other half, 0 to 2."""
    trials = [trial("a", 4, trainer=0.5), trial("b", 3, trainer=1.0), trial("c", 2, trainer=0.5)]
    assert simulate(trials, Slots(1)) == 4 + 3


def test_halves_of_two_gpus_are_no_whole_one() -> None:
    """Capacity is per slot: 0.6 + 0.6 do not fit into one."""
    trials = [trial("a", 0, [4.0, 4.0, 4.0], task=0.6)]
    assert simulate(trials, Slots(2)) == 8
    assert simulate(trials, Slots(1, capacity=2.0)) == 4
    with pytest.raises(ValueError, match="trial a"):
        simulate([trial("a", 1, trainer=2.0)], Slots(4))


def test_threads_of_one_machine_are_shared() -> None:
    trials = [trial("wide", 4, trainer=2.0, task=2.0), trial("narrow", 1), trial("other", 1)]
    assert simulate(trials, Slots(1, capacity=2.0)) == 5
    assert bound(trials, Slots(1, capacity=2.0)) == 5


def test_the_longest_chain_begins_first() -> None:
    """Not the most work: what fans out fills gaps."""
    names = [t.trial for t in in_order([trial("wide", 5, [1.0] * 100), trial("long", 9), trial("short", 2)])]
    assert names == ["long", "wide", "short"]


def test_shared_work_is_counted_once_in_the_bound() -> None:
    parts = tuple(PricedPart(str(i), "a", "retrain", 3.0, 1.0) for i in range(9))
    one = TrialCost("a", 10.0, (parts,))
    assert one.work() == 10 + 19
    assert bound([one], Slots(1)) == simulate([one], Slots(1)) == 29
    assert bound([one], Slots(100)) == simulate([one], Slots(100)) == 13


def test_ten_thousand_tasks_on_a_thousand_gpus() -> None:
    trials = [trial(str(i), 100.0, [1.0] * 100, trainer=1.0, task=0.5) for i in range(100)]
    assert simulate(in_order(trials), Slots(1024)) >= bound(trials, Slots(1024)) == 101


trials_drawn = st.lists(
    st.tuples(st.integers(0, 6), st.lists(st.integers(1, 5), max_size=6), st.lists(st.integers(1, 5), max_size=2)),
    min_size=1,
    max_size=6,
)


@given(trials_drawn, st.integers(1, 4), st.sampled_from([0.5, 1.0]))
@settings(deadline=None)
def test_no_schedule_undercuts_the_bound(drawn: list[tuple[int, list[int], list[int]]], count: int, task: float) -> None:
    trials = [trial(str(i), train, first, second, task=task) for i, (train, first, second) in enumerate(drawn)]
    slots = Slots(count)
    found, least_work = simulate(trials, slots), sum(t.work() for t in trials)
    assert bound(trials, slots) <= found + 1e-9
    assert found <= sum(t.train + sum(map(least, t.waves)) for t in trials) + 1e-9  # never slower than one after the other
    if count == 1 and task == 1.0:
        assert found == pytest.approx(least_work)


# Two parts of one trial end at once, when another is to come: one trial takes its place, not two.
@example([(4, [], [1, 2]), (6, [], [1]), (5, [], [3]), (2, [], [2]), (0, [], [1]), (1, [], [])], 2)
@given(trials_drawn, st.integers(1, 4))
@settings(deadline=None)
def test_like_a_simulation_second_by_second(drawn: list[tuple[int, list[int], list[int]]], count: int) -> None:
    """Where all processes hold a slot: each second, what is next in line takes the free places."""
    trials = [trial(str(i), train, first, second) for i, (train, first, second) in enumerate(drawn)]
    assert simulate(trials, Slots(count)) == by_seconds(trials, count)


@dataclass
class Plain:
    """A trial under way. steps: the training alone, then of every wave its tasks, in seconds."""

    name: str
    trains: bool
    steps: list[list[float]]
    at_work: int = 0


def by_seconds(trials: list[TrialCost], count: int) -> float:
    """Plain and slow, in whole seconds. A line of processes asked for; tasks join it while no more than twice what can run
    is asked for, or once while a trainer stands in it."""
    to_come, under_way, line, running = list(trials), [], [], []
    fanning: list[Plain] = []  # in the order in which they began to
    now = 0.0
    while True:
        while (to_come and len(under_way) < count + 2) or any(not t.steps and not t.at_work for t in under_way):
            under_way = [t for t in under_way if t.steps or t.at_work]
            if to_come and len(under_way) < count + 2:
                new = to_come.pop(0)
                waves = [[together(task) for task in cut(wave, count)] for wave in new.waves if wave]
                under_way.append(Plain(new.trial, bool(new.train), [[new.train]] * bool(new.train) + waves))
                if new.train:
                    line.append((new.train, under_way[-1], True))
                    under_way[-1].at_work = 1
                else:
                    fanning.append(under_way[-1])
        while True:
            while line and len(running) < count:
                seconds, t, trains = line.pop(0)
                running.append((now + seconds, t, trains))
            asked = sum(not trains for _, _, trains in line + running)
            most = count if any(trains for _, _, trains in line) else 2 * count
            able = [t for t in fanning if t.steps and t.steps[0]]
            if not able or asked >= most:
                break
            line.append((able[0].steps[0].pop(0), able[0], False))
            able[0].at_work += 1
        if not running:
            return now
        now = min(end for end, _, _ in running)
        for end, t, trains in [r for r in running if r[0] == now]:
            running.remove((end, t, trains))
            t.at_work -= 1
            if not t.at_work and (trains or not t.steps[0]):
                t.steps.pop(0)
                if trains:
                    fanning.append(t)
