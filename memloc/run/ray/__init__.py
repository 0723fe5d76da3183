"""The same work on Ray: on this machine's cores and GPUs, or on a cluster. The only package that imports ray.

A Tune trial is a coordinator that needs hardly any resources. Its training runs as a task (a whole GPU, or `threads` CPUs).
The training ends before the analyses fan out as tasks (a share of a GPU, or `threads` CPUs). The truth is what the store has
committed. Nothing is ever restored from Tune. docs/ray.md says why.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from memloc.run.cluster import FAULT_DETECTION
from memloc.run.placement import NOSET

# Before ray is imported: quiet, no usage reports, authenticated, and quick to notice a lost node (docs/ray.md).
for _name, _value in {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # else the driver writes down every few seconds what all trials are, for a restore
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "GRPC_VERBOSITY": "NONE",  # gRPC's own words about connections that it mends; whatever fails reaches us as an exception
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # --gpus 0 hides the GPUs
    **NOSET,  # else a process that has used a GPU does not see another one that it gets later (workers.py)
    **FAULT_DETECTION,
}.items():
    os.environ.setdefault(_name, _value)
if os.environ.get("RAY_AUTH_MODE", "").lower() not in ("disabled", "token", "k8s"):
    os.environ["RAY_AUTH_MODE"] = "token"  # Ray would take an empty or misspelt mode for `disabled`

try:
    Path.home()
except RuntimeError:  # a user without a home, as in some containers: Ray needs one at import
    os.environ["HOME"] = tempfile.gettempdir()

from memloc.run.ray.driver import OnRay  # noqa: E402

__all__ = ["OnRay"]
