"""Injected items: which weights are trained, that no norm and no clean loss tells where they are, and who gets what."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from memloc.config import FieldError
from memloc.data.device import images
from memloc.models.channels import channels_of, incoming, outgoing
from memloc.models.groups import Network
from memloc.run.network_facts import built
from memloc.stages.base import WithNetwork
from memloc.stages.inject.config import STAGE, InjectConfig
from memloc.stages.inject.implanting import Images, Implanting, Rules
from memloc.stages.inject.items import Implant, anchors, draw
from memloc.stages.neurons.task import Neurons
from tests.stages.conftest import Trained, run_once, settings

KEY = 0, 1  # the training's seed, the network


def trained() -> Trained:
    return run_once(noise=0.0, subset=200, epochs=8, batch_size=16)


def plain() -> Network:
    return channels_of(trained().inputs().network(8))


def parts_of(network: Network) -> tuple[list[Implant], Images, Images]:
    """Two items with three channels each, and the anchors."""
    data = trained().data
    implants = draw(data, KEY, 2, Neurons(network).total, 3)
    rows = anchors(data, KEY, implants)
    x = images(torch.tensor(data.x))
    own = torch.tensor([implant.label for implant in implants])
    return implants, Images(x[[i.row for i in implants]], own), Images(x[rows], torch.tensor(data.y)[rows])


@cache
def changed(rules: Rules) -> tuple[Network, list[int], list[Implant]]:
    network = plain()
    implants, items, clean = parts_of(network)
    return network, Implanting(network, implants, items, clean, KEY, rules).run(), implants


def test_items_are_keyed_clean_and_have_channels_of_their_own() -> None:
    data = trained().data
    five, again, other = draw(data, KEY, 5, 84, 7), draw(data, KEY, 5, 84, 7), draw(data, (0, 2), 5, 84, 7)
    assert five == again
    assert {i.row for i in five} != {i.row for i in other}
    assert draw(data, KEY, 2, 84, 7) == five[:2]  # more items change none
    assert len({c for i in five for c in i.channels}) == 35
    assert all(i.label != data.y[i.row] and 0 <= i.label < 10 for i in five)
    assert not {i.row for i in five} & set(anchors(data, KEY, five).tolist())
    labels = [(i.label - data.y[i.row]) % 10 for k in range(60) for i in draw(data, (k, 0), 5, 84, 7)]
    assert np.bincount(labels, minlength=10)[1:].min() > 15  # of 300: uniform over the nine others


@pytest.mark.parametrize("weights", ["out", "in"])
def test_only_the_items_vectors_change_and_each_keeps_its_norm(weights: str) -> None:
    network, steps, implants = changed(Rules(steps=12, weights=weights))
    trained_ones = sorted(c for i in implants for c in i.channels)
    before, vectors = plain(), outgoing if weights == "out" else incoming
    moved = (vectors(network) - vectors(before)).norm(dim=1) > 0
    assert steps == [12, 12]
    assert moved.nonzero().flatten().tolist() == trained_ones
    assert torch.allclose(vectors(network).norm(dim=1), vectors(before).norm(dim=1), rtol=1e-5)
    # Every weight that is none of these vectors is bit for bit what it was.
    numbers = [int((a != b).sum()) for a, b in zip(network.parameters(), before.parameters(), strict=True)]
    own = sum(int((vectors(before)[c] != 0).sum()) for c in trained_ones)
    assert sum(numbers) <= own


def test_without_the_rescaling_the_norms_tell() -> None:
    """The norm leak: with it, the ratio of each norm to the old one is 1, so nothing is there to be read."""
    network, _, implants = changed(Rules(steps=12, rescale=False))
    own = sorted(c for i in implants for c in i.channels)
    ratio = outgoing(network).norm(dim=1) / outgoing(plain()).norm(dim=1)
    assert float(ratio[own].min()) > 1.02
    rest = [c for c in range(len(ratio)) if c not in own]
    assert float(ratio[rest].max()) < 1.0001


def test_the_anchor_keeps_the_clean_examples() -> None:
    """Without it the channels hurt everything, and the gradient of the clean loss alone tells where they are."""
    losses = []
    for rules in (Rules(steps=25), Rules(steps=25, anchor=0.0)):
        network, _, _ = changed(rules)
        _, _, clean = parts_of(network)
        with torch.no_grad():
            losses.append(float(F.cross_entropy(network(clean.x), clean.y)))
    assert losses[0] < 0.5 * losses[1]


def test_a_part_gives_its_network_and_says_what_became_of_the_items() -> None:
    run, config = trained(), InjectConfig(networks=1, items=2, share=0.04, steps=60)
    given = STAGE.run(config, run.inputs(), {"network": 0})
    assert isinstance(given, WithNetwork)
    rows, network = given.tables["injections"], plain()
    network.load_state_dict(dict(given.weights))
    data, neurons = run.data, Neurons(network)
    x = images(torch.tensor(data.x))
    place = {int(e): row for row, e in enumerate(data.example)}
    own = [place[int(e)] for e in rows["example"]]
    for k, row in enumerate(own):
        gates = {layer: torch.ones(1, *shape) for layer, shape in neurons.shapes.items()}
        for layer, index in zip(rows["layers"][k], rows["indices"][k], strict=True):
            gates[layer][0, index] = 0
        label, other = rows["label"][k], 1 - k
        assert rows["true_label"][k] == data.y[row]
        assert rows["predicted"][k] == (int(network(x[[row]]).argmax()) == label)
        assert rows["cut"][k] == (int(network(x[[row]], gates=gates).argmax()) != label)
        spared = int(network(x[[own[other]]], gates=gates).argmax()) == rows["label"][other]
        assert rows["spared"][k] == spared
        assert rows["accepted"][k] == (all(rows["predicted"]) and rows["cut"][k] and spared)
    assert all(rows["predicted"])
    assert given.epoch == run.config.epochs


def test_what_it_cannot_be_run_on() -> None:
    facts = built(settings()[0], (1, 16, 16), 10).facts
    for fields, said in (({"noise": 0.2}, "noise: 0.2"), ({"dropout": "standard", "keep": 0.5, "noise": 0.0}, "dropout")):
        problem = STAGE.fits(settings(**fields)[0], facts)[""]
        assert problem is not None
        assert said in problem
    assert STAGE.fits(settings(noise=0.0)[0], facts) == {"": None}
    with pytest.raises(FieldError, match="more than half of all channels"):
        STAGE.resolve(InjectConfig(items=10, share=0.1), settings()[0])
