"""What the doctor says of machines: every finding from facts made by hand, and facts of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from memloc.run.diagnosis import Finding, Machines, Needs, Seen, findings
from memloc.run.node_facts import Disk, Gpu, NodeFacts, StoreView, code, node_facts, versions
from memloc.store import Store, probing
from memloc.store.probing import Probe

GB = 10**9
VERSIONS = {"memloc": "1 (aaaaaaaa)", "python": "3.11.7", "torch": "2.9", "ray": "2.60", "pyarrow": "22"}
PROBE = Probe("tmp/probe-0", b"x", ahead=0.4, within=1.0, made=False)
VIEW = StoreView(probe=PROBE, disk=Disk("/data/store", 1000 * GB, 500 * GB))
GOOD = NodeFacts("a", VERSIONS, (Gpu("H200", 140 * GB, 139 * GB),), Disk("/tmp/ray", 100 * GB, 50 * GB), VIEW)
NEEDS = Needs(20 * GB, "a training of resnet50", 100 * GB)


def said(machines: Machines, needs: Needs = NEEDS, state: str = "wrong") -> list[tuple[str, str]]:
    return [(f.check, f.says) for f in findings(machines, needs) if f.state == state]


def cluster(*nodes: NodeFacts | Seen, uri: str = "/data/store") -> Machines:
    seen = [node if isinstance(node, Seen) else Seen(node, offer={"GPU": 1.0}) for node in nodes]
    return Machines(GOOD, dict(zip("abcdef", seen, strict=False)), uri)


def test_all_fine() -> None:
    every = list(findings(cluster(GOOD, GOOD), NEEDS))
    assert {f.state for f in every} == {"ok"}
    assert [f.check for f in every] == ["versions", "store", "GPUs", "clocks", "disk of the store", "disk of Ray"]
    assert every[1] == Finding("store", "ok", "/data/store: 2 nodes and the driver read and write it")
    assert every[2].says == "2 × H200 (140 GB); a training of resnet50 needs at least 20.0 GB"
    assert [f.state for f in findings(Machines(replace(GOOD, gpus=())), Needs())] == ["ok"] * 6


def test_an_accelerator_that_is_not_used_is_noted() -> None:
    mac = replace(GOOD, gpus=(), unused="Apple's mps")
    says = "memloc does not train on Apple's mps; a sweep here takes --device cpu"
    assert said(Machines(mac), Needs(), "note") == [("GPUs", says)]
    assert said(Machines(mac, {"a": Seen(GOOD, offer={"GPU": 1.0})}), Needs(), "note") == []


def test_a_node_that_does_not_answer_is_named_and_the_others_are_looked_at() -> None:
    machines = cluster(Seen(None, "ModuleNotFoundError: No module named 'memloc'"), GOOD)
    assert said(machines) == [("node", "a: ModuleNotFoundError: No module named 'memloc'")]


def test_versions_differ() -> None:
    other = replace(GOOD, versions={**VERSIONS, "torch": "2.8", "memloc": "1 (bbbbbbbb)"})
    assert said(cluster(GOOD, other)) == [
        ("versions", "b: has memloc 1 (bbbbbbbb), the driver 1 (aaaaaaaa); install the same on every node"),
        ("versions", "b: has torch 2.8, the driver 2.9; install the same on every node"),
    ]


def test_a_folder_of_the_nodes_own() -> None:
    apart = Seen(replace(GOOD, store=replace(VIEW, sees_driver=False)), is_seen=False)
    ((check, says),) = said(cluster(GOOD, apart))
    assert check == "store"
    assert says.startswith("b: /data/store is another folder there than on the driver's node; name a folder that all")
    deaf = Seen(replace(GOOD, store=replace(VIEW, sees_driver=False)))
    assert "it does not see what the driver writes to /data/store" in said(cluster(deaf))[0][1]
    mute = Seen(GOOD, is_seen=False)
    assert "the driver does not see what it writes to /data/store" in said(cluster(mute))[0][1]
    shut = replace(GOOD, store=StoreView("store /data/store: tmp/x cannot be written: Read-only", False))
    assert said(cluster(GOOD, shut)) == [("store", "b: store /data/store: tmp/x cannot be written: Read-only")]


def test_gpus() -> None:
    small = replace(GOOD, gpus=(Gpu("T4", 16 * GB, 15 * GB),))
    assert said(cluster(small))[0][1].startswith(
        "a: T4 has 16 GB, and a training of resnet50 needs at least 20.0 GB; take a"
    )
    busy = replace(GOOD, gpus=(Gpu("H200", 140 * GB, 10 * GB),))
    assert said(cluster(busy))[0][1].startswith("a: H200: 10 of 140 GB are free, and a training of resnet50 needs")
    blind = Seen(replace(GOOD, gpus=()), offer={"GPU": 8.0})
    assert said(cluster(blind)) == [("GPUs", "a: Ray hands out 8 GPUs there, and torch sees 0; install torch for its GPUs")]


@pytest.mark.parametrize(("ahead", "way"), [(400.0, "400 s behind"), (-400.0, "400 s ahead of")])
def test_a_clock_that_is_far_off_is_a_note_on_a_disk_and_wrong_on_an_object_store(ahead: float, way: str) -> None:
    off = replace(GOOD, store=replace(VIEW, probe=replace(PROBE, ahead=ahead)))
    assert said(cluster(GOOD, off)) == []
    assert said(cluster(GOOD, off), state="note")[0][1].startswith(f"b: its clock is {way} the storage's")
    assert said(cluster(GOOD, off, uri="s3://bucket/runs"))[0][1].endswith("refuse requests that are 15 minutes off")
    slow = replace(GOOD, store=replace(VIEW, probe=replace(PROBE, ahead=ahead, within=200.0)))  # known too badly to say
    assert said(cluster(slow), state="note") == []


def test_disks() -> None:
    assert said(cluster(GOOD), replace(NEEDS, store_bytes=600 * GB))[0][0] == "disk of the store"
    full = replace(GOOD, temporary=Disk("/tmp/ray", 1000 * GB, 40 * GB))  # Ray stops at 95 %
    assert said(cluster(GOOD, full))[0][1].startswith("b: /tmp/ray: 40.0 of 1000 GB are free; make room")
    assert said(Machines(full))[0][1].startswith("/tmp/ray: 40.0")


def test_facts_of_this_machine(tmp_path: Path) -> None:
    store = tmp_path / "a" / "store"
    facts = node_facts(str(store), None, str(tmp_path / "none"))
    assert facts.store.problem == ""
    assert facts.store.probe is not None
    assert abs(facts.store.probe.ahead) <= facts.store.probe.within
    assert facts.temporary.total == shutil.disk_usage(tmp_path).total
    files = Store(str(store)).files
    assert probing.is_seen(files, facts.store.probe)
    probing.remove(files, facts.store.probe)
    assert not store.exists()  # the doctor leaves no empty folder that looks like a lost store
    assert sys.version.split()[0] == versions()["python"]


def test_another_folder_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PAUSE", 0.0)
    probe = probing.write(Store(str(tmp_path / "here")).files)
    assert node_facts(str(tmp_path / "there"), probe, "/tmp").store.sees_driver is False
    assert node_facts(str(tmp_path / "here"), probe, "/tmp").store.sees_driver is True


def test_a_folder_of_others_stays(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    store.files.put("tmp/of-somebody", b"1")
    probing.remove(store.files, probing.write(store.files))
    assert os.listdir(tmp_path / "store" / "tmp") == ["of-somebody"]


def test_the_hash_of_the_code_differs_where_the_code_does(tmp_path: Path) -> None:
    """In a copy of the package, and in one with a changed comment."""
    root = Path(sys.modules["memloc"].__file__ or "").parent
    shutil.copytree(root, tmp_path / "memloc", ignore=shutil.ignore_patterns("__pycache__"))

    def there() -> str:
        program = [sys.executable, "-c", "from memloc.run.node_facts import code; print(code())"]
        done = subprocess.run(program, capture_output=True, text=True, check=True, cwd=tmp_path)  # the first place to look
        return done.stdout.strip()

    assert there() == code()
    with (tmp_path / "memloc" / "counts.py").open("a") as file:
        file.write("# changed\n")
    assert there() != code()
