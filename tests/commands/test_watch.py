"""`memloc status --watch`: on a terminal it looks again and again, elsewhere it says that it needs one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pexpect
import pytest

from memloc.commands.status import status
from memloc.errors import UsageError
from memloc.store import Store
from tests.run.programs import CTRL_C, on_terminal
from tests.waiting import LONG


@pytest.mark.parametrize("as_json", [False, True])
def test_it_needs_a_terminal(tiny: Path, as_json: bool) -> None:
    with pytest.raises(UsageError, match=r"^--watch: needs a terminal; without one, or with --json, leave it out$"):
        status("tiny", store=str(tiny), as_json=as_json, watch=True)


def test_it_shows_what_has_changed_until_ctrl_c(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "store")
    store = Store(str(tmp_path / "store"))
    with on_terminal(tmp_path, "status", "tiny", "--watch", "--store", store.uri) as (process, person):
        person.expect(r"trials\s+2\s+0\s+0\s+0")
        snapshot = store.snapshot()
        part = next(i for i, commit in snapshot.commits.items() if commit.stage == "rewind")
        store.files.delete(snapshot.paths[part])
        person.expect(r"trials\s+1\s+0\s+1\s+0")
        person.expect(r"rewind\s+0\s+0\s+1\s+0\s+2 of 3")
        person.send(CTRL_C)
        person.expect(pexpect.EOF)
        assert process.wait(LONG) == 0
