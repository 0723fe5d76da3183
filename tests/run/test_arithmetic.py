"""A training goes on only where the same bits come out: same processor, same build, same variables that choose kernels."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from memloc.run import arithmetic
from memloc.run.provenance import numerics
from memloc.run.replay import differences
from tests.run.programs import python
from tests.run.test_resume import Place, T

CPU, GPU = torch.device("cpu"), torch.device("cuda")
INTEL = (
    "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Xeon\ncache size\t: 33792 KB\nflags\t\t: fpu"
)
ARM = "processor\t: 0\nFeatures\t: fp asimd sve\nCPU implementer\t: 0x41\nCPU variant\t: 0x1\nCPU part\t: 0xd40\n"
AT_PLACE = """
import json, sys
from pathlib import Path
from tests.run.test_resume import Place
went_on, fresh = (Place(Path(home), {"augment": "none"}) for home in sys.argv[1:])
told = [went_on.train()[1], fresh.train()[1]]
print(json.dumps([told, went_on.hashes(), fresh.hashes()]))
"""


def test_another_instruction_set_begins_anew(tmp_path: Path) -> None:
    """The rest of a training under `DNNL_MAX_CPU_ISA` was of other bits than its beginning."""
    here = Place(tmp_path / "here", {"augment": "none"})
    here.train()
    stopped = Place(tmp_path / "stopped", {"augment": "none"})
    stopped.train(should_stop=lambda: True)
    stopped.train(should_stop=lambda: True)
    environment = {**os.environ, "DNNL_MAX_CPU_ISA": "SSE41"}
    done = python(environment, "-c", AT_PLACE, str(stopped.home), str(tmp_path / "fresh"))
    assert done.code == 0, done.err
    told, went_on, fresh = json.loads(done.out.splitlines()[-1])
    if fresh == [list(pair) for pair in here.hashes()]:
        pytest.skip("DNNL_MAX_CPU_ISA changes no bits on this CPU")
    assert went_on == fresh
    told_of = stopped.store.snapshot().commits[stopped.trial.id].where["arithmetic"]["environment"]
    assert told_of["DNNL_MAX_CPU_ISA"] == "SSE41"  # the surroundings may set more
    assert told == [list(range(T + 1))] * 2


def test_every_variable_that_chooses_kernels_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    for device, names in ((CPU, arithmetic.CPU_VARIABLES), (GPU, arithmetic.GPU_VARIABLES)):
        for name in (*names, "TORCHINDUCTOR_FREEZING"):
            monkeypatch.delenv(name, raising=False)  # the surroundings may set it
            before = numerics(device)
            with monkeypatch.context() as changed:
                changed.setenv(name, "another")
                assert numerics(device) != before, name
            with monkeypatch.context() as changed:
                changed.setenv(name, "")
                changed.delenv(name)
                for harmless in (
                    "DNNL_VERBOSE",
                    "OMP_NUM_THREADS",
                    "TORCHINDUCTOR_CACHE_DIR",
                    "TORCHINDUCTOR_COMPILE_THREADS",
                ):
                    changed.setenv(harmless, "1")
                assert numerics(device) == before, name


def test_the_workspace_that_a_training_sets_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = numerics(GPU)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    assert numerics(GPU) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("GenuineIntel", "AuthenticAMD"),
        lambda text: text.replace(": 85", ": 143"),
        lambda text: text.replace("family\t: 6", "family\t: 25"),
        lambda text: text.replace("Xeon", "Xeon Platinum"),
        lambda text: text.replace("33792", "16384"),
        lambda text: text.replace("fpu", "fpu avx512_vnni"),
        lambda text: text.replace("fpu", "fpu amx_bf16"),
        lambda text: ARM,
    ],
)
def test_what_tells_processors_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: Callable[[str], str]) -> None:
    """All of these can report the same capability to torch."""

    def on(text: str) -> str:
        path = tmp_path / "cpuinfo"
        path.write_text(text)
        monkeypatch.setattr(arithmetic, "CPU_INFO", path)
        arithmetic.processor.cache_clear()
        return numerics(CPU)

    try:
        assert on(INTEL) != on(change(INTEL))
        assert on(INTEL) == on(
            INTEL.replace("fpu", "fpu smep hypervisor") + "\nstepping\t: 7\ncpu MHz\t: 2100.000\n\n" + ARM
        )
        assert on(ARM) != on(ARM.replace("0xd40", "0xd4f"))
        assert on(ARM) != on(ARM.replace("sve", "sve sve2"))
    finally:
        arithmetic.processor.cache_clear()


def test_training_again_elsewhere_says_what_is_different_there() -> None:
    committed = {
        "device_name": "x86_64 AVX512",
        "git": "1",
        "arithmetic": {"cpu": "one", "environment": {"MKL_CBWR": "AVX2"}},
    }
    now = {"device_name": "x86_64 AVX512", "git": "1", "arithmetic": {"cpu": "other", "environment": {}}}
    assert differences(committed, now) == (
        'committed under {"arithmetic.cpu":"one","arithmetic.environment.MKL_CBWR":"AVX2"}, '
        'now under {"arithmetic.cpu":"other"}'
    )
    assert differences(now, now) == "its device, versions and environment are the same as when it was committed"
