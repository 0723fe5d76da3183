"""`memloc detect` from images and labels to the files that it writes."""

from __future__ import annotations

import contextlib
import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from memloc import open_store
from memloc.commands.detect import SweepFile
from memloc.data import load
from memloc.errors import UsageError
from tests.run.programs import Finished, memloc

FAST = ("width=0.0625", "batch_size=32", "--epochs", "8", "--executor", "inline")
WRONG = 30


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of 300 digits, of which 30 have a wrong label; the true ones stand beside."""
    folder = tmp_path_factory.mktemp("detect")
    raw = load("digits")
    x, true = raw.x_train[:300, 0], raw.y_train[:300]
    given = true.copy()
    given[:WRONG] = (true[:WRONG] + 1 + np.arange(WRONG) % 9) % 10
    arrays = {"x_train": x, "y_train": given, "x_test": raw.x_test[:50, 0], "y_test": raw.y_test[:50]}
    np.savez(folder / "mine.npz", **arrays)
    np.savez(folder / "known.npz", **arrays, y_true=true)
    (folder / "broken.py").write_text("'''nothing'''\n1 / 0\n")
    (folder / "empty.py").write_text("")
    return folder


@pytest.fixture(autouse=True, scope="module")
def here(home: Path) -> Iterator[None]:
    with contextlib.chdir(home):
        yield


@pytest.fixture(scope="module")
def detected(home: Path, here: None) -> Finished:
    return memloc(home, "detect", "npz:known.npz", *FAST, "--top", "40", "--store", str(home / "store"))


def rows(home: Path, folder: str = "detect-known") -> list[dict[str, str]]:
    with open(home / folder / "suspects.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_it_says_how_many_labels_are_wrong_and_which(detected: Finished, home: Path) -> None:
    assert (detected.code, detected.out.splitlines()[0]) == (
        0,
        "known.npz: 300 labels, judged by 4 trainings of resnet9.",
    )
    assert "The true labels are known: 30 are wrong." in detected.out
    assert "Next: open detect-known/suspects.html" in detected.out
    found = rows(home)
    assert len(found) == 40
    assert list(found[0]) == ["rank", "example", "file", "given", "suggested", "score", "agreement", "neurons"]
    assert [int(row["rank"]) for row in found] == list(range(1, 41))
    first = [int(row["example"]) for row in found[:20]]
    assert sum(example < WRONG for example in first) >= 12  # by chance: 2
    assert str(home) not in (home / "detect-known" / "suspects.html").read_text()


def test_every_example_is_in_the_table(detected: Finished, home: Path) -> None:
    table = pq.read_table(home / "detect-known" / "suspects.parquet")
    assert table["example"].to_pylist() == list(range(300))
    with np.load(home / "known.npz") as arrays:
        assert table["given"].to_pylist() == arrays["y_train"].tolist()
    assert sorted(table["rank"].to_pylist()) == list(range(1, 301))
    by_rank = [score for _, score in sorted(zip(table["rank"].to_pylist(), table["score"].to_pylist(), strict=True))]
    assert by_rank == sorted(by_rank, reverse=True)
    assert all(a != b for a, b in zip(table["given"].to_pylist(), table["suggested"].to_pylist(), strict=True))


def test_the_true_labels_change_nothing_but_what_is_said_of_them(detected: Finished, home: Path) -> None:
    """Without them the trainings are the same ones, so nothing is left to do."""
    done = memloc(home, "detect", "npz:mine.npz", *FAST, "--json", "--store", str(home / "store"))
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert "trained" not in done.err
    assert told["truth"] is None
    assert 0 < told["wrong"]["number"] < 90
    assert told["wrong"]["lo"] <= told["wrong"]["share"] <= told["wrong"]["hi"]
    assert [check["planted"] for check in told["checks"]] == [15] * 3
    assert len(told["suspects"]) == 10
    ranked = [suspect["example"] for suspect in told["suspects"]]
    assert ranked == [int(row["example"]) for row in rows(home)[:10]]


REGISTERS = """
from pathlib import Path
import numpy as np
import memloc

with np.load(Path({home!r}) / "mine.npz") as arrays:
    halves = [list(zip(arrays["x_" + half], arrays["y_" + half].tolist())) for half in ("train", "test")]
memloc.register_dataset("registered", halves[0], test=halves[1])
"""


def test_a_data_set_that_a_plugin_registers(detected: Finished, home: Path) -> None:
    """Its content is that of the file, so the trainings are the same ones; and its sweep names the plugin."""
    (home / "mine.py").write_text(REGISTERS.format(home=str(home)))
    options = ("--plugins", "mine.py", "--json", "-o", "by-plugin", "--store", str(home / "store"))
    done = memloc(home, "detect", "registered", *FAST, *options)
    assert done.code == 0, done.err
    assert "trained" not in done.err
    told = json.loads(done.out)
    assert [suspect["example"] for suspect in told["suspects"]] == [int(row["example"]) for row in rows(home)[:10]]
    text = (home / "by-plugin" / "detect-registered.yaml").read_text()
    assert 'plugins: ["../mine.py"]' in text
    assert str(home) not in text
    typed = text.splitlines()[0].partition("THIS-FILE ")[2].split()
    again = ("--dry-run", "--json", "--executor", "inline", "--store", str(home / "store"))
    done = memloc(home, "sweep", "./by-plugin/detect-registered.yaml", *typed, *again)
    assert json.loads(done.out)["totals"]["done"] == 4


def test_its_sweep_is_a_sweep_like_others(detected: Finished, home: Path) -> None:
    """The file that it leaves, with the values that stand in its first line, is the same trainings."""
    path = home / "detect-known" / "detect-known.yaml"
    typed = path.read_text().splitlines()[0].partition("THIS-FILE ")[2].split()
    options = ("--dry-run", "--json", "--executor", "inline", "--store", str(home / "store"))
    done = memloc(home, "sweep", "./detect-known/detect-known.yaml", *typed, *options)
    told = json.loads(done.out)
    assert (told["totals"]["trials"], told["totals"]["done"]) == (4, 4)


def test_networks_that_have_not_seen_the_examples(home: Path) -> None:
    options = ("--seeds", "1", "--out-of-sample", "--json", "-o", "out", "--store", str(home / "store"))
    done = memloc(home, "detect", "npz:known.npz", *FAST, *options)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["n"] == 300
    assert len(told["checks"]) == 1
    assert told["truth"]["auc"] > 0.8
    assert sorted(p.name for p in (home / "out").iterdir()) == [
        *("detect-known.yaml", "suspects.csv", "suspects.html", "suspects.parquet"),
    ]


def test_the_neurons_of_a_label_are_a_judge_more(home: Path) -> None:
    """Against loops over the tables: each training judges by its margins, and by how few neurons hold a label."""
    store = str(home / "flipped")
    fields = ("subset=50", *FAST, "--seeds", "1", "--flips", "-o", "flipped-files", "--store", store)
    assert memloc(home, "detect", "npz:known.npz", *fields).code == 0
    tables = open_store(store)
    places: dict[int, list[float]] = defaultdict(list)
    neurons: dict[int, list[float]] = defaultdict(list)
    searches = tables.pandas("flip_counts")
    for trial, of in tables.pandas("examples").groupby("trial"):
        unplanted = of[~of["noisy"]]
        seen = unplanted["example"].tolist()
        own = searches[searches["trial"] == trial]
        held = {e: float(own.loc[own["example"] == e, "neurons"].mean()) for e in seen if e in set(own["example"])}
        margins = dict(zip(seen, unplanted["alternative_prob"] - unplanted["mean_prob"], strict=True))
        for suspicion in (margins, {e: -count for e, count in held.items()}):
            values = list(suspicion.values())
            for e, own_value in suspicion.items():
                below, upto = sum(v < own_value for v in values), sum(v <= own_value for v in values)
                places[e].append((below + upto) / (2 * len(values)))
        for e, count in held.items():
            neurons[e].append(count)
    table = pq.read_table(home / "flipped-files" / "suspects.parquet").to_pylist()
    assert len(table) == 50
    assert len({row["neurons"] for row in table}) > 2
    for row in table:
        example = row["example"]
        assert row["score"] == pytest.approx(np.mean(places[example]), rel=1e-9)
        assert row["neurons"] == (pytest.approx(np.mean(neurons[example]), rel=1e-9) if neurons[example] else None)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("npz:none.npz",), "command line:dataset: "),
        (("nothing",), "command line:dataset: "),
        (("npz:mine.npz", "--model", "resnt9"), "command line:model: "),
        (("npz:mine.npz", "widht=1"), "command line:widht: "),
        (("npz:mine.npz", "noise=0.1"), "noise=0.1: detect sets noise, seed, noise_seed"),
        *(
            (("npz:mine.npz", field), f"{field}: all trainings of detect judge the same labels; give one value of ")
            for field in (
                *("labels=[y_train, other]", "subset=[100,200]", "data_seed=0..1", "wrong=[uniform]", "test=[0, 0.2]"),
                "noise_count=[round, floor]",
            )
        ),
        (("[digits, mnist]",), "dataset=[digits, mnist]: all trainings of detect judge the same labels"),
        (("npz:mine.npz", "labels=[x"), "command line:labels:1: not YAML"),
        (("npz:mine.npz", "--flips", "--out-of-sample"), "--flips: searches networks that have seen the example"),
        (("npz:mine.npz", "-o", "mine.npz"), "-o mine.npz: is a file; name a folder"),
        (("npz:mine.npz", "-o", "no/such"), "-o no/such: there is no folder no"),
        (("npz:mine.npz", "--seeds", "0"), "--seeds"),
        (("mine", "--plugins", "no.py"), "no.py: no such file"),
        (("mine", "--plugins", "mine.npz/x.py"), "--plugins: "),
        (
            ("mine", "--plugins", "broken.py"),
            "broken.py: cannot be loaded: ZeroDivisionError: division by zero (broken.py:2: 1 / 0)",
        ),
        (("other", "--plugins", "empty.py"), "command line:dataset: 'other' is not valid"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(home: Path, arguments: tuple[str, ...], problem: str) -> None:
    before = sorted(home.rglob("*"))
    done = memloc(home, "detect", *arguments, "--executor", "inline", "--store", str(home / "bad"))
    assert (done.code, done.out) == (2, "")
    assert problem in done.err
    assert done.err.count("\n") <= 2
    assert [p for p in sorted(home.rglob("*")) if p not in before and "logs" not in p.parts] == []


def test_a_bad_command_leaves_the_sweep_of_before(detected: Finished, home: Path) -> None:
    before = (home / "detect-known" / "detect-known.yaml").read_bytes()
    done = memloc(home, "detect", "npz:known.npz", "widht=1", "--executor", "inline", "--store", str(home / "store"))
    assert (done.code, "command line:widht: " in done.err) == (2, True)
    assert (home / "detect-known" / "detect-known.yaml").read_bytes() == before


@pytest.mark.parametrize("way", ["", "--dry-run"])
def test_files_of_other_data_are_not_overwritten(detected: Finished, home: Path, way: str) -> None:
    (home / "b").mkdir(exist_ok=True)
    (home / "b" / "known.npz").write_bytes((home / "mine.npz").read_bytes())
    before = {p: p.read_bytes() for p in (home / "detect-known").iterdir()}
    options = (*FAST, "--store", str(home / "store"), *filter(None, [way]))
    for data, more in (("npz:b/known.npz", ()), ("npz:mine.npz", ("-o", "detect-known"))):
        done = memloc(home, "detect", data, *more, *options)
        assert (done.code, done.out) == (2, "")
        said = "has the suspects of other data, npz:known.npz (detect-known.yaml); give another folder with -o"
        assert done.err == f"memloc: -o detect-known: {said}\n"
    assert {p: p.read_bytes() for p in (home / "detect-known").iterdir()} == before
    (home / "mine").mkdir(exist_ok=True)
    (home / "mine" / "detect-mine.yaml").write_text("blocks: {}\n")
    done = memloc(home, "detect", "npz:mine.npz", "-o", "mine", *options)
    assert (done.code, "is not a file of detect; give another folder with -o" in done.err) == (2, True)


def test_the_same_data_by_another_path_are_the_same(detected: Finished, home: Path) -> None:
    done = memloc(home, "detect", f"npz:{home}/known.npz", *FAST, "--dry-run", "--store", str(home / "store"))
    assert done.code == 0, done.err


def test_an_error_after_the_plan_leaves_the_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        (home / "late" / "suspects.csv").write_text("")
        raise UsageError("something is wrong now")

    monkeypatch.setattr("memloc.commands.launch._run", fails)
    done = memloc(home, "detect", "npz:mine.npz", *FAST, "-o", "late", "--store", str(home / "late-store"))
    assert (done.code, done.err.splitlines()[-1]) == (2, "memloc: something is wrong now")
    assert sorted(p.name for p in (home / "late").iterdir()) == ["detect-mine.yaml", "suspects.csv"]


def test_a_folder_that_is_no_longer_empty_stays(tmp_path: Path) -> None:
    file = SweepFile(tmp_path / "new" / "detect-x.yaml")
    file.write("text")
    (tmp_path / "new" / "notes.txt").write_text("")
    file.undo.close()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["notes.txt"]


def test_a_dry_run_leaves_nothing(home: Path) -> None:
    before = sorted(home.rglob("*"))
    done = memloc(home, "detect", "npz:mine.npz", "--dry-run", "--executor", "inline", "--store", str(home / "dry"))
    assert done.code == 0, done.err
    assert "4 trainings" in done.out
    assert sorted(home.rglob("*")) == before


def test_a_bare_path_is_answered_with_what_names_it(detected: Finished, home: Path) -> None:
    """Also where the folder of the suspects is there already."""
    done = memloc(home, "detect", "known.npz", *FAST, "--store", str(home / "store"))
    assert (done.code, done.err.rstrip().endswith("(write npz:known.npz)")) == (2, True), done.err
