"""The names of probes. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence

INPUT, SOFTMAX = "input", "softmax"


def block_name(groups: Sequence[str]) -> str:
    """`res1` of `res1.conv1` and `res1.conv2`; of groups that begin differently the last one's name."""
    parts = [group.split(".") for group in groups]
    shared = [of[0] for of in zip(*parts, strict=False) if len(set(of)) == 1]
    return ".".join(shared) or groups[-1]
