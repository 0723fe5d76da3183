"""The architectures, a folder each. The folder's name is the model's name in a configuration (timm: `timm:NAME`).

`config.py` has the architecture's own fields and says which images fit. It imports no torch. `network.py` holds
`Architecture`, the network.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from memloc.config import ArchitectureConfig, TrainingFields
from memloc.data.sources import KINDS

__all__ = ["ARCHITECTURES", "TRAINING", "resolved"]


def _architectures() -> dict[str, type[ArchitectureConfig]]:
    folders = sorted(module.name for module in iter_modules([str(Path(__file__).parent)]))
    configs = {name: import_module(f"{__name__}.{name}.config").CONFIG for name in folders}
    prefixed = {name for name, config in configs.items() if config.model_fields["name"].is_required()}
    own = {name: config for name, config in configs.items() if name not in prefixed}
    return own | {f"{name}:": configs[name] for name in sorted(prefixed)}


ARCHITECTURES = _architectures()
TRAINING = TrainingFields(ARCHITECTURES, KINDS)
resolved = TRAINING.resolved
