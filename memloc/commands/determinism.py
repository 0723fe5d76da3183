"""Before a launch on this machine's GPUs: networks of timm and of one's own must be deterministic there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from memloc.commands.device import chosen_device
from memloc.errors import UsageError

if TYPE_CHECKING:
    from memloc.commands.launch import Options
    from memloc.run.plan import TrialPlan


def check_determinism(trials: Iterable[TrialPlan], options: Options) -> None:
    """Tries a training step of each traced network, if it would run on a GPU of this machine.

    Elsewhere its first training step fails with the same line.

    Raises:
        UsageError: naming every network with an operation that has no deterministic algorithm.
    """
    from memloc.data import describe
    from memloc.models.traced.fields import TracedConfig
    from memloc.run.trial_step import TriedNetwork, problems
    from memloc.run.worker import default_device

    device = chosen_device(options) or default_device()
    if options.resources.address != "local" or device.type != "cuda":
        return
    networks: dict[object, TriedNetwork] = {}
    for trial in trials:
        config = trial.config
        if not isinstance(config.architecture, TracedConfig):
            continue
        shape, key = describe(config.source, options.data_dir).shape, (config.architecture, config.dropout)
        networks.setdefault((*key, shape, trial.size.classes), TriedNetwork(trial.id, config, shape, trial.size.classes))
    if refused := problems(list(networks.values()), device):
        raise UsageError(*refused)
