"""`memloc store verify --json`: what is broken, for machines."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from memloc import commands
from memloc.store import Store


def test_verify_for_machines(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(tiny, tmp_path / "store")
    monkeypatch.setattr(sys, "argv", ["memloc", "store", "verify", "--store", str(folder), "--json"])

    def verified() -> tuple[int, dict[str, object]]:
        with pytest.raises(SystemExit) as ended:
            commands.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, json.loads(capfd.readouterr().out)

    code, said = verified()
    assert (code, said["broken"]) == (0, [])
    files = Store(str(folder)).files
    (path, *_) = sorted(files.listing("data/rewind"))
    files.put(path, b"")
    code, again = verified()
    assert code == 3
    assert again["checked"] == said["checked"]
    (broken,) = again["broken"]  # type: ignore[misc]
    assert broken["path"] == path
    assert broken["problem"].startswith("has 0 bytes, was committed with")
    assert "is recomputed by the next sweep" in broken["consequence"]
