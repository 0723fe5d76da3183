"""Column `version` of table `trials`: from the commits, whatever the files have, and wherever the rows lie."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import memloc
from memloc.analysis.reader import known_tables
from memloc.analysis.reading import read_table, run_sql
from memloc.config import canonical, digest
from memloc.models.architectures import resolved
from memloc.stages.training.schema import TABLES, VERSION, trial_row
from memloc.store import Commit, Store
from memloc.store.compaction import compact

OLD = {"trials": TABLES["trials"].remove(TABLES["trials"].names.index("version"))}  # as memloc wrote it before


@pytest.fixture(autouse=True)
def _mixed() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*several versions")
        yield


def train(store: Store, seed: int, version: Any, old: bool) -> str:
    """A training of a version of training, whose file has the column or not; returns its id."""
    config, trial = resolved(dataset="digits", model="resnet9", epochs=2, seed=seed), digest(f"{seed}")
    row = trial_row(trial, config, 100)
    if old:
        del row["version"]
    part = {} if version is None else {"version": version}
    store.publish(
        Commit(trial, trial, None, "train", part, 0, 1, canonical(config)), {"trials": row}, OLD if old else known_tables()
    )
    return trial


@pytest.fixture(params=["files of their own", "a generation", "both"])
def versions(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, tuple[int, int | None]]:
    """{trial: (its seed, its version)} of the trainings in the store."""
    store = Store(str(tmp_path))
    cases = [
        (1, True),
        (VERSION, False),
        (1, True),
        (VERSION, True),
        (None, True),
        (VERSION, False),
        (90, False),
        ("x", True),
    ]
    made = {}
    for seed, (version, old) in enumerate(cases):
        made[train(store, seed, version, old)] = seed, version if isinstance(version, int) else None
        if request.param == "both" and seed == len(cases) // 2:
            compact(store.files)
    if request.param == "a generation":
        compact(store.files)
    return made


def test_every_row_has_the_version_of_its_commit(tmp_path: Path, versions: dict[str, tuple[int, int | None]]) -> None:
    expected = {trial: version for trial, (_, version) in versions.items()}
    store = Store(str(tmp_path))
    table, rows = read_table(store, "trials"), run_sql(store, "SELECT * FROM trials")
    assert table.equals(rows)
    assert table.column_names == TABLES["trials"].names
    assert dict(zip(table["trial"].to_pylist(), table["version"].to_pylist(), strict=True)) == expected
    trial = next(iter(versions))
    assert memloc.open_store(tmp_path).trial(trial).table("trials")["version"].to_pylist() == [expected[trial]]


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("version = 1", lambda seed, version: version == 1),
        ("version <> 1", lambda seed, version: version not in (1, None)),
        ("version IS NULL", lambda seed, version: version is None),
        ("version IN (1, 90) AND seed > 0", lambda seed, version: version in (1, 90) and seed > 0),
        ("seed >= 3", lambda seed, version: seed >= 3),
        ("dataset <> 'version' AND seed < 3", lambda seed, version: seed < 3),
    ],
)
@pytest.mark.parametrize("columns", ["seed", "seed, version", "seed, noise"])
def test_filters_see_it(
    tmp_path: Path, versions: dict[str, tuple[int, int | None]], columns: str, where: str, wanted: Any
) -> None:
    rows = run_sql(Store(str(tmp_path)), f"SELECT {columns} FROM trials WHERE {where}").to_pylist()
    expected = [(seed, version) for seed, version in versions.values() if wanted(seed, version)]
    assert sorted(row["seed"] for row in rows) == sorted(seed for seed, _ in expected)
    if "version" in columns:
        assert {(row["seed"], row["version"]) for row in rows} == set(expected)


def test_rows_are_counted_by_it(tmp_path: Path, versions: dict[str, tuple[int, int | None]]) -> None:
    store = Store(str(tmp_path))
    sql = "SELECT version, count(*) AS n FROM trials GROUP BY ALL ORDER BY version NULLS LAST"
    assert [tuple(row.values()) for row in run_sql(store, sql).to_pylist()] == [(1, 2), (VERSION, 3), (90, 1), (None, 2)]
    assert run_sql(store, "SELECT count(*) AS n FROM trials").to_pylist() == [{"n": len(versions)}]
    assert run_sql(store, "SELECT count(*) AS n FROM trials WHERE version = 1").to_pylist() == [{"n": 2}]
