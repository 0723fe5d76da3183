"""Terminals and pipes that cannot show every character, and names that are not UTF-8: never a traceback."""

from __future__ import annotations

import codecs
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from memloc.commands import terminal
from memloc.errors import UsageError
from tests.commands.test_query import run
from tests.conftest import TINY
from tests.run.prepared import launch
from tests.run.programs import command, environment
from tests.waiting import LONG

# Every command that prints, in one process; the codes are what each ends with.
PROGRAM = """
import sys
from memloc import commands
codes = []
for line in sys.stdin.buffer.read().decode("utf-8").splitlines():
    sys.argv = ["memloc", *line.split("|")]
    try:
        commands.main()
    except SystemExit as ended:
        codes.append(ended.code or 0)
    print("CODE", codes[-1], flush=True)
"""


@pytest.fixture(scope="module")
def store(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished store under a name with an umlaut."""
    folder = tmp_path_factory.mktemp("Übung")
    (folder / "größe").symlink_to(tiny)
    return folder / "größe"


COMMANDS = [
    ("sweep", 0), ("sweep|--json", 0), ("sweep|FILE|--store|STORE", 0), ("sweep|FILE|--store|STORE|--json", 0),
    ("sweep|FILE|--store|STORE|--dry-run", 0), ("sweep|FILE|--show", 0), ("sweep|UMLAUT/größe.yaml", 2),
    ("sweep|größe", 2), ("sweep|demo|größe=1", 2), ("status|tiny|--store|STORE", 0), ("status|--store|STORE/ü", 3),
    ("claims|--store|STORE", 0), ("claims|--store|STORE|--json", 0), ("query|SELECT 'größe … ×' AS ü|--store|STORE", 0),
    ("query|SELECT ü|--store|STORE", 2), ("store|ls|--store|STORE", 0), ("data|list", 0), ("--help", 0), ("sweep|--help", 0),
]  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_every_command(tiny: Path, store: Path, tmp_path: Path, encoding: str) -> None:
    fill = {"STORE": str(store), "FILE": str(tiny.with_name("tiny.yaml")), "UMLAUT": str(store.parent)}
    lines = [line for line, _ in COMMANDS]
    for name, value in fill.items():
        lines = [line.replace(name, value) for line in lines]
    (tmp_path / "lines").write_text("\n".join(lines), encoding="utf-8")
    with ExitStack() as files:
        names = {"lines": "rb", "out": "wb", "err": "wb"}
        streams = [files.enter_context(open(tmp_path / name, mode)).fileno() for name, mode in names.items()]
        code = launch(["-c", PROGRAM], environment(tmp_path, PYTHONIOENCODING=encoding), streams).wait(LONG)
    # Typer writes its help as UTF-8 where it takes the stream for misconfigured, as it does with ASCII.
    out = (tmp_path / "out").read_bytes().decode(encoding, "backslashreplace")
    err = (tmp_path / "err").read_bytes().decode(encoding)
    assert "Traceback" not in out + err
    assert code == 0, err
    codes = [int(line.split()[1]) for line in out.splitlines() if line.startswith("CODE ")]
    assert dict(zip(lines, codes, strict=True)) == dict(zip(lines, [code for _, code in COMMANDS], strict=True))
    assert ("gr\\xf6\\xdfe" if encoding == "ascii" else "größe") in err


def test_what_stands_for_what_cannot_be_shown() -> None:
    terminal.show_anything()
    shown = {"5×5 … 3–4 → §": r"5x5 ... 3-4 -> \xa7", "größe": r"gr\xf6\xdfe", "a\udcfcb": r"a\udcfcb", "😀": r"\U0001f600"}
    for text, ascii_only in shown.items():
        assert text.encode("ascii", "memloc") == ascii_only.encode()
    assert "…×ü\udcfc".encode("latin-1", "memloc") == rb"..." + "×ü".encode("latin-1") + rb"\udcfc"
    assert "×ü…".encode("utf-8", "memloc") == "×ü…".encode()
    with pytest.raises(UnicodeDecodeError):
        codecs.lookup_error("memloc")(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"))


@pytest.mark.parametrize(
    ("value", "encoding", "message"),
    [
        ("plain", "ascii", ""),
        ("größe", "utf-8", ""),
        ("größe", "iso8859-1", "this shell's encoding is iso8859-1"),
        ("gr\udcc3\udcb6", "ascii", "this shell's encoding is ascii"),
        ("gr\udcf6", "utf-8", "its bytes are not UTF-8"),
    ],
)
def test_names_are_utf8(monkeypatch: pytest.MonkeyPatch, value: str, encoding: str, message: str) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
    monkeypatch.setattr(sys, "argv", ["memloc", value])
    if not message:
        return terminal.check_names()
    with pytest.raises(UsageError, match=f"^argument .*: {message}; use PYTHONUTF8=1"):
        terminal.check_names()
    monkeypatch.setattr(sys, "argv", ["memloc"])
    monkeypatch.setenv("MEMLOC_STORE", value)
    with pytest.raises(UsageError, match=f"^MEMLOC_STORE .*: {message}"):
        terminal.check_names()
    return None


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(UsageError, match="the working directory does not exist any more"):
        terminal.check_names()


def test_a_working_directory_that_goes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")

    def load(*arguments: object, **options: object) -> None:
        (tmp_path / "gone").rmdir()
        Path.cwd()

    monkeypatch.setattr("memloc.sweep.load", load)
    code, out, err = run(capfd, monkeypatch, "sweep", "demo", "--dry-run", "--store", str(tmp_path / "store"))
    assert (code, out) == (2, "")
    assert err == "memloc: the working directory does not exist any more; change to another one\n"


def test_a_reader_that_leaves_ends_the_program_quietly(tiny: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(tmp_path / "err", "wb") as err, open(os.devnull, "rb") as nothing:
        arguments = command("query", "SELECT * FROM range(100000)", "--format", "csv", "--store", str(tiny))[1:]
        program = launch(arguments, environment(tmp_path), [nothing.fileno(), write, err.fileno()])
    os.close(write)
    assert (program.wait(LONG), (tmp_path / "err").read_text()) == (1, "")


def test_messages_that_nobody_reads_do_not_end_a_sweep(tmp_path: Path) -> None:
    """Standard error is a pipe whose reader has gone, as `2>&1 | head` leaves it."""
    (tmp_path / "one.yaml").write_text(TINY)
    read, write = os.pipe()
    os.close(read)
    with open(tmp_path / "out", "wb") as out, open(os.devnull, "rb") as nothing:
        arguments = command("sweep", "one.yaml", "--max-trials", "1", "--executor", "inline", "--store", "store", "--json")[
            1:
        ]
        program = launch(arguments, environment(tmp_path), [nothing.fileno(), out.fileno(), write], cwd=tmp_path)
    os.close(write)
    assert program.wait(LONG) == 0
    assert json.loads((tmp_path / "out").read_text())["counts"]["done"] == 1


def test_a_sweep_file_that_is_not_utf8(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"about: x\ndefaults: {}  # gr\xf6\xdfe\n")
    for option in ("--dry-run", "--show"):
        code, _, err = run(capfd, monkeypatch, "sweep", str(path), option)
        assert (code, err) == (2, f"memloc: {path}:2: byte 28 (0xf6) is not UTF-8; save the file as UTF-8\n")


@pytest.mark.parametrize(
    "arguments",
    [["status", "--json"], ["query", "SELECT * FROM range(100000)", "--format", "csv"], ["query", "SELECT 1"],
     ["sweep", "TINY", "--json"], ["--help"], ["sweep", "--fields"]],
    ids=lambda arguments: " ".join(arguments[:2]),
)  # fmt: skip
def test_a_full_disk_is_one_line(
    tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("MEMLOC_STORE", str(tiny))
    arguments = [str(tiny.with_name("tiny.yaml")) if a == "TINY" else a for a in arguments]
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        code, out, err = run(capfd, monkeypatch, *arguments)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == "memloc: standard output cannot be written: No space left on device"
    assert "Traceback" not in err


def test_closed_streams(
    tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`>&-` and `2>&-`: nothing is begun whose result nobody could read; messages do not get among the results."""
    monkeypatch.setattr(sys, "stdout", None)
    for arguments in (["status", "--store", str(tiny)], ["sweep", "demo", "--store", str(tmp_path / "store")], ["--help"]):
        code, out, err = run(capfd, monkeypatch, *arguments)
        assert (code, out) == (2, "")
        assert err == "memloc: standard output is closed (>&-); write > /dev/null if nobody reads it\n"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(sys, "stderr", None)
    code, out, _ = run(capfd, monkeypatch, "status", "none", "--store", str(tiny))
    sys.stderr.close()
    assert (code, out) == (2, "")
