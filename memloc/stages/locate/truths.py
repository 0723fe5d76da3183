"""The three truths: what each says of where an example is (docs/instruments.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
            true[(k + 1) % len(true)],
            number=number,
        )
        for k in accepted
    ]


def tied(config: ResolvedLocate, inputs: Inputs, group: int) -> Group:
    """Examples under their masks and those of their decoys. Candidates: the memorization channels of exactly one of both.

    An example and its decoy are a pair: each is the decoy of the other, and both directions have the same masks, references
    and other item. So an order that does not look at the example has an AUC of exactly 1/2 over the two. For that reason
    both are skipped as soon as one of the two labels is lost: a channel whose label survives may be a stronger one.
    """
    network, before = (SiteGated(inputs.network(epoch).folded()) for epoch in (inputs.train.epochs, _before(config)))
    bare = _trained(inputs, (network, before))
    of_sets = [(pairs(bare, noisy), count) for noisy, count in ((False, config.clean), (True, config.noisy))]
    chosen = [[row for pair in of_set for row in pair][:count] for of_set, count in of_sets]
    setting = replace(bare, members=np.sort(np.array([row for rows in chosen for row in rows], dtype=np.int64)))
    pair_of = {row: pair for of_set, _ in of_sets for pair in of_set for row in pair}
    dropout = inputs.dropout(network)
    assert isinstance(dropout, ExampleTied)
    channels = dropout.channels.items()
    general = np.concatenate([np.arange(count) < dropout.generalization(site) for site, count in channels])
    cases = []
    for row in setting.members[group * GROUP :][:GROUP].tolist():
        pair = pair_of[row]
        decoy = next(r for r in pair if r != row)
        mine, theirs = (_own(dropout, network, r) for r in (row, decoy))
        factors = torch.from_numpy(mine | theirs).to(setting.labels.device, torch.float32)
        masks = {site: one.view(1, -1, 1, 1) for site, one in Neurons(network).split(factors[None]).items()}
        other = another(setting, pair)
        items = {each: setting.item(each, other, 0, masks, pair) for each in pair}
        known = items[row] if all(is_predicted(item) for item in items.values()) else None
        own = mine & ~general
        cases.append(Case(known, row, mine ^ theirs, own & ~theirs, plain=(own, general)))
    return setting, cases


def pairs(setting: Setting, noisy: bool) -> list[tuple[int, int]]:
    """The examples of a set in keyed pairs with different labels, each example in one at most."""
    left = setting.ordered("items", np.flatnonzero(setting.noisy == noisy), setting.inputs.train.data_seed).tolist()
    y, found = setting.inputs.data.y, list[tuple[int, int]]()
    while left:
        one = left.pop(0)
        decoy = next((k for k, row in enumerate(left) if y[row] != y[one]), None)
        if decoy is None:
            return found
        found.append((one, left.pop(decoy)))
    return found


def another(setting: Setting, rows: Sequence[int]) -> int:
    """A keyed example of the same set as these."""
    same = np.flatnonzero(setting.noisy == setting.noisy[rows[0]])
    first = min(rows, key=lambda row: int(setting.inputs.data.example[row]))
    return int(setting.ordered("others", np.setdiff1d(same, rows), int(setting.inputs.data.example[first]))[0])


def _own(dropout: ExampleTied, network: Network, row: int) -> Bools:
    """The channels that are on for an example, over all sites."""
    return np.concatenate([dropout.own(row)[site] for site in network.neurons])


def deleted(config: ResolvedLocate, inputs: Inputs, group: int) -> Group:
    """Examples of a training as it is. There is no truth; every channel may be closed."""
    network, before = (channels_of(inputs.network(epoch)) for epoch in (inputs.train.epochs, _before(config)))
    bare = _trained(inputs, (network, before))
    noisy, data_seed = inputs.data.noisy, inputs.train.data_seed
    of_sets = (~noisy, config.clean), (noisy, config.noisy)
    chosen = [bare.ordered("items", np.flatnonzero(of_set), data_seed)[:count] for of_set, count in of_sets]
    setting = replace(bare, members=np.sort(np.concatenate(chosen)))
    every, cases = np.ones(Neurons(network).total, dtype=bool), []
    for row in setting.members[group * GROUP :][:GROUP].tolist():
        item = setting.item(row, another(setting, [row]), 0)
        cases.append(Case(item if is_predicted(item) else None, row, every))
    return setting, cases


def _trained(inputs: Inputs, networks: tuple[Network, Network]) -> Setting:
    """The setting of a training as it is, before its members are chosen."""
    return Setting(inputs, *networks, inputs.on_device.y, inputs.data.noisy, np.array([], dtype=np.int64))


def _before(config: ResolvedLocate) -> int:
    assert config.before is not None
    return config.before


def _positions(neurons: Neurons, layers: Sequence[str], indices: Sequence[int]) -> Bools:
    """Neurons, given by layer and index, in the vector of all gates."""
    starts = dict(zip(neurons.shapes, accumulate([0, *neurons.sizes]), strict=False))
    named = np.zeros(neurons.total, dtype=bool)
    named[[starts[layer] + int(index) for layer, index in zip(layers, indices, strict=True)]] = True
    return named
