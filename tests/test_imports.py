"""Start-up: what is not needed is not imported; and Ray stays where it belongs.

Many statements share a process, because importing the same again and again takes long. What a statement loads stays loaded.
So a test that says what is not there says it of the statements before as well.
"""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import memloc
from memloc.store import Store

HEAVY = ("torch", "ray", "pyarrow", "pandas", "duckdb", "numpy", "pydantic", "sklearn", "altair", "vl_convert", "jinja2")

CONFIGS = [f"memloc.models.architectures.{name}.config" for name in ("resnet9", "resnet50", "vit_small", "python", "timm")]
# What takes no torch: {what is done: its statement}, that which needs least first.
LIGHT = {
    "help": "import memloc.commands",
    "a sweep file": "import memloc.sweep",
    "architectures": f"import memloc.models, {', '.join(CONFIGS)}",
    "data sets": "import memloc.data.fetch",
    "digits": "from memloc.data import describe; describe('digits')",
    "list of data": "from memloc.commands import data; data.list_('')",
    "tables": "from memloc import stages; stages.tables()",
    "instruments": "stages.instruments()",
    "list of trainings": "import memloc.analysis.trial_list, memloc.analysis.sweep_records",
    "reading": "import memloc.api, memloc.analysis.reading, memloc.analysis.sweep_status, memloc.papers.maini2023",
    "coordinator": "import memloc.run.ray.coordinator",
}

NAMES = [m.name for m in pkgutil.walk_packages(memloc.__path__, "memloc.") if m.name != "memloc.__main__"]
REST = [n for n in NAMES if not n.startswith("memloc.run.ray")]
SWEEP = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 20, noise: 0.1, epochs: 1, batch_size: 10}
blocks:
  all:
    stages:
     {gradients: {}, rewind: {}, retrain: {epochs: 1}, evaluate: {}, flips: {clean: 1, noisy: 1, max_neurons: 1, repeats: 1}}
"""
PROGRAM = """
import contextlib, json, sys
loaded, found = {}, {}
for name, statement in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(sys.stderr):
        try:
            exec(statement, found)
        except SystemExit as ended:
            assert not ended.code, name
    loaded[name] = list(sys.modules)
print(json.dumps(loaded))
"""


def modules(statements: dict[str, str]) -> dict[str, set[str]]:
    """{name: the modules that are loaded after its statement}, of a fresh interpreter that executes them in this order."""
    program = [sys.executable, "-c", PROGRAM, json.dumps(statements)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: set(loaded) for name, loaded in json.loads(done.stdout).items()}


@pytest.fixture(scope="module")
def light() -> dict[str, set[str]]:
    return modules(LIGHT)


def test_help_imports_nothing_heavy(light: dict[str, set[str]]) -> None:
    assert light["help"] & set(HEAVY) == set()


def test_neither_torch_nor_ray_is_imported(light: dict[str, set[str]]) -> None:
    """By what checks a sweep file, looks for data sets, says what a stage is, lists trainings or reads a store."""
    assert list(light)[-2:] == ["reading", "coordinator"]
    assert light["reading"] & {"torch", "torchvision", "timm", "ray", "sklearn"} == set()


def test_a_coordinator_does_not_import_torch(light: dict[str, set[str]]) -> None:
    assert light["coordinator"] & {"torch", "ray"} == {"ray"}


def test_checking_a_sweep_file_does_not_import_pyarrow(light: dict[str, set[str]]) -> None:
    assert light["architectures"] & {"pyarrow", "pandas", "scipy"} == set()


def test_looking_for_data_sets_imports_no_downloader(light: dict[str, set[str]]) -> None:
    assert light["list of data"] & {"scipy", "pooch", "requests"} == set()


def test_what_a_stage_is_and_says(light: dict[str, set[str]]) -> None:
    assert light["tables"] & {"scipy", "duckdb"} == set()
    assert "duckdb" not in light["instruments"]


def test_statistics_need_nothing_of_memloc() -> None:
    loaded = modules({"statistics": "import memloc.statistics"})["statistics"]
    others = {"memloc.config", "memloc.errors", "memloc.seeds", "memloc.stages", "memloc.store", "torch", "sklearn", "scipy"}
    assert loaded & others == {"scipy"}


def test_only_run_ray_imports_ray(tmp_path: Path) -> None:
    """Neither a stage nor a dry run imports torch's compiler without `compile`: it takes as long as torch.

    SVHN asks torchvision.
    """
    at = f"Path({str(tmp_path)!r})"
    dry_run = ["memloc", "sweep", str(tmp_path / "tiny.yaml"), "--dry-run", "--store", str(tmp_path / "none")]
    loaded = modules(
        {
            "rest": "import " + ", ".join(REST),
            "stages": f"from tests.conftest import *; run_inline({at}, {SWEEP!r}, Store(str({at} / 'store')))",
            "dry run": f"import sys; from memloc.commands import main; sys.argv = {dry_run!r}; main()",
            "svhn": "from memloc.data import describe; describe('svhn')",
        }
    )
    assert len(REST) > 40
    assert len(NAMES) - len(REST) == 18
    assert loaded["rest"] & {"ray", "torch"} == {"torch"}
    assert loaded["dry run"] & {"ray", "torch._dynamo", "torchvision"} == set()
    assert "torchvision" in loaded["svhn"]  # its checksums and addresses
    stages = {commit.stage for commit in Store(str(tmp_path / "store")).snapshot().commits.values()}
    assert stages == {"train", "gradients", "rewind", "retrain", "evaluate", "flips"}


def test_a_driver_on_ray_does_not_import_torch(tmp_path: Path) -> None:
    """It plans, looks at this machine and prices networks that no store knows, and another process has torch meanwhile."""
    (tmp_path / "tiny.yaml").write_text(SWEEP, encoding="utf-8")
    launch = ["memloc", "sweep", str(tmp_path / "tiny.yaml"), "--dry-run", "--json", "--store", str(tmp_path / "none")]
    price = """
from pathlib import Path
from memloc import sweep
from memloc.run.estimate import price_on
from memloc.run.executor import Capacity
from memloc.run.pending import pending
from memloc.run.planner import build_plan
from memloc.run.schedule import Slots
from memloc.stages import REGISTRY
from memloc.store import Store
here = Path(FOLDER)
loaded, store = sweep.load(here / "tiny.yaml", REGISTRY), Store(str(here / "store"))
works = pending(build_plan(loaded, loaded.entries, here), store, store.snapshot(), "all")
plan = price_on(works, store.snapshot(), here, Capacity("cpu", Slots(1), None, True, None))
assert plan.trials[0].train > 0 and "timed on this machine" in plan.basis
"""
    loaded = modules(
        {
            "driver": "import memloc.run.ray",
            "dry run": f"import sys; from memloc.commands import main; sys.argv = {launch!r}; main()",
            "prices": price.replace("FOLDER", repr(str(tmp_path))),
            "cifar10": "from memloc.data import describe; describe('cifar10')",
        }
    )
    assert loaded["cifar10"] & {"torch", "torchvision", "ray"} == {"ray"}
