"""`memloc store export` and `memloc store import`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from memloc.store import Store, layout, run_layout
from tests.run.programs import contents, encoded, memloc


def test_there_and_back(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    new = tmp_path / "new"
    for trial in Store(str(tiny)).snapshot().trainings():
        done = memloc(tmp_path, "store", "export", trial[:8], "--store", str(tiny))
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"exported trial {trial}: ")
        assert done.out.endswith(f": {trial}.zip\n")
        done = memloc(tmp_path, "store", "import", f"{trial}.zip", "--store", str(new))
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"imported trial {trial} into {new}: ")
        done = memloc(tmp_path, "store", "import", f"{trial}.zip", "--store", str(new))
        assert done.out == f"nothing to do: {new} has all of {trial}.zip: trial {trial}\n"
    before, after = contents(tiny), contents(new)
    assert {name: encoded(rows) for name, rows in after.items()} == {name: encoded(rows) for name, rows in before.items()}
    again = memloc(tmp_path, "sweep", str(tiny.parent / "tiny.yaml"), "--executor", "inline", "--store", str(new))
    assert (again.code, "nothing to do" in again.out) == (0, True)
    (tmp_path / f"{trial}.zip").rename(tmp_path / "best.zip")
    (tmp_path / f"{trial}.zip").write_text("somebody's")
    done = memloc(tmp_path, "store", "export", trial[:8], "--store", str(tiny))
    assert (done.code, done.out) == (2, "")
    assert done.err == f"memloc: -o {trial}.zip: is there already; name another file, or add --overwrite\n"
    assert (tmp_path / f"{trial}.zip").read_text() == "somebody's"
    assert memloc(tmp_path, "store", "export", trial[:8], "--store", str(tiny), "--overwrite").code == 0
    assert (tmp_path / f"{trial}.zip").read_bytes() == (tmp_path / "best.zip").read_bytes()
    done = memloc(tmp_path, "store", "export", trial[:8], "--store", str(new), "-o", str(tmp_path / "new"))
    assert (tmp_path / "new" / f"{trial}.zip").read_bytes() == (tmp_path / f"{trial}.zip").read_bytes()


def test_errors_are_one_line(tiny: Path, tmp_path: Path) -> None:
    store, none, new = str(tiny), str(tmp_path / "none"), tmp_path / "new"
    trial = sorted(Store(store).snapshot().trainings())[0]
    (tmp_path / "text.zip").write_text("PK, or not")
    for code, why, *arguments in (
        (2, "trial 'zz': none of ", "export", "zz", "--store", store),
        (2, "cannot be written: No such file", "export", trial, "-o", str(tmp_path / "no" / "x.zip"), "--store", store),
        (3, "does not exist", "export", trial, "--store", none),
        (2, "is no export that can be imported", "import", str(tmp_path / "text.zip"), "--store", str(new)),
        (2, "Is a directory", "import", str(tmp_path), "--store", str(new)),
        (2, "no such file; valid: a file that memloc store export wrote", "import", none, "--store", str(new)),
    ):
        done = memloc(tmp_path, "store", *arguments)
        assert (done.code, done.out, done.err.count("\n")) == (code, "", 1), done.err
        assert why in done.err
    assert not new.exists()
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".zip"] == ["text.zip"]


def test_damaged_rows_are_not_exported(tiny: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for path in tiny.rglob("*"):
        if path.is_file():
            (store / path.relative_to(tiny)).parent.mkdir(parents=True, exist_ok=True)
            (store / path.relative_to(tiny)).write_bytes(path.read_bytes())
    broken = next((store / "data" / "examples").rglob("*.parquet"))
    broken.write_bytes(broken.read_bytes()[:-1] + b"?")
    trial = layout.part_of(broken.name)
    done = memloc(tmp_path, "store", "export", trial, "--store", str(store), "-o", str(tmp_path / "x.zip"))
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
    assert "was changed since it was committed" in done.err
    assert not list(tmp_path.glob("*.zip"))
    assert not list(tmp_path.glob(".memloc-*"))


def test_a_run_at_work_on_the_trial_is_not_disturbed(tiny: Path, tmp_path: Path) -> None:
    trial, run, store = sorted(Store(str(tiny)).snapshot().trainings())[0], "20260101-000000-abcdef", tmp_path / "store"
    memloc(tmp_path, "store", "export", trial, "--store", str(tiny), "-o", str(tmp_path / "x.zip"))
    files = Store(str(store)).files
    beat = {"run": run, "updated": time.time(), "host": "there", "sweep": "tiny@00000000", "state": "running"}
    files.put(run_layout.run_heartbeat(run), json.dumps(beat).encode())
    files.put(run_layout.heartbeat(run, trial), json.dumps({**beat, "trial": trial, "stages": {}}).encode())
    done = memloc(tmp_path, "store", "import", str(tmp_path / "x.zip"), "--store", str(store))
    assert (done.code, done.out) == (2, "")
    assert done.err == f"memloc: trial {trial}: run {run} is at work on it on there; import it when the run has ended\n"
    assert not files.listing(layout.DATA)
