"""What a person sees while a sweep runs: in a pipe, on the panel, and on a real terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pexpect
import pytest
from rich.console import Console

from memloc.commands import progress as progress_module
from memloc.commands.formatting import duration_in_words, metrics_in_words
from memloc.commands.progress import Countdown, Progress
from memloc.run.clock import PricedPlan
from memloc.run.events import Event
from memloc.run.fanout import PricedPart
from memloc.run.pending import Work, pending
from memloc.run.schedule import Slots, TrialCost
from memloc.store import Store
from tests.conftest import TINY
from tests.run.programs import CTRL_C, SMALL, on_terminal
from tests.run.test_plan import plan_of
from tests.waiting import LONG

METRICS = {"loss": 0.3125, "clean_acc": 0.934, "noisy_acc": 0.1, "test_acc": None}


@pytest.fixture
def works(tmp_path: Path) -> list[Work]:
    """Two trainings of two epochs; the first has three parts of rewind and one of evaluate, the second one of evaluate."""
    store = Store(str(tmp_path / "store"))
    return pending(plan_of(tmp_path, TINY), store, store.snapshot(), "all")


def priced(works: list[Work], reliable: bool = False) -> PricedPlan:
    """20 s a training, 2 s a part, on one slot."""
    trials = [
        TrialCost(w.trial.id, 20.0, (tuple(PricedPart(i, a.id, a.stage, 2.0) for a, i, _ in w.parts),), epochs=2)
        for w in works
    ]
    return PricedPlan(tuple(trials), Slots(1), "given", reliable)


def shown(works: list[Work]) -> Progress:
    return Progress(works, {works[0].trial.id: "seed=0", works[1].trial.id: "seed=1"})


def drawn(progress: Progress, width: int = 80, height: int = 30) -> list[str]:
    """The panel on a terminal of this size."""
    progress.console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)
    progress.console.print(progress._panel())
    return [line.rstrip() for line in progress.console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def epoch(work: Work, nth: int, seconds: float = 0.0) -> Event:
    metrics = METRICS if seconds else {}
    return Event("epoch", work.trial.id, "train", epoch=nth, metrics=metrics, seconds=seconds)


def part(work: Work, nth: int) -> Event:
    analysis, part_id, _ = work.parts[nth]
    return Event("part", work.trial.id, analysis.stage, part_id=part_id, seconds=2.0)


def test_lines_in_a_pipe(works: list[Work], capsys: pytest.CaptureFixture[str]) -> None:
    first, second = works
    with shown(works) as progress:
        progress.starting("Ray")
        progress.planned(priced(works))
        progress(Event("started", first.trial.id))
        progress(Event("placed", first.trial.id, "train", host="here"))
        progress(epoch(first, 1))
        progress(epoch(first, 2, 40.0))
        progress(Event("trained", first.trial.id, "train", seconds=40.5))
        for nth in range(4):
            progress(part(first, nth))
        progress(Event("finished", first.trial.id))
        progress(Event("failed", second.trial.id, "train", part_id=second.trial.id, error="ValueError: no luck"))
        progress(Event("unfinished", second.trial.id))
    lines = [line.split(" s] ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    a, b = (work.trial.id[:8] for work in works)
    assert lines[:-1] == [
        "starting Ray",
        f"{a} seed=0: goes on from epoch 1 of 2",
        f"{a} seed=0: trained in 40 s",
        f"{a} seed=0: rewind done",
        f"{a} seed=0: evaluate done",
        # One epoch of 10 s took 40, four parts of 2 s took 8: 48 / 18 of the second trial's 22 s.
        f"{a} seed=0: done (1 of 2 trials, about 59 s to go)",
        f"{b} seed=1: train FAILED: ValueError: no luck",
        f"{b} seed=1: ended, 1 part failed",
    ]
    assert lines[-1].startswith("1 of 2 trials done in 0.")


def test_a_training_that_waits_for_a_kind_of_card(works: list[Work], capsys: pytest.CaptureFixture[str]) -> None:
    first = works[0].trial.id
    with shown(works) as progress:
        progress(Event("started", first))
        progress(Event("needs", first, "train", error="waits for A100: the cluster has H100 alone now"))
        assert progress.doing == {first: "train waits for A100: the cluster has H100 alone now"}
        progress(Event("placed", first, "train", host="here"))
        assert progress.doing == {first: "starting"}
    said = capsys.readouterr().err.splitlines()[0].split(" s] ", 1)[1]
    assert said == f"{first[:8]} seed=0: train waits for A100: the cluster has H100 alone now"


def test_a_training_that_waits_for_more_memory(works: list[Work], capsys: pytest.CaptureFixture[str]) -> None:
    first = works[0]
    with shown(works) as progress:
        progress(Event("started", first.trial.id))
        progress(Event("placed", first.trial.id, "train", host="here"))
        progress(Event("again", first.trial.id, "train", part_id=first.trial.id, error="OutOfMemoryError: no memory"))
        assert progress.doing == {first.trial.id: "waiting for a place"}
    said = capsys.readouterr().err.splitlines()[0].split(" s] ", 1)[1]
    assert said == f"{first.trial.id[:8]} seed=0: train: OutOfMemoryError: no memory; in line again, for more room"


def test_a_trial_of_which_a_part_failed_is_not_done(works: list[Work], capsys: pytest.CaptureFixture[str]) -> None:
    first = works[0]
    with shown(works) as progress:
        progress(Event("started", first.trial.id))
        progress(Event("placed", first.trial.id, "rewind"))
        assert progress.doing == {first.trial.id: "rewind"}
        analysis, part_id, _ = first.parts[0]
        progress(Event("failed", first.trial.id, analysis.stage, part_id=part_id, error="ValueError: no luck"))
        progress(Event("unfinished", first.trial.id))
        assert progress.doing == {}
    *_, ended, total = capsys.readouterr().err.splitlines()
    assert ended.endswith(f"{first.trial.id[:8]} seed=0: ended, 1 part failed")
    assert "0 of 2 trials done in" in total


def test_a_pipe_is_never_silent_for_long(
    works: list[Work], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "SILENT_SECONDS", 0.05)
    monkeypatch.setattr(progress_module, "TICK_SECONDS", 0.01)
    with shown(works) as progress:

        def next_line() -> str:
            capsys.readouterr()
            while not (text := capsys.readouterr().err):
                progress._stop.wait(0.01)
            return text.splitlines()[0].split(" s] ", 1)[1]

        progress.starting("Ray")
        assert next_line() == "starting Ray"
        progress.planned(priced(works))
        progress(Event("started", works[0].trial.id))
        assert next_line() == f"starting processes; {works[0].trial.id[:8]} waiting for a place"
        progress(epoch(works[0], 0))
        progress(epoch(works[0], 1, 40.0))
        metrics = "loss 0.312 clean 93% noisy 10%"
        assert next_line() == f"0 of 2 trials done; {works[0].trial.id[:8]} epoch 1/2 {metrics}"


def test_the_panel_says_what_is_known_and_no_more(works: list[Work]) -> None:
    first = works[0]
    progress = shown(works)
    assert drawn(progress)[0].startswith("starting [0.")
    progress.starting("Ray")
    assert drawn(progress)[0].startswith("starting Ray [0.")
    progress.planned(priced(works, reliable=True))
    progress(Event("started", first.trial.id))
    progress(Event("placed", first.trial.id, "train", host="here"))
    assert drawn(progress)[0].startswith("starting processes [")  # though the prices are known: nothing has begun
    assert drawn(progress)[2] == f"{first.trial.id[:8]}  seed=0  starting"
    progress(epoch(first, 0))
    assert "0 of 2 trials done, about 50 s to go [" in drawn(progress)[0]
    progress(epoch(first, 1, 15.0))
    assert drawn(progress)[2] == f"{first.trial.id[:8]}  seed=0  epoch 1/2 loss 0.312 clean 93% noisy 10%"


def test_an_order_to_stop_is_told_by_what_has_begun(works: list[Work], capsys: pytest.CaptureFixture[str]) -> None:
    progress, first = shown(works), works[0].trial.id
    said = []
    for news in (None, priced(works), Event("started", first), epoch(works[0], 1, 9.0), Event("finished", first)):
        if isinstance(news, PricedPlan):
            progress.planned(news)
        elif news is not None:
            progress(news)
        capsys.readouterr()
        progress.stopping()
        said.append(capsys.readouterr().err.removeprefix("interrupted: ").split(" (press")[0])
    nothing, running = "stopping; nothing has begun yet", "finishing the epochs and parts that are running"
    assert said == [nothing, nothing, running, running, running]
    assert "1 of 2 trials done, stopping [" in drawn(progress)[0]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_of_the_panel_is_longer_than_the_terminal(works: list[Work], width: int) -> None:
    progress = Progress(works, {w.trial.id: "dropout=example_tied p_gen=0.4 p_mem=0.1 masks=site seed=0" for w in works})
    progress.planned(priced(works))
    for work in works:
        progress(Event("started", work.trial.id))
        progress(epoch(work, 1, 15.0))
    lines = drawn(progress, width)
    assert len(lines) == 2 + len(works)
    assert all(len(line) <= width for line in lines)
    assert all("epoch 1/2 loss 0.312 clean 93% noisy 10%" in line for line in lines[2:])
    assert (lines[2].split("  ")[1] == "dropout=example_tied p_gen=0.4 p_mem=0.1 masks=site seed=0") == (width == 200)


@pytest.mark.parametrize("width", [20, 30, 40, 53])
def test_on_a_narrow_terminal_trials_can_still_be_told_apart(works: list[Work], width: int) -> None:
    progress = Progress(works, {w.trial.id: "dropout=example_tied p_gen=0.4 seed=0" for w in works})
    for work in works:
        progress(epoch(work, 1, 15.0))
    lines = drawn(progress, width)
    assert all(len(line) <= width - 3 for line in lines[-2:])  # the terminal shows ^C behind the last one
    news = "epoch 1/2 loss 0.312 clean 93% noisy 10%"
    shown = news if len(news) + 13 <= width else news[: width - 16].rstrip()
    for line, work in zip(lines[-2:], works, strict=True):
        assert line.startswith(f"{work.trial.id[:8]}  {shown}")


@pytest.mark.parametrize("height", [5, 8, 14, 40])
def test_the_panel_is_never_higher_than_the_terminal(works: list[Work], height: int) -> None:
    """Lines that had scrolled away stayed when the panel was removed."""
    progress = shown(works)
    progress.doing = {f"{k:08}": "waiting" for k in range(20)}
    progress.labels = dict.fromkeys(progress.doing, "seed=0")
    lines = drawn(progress, 30, height)
    assert len(lines) <= max(height - 1, 4)
    rows = max(1, min(12, height - 6))
    assert lines[-rows - 1 :] == [*(f"{k:08}  seed=0  waiting" for k in range(rows)), f"          and {20 - rows} more"]


def test_the_bar_is_of_the_priced_work(works: list[Work]) -> None:
    """20 + 8 + 20 + 2 s; an epoch of 10 and a part of 2 have ended."""
    countdown = Countdown(priced(works))
    assert countdown.done() == 0
    countdown(epoch(works[0], 1, 15.0))
    assert countdown.done() == pytest.approx(10 / 50)
    countdown(part(works[0], 0))
    assert countdown.done() == pytest.approx(12 / 50)


def test_time_is_counted_down_between_news(works: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    countdown = Countdown(priced(works, reliable=True))
    assert countdown.left() is None  # starting processes is no work
    countdown(epoch(works[0], 0))
    assert countdown.left() == 50
    now[0] += 0.5
    assert countdown.left() == 49.5
    now[0] += 9.5  # read anew
    assert countdown.left() == 40
    countdown(epoch(works[0], 1, 10.0))
    now[0] += 2.0
    assert countdown.left() == 38


def test_words() -> None:
    assert [duration_in_words(s) for s in (0.04, 9.94, 9.96, 59.4, 59.6, 3599.0, 3600.0, 90_061.0)] == [
        "0.0 s", "9.9 s", "10 s", "59 s", "1 min 00 s", "59 min 59 s", "1 h 00 min", "25 h 01 min",
    ]  # fmt: skip
    assert metrics_in_words({}) == ""
    assert (
        metrics_in_words({"loss": 0.0, "clean_acc": 1.0, "noisy_acc": None, "test_acc": 0.005})
        == "loss 0 clean 100% test 0%"
    )


# --- a real terminal --------------------------------------------------------------------------------------------------


def test_on_a_terminal_a_panel_and_then_the_summary(tmp_path: Path) -> None:
    blocks = "blocks: {one: {axes: {seed: [0, 1, 2]}, stages: {evaluate: {}}}}\n"
    (tmp_path / "three.yaml").write_text(TINY[: TINY.index("blocks:")] + blocks)
    arguments = (
        "sweep",
        str(tmp_path / "three.yaml"),
        "epochs=40",
        "--executor",
        "inline",
        "--store",
        str(tmp_path / "store"),
    )
    with on_terminal(tmp_path, *arguments) as (process, person):
        person.expect("3 trainings and 3 analysis parts to do")
        person.expect(r"of 3 trials done")
        person.expect(r"epoch \d+/40 loss \S+ clean \d+% noisy \d+% test \d+%")
        person.expect("[12] of 3 trials done, about")  # whichever the panel shows long enough to be drawn
        person.expect(r"3 of 3 trials done in \d+")
        person.expect("Accuracy \\(§6.2\\)")
        person.expect("Next:")
        person.expect(pexpect.EOF)
        assert process.wait(LONG) == 0


def test_ctrl_c_on_a_terminal(tmp_path: Path) -> None:
    arguments = ("sweep", str(SMALL), "epochs=200", "--executor", "inline", "--store", str(tmp_path / "store"))
    with on_terminal(tmp_path, *arguments, width=140) as (process, person):
        person.expect(r"epoch \d+/200")
        person.send(CTRL_C)
        person.expect("finishing the epochs and parts that are running")
        person.expect("interrupted; everything committed is kept. To go on: python -m memloc sweep")
        person.expect(pexpect.EOF)
        assert process.wait(LONG) == 130


def test_a_later_round_counts_what_is_left(works: list[Work], capsys: pytest.CaptureFixture[str]) -> None:
    """Another driver has done a part of rewind meanwhile."""
    work = works[0]
    progress = shown(works)
    progress.planned(priced([Work(work.trial, "done", work.parts[1:3])]))
    progress(part(work, 1))
    assert progress.doing[work.trial.id] == "rewind, 1 to go"
    progress(part(work, 2))
    assert progress.doing[work.trial.id] == "rewind done"
    assert "seed=0: rewind done" in capsys.readouterr().err
