"""A part that fails: it is tried again, then recorded, and everything else goes on. On Ray: test_cluster_slow.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import shared
from tests.run.programs import SMALL, assert_same, contents, memloc


def trained(factory: pytest.TempPathFactory, folder: Path) -> Path:
    """A store in the folder, with the trainings of the small sweep, before any analysis."""

    def make(home: Path) -> None:
        text = SMALL.read_text()
        bare = home / "small.yaml"
        bare.write_text(
            text[: text.index("    stages:")] + text[text.index("  tied:") :].replace("    stages: {evaluate: {}}\n", "")
        )
        done = memloc(home, "sweep", str(bare), "--executor", "inline", "--store", str(home / "store"))
        assert done.code == 0, done.err

    return Path(shutil.copytree(shared(factory, "trained", make) / "store", folder / "store"))


def failed_and_gone_on(folder: Path, store: Path, whole: Path, *executor: str, **environ: str) -> None:
    """Damages a checkpoint of a store of trainings, and goes on with it. whole: the store of the small sweep.

    executor, environ: options and variables of the sweep that meets the damage.
    """
    victim = sorted(store.glob("checkpoints/*/epoch-0001.safetensors"))[0]
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)  # same size: only whoever reads it can notice
    arguments = ("sweep", str(SMALL), "--only", "block=standard", "--store", str(store))
    if victim.parent.name not in contents(whole)["rewind"].column("trial").to_pylist():
        pytest.fail("the victim must be a trial that is rewound")
    done = memloc(folder, *arguments, *executor, **environ)
    assert done.code == 1
    assert "1 part failed" in done.err
    assert "was changed since it was committed" in done.err
    status = memloc(folder, "status", "small", "--store", str(store))
    assert "Traceback (most recent call last)" in status.out
    assert victim.name in status.out
    rewound = contents(store)["rewind"]
    assert rewound.num_rows == 9 * 4  # the other trial's, complete
    # What verify sets aside, the next sweep recomputes; then everything is as if nothing had happened.
    assert memloc(folder, "store", "verify", "--store", str(store)).code == 3
    assert memloc(folder, "sweep", str(SMALL), "--executor", "inline", "--store", str(store)).code == 0
    assert_same(whole, store)
    assert "failed:" not in memloc(folder, "status", "small", "--store", str(store)).out


def test_a_failed_part_is_retried_then_recorded_while_the_rest_goes_on(
    tmp_path: Path, small_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    failed_and_gone_on(tmp_path, trained(tmp_path_factory, tmp_path), small_store, "--executor", "inline")
