"""The three truths: what each says of where an example is (docs/instruments.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

import numpy as np
import torch

from memloc.models.channels import channels_of
from memloc.models.dropouts import ExampleTied
from memloc.models.groups import Network
from memloc.models.site_gates import SiteGated
from memloc.stages.inputs import Inputs
from memloc.stages.locate.cases import Case, Setting, is_predicted
from memloc.stages.locate.config import GROUP, ResolvedLocate
from memloc.stages.locate.judged import Bools
from memloc.stages.neurons.task import Neurons

Group = tuple[Setting, list[Case]]


def group_of(config: ResolvedLocate, inputs: Inputs, group: int) -> Group:
    """A network, and the cases of one group of examples."""
    makers: Mapping[str, Callable[[ResolvedLocate, Inputs, int], Group]] = {
        "injected": injected,
        "tied": tied,
        "deleted": deleted,
    }
    return makers[config.truth](config, inputs, group)


def injected(config: ResolvedLocate, inputs: Inputs, number: int) -> Group:
    """The items of one injected network; none if it was not accepted. The truth are the channels of the item."""
    of_table = inputs.tables["injections"]
    places = [k for k, network in enumerate(of_table["network"]) if network == number]
    row_of = {int(example): row for row, example in enumerate(inputs.data.example)}
    rows = np.array([row_of[int(of_table["example"][k])] for k in places], dtype=np.int64)
    labels = inputs.on_device.y.clone()
    for k, row in zip(places, rows.tolist(), strict=True):
        labels[row] = int(of_table["label"][k])
    noisy = np.zeros(len(inputs.data.y), dtype=bool)
    noisy[rows] = True
    network, before = (channels_of(inputs.network(inputs.train.epochs)) for _ in range(2))
    made = next(one for one in inputs.networks if one.part["network"] == number)
    network.load_state_dict(dict(made.weights()))
    setting = Setting(inputs, network, before, labels, noisy, rows)
    true = [_positions(Neurons(network), of_table["layers"][k], of_table["indices"][k]) for k in places]
    accepted = [k for k in range(len(rows)) if of_table["accepted"][places[k]]]
    every = np.ones(Neurons(network).total, dtype=bool)
    return setting, [
        Case(
            setting.item(int(rows[k]), int(rows[(k + 1) % len(rows)]), number),
            int(rows[k]),
            every,
            true[k],
            np.logical_or.reduce([each for other, each in enumerate(true) if other != k]),
            number=number,
        )
        for k in accepted
    ]


def tied(config: ResolvedLocate, inputs: Inputs, group: int) -> Group:
    """Examples under their own masks and those of decoys. Candidates: the memorization channels of exactly one of both."""
    network, before = (SiteGated(inputs.network(epoch).folded()) for epoch in (inputs.train.epochs, _before(config)))
    setting = _trained(config, inputs, (network, before))
    dropout = inputs.dropout(network)
    assert isinstance(dropout, ExampleTied)
    channels = dropout.channels.items()
    general = np.concatenate([np.arange(count) < dropout.generalization(site) for site, count in channels])
    cases = []
    for row in setting.members[group * GROUP :][:GROUP].tolist():
        decoy, other = decoys(setting, row)
        mine, theirs = (np.concatenate([dropout.own(r)[site] for site in network.neurons]) for r in (row, decoy))
        factors = torch.from_numpy(mine | theirs).to(setting.labels.device, torch.float32)
        masks = {site: one.view(1, -1, 1, 1) for site, one in Neurons(network).split(factors[None]).items()}
        item = setting.item(row, other, 0, masks)
        known = item if is_predicted(item) else None
        own = mine & ~general
        cases.append(Case(known, row, mine ^ theirs, own & ~theirs, plain=(own, general)))
    return setting, cases


def decoys(setting: Setting, row: int) -> tuple[int, int]:
    """(a keyed example of the same set with another label, the next one of the same set)."""
    same = np.flatnonzero(setting.noisy == setting.noisy[row])
    order = [int(r) for r in setting.ordered("decoys", same, int(setting.inputs.data.example[row])) if r != row]
    y = setting.inputs.data.y
    decoy = next(r for r in order if y[r] != y[row])
    return decoy, next(r for r in order if r != decoy)


def deleted(config: ResolvedLocate, inputs: Inputs, group: int) -> Group:
    """Examples of a training as it is. There is no truth; every channel may be closed."""
    network, before = (channels_of(inputs.network(epoch)) for epoch in (inputs.train.epochs, _before(config)))
    setting = _trained(config, inputs, (network, before))
    every, cases = np.ones(Neurons(network).total, dtype=bool), []
    for row in setting.members[group * GROUP :][:GROUP].tolist():
        item = setting.item(row, decoys(setting, row)[1], 0)
        cases.append(Case(item if is_predicted(item) else None, row, every))
    return setting, cases


def _trained(config: ResolvedLocate, inputs: Inputs, networks: tuple[Network, Network]) -> Setting:
    """The setting of a training as it is. Its members are keyed by the seeds of the training and of its data."""
    noisy = inputs.data.noisy
    empty = Setting(inputs, *networks, inputs.on_device.y, noisy, np.array([], dtype=np.int64))
    sets = (~noisy, config.clean or 0), (noisy, config.noisy or 0)
    chosen = [empty.ordered("items", np.flatnonzero(of_set), inputs.train.data_seed)[:n] for of_set, n in sets]
    return Setting(inputs, *networks, inputs.on_device.y, noisy, np.sort(np.concatenate(chosen)))


def _before(config: ResolvedLocate) -> int:
    assert config.before is not None
    return config.before


def _positions(neurons: Neurons, layers: Sequence[str], indices: Sequence[int]) -> Bools:
    """Neurons, given by layer and index, in the vector of all gates."""
    starts = dict(zip(neurons.shapes, accumulate([0, *neurons.sizes]), strict=False))
    named = np.zeros(neurons.total, dtype=bool)
    named[[starts[layer] + int(index) for layer, index in zip(layers, indices, strict=True)]] = True
    return named
