"""The manifest of `memloc submit --kuberay`: what Kubernetes and a shell make of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from memloc.errors import UsageError
from memloc.run.jobs.kuberay import KubeRayOptions, manifest, object_name
from memloc.run.jobs.sweep_arguments import SweepArguments

SCHEMA = json.loads(Path(__file__).with_name("rayjob.schema.json").read_text())
FULL = KubeRayOptions("lab/memloc:1", 4, 8, 96, "512Gi", ["data:/data", "runs:/runs"], "aws")
SWEEP = SweepArguments("my sweep", "my.yaml", ("noise=0.1",), (("--store", "s3://bucket/runs"),))


def documents(options: KubeRayOptions, sweep_file: str | None = "about: x\n") -> tuple[dict[str, Any], dict[str, Any]]:
    config, job = yaml.safe_load_all(manifest(SWEEP, options, sweep_file))
    return config, job


@pytest.mark.parametrize("options", [FULL, KubeRayOptions("memloc")], ids=["everything", "nothing"])
def test_it_is_a_ray_job(options: KubeRayOptions) -> None:
    """By the fields of KubeRay's own schema that memloc uses. Kubernetes drops others without a word."""
    _, job = documents(options)
    check = jsonschema.Draft7Validator(SCHEMA)
    assert list(check.iter_errors(job)) == []
    job["spec"]["backofLimit"] = 3
    job["spec"]["rayClusterSpec"]["authOptions"]["mode"] = "password"
    assert len(list(check.iter_errors(job))) == 2


def test_what_it_asks_for() -> None:
    config, job = documents(FULL)
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    (worker,), (head,) = (g["template"]["spec"]["containers"] for g in (workers, cluster["headGroupSpec"]))
    assert workers["replicas"] == 4
    assert worker["resources"]["limits"] == {"cpu": "96", "memory": "512Gi", "nvidia.com/gpu": "8"}
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}  # the head computes nothing
    assert cluster["authOptions"] == {"mode": "token"}
    for container in (head, worker):
        assert {m["mountPath"] for m in container["volumeMounts"]} == {"/etc/memloc", "/data", "/runs"}
        assert container["envFrom"] == [{"secretRef": {"name": "aws"}}]
    assert config["metadata"]["name"] == job["metadata"]["name"] == "memloc-my-sweep"
    assert config["data"]["my.yaml"] == "about: x\n"
    assert list(documents(FULL, None)[0]["data"]) == ["sweep.sh"]


def test_the_script_is_what_bash_gets() -> None:
    config, job = documents(FULL)
    assert job["spec"]["entrypoint"] == "bash /etc/memloc/sweep.sh"
    assert subprocess.run(["bash", "-n"], input=config["data"]["sweep.sh"], text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [("demo", "memloc-demo"), ("Paper_Grid 2", "memloc-paper-grid-2"), ("x" * 90, "memloc-" + "x" * 40), ("ü", "memloc")],
)
def test_names(name: str, expected: str) -> None:
    assert object_name(name) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"image": "a b"},
        {"image": "x", "memory": "64 GB"},
        {"image": "x", "volumes": ["data"]},
        {"image": "x", "volumes": ["data:relative"]},
        {"image": "x", "secret": "My Secret"},
    ],
    ids=str,
)
def test_what_kubernetes_would_refuse(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as raised:
        manifest(SWEEP, KubeRayOptions(**options), None)
    assert len(raised.value.problems) == 1


def test_a_file_that_no_config_map_takes() -> None:
    with pytest.raises(UsageError, match=r"a b.yaml: a ConfigMap takes"):
        manifest(SweepArguments("a b", "a b.yaml", (), ()), FULL, "x")
