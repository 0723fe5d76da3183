"""A setting of a paper, in short: what its figures and tables are named by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Numbers: TypeAlias = Mapping[str, float | None]  # {part: the paper's number, None where it has words alone}


@dataclass(frozen=True)
class Scope:
    """Data set, network and noise rate. The usual ones are not named in ids."""

    dataset: str = "cifar10"
    model: str = "resnet9"
    noise: float = 0.1


HERE = Scope()
