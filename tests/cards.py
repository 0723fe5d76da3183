"""The GPUs that tests see: none, so that every test computes on the CPU, whatever the machine has. `-m cuda` sees them.

Tests compare bits with stores that were made on the CPU, and start processes whose default device is a GPU if there is one.
"""

from __future__ import annotations

import os

import torch

# No GPU has such a number, so CUDA sees none. Ray takes it for eight GPUs, and may hand out as many that are not there.
NONE = ",".join(str(-n) for n in range(1, 9))


def hide() -> None:
    """This process and all that it starts see no GPU. Without effect once this process has used one."""
    os.environ["HIP_VISIBLE_DEVICES" if torch.version.hip else "CUDA_VISIBLE_DEVICES"] = NONE
