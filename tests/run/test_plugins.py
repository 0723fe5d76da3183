"""The plugins that docs/plugins.md shows, carried out, and what can be wrong with a plugin."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from ray import cloudpickle
from sklearn.metrics import roc_auc_score

from memloc import own_code, stages, sweep
from memloc.analysis.instruments import instruments
from memloc.analysis.reader import known_tables
from memloc.analysis.reading import read_table, run_sql
from memloc.api import open_store
from memloc.errors import UsageError
from memloc.papers import registry
from memloc.papers.judging import judge
from memloc.run.pending import pending
from memloc.run.plan import Plan
from memloc.run.planner import build_plan
from memloc.stages import REGISTRY, STAGES, plugins
from memloc.stages.extensible import Extensible
from memloc.stages.plugins import installed, stages_of, taken_of
from memloc.store import Store
from tests.conftest import carry_out, planned
from tests.run.programs import Finished, memloc, python

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
LINES = {"moved.py": 40, "late.py": 15, "smooth.py": 20, "paper.py": 40}


def shown() -> dict[str, str]:
    """{file: its text} of the page."""
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return dict(blocks)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the page, and the store in which their sweep was carried out."""
    folder = tmp_path_factory.mktemp("plugins")
    for name, text in shown().items():
        (folder / name).write_text(text)
    done = memloc(folder, "sweep", str(folder / "mine.yaml"), "--store", str(folder / "store"), "--executor", "inline")
    assert done.code == 0, done.err
    assert "Stage moved" in done.out
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return Store(str(folder / "store"))


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_files_are_as_short_as_they_should_be() -> None:
    assert {name: len(text.splitlines()) <= LINES[name] for name, text in shown().items() if name in LINES} == dict.fromkeys(
        LINES, True
    )


def test_the_stage_measures_how_far_layers_have_moved(store: Store) -> None:
    opened = open_store(store.uri)
    rows = read_table(store, "moved").to_pylist()
    assert len(rows) == 3 * 2 * 9  # trainings, epochs, layers
    for row in rows:
        trial = opened.trial(row["trial"])
        first, last = (dict(trial.model(epoch).named_parameters()) for epoch in (0, row["epoch"]))
        moved = [(last[n] - p).detach().numpy().astype(float) for n, p in first.items() if n.startswith(row["layer"] + ".")]
        assert row["distance"] == pytest.approx(np.sqrt(sum((m**2).sum() for m in moved)), rel=1e-6)


def test_the_score_is_compared_and_on_the_leaderboard(store: Store) -> None:
    board = run_sql(store, "SELECT trial, noisy, final_loss - mean_loss AS expected, late_loss FROM leaderboard").to_pandas()
    assert len(board) == 3 * 200
    assert np.allclose(board["late_loss"], board["expected"], atol=0)
    aucs = run_sql(store, "SELECT trial, auc FROM detection WHERE score = 'late_loss' AND sample = 'all'").to_pylist()
    assert {row["trial"]: pytest.approx(row["auc"]) for row in aucs} == {
        trial: roc_auc_score(rows["noisy"], rows["late_loss"]) for trial, rows in board.groupby("trial")
    }
    compared = run_sql(store, "SELECT count(DISTINCT other) AS n FROM detection_pairs WHERE score = 'aum'").to_pylist()
    assert compared == [{"n": 4}]  # el2n, loss, probability and late_loss come after aum


def test_a_reader_knows_no_plugin(store: Store) -> None:
    assert "moved" not in known_tables()
    assert "moved" not in STAGES
    (used,) = [one for one in instruments(store, None) if one.own]
    means = run_sql(
        store, "SELECT epoch, layer, avg(distance) AS distance, count(*) AS n FROM moved GROUP BY ALL"
    ).to_pylist()
    by_row = {(row["epoch"], row["layer"]): (pytest.approx(row["distance"]), row["n"]) for row in means}
    rows = run_sql(store, used.sql).to_pylist()
    assert {(row["epoch"], row["layer"]): (row["distance"], row["n"]) for row in rows} == by_row


def test_the_page_and_the_paper(folder: Path, store: Store) -> None:
    paper = str(folder / "paper.py")
    (judgement,) = judge(store, registry.paper(paper), "mine")
    last = run_sql(store, "SELECT trial, layer, distance FROM moved WHERE epoch = 3").to_pandas()
    linear = last["layer"] == "linear"
    excess = last[~linear].groupby("trial")["distance"].mean() - last[linear].groupby("trial")["distance"].mean()
    assert (judgement.id, judgement.paper_id, judgement.seeds) == ("M1", "mine", 3)
    assert judgement.ours == pytest.approx(excess.mean())
    said = memloc(folder, "claims", "mine", "--store", store.uri, "--paper", paper)
    assert (said.code, "M1  §1: the last layer moves less than the others" in said.out) == (0, True)
    pytest.importorskip("altair")
    page = folder / "page.html"
    made = memloc(folder, "report", "mine", "--store", store.uri, "--paper", paper, "-o", str(page))
    assert made.code == 0, made.err
    text = page.read_text(encoding="utf-8")
    assert '<article id="fig01"' in text
    assert "Distance from the initial weights" in text
    assert ">Stage moved</caption>" in text


def test_the_fields_of_a_sweeps_plugins(folder: Path) -> None:
    listed = memloc(folder, "sweep", str(folder / "mine.yaml"), "--fields")
    assert "stage moved\n  epoch  default null\n" in listed.out
    assert "late_loss" in listed.out
    assert "late_loss" not in memloc(folder, "sweep", "--fields").out
    refused = memloc(folder, "sweep", str(folder / "mine.yaml"), "lr=1", "--fields")
    assert refused.code == 2


def test_the_method_joins_the_ranking(folder: Path) -> None:
    store = Store(str(folder / "found"))
    done = memloc(folder, "sweep", str(folder / "found.yaml"), "--store", store.uri, "--executor", "inline")
    assert done.code == 0, done.err
    rows = read_table(store, "localization").to_pandas()
    assert set(rows["method"]) == {"gradient", "smooth_grad", "norm_out", "other_item", "random", "reference_only"}
    memorized = rows[rows["noisy"] & ~rows["skipped"]]
    both = [memorized[memorized["method"] == name].reset_index()["k"].tolist() for name in ("gradient", "smooth_grad")]
    assert len(both[0]) == len(both[1]) > 0
    (listed,) = [one for one in instruments(store, None) if one.title.startswith("Which method")]
    assert "smooth_grad" in {row["method"] for row in run_sql(store, listed.sql).to_pylist()}
    found = memloc(folder, "report", "found", "--store", store.uri, "--paper", "localization", "-o", str(folder / "f.html"))
    assert found.code == 0, found.err
    assert "smooth_grad" in (folder / "f.html").read_text(encoding="utf-8")


# --- identity, and other processes ------------------------------------------------------------------------------------


def plan(folder: Path, **changed: str) -> Plan:
    for name, text in (shown() | changed).items():
        (folder / name).write_text(text)
    loaded = sweep.load(folder / "mine.yaml", REGISTRY)
    return build_plan(loaded, loaded.entries, folder)


def ids(planned: Plan) -> dict[str, list[str]]:
    trial = planned.trials[0]
    analyses = {stage: [a.id for a in trial.analyses if a.stage == stage] for stage in ("moved", "detection")}
    return {"train": [trial.id], **analyses}


def test_the_hash_of_a_file_enters_what_it_computes_and_nothing_else(tmp_path: Path) -> None:
    files, base = shown(), ids(plan(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    assert ids(plan(tmp_path / "elsewhere")) == base
    other_stage = ids(plan(tmp_path, **{"moved.py": files["moved.py"] + "# a comment\n"}))
    assert not set(other_stage["moved"]) & set(base["moved"])
    assert (other_stage["train"], other_stage["detection"]) == (base["train"], base["detection"])
    other_score = ids(plan(tmp_path, **{"late.py": files["late.py"] + "# a comment\n"}))
    assert not set(other_score["detection"]) & set(base["detection"])
    assert (other_score["train"], other_score["moved"]) == (base["train"], base["moved"])


def test_memlocs_own_analyses_keep_their_ids_beside_plugins(tmp_path: Path) -> None:
    named = shown()["mine.yaml"].replace("detection: {}", "detection: {scores: [aum, loss]}")
    with_plugins = ids(plan(tmp_path, **{"mine.yaml": named}))["detection"]
    without = named.replace("plugins: [moved.py, late.py]\n", "").replace("moved: [{}, {epoch: 1}]", "evaluate: {}")
    assert ids(plan(tmp_path, **{"mine.yaml": without}))["detection"] == with_plugins
    assert ids(plan(tmp_path))["detection"] != with_plugins


THERE = """
import pickle, sys
for a in pickle.loads(open(sys.argv[1], "rb").read()):
    kind = a.kind
    print(a.stage, type(a.config).__name__, dict(a.config), [s.name for s in getattr(kind, "scores", ()) if s.code])
"""


def test_the_text_travels_to_another_process(tmp_path: Path) -> None:
    analyses = plan(tmp_path).trials[0].analyses
    pickled = tmp_path / "analyses"
    pickled.write_bytes(cloudpickle.dumps(analyses))
    for name in ("moved.py", "late.py"):
        (tmp_path / name).unlink()
    done = python(os.environ, "-c", THERE, str(pickled))
    assert done.code == 0, done.err
    assert done.out.splitlines()[:2] == ["moved MovedConfig {'epoch': 3} []", "moved MovedConfig {'epoch': 1} []"]
    assert done.out.splitlines()[2].endswith("['late_loss']")


# --- mistakes ---------------------------------------------------------------------------------------------------------

STAGE = """
from memloc.stages.base import Stage
from memloc.stages.columns import FLOAT, of_analysis
class Mine(Stage):
    name, version = "mine", 1
    tables = {"mine": of_analysis(("x", FLOAT))}
    def run(self, config, inputs, part):
        return {"mine": {"x": [1.0]}}
STAGE = Mine()
"""
SCORE = "from memloc.stages.detection.scores import Score\nSCORE = Score('mine', lambda tables: [0.0])\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STAGE.replace('"mine", 1', '"flips", 1'), "stage flips: memloc has one of this name; rename yours"),
        (STAGE.replace('"mine", 1', '"Mine", 1'), "stage Mine: name 'Mine'; valid: a-z, 0-9 and _, other than train"),
        (STAGE.replace('"mine", 1', '"mine", 0'), "stage mine: version 0; valid: a whole number >= 1"),
        (STAGE.replace('{"mine": of', '{"flips": of'), "stage mine: table flips is that of another stage; rename it"),
        (STAGE.replace('{"mine": of', '{"trials": of'), "stage mine: table trials; valid: a name of its own"),
        (STAGE.replace('of_analysis(("x", FLOAT))', "{}"), "stage mine: tables; valid: {name: of_analysis("),
        (STAGE.replace("def run", "def go"), "stage mine: has no method run(config, inputs, part)"),
        (SCORE.replace("mine", "aum"), "score aum: memloc has one of this name; rename yours"),
        (SCORE.replace("mine", "noisy"), "score noisy: a column of the leaderboard has this name"),
        (SCORE.replace("mine", "my score"), "score my score: valid: a-z, 0-9 and _"),
        ("import nothing_at_all\n", "cannot be loaded: ModuleNotFoundError"),
        ("def (:\n", "is not Python: SyntaxError"),
    ],
)
def test_what_is_wrong_with_a_plugin(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "own.py").write_text(text)
    (tmp_path / "mine.yaml").write_text(shown()["mine.yaml"].replace("[moved.py, late.py]", "\n  - own.py\n"))
    with pytest.raises(UsageError) as caught:
        sweep.load(tmp_path / "mine.yaml", REGISTRY)
    assert caught.value.problems[0].startswith(f"{tmp_path}/mine.yaml:2:plugins.0: {tmp_path}/own.py: {said}")


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("own.py", "1:plugins: 'own.py' is not valid; valid: a list of Python files and modules"),
        ("[3]", "1:plugins: [3] is not valid"),
        ("[lost.py]", "1:plugins.0: {folder}/lost.py: no such file"),
        ("[no.such.module]", "1:plugins.0: no.such.module: no such module"),
    ],
)
def test_what_is_wrong_with_the_list(tmp_path: Path, listed: str, said: str) -> None:
    (tmp_path / "mine.yaml").write_text(shown()["mine.yaml"].replace("[moved.py, late.py]", listed))
    with pytest.raises(UsageError) as caught:
        sweep.load(tmp_path / "mine.yaml", REGISTRY)
    assert caught.value.problems[0].startswith(f"{tmp_path}/mine.yaml:{said.format(folder=tmp_path)}")


def test_errors_of_a_plugins_fields_are_told_at_their_line(tmp_path: Path) -> None:
    for name, text in shown().items():
        (tmp_path / name).write_text(text.replace("[{}, {epoch: 1}]", "[{epoch: 7}, {epok: 1}]"))
    with pytest.raises(UsageError) as caught:
        sweep.load(tmp_path / "mine.yaml", REGISTRY)
    assert [p.removeprefix(f"{tmp_path}/").partition(";")[0].partition(" (did")[0] for p in caught.value.problems] == [
        "mine.yaml:7:blocks.distances.stages.moved.1.epok: unknown field",
        "mine.yaml:7:blocks.distances.stages.moved.0.epoch: 7 is beyond the last epoch 3",
    ]


def test_a_score_that_needs_a_stage_says_so(tmp_path: Path) -> None:
    files = shown()
    needing = files["late.py"].replace("late_loss)", 'late_loss, stage="moved")')
    named = files["mine.yaml"].replace("detection: {}", "detection: {scores: [late_loss]}")
    with_stage = plan(tmp_path, **{"late.py": needing, "mine.yaml": named}).trials[0].analyses
    moved, detection = ([a for a in with_stage if a.stage == stage] for stage in ("moved", "detection"))
    assert [a.reads for a in detection] == [(a.id,) for a in moved]  # one for each configuration that it reads
    with pytest.raises(UsageError, match=r"late_loss needs the stage moved; add `moved: \{\}` to the stages of this block"):
        plan(tmp_path, **{"late.py": needing, "mine.yaml": named.replace("moved: [{}, {epoch: 1}]", "evaluate: {}")})


def test_a_score_of_another_length_fails_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(SCORE)
    (tmp_path / "mine.yaml").write_text(
        "plugins: [own.py]\ndefaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 50, epochs: 1, noise: 0.1}\n"
        "blocks: {a: {stages: {detection: {}}}}\n"
    )
    done = memloc(tmp_path, "sweep", str(tmp_path / "mine.yaml"), "--store", str(tmp_path / "s"), "--executor", "inline")
    assert done.code == 1
    assert (
        "score mine: shape (1,); valid: a finite number or NaN for each of the 50 training examples" in done.err + done.out
    )


PARTS = "    def parts(self, config, train, size):\n        "


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (PARTS + "return [{'layer': g} for g in size.layers]", "parts raises AttributeError: 'Size' object has no"),
        (PARTS + "return []", "parts gives []; valid: at least one {name: text or whole number}"),
        (PARTS + "return [{'layer': 0.5}]", "parts gives [{'layer': 0.5}]; valid: at least one"),
        (PARTS + "raise SystemExit(3)", "parts raises SystemExit: 3 (own.py:8: raise SystemExit(3))"),
        (
            "    def resolve(self, config, train):\n        return config",
            "resolve raises TypeError: Mine.resolve() takes 3 positional arguments but 4 were given; valid: def "
            "resolve(self, config, train, beside)",
        ),
        (
            "    def resolve(self, config, train, beside=()):\n        return config.epok",
            "resolve raises AttributeError: ",
        ),
        ("    def trainings(self, config, train, n):\n        yield train.epok", "trainings raises AttributeError: "),
        ("    def rows(self, config, size):\n        return {'mine': 1 // 0}", "rows raises ZeroDivisionError: "),
        ("    def epochs(self, config, train, part):\n        return part['epoch']", "epochs raises KeyError: 'epoch'"),
    ],
)
def test_a_bug_in_what_a_plan_calls_is_said_in_a_line(tmp_path: Path, method: str, said: str) -> None:
    done = mine(tmp_path, STAGE.replace("    def run", f"{method}\n    def run"), "--dry-run")
    (line,) = done.err.splitlines()
    assert (done.code, line.startswith(f"memloc: {tmp_path}/own.py: stage mine: {said}")) == (2, True), line


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('{"other": {"x": [1.0]}}', "run gives a table 'other'; its `tables` has mine"),
        ('{"mine": {"y": [1.0]}}', "run gives no column 'x' in table mine; valid: x"),
        ('{"mine": {"x": [1.0], "y": [1.0]}}', "run gives a column 'y' in table mine; valid: x"),
        ('[{"x": 1.0}]', "run gives [{'x': 1.0}]; valid: {table: {column: values}}"),
        ("exit(3)", "run raises SystemExit: 3 (own.py:8: return exit(3))"),
    ],
)
def test_rows_that_a_stage_does_not_have_are_said(tmp_path: Path, given: str, said: str) -> None:
    done = mine(tmp_path, STAGE.replace('{"mine": {"x": [1.0]}}', given))
    assert done.code == 1
    assert f"OwnCodeError: {tmp_path}/own.py: stage mine: {said}" in " ".join((done.err + done.out).split())


def test_the_rows_of_a_stage_of_ones_own_are_what_it_gives(tmp_path: Path) -> None:
    """`run_together` and `trainings` may be methods that give one result after the other."""
    together = (
        "    def run_together(self, config, inputs, parts):\n        for part in parts:\n"
        "            yield {'mine': {'x': [2.0]}}\n"
    )
    seeds = (
        "    def trainings(self, config, train, n):\n        yield train\n"
        "        yield train.model_copy(update={'seed': 7})\n"
    )
    text = STAGE.partition("    def run")[0] + together + seeds + "STAGE = Mine()\n"
    assert mine(tmp_path, text).code == 0
    assert [row["x"] for row in read_table(Store(str(tmp_path / "s")), "mine").to_pylist()] == [2.0, 2.0]


def mine(folder: Path, text: str, *more: str, stage: str = "mine", asked: str = "") -> Finished:
    """A sweep with a stage of this file, or with one that takes something of it."""
    (folder / "own.py").write_text(text)
    (folder / "mine.yaml").write_text(
        "plugins: [own.py]\ndefaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 50, epochs: 1, noise: 0.1}\n"
        f"blocks: {{a: {{stages: {{{stage}: {{{asked}}}}}}}}}\n"
    )
    return memloc(folder, "sweep", str(folder / "mine.yaml"), "--store", str(folder / "s"), "--executor", "inline", *more)


def test_a_score_that_leaves_python_fails_with_a_reason(tmp_path: Path) -> None:
    done = mine(tmp_path, f"import sys\n{SCORE.replace('[0.0]', 'sys.exit(3)')}", stage="detection")
    assert done.code == 1
    said = f"OwnCodeError: {tmp_path}/own.py: score mine raises SystemExit: 3 (own.py:3: SCORE = Score("
    assert said in " ".join((done.err + done.out).split())


CHECKS = """
from typing import Annotated
from pydantic import AfterValidator, model_validator
from memloc.config import StageConfig

def even(value):
    EVEN
    return value

class Checked(StageConfig):
    a: Annotated[int, AfterValidator(even)] = 2
    "A number. [mine]"
    b: intDEFAULT
    "Another. [mine]"

    @model_validator(mode="after")
    def both(self):
        BOTH
        return self
"""


@pytest.mark.parametrize(
    ("changes", "asked", "said"),
    [
        ({"EVEN": "1 / 0"}, "a: 3", "{folder}/own.py: field a raises ZeroDivisionError: division by zero (own.py:7: 1 / 0)"),
        ({"EVEN": "exit(3)"}, "a: 3", "{folder}/own.py: field a raises SystemExit: 3 (own.py:7: exit(3))"),
        ({"EVEN": "raise ValueError('odd')"}, "a: 3", "{folder}/mine.yaml:3:blocks.a.stages.mine.a: 3 is not valid: odd"),
        ({"BOTH": "1 / 0"}, "", "{folder}/own.py: Checked raises ZeroDivisionError: division by zero (own.py:18: 1 / 0)"),
        ({"BOTH": "quit(3)"}, "", "{folder}/own.py: Checked raises SystemExit: 3 (own.py:18: quit(3))"),
        ({"BOTH": "raise ValueError('a is b')"}, "", "{folder}/mine.yaml:3:blocks.a.stages.mine: a is b"),
        (
            {"DEFAULT": ""},
            "",
            "{folder}/mine.yaml:3:blocks.a.stages.mine.b: has no value and no default; valid: a whole num",
        ),
    ],
)
def test_checks_of_a_configuration_of_ones_own(tmp_path: Path, changes: dict[str, str], asked: str, said: str) -> None:
    checks = CHECKS
    for word, usual in (("EVEN", "pass"), ("BOTH", "pass"), ("DEFAULT", " = 1")):
        checks = checks.replace(word, changes.get(word, usual))
    text = checks + STAGE.replace('"mine", 1', '"mine", 1\n    config = Checked')
    done = mine(tmp_path, text, "--dry-run", asked=asked)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"memloc: {said.format(folder=tmp_path)}")
    assert len(done.err.splitlines()) == 1


LATE = """
from torch import nn

class Late(nn.Module):
    "Fails in training, in a batch of another size than those by which memloc looks at it."
    def __init__(self, channels, height, width, classes):
        super().__init__()
        self.fc = nn.Linear(channels * height * width, classes)

    def forward(self, x):
        if x.isfinite().all() and x.shape[0] == 50:
            FAILS
        return self.fc(x.flatten(1))

def make(*size):
    return nn.Sequential(nn.Identity(), Late(*size))  # one operation, for it branches on values
"""


@pytest.mark.parametrize("fails", ["exit(3)", "raise SystemExit(0)", "raise KeyError('x')"])
def test_a_network_that_fails_late_is_said_in_a_line(tmp_path: Path, fails: str) -> None:
    """While a step is timed, before the sweep begins."""
    (tmp_path / "nets.py").write_text(LATE.replace("FAILS", fails))
    (tmp_path / "late.yaml").write_text(
        'defaults: {dataset: digits, model: "python:nets.py:make", subset: 50, epochs: 1, noise: 0.1, batch_size: 50}\n'
        "blocks: {a: {stages: {evaluate: {}}}}\n"
    )
    done = memloc(tmp_path, "sweep", str(tmp_path / "late.yaml"), "--store", str(tmp_path / "s"), "--executor", "inline")
    *_, line = done.err.splitlines()
    kind = "KeyError: 'x'" if "KeyError" in fails else "SystemExit: "
    assert (done.code, line.startswith(f"memloc: {tmp_path}/nets.py: raises {kind}")) == (2, True), line
    assert line.endswith(f"(nets.py:12: {fails})")


def test_a_network_that_leaves_python_in_a_sweep_fails_its_training(tmp_path: Path) -> None:
    """Where nothing is timed, since the store knows how long it takes; a second sweep is in the same state."""
    (tmp_path / "nets.py").write_text(LATE.replace("FAILS", "exit(3)"))
    text = (
        'defaults: {dataset: digits, model: "python:nets.py:make", subset: 50, epochs: 1, noise: 0.1, batch_size: 50}\n'
        "blocks: {a: {stages: {evaluate: {}}}}\n"
    )
    store = Store(str(tmp_path / "s"))
    works = [work for work in pending(planned(tmp_path, text), store, store.snapshot(), "all") if work.anything]
    (said,) = carry_out(works, store, tmp_path).failures.values()
    assert said.startswith(f"OwnCodeError: {tmp_path}/nets.py: raises SystemExit: 3 (nets.py:12: exit(3))")


def test_what_ends_the_process_from_outside_ends_it(tmp_path: Path) -> None:
    """Handlers of signals raise SystemExit in the middle of whatever runs, as Ray's do."""
    (tmp_path / "own.py").write_text("def run(leave):\n    leave()\ndef out():\n    raise SystemExit(3)\n")
    code = own_code.read(str(tmp_path / "own.py"))

    def handler() -> None:
        raise SystemExit(1)

    with pytest.raises(SystemExit), own_code.staying("run"):
        code.function("run")(handler)
    for leave in (code.function("out"), exit):
        with pytest.raises(own_code.OwnCodeError), own_code.staying("run"):
            code.function("run")(leave)


# --- installed packages -----------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    """A package with the files of the page, and its entry points, as pip leaves them."""
    files = shown()
    (tmp_path / "my_notes").mkdir()
    (tmp_path / "my_notes" / "__init__.py").write_text("")
    for name in LINES:
        (tmp_path / "my_notes" / name).write_text(files[name])
    info = tmp_path / "my_notes-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-notes\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[memloc.stages]\nmoved = my_notes.moved:STAGE\nlost = my_notes.lost:STAGE\n"
        "[memloc.scores]\nlate_loss = my_notes.late:SCORE\n"
        "[memloc.methods]\nsmooth_grad = my_notes.smooth:METHOD\n[memloc.papers]\nmine = my_notes.paper:PAPER\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield files
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_notes"]:
        del sys.modules[name]


def test_plugins_of_an_installed_package(package: Mapping[str, str], caplog: pytest.LogCaptureFixture) -> None:
    codes = installed(stages.discover().values())
    assert {code.text for code in codes} == {package[name] for name in ("moved.py", "late.py", "smooth.py")}
    assert "plugin lost = my_notes.lost:STAGE is left out: my_notes.lost: no module" in caplog.text
    there = plugins.with_plugins(stages.discover(), codes, named=False)
    assert set(there) == {*stages.discover(), "moved"}
    train = REGISTRY.training.resolved(dataset="digits", model="resnet9")
    detection = there["detection"]
    assert "late_loss" not in detection.resolve(detection.config(), train).scores  # an installation changes no result
    assert detection.resolve(detection.config(scores=["aum", "late_loss"]), train).scores == ("aum", "late_loss")
    locate = there["locate"]
    assert "smooth_grad" not in locate.resolve(locate.config(), train).methods
    assert "smooth_grad" in locate.resolve(locate.config(methods=["smooth_grad"]), train).methods
    assert registry.paper("mine").id == "mine"
    with pytest.raises(UsageError, match=r"^paper mime: no such paper \(did you mean 'mine'\?\)"):
        registry.paper("mime")
    # A sweep may name the same file too.
    assert set(plugins.with_plugins(there, codes)) == set(there)


def test_a_file_without_one_paper(tmp_path: Path) -> None:
    (tmp_path / "no.py").write_text("PAPER = 3\n")
    with pytest.raises(UsageError, match=r"^paper .*no.py: has 0 papers; it needs one `Paper\(…\)` at its top level"):
        registry.paper(str(tmp_path / "no.py"))
    with pytest.raises(UsageError, match=r"^paper .*lost.py: no such file"):
        registry.paper(str(tmp_path / "lost.py"))


def test_memlocs_own_are_found_by_the_same_functions(tmp_path: Path) -> None:
    """What a file imports from memloc is not the file's own."""
    (tmp_path / "own.py").write_text(
        "from memloc.stages.flips.config import STAGE\nfrom memloc.stages.detection.scores import *\n"
    )
    code = own_code.read(str(tmp_path / "own.py"))
    taking = [stage for stage in stages.discover().values() if isinstance(stage, Extensible)]
    assert taking
    assert (list(stages_of(code)), [list(taken_of(code, stage)) for stage in taking]) == ([], [[] for _ in taking])


# --- data, and jobs elsewhere -----------------------------------------------------------------------------------------

BARS = """
import numpy as np
import memloc

class Bars:
    classes = ["standing", "lying"]
    def __len__(self):
        return 80
    def __getitem__(self, i):
        image = np.zeros((16, 16), dtype=np.uint8)
        image[(slice(None), i % 16) if i % 2 == 0 else (i % 16, slice(None))] = 255 - i
        return image, i % 2

memloc.register_dataset("bars", Bars())
"""


def test_a_plugin_may_register_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "bars.py").write_text(BARS)
    (tmp_path / "mine.yaml").write_text(
        "plugins: [bars.py]\ndefaults: {dataset: bars, model: resnet9, width: 0.0625, epochs: 1, noise: 0.1}\n"
        "blocks: {a: {stages: {detection: {}}}}\n"
    )
    done = memloc(tmp_path, "sweep", str(tmp_path / "mine.yaml"), "--store", str(tmp_path / "s"), "--executor", "inline")
    assert done.code == 0, done.err
    store = Store(str(tmp_path / "s"))
    assert read_table(store, "labels")["name"].to_pylist() == ["standing", "lying"]
    assert run_sql(store, "SELECT dataset FROM trials").to_pylist() == [{"dataset": "bars"}]


@pytest.mark.parametrize("named", ["plugins: [moved.py]", "preset: ./own.yaml"])
def test_a_job_elsewhere_that_would_lack_files_is_refused(tmp_path: Path, named: str) -> None:
    (tmp_path / "moved.py").write_text(shown()["moved.py"])
    (tmp_path / "own.yaml").write_text("training: {lr: 0.2}\n")
    (tmp_path / "mine.yaml").write_text(f"{named}\ndefaults: {{dataset: digits, model: resnet9}}\nblocks: {{a: {{}}}}\n")
    options = ("--kuberay", "--image", "memloc:1", "--store", "s3://bucket/runs", "--print")
    refused = memloc(tmp_path, "submit", str(tmp_path / "mine.yaml"), *options)
    file = "moved.py" if "moved" in named else "own.yaml"
    assert refused.code == 2
    assert f"{tmp_path}/{file}: lies on this machine, and only the sweep's file goes along with the job" in refused.err
