"""What a person sees while a sweep runs, on a real terminal."""

from __future__ import annotations

from pathlib import Path

import pexpect

from tests.run.programs import SMALL, command, environment


def test_on_a_terminal_a_panel_and_then_the_summary(tmp_path: Path) -> None:
    arguments = command("sweep", str(SMALL), "epochs=40", "--executor", "inline", "--store", str(tmp_path / "store"))
    child = pexpect.spawn(
        arguments[0],
        arguments[1:],
        env=environment(tmp_path, TERM="xterm"),
        dimensions=(30, 70),
        encoding="utf-8",
        timeout=120,
    )
    child.expect("3 trainings and 52 analysis parts to do")
    child.expect(r"of 3 trials done")
    child.expect(r"epoch \d+/40")
    child.expect("2 of 3 trials done, about")
    child.expect("Accuracy on clean / noisy / test")
    child.expect("Next:")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_ctrl_c_on_a_terminal(tmp_path: Path) -> None:
    arguments = command("sweep", str(SMALL), "epochs=200", "--executor", "inline", "--store", str(tmp_path / "store"))
    child = pexpect.spawn(
        arguments[0],
        arguments[1:],
        env=environment(tmp_path, TERM="xterm"),
        dimensions=(30, 140),
        encoding="utf-8",
        timeout=120,
    )
    child.expect(r"epoch \d+/200")
    child.sendintr()
    child.expect("finishing the epochs and parts that are running")
    child.expect("interrupted; everything committed is kept. To go on: python -m memloc sweep")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
