"""The least of every stage: a configuration that takes as little time as it can, for tests that run them all."""

from __future__ import annotations

from collections.abc import Collection

from memloc.stages import STAGES

# {stage: its configuration in a sweep file}. A test that runs all stages fails if one of the registry is missing here.
LEAST = {
    "depth": "{neighbours: 1}",
    "detection": "{}",
    "edit": "{ranks: [svd], rho: [0.9], unedited: [1], groups: [GROUPS]}",
    "evaluate": "{}",
    "flips": "{clean: 1, noisy: 1, max_neurons: 1, reference: 2, post_eval: 0}",
    "gradients": "{epochs: [1]}",
    "held_out": "{ratios: [0.5], min_held_out: 1}",
    "inject": "{networks: 1, items: 2, steps: 2}",
    "locate": "{methods: [gradient], clean: 1, noisy: 1, evaluated: 2}",
    "retrain": "{epochs: 1}",
    "rewind": "{epochs: [0]}",
    "second_split": "{epochs: 1}",
    "units": "{copies: 1}",
}
ALONE = ("held_out", "inject")  # they need trainings that the others of a block do not have


def blocks(stages: Collection[str], groups: Collection[str] = ("inner",)) -> str:
    """The `blocks:` of a sweep file with these stages. groups: those whose weights stage edit changes."""
    assert set(LEAST) == set(STAGES)
    written = {name: config.replace("GROUPS", ", ".join(groups)) for name, config in LEAST.items() if name in stages}
    together = ", ".join(f"{name}: {config}" for name, config in written.items() if name not in ALONE)
    each = {"all": together} | {name: f"{name}: {written[name]}" for name in ALONE if name in written}
    return "blocks:\n" + "".join(f"  {name}: {{stages: {{{text}}}}}\n" for name, text in each.items())
