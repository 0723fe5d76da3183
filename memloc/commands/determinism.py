"""Before a launch on this machine's GPUs: networks of timm and of one's own must be deterministic there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from memloc.commands.device import device_here
from memloc.errors import UsageError

if TYPE_CHECKING:
    from memloc.commands.launch_options import Options
    from memloc.run.plan import TrialPlan


def check_determinism(trials: Iterable[TrialPlan], options: Options) -> None:
    """Tries a training step of each traced network, if it would run on a GPU of this machine.

    Elsewhere its first training step fails with the same line.

    Raises:
        UsageError: naming every network with an operation that has no deterministic algorithm.
    """
    from memloc.data import describe
    from memloc.models.traced.fields import TracedConfig

    if options.resources.address != "local" or device_here(options) != "cuda":
        return
    traced = [trial for trial in trials if isinstance(trial.config.architecture, TracedConfig)]
    if not traced:
        return
    import torch

    from memloc.run.trial_step import TriedNetwork, problems

    networks: dict[object, TriedNetwork] = {}
    for trial in traced:
        config = trial.config
        shape, key = describe(config.source, options.data_dir).shape, (config.architecture, config.dropout)
        networks.setdefault((*key, shape, trial.size.classes), TriedNetwork(trial.id, config, shape, trial.size.classes))
    if refused := problems(list(networks.values()), torch.device("cuda")):
        raise UsageError(*refused)
