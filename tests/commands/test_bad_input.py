"""Bad input at the command line: one line per problem on standard error, the right exit code, nothing half-done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.test_query import run
from tests.conftest import TINY
from tests.run.programs import environment

GOOD = TINY.replace("about: Two trainings of a few seconds.\n", "")

FILES = {
    "not-yaml": ("a: [1", 2, "not YAML"),
    "tabs": ("defaults:\n\tdataset: digits\n", 2, "spaces, not tabs"),
    "empty": ("", 2, "is empty"),
    "laughs": ("a: &a [x]\nb: [*a, *a]\n", 2, "anchors and aliases"),
    "list": ("- a\n- b\n", 2, "is not a mapping"),
    "dataset": (GOOD.replace("digits", "digitz"), 2, "did you mean 'digits'?"),
    "model": (GOOD.replace("resnet9", "resnet99"), 2, "did you mean 'resnet9'?"),
    "stage": (GOOD.replace("rewind:", "rewnd:"), 2, "did you mean 'rewind'?"),
    "field": (GOOD.replace("noise:", "nois:"), 2, "did you mean 'noise'?"),
    "type": (GOOD.replace("epochs: 2", "epochs: two"), 2, "'two' is not valid; valid: a whole number >= 1"),
    "noise": (GOOD.replace("noise: 0.1", "noise: 1.5"), 2, "1.5 is not valid; valid: a number >= 0 and <= 1"),
    "negative": (GOOD.replace("noise: 0.1", "noise: -0.1"), 2, "-0.1 is not valid"),
    "nan": (GOOD.replace("noise: 0.1", "noise: .nan"), 2, "nan is not valid"),
    "p_gen": (GOOD.replace("p_gen: 0.4", "p_gen: 0"), 2, "0 is not valid; valid: a number > 0 and <= 1"),
    "p_mem": (GOOD.replace("p_mem: 0.1", "p_mem: 1.1"), 2, "1.1 is not valid; valid: a number >= 0 and <= 1"),
    "epochs": (GOOD.replace("epochs: 2,", "epochs: 0,"), 2, "0 is not valid; valid: a whole number >= 1"),
    "subset": (GOOD.replace("subset: 100", "subset: 1438"), 2, "1438 is not valid; valid: 10 (one per class) to 1437 (all)"),
    "beyond": (GOOD.replace("[0, 1, 2]", "[0, 3]"), 2, "3 beyond the last epoch; valid: 0 to 2"),
    "axis": (GOOD + "    axes: {seed: []}\n", 2, "is not a non-empty list"),
    "duplicate": (GOOD + "    axes: {seed: [1, 1]}\n", 2, "stands in this axis twice"),
    "npz": (GOOD.replace("digits", '"npz:none.npz"'), 2, "no such file"),
}


@pytest.mark.parametrize("name", FILES)
def test_sweep_files(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, expected, message = FILES[name]
    path = tmp_path / f"{name}.yaml"
    path.write_text(text)
    code, out, err = run(capfd, monkeypatch, "sweep", str(path), "--store", str(tmp_path / "store"))
    assert code == expected
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert all(line.startswith(f"memloc: {path}:") for line in err.splitlines())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["sweep", "demos"], 2, "no such sweep (did you mean 'demo'?)"),
        (["sweep", "none.yaml"], 2, "no such file"),
        (["sweep", "."], 2, "no such sweep"),
        (["sweep", "./"], 2, "is a directory"),
        (["sweep", "demo", "other"], 2, "is neither FIELD=VALUE nor the only sweep"),
        (["sweep", "noise=0.1"], 2, "name a sweep first"),
        (["sweep", "demo", "noise=1.5"], 2, "1.5 is not valid"),
        (["sweep", "demo", "--only", "nois=1"], 2, "unknown field (did you mean 'noise'?)"),
        (["sweep", "demo", "--cpus", "0"], 2, "see memloc sweep --help"),
        (["sweep", "demo", "--cpus", "two"], 2, "--cpus"),
        (["sweep", "demo", "--cpus", "4097"], 2, "--cpus': Input should be less than or equal to 4096"),
        (["sweep", "demo", "--gpus", "9" * 20, "--dry-run"], 2, "--gpus': Input should be less than or equal to 4096"),
        (["sweep", "demo", "--gpus-per-task", "0"], 2, "--gpus-per-task 0: an analysis task uses one GPU; valid: above 0"),
        (["sweep", "demo", "--gpus-per-trial", "2"], 2, "--gpus-per-trial 2: a training uses one GPU; valid: above 0, at m"),
        (["sweep", "demo", "--device", "mps"], 2, "'--device': 'mps' is not one of 'cpu', 'cuda'"),
        (["sweep", "demo", "--device", "cpu", "--gpus", "2"], 2, "--gpus 2: does not go with --device cpu; leave one of"),
        (["sweep", "demo", "--device", "cuda", "--gpus", "0"], 2, "--gpus 0: does not go with --device cuda; leave one of"),
        (["detect", "digits", "--gpus-per-trial", "1.5"], 2, "--gpus-per-trial 1.5: a training uses one GPU; valid: above"),
        (["sweep", "demo", "--executor", "inline", "--cpus", "2"], 2, "--cpus 2: --executor inline does one thing after"),
        (["sweep", "demo", "--executor", "inline", "--gpus", "1"], 2, "--gpus 1: --executor inline does one thing after"),
        (["sweep", "demo", "--executor", "inline", "--gpus-per-task", "1"], 2, "--gpus-per-task 1: --executor inline does"),
        (["sweep", "demo", "--executor", "inline", "--address", "auto"], 2, "--address auto: --executor inline uses no"),
        (
            ["sweep", "demo", "--address", "head:6379", "--cpus", "2"],
            2,
            "--cpus 2: is for this machine alone; --address head",
        ),
        (["sweep", "demo", "--address", "head:6379", "--gpus", "0"], 2, "--gpus 0: is for this machine alone"),
        (["sweep", "demo", "noise=0.2", "--fields"], 2, "noise=0.2: --fields lists the fields of every sweep"),
        (["sweep", "--fields", "--only", "seed=0"], 2, "--only: --fields lists the fields of every sweep"),
        (["store", "ls", "--nothing"], 2, "see memloc store ls --help"),
        (["sweep", "demo", "epochs=1000000000000"], 2, "valid: a whole number >= 1 and <= 100000"),
        (["sweep", "demo", "flips.repeats=1000000000000"], 2, "valid: a whole number >= 1 and <= 10000"),
        (["sweep", "demo", "batch_size=10000000000"], 2, "valid: a whole number >= 2 and < 2147483648"),
        (["sweep", "demo", "--executor", "slurm"], 2, "'--executor': 'slurm' is not one of 'ray', 'inline'"),
        (["sweep", "demo", "--show", "seed=3"], 2, "seed=3: --show prints the YAML as it is"),
        (["sweep", "demo", "--show", "--only", "seed=3"], 2, "--only: --show prints the YAML as it is"),
        (["sweep", "demo", "--show", "--json"], 2, "--json: --show prints the YAML as it is"),
        (["sweep", ""], 2, "'': is no sweep's name; shipped: "),
        (["sweep", "/dev/null"], 2, "/dev/null: is no regular file; name a sweep file"),
        (["sweep", "demo", "--address", "ray://head:10001"], 2, "Ray Tune does not run through Ray Client"),
        (["sweep", "demo", "--address", "somewhere"], 2, "valid: local, auto, HOST:PORT"),
        (["sweep", "demo", "--stor", "x"], 2, "No such option"),
        (["sweep", "x" * 300 + ".yaml"], 2, "cannot be read: File name too long"),
        (["sweep", "demo", "dataset=npz:" + "x" * 300], 2, "cannot be read: File name too long"),
        (["sweep", "demo", "dataset=npz:~nobody-here/x.npz"], 2, "'npz:~nobody-here/x.npz' is not valid"),
        (["sweep", "demo", "--data-dir", "~nobody-here/x"], 2, "data directory ~nobody-here/x: Could not determine home"),
        (["sweep", "demo", "--store", "~nobody-here/x"], 3, "store ~nobody-here/x: "),
        (["sweep", "demo", "--store", ""], 3, "store: is empty; valid: a path"),
        (["sweep", "demo", "--dry-run", "--store", ""], 3, "store: is empty; valid: a path"),
        (["status", "--store", ""], 3, "store: is empty; valid: a path"),
        (["query", "SELECT 1", "--store", "none"], 3, "does not exist"),
        (["swep"], 2, "No such command 'swep' (did you mean 'sweep'?); see memloc --help"),
        (["store", "lss"], 2, "No such command 'lss' (did you mean 'ls'?); see memloc store --help"),
        (["trials", "--only"], 2, "Option '--only' requires an argument; see memloc trials --help"),
        (["store", "gc", "--older-than"], 2, "requires an argument; see memloc store gc --help"),
        (["query"], 2, "needs one SELECT"),
        (["status", "--store", "none"], 3, "does not exist"),
        (["store", "verify", "--store", "none"], 3, "does not exist"),
    ],
)
def test_command_lines(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, err = run(capfd, monkeypatch, *arguments)
    assert found == code
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("store", ["foo://x", "/proc/nowhere", "{file}", "s3://", ""])
def test_stores(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "file").write_text("precious")
    uri = store.format(file=tmp_path / "file")
    if not uri:
        monkeypatch.setenv("MEMLOC_STORE", "  ")
    code, _, err = run(capfd, monkeypatch, "sweep", "./tiny.yaml", *(["--store", uri] if uri else []))
    assert code == 3
    assert err.startswith("memloc: store")
    assert err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "tiny.yaml"]


@pytest.mark.parametrize("command", [["sweep", "demo", "--dry-run"], ["status"], ["query", "SELECT 1"], ["store", "ls"]])
def test_a_file_is_no_store(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    code, out, err = run(capfd, monkeypatch, *command, "--store", str(file))
    assert (code, out, err) == (3, "", f"memloc: store {file}: is a file; name a folder\n")
    assert file.read_text() == "precious"


@pytest.mark.parametrize(("arguments", "code"), [(["sweep", "demo", "noise=7"], 2), (["query", "DROP TABLE x"], 3)])
def test_as_a_process(tmp_path: Path, arguments: list[str], code: int) -> None:
    program = [sys.executable, "-m", "memloc", *arguments]
    done = subprocess.run(program, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_a_bug_keeps_its_traceback(tiny: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("memloc.analysis.reading.run_sql", broken)
    monkeypatch.setattr("sys.argv", ["memloc", "query", "SELECT 1", "--store", str(tiny)])
    from memloc import commands

    with pytest.raises(ZeroDivisionError):
        commands.main()
