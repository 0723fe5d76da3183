"""A file that `-o` names: whole or as it was, with the mode that it had, and nothing beside it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from memloc.commands.output import write_whole
from memloc.errors import UsageError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes(tmp_path: Path, umask: int) -> None:
    """A new file has the mode of every new file; a replaced one keeps its own."""
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "new", b"x")
        for kept in (0o600, 0o664, 0o755):
            (tmp_path / "old").write_bytes(b"old")
            (tmp_path / "old").chmod(kept)
            write_whole(tmp_path / "old", b"y")
            assert (mode(tmp_path / "old"), (tmp_path / "old").read_bytes()) == (kept, b"y")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == 0o666 & ~umask


@pytest.mark.parametrize("call", ["pathlib.Path.replace", "pathlib.Path.chmod"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"])
def test_a_failed_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    target = tmp_path / "rows.csv"
    target.write_bytes(b"old")

    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(call, failing)
    with pytest.raises((UsageError, KeyboardInterrupt)) as raised:
        write_whole(target, b"new")
    if isinstance(error, OSError):
        assert str(raised.value) == f"-o {target}: cannot be written: No space left on device"
    assert os.listdir(tmp_path) == ["rows.csv"]
    assert target.read_bytes() == b"old"


def test_links_and_long_names(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    longest = tmp_path / ("x" * 255)
    write_whole(longest, b"new")
    assert longest.read_bytes() == b"new"
