"""Start-up: what is not needed is not imported; and Ray stays where it belongs."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import memloc


def imported(statement: str, *names: str) -> set[str]:
    """Which of `names` are loaded after a statement in a fresh interpreter."""
    code = f"import sys; {statement}; print(*[n for n in {names!r} if n in sys.modules])"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


HEAVY = ("torch", "ray", "pyarrow", "pandas", "duckdb", "numpy", "pydantic", "sklearn", "matplotlib", "altair", "jinja2")


def test_help_imports_nothing_heavy() -> None:
    assert imported("import memloc.commands", *HEAVY) == set()


def test_reading_a_store_does_not_import_torch_or_ray() -> None:
    read = "memloc.api, memloc.analysis.reading, memloc.analysis.sweep_status, memloc.papers.maini2023"
    assert imported(f"import {read}", "torch", "ray") == set()
    assert imported("import memloc.store.verify", "ray") == set()  # it looks into checkpoints


def test_what_a_stage_is_and_says_does_not_import_torch() -> None:
    assert imported("from memloc import stages; stages.tables()", "torch", "scipy", "sklearn", "duckdb") == set()
    assert imported("from memloc import stages; stages.instruments()", "torch", "sklearn", "duckdb") == set()


def test_listing_trainings_does_not_import_torch() -> None:
    assert imported("import memloc.analysis.trial_list, memloc.analysis.sweep_records", "torch", "ray", "timm") == set()


def test_looking_for_data_sets_does_not_import_torch() -> None:
    assert imported("import memloc.data.fetch", "torch", "ray", "scipy", "sklearn", "pooch", "requests") == set()


def test_a_bundled_data_set_and_the_list_do_not_import_torchvision() -> None:
    """It takes seconds. The named data sets ask it for checksums and addresses when they are loaded or fetched."""
    listed = "from memloc.commands import data; out, sys.stdout = sys.stdout, sys.stderr; data.list_(''); sys.stdout = out"
    for statement in ("from memloc.data import describe; describe('digits')", listed):
        assert imported(statement, "torchvision", "torch", "sklearn") == set()
    assert imported("from memloc.data import describe; describe('svhn')", "torchvision") == {"torchvision"}


def test_checking_a_sweep_file_does_not_import_torch() -> None:
    assert imported("import memloc.sweep", "torch", "ray", "pyarrow") == set()


def test_an_architectures_configuration_does_not_import_torch() -> None:
    parts = [f"memloc.models.architectures.{name}.config" for name in ("resnet9", "resnet50", "vit_small", "timm")]
    assert imported(f"import memloc.models, {', '.join(parts)}", "torch", "ray", "timm") == set()


def test_statistics_need_nothing_of_memloc() -> None:
    others = ("memloc.config", "memloc.errors", "memloc.seeds", "memloc.stages", "memloc.store", "torch", "sklearn")
    assert imported("import memloc.statistics", *others, "scipy") == {"scipy"}


def test_a_coordinator_does_not_import_torch() -> None:
    assert imported("import memloc.run.ray.coordinator", "torch", "ray") == {"ray"}


def test_only_run_ray_imports_ray() -> None:
    names = [m.name for m in pkgutil.walk_packages(memloc.__path__, "memloc.") if m.name != "memloc.__main__"]
    rest = [n for n in names if not n.startswith("memloc.run.ray")]
    assert len(rest) > 40
    assert len(names) - len(rest) == 8
    assert imported("import " + ", ".join(rest), "ray", "torch") == {"torch"}
