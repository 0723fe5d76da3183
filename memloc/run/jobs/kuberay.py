"""A sweep on Kubernetes: a `RayJob` of KubeRay, and a ConfigMap with what it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from memloc.errors import UsageError
from memloc.run.cluster import FAULT_DETECTION
from memloc.run.jobs.script import sweep_script
from memloc.run.jobs.sweep_arguments import SweepArguments

FOLDER = "/etc/memloc"  # where the pods see the ConfigMap
LONGEST_NAME = 47  # characters of a RayJob's name
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")  # names of Kubernetes
IMAGE = re.compile(r"[\w.:/@-]+", re.ASCII)
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[KMGTPE]i?)?")
VOLUME = re.compile(r"([a-z0-9][a-z0-9.-]*):(/[^:,\x00-\x1f]+)")
RETRIES = 50  # new clusters, when one is lost with its head


@dataclass(frozen=True)
class KubeRayOptions:
    """What the RayJob asks for.

    image: has memloc and Ray. nodes: workers; the head computes nothing. cpus_per_node, gpus_per_node, memory: of a worker.
    volumes: `CLAIM:/PATH` of persistent volume claims. secret: the name of a Secret whose entries become variables, such as
    AWS_ACCESS_KEY_ID.
    """

    image: str
    nodes: int = 1
    gpus_per_node: int = 0
    cpus_per_node: int | None = None
    memory: str | None = None
    volumes: Sequence[str] = ()
    secret: str | None = None

    def problems(self) -> Iterator[str]:
        """What Kubernetes would refuse; a line for each."""
        if not IMAGE.fullmatch(self.image):
            yield f"--image {self.image!r}: valid: REGISTRY/NAME:TAG"
        if self.memory is not None and not QUANTITY.fullmatch(self.memory):
            yield f"--memory {self.memory!r}: valid: a quantity of Kubernetes, such as 64Gi"
        for volume in self.volumes:
            if not VOLUME.fullmatch(volume):
                yield f"--volume {volume!r}: valid: CLAIM:/PATH"
        if self.secret is not None and not LABEL.fullmatch(self.secret):
            yield f"--secret {self.secret!r}: valid: the name of a Secret"


def manifest(arguments: SweepArguments, options: KubeRayOptions, sweep_file: str | None) -> str:
    """The YAML for `kubectl apply -f`. sweep_file: the text of the sweep's file; None for a sweep that memloc ships.

    Raises:
        UsageError: naming every option that cannot be.
    """
    if problems := list(options.problems()):
        raise UsageError(*problems)
    name = object_name(arguments.name)
    files = {"sweep.sh": sweep_script(arguments, "python")}
    if sweep_file is not None:
        if not re.fullmatch(r"[\w.-]{1,253}", arguments.sweep, re.ASCII):
            raise UsageError(
                f"{arguments.sweep}: a ConfigMap takes letters, digits and . _ - in a file's name; rename the file"
            )
        files[arguments.sweep] = sweep_file
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": files}
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name},
        "spec": {
            "entrypoint": f"bash {FOLDER}/sweep.sh",
            "backoffLimit": RETRIES,
            "shutdownAfterJobFinishes": True,
            "rayClusterSpec": _cluster(name, options),
        },
    }
    return yaml.dump_all([config, job], Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def object_name(sweep: str) -> str:
    """The name of the objects: `memloc-` and the sweep's, as Kubernetes allows it."""
    plain = re.sub(r"[^a-z0-9]+", "-", f"memloc-{sweep}".lower())
    return plain[:LONGEST_NAME].strip("-")


def _cluster(name: str, options: KubeRayOptions) -> dict[str, Any]:
    head = {"cpu": "2", "memory": "16Gi"}
    asked = {"cpu": str(options.cpus_per_node) if options.cpus_per_node else None, "memory": options.memory,
             "nvidia.com/gpu": str(options.gpus_per_node) if options.gpus_per_node else None}  # fmt: skip
    worker = {name: amount for name, amount in asked.items() if amount}
    # Trainings run on the workers alone: the head holds the driver, the coordinators and the data.
    nothing = {"num-cpus": "0", "num-gpus": "0"}
    return {
        "authOptions": {"mode": "token"},
        "headGroupSpec": {"rayStartParams": nothing, "template": _pod("ray-head", name, options, head)},
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": options.nodes,
                "minReplicas": options.nodes,
                "maxReplicas": options.nodes,
                "rayStartParams": {},
                "template": _pod("ray-worker", name, options, worker),
            }
        ],
    }


def _pod(container: str, name: str, options: KubeRayOptions, resources: Mapping[str, str]) -> dict[str, Any]:
    claims = [match for volume in options.volumes if (match := VOLUME.fullmatch(volume))]
    volumes: list[dict[str, Any]] = [{"name": "sweep", "configMap": {"name": name}}]
    volumes += [{"name": f"volume-{n}", "persistentVolumeClaim": {"claimName": c[1]}} for n, c in enumerate(claims)]
    mounts = [{"name": "sweep", "mountPath": FOLDER}]
    mounts += [{"name": f"volume-{n}", "mountPath": claim[2]} for n, claim in enumerate(claims)]
    spec: dict[str, Any] = {
        "name": container,
        "image": options.image,
        "env": [{"name": variable, "value": value} for variable, value in FAULT_DETECTION.items()],
        "volumeMounts": mounts,
    }
    if options.secret is not None:
        spec["envFrom"] = [{"secretRef": {"name": options.secret}}]
    if resources:
        spec["resources"] = {"limits": dict(resources), "requests": dict(resources)}
    return {"spec": {"containers": [spec], "volumes": volumes}}


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as it is, and every list and mapping in full: no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
