"""`memloc sweep --log-to` on a real Ray: what TensorBoard would show is what the store holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run.programs import SMALL, assert_same, contents, memloc
from tests.run.test_tracking import written

pytestmark = pytest.mark.slow


def test_tensorboard_shows_the_epochs_of_the_store(tmp_path: Path, small_store: Path) -> None:
    """A second log cannot be written: the sweep goes on without it."""
    (tmp_path / "file").touch()
    logs = ("--log-to", f"tensorboard:{tmp_path / 'logs'}", "--log-to", f"tensorboard:{tmp_path / 'file'}")
    done = memloc(tmp_path, "sweep", str(SMALL), "--cpus", "2", "--store", str(tmp_path / "store"), *logs)
    assert done.code == 0, done.err
    assert f"--log-to tensorboard:{tmp_path / 'file'}: " in done.err
    assert_same(small_store, tmp_path / "store")
    rows = contents(tmp_path / "store")["epochs"].to_pylist()
    assert len(rows) == 12
    for trial in {row["trial"] for row in rows}:
        shown = {
            (e.step, v.tag): v.simple_value
            for e in written(tmp_path / "logs" / trial)
            for v in e.summary.value
            if v.tag.endswith(("loss", "clean_acc"))
        }
        expected = {
            (row["epoch"], f"ray/tune/{name}"): row[name]
            for row in rows
            if row["trial"] == trial
            for name in ("loss", "clean_acc")
        }
        assert shown == pytest.approx(expected)
