"""Each expression of the slow cases still matches a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.slow_cases import slow


@pytest.mark.slow  # it collects all tests once more
def test_every_expression_has_its_cases_and_leaves_others() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-m", "", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    ids = [line.removeprefix("tests/") for line in done.stdout.splitlines() if "::" in line]
    assert len(ids) > 3_000
    cases, unused = slow(ids)
    assert unused == []
    left = {name.partition("[")[0] for name in set(ids) - cases}
    assert {name.partition("[")[0] for name in cases if "[" in name} <= left
