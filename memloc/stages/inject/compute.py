"""One injected network: its items, the training of their channels, and whether each item is where it was put."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from memloc.data.arrays import I64
from memloc.data.device import images
from memloc.models.channels import channels_of
from memloc.models.groups import Network
from memloc.models.inference import accuracy, logits
from memloc.stages.base import Part, WithNetwork
from memloc.stages.inject.config import InjectConfig
from memloc.stages.inject.implanting import Images, Implanting, Rules
from memloc.stages.inject.items import Implant, anchors, draw
from memloc.stages.inputs import Inputs
from memloc.stages.neurons.task import Neurons


def run(config: InjectConfig, inputs: Inputs, part: Part) -> WithNetwork:
    """A row per item, and the network, folded: its batch norms are part of its convolutions."""
    network = channels_of(inputs.network(inputs.train.epochs))
    number, neurons = int(part["network"]), Neurons(network)
    key = inputs.train.seed, number
    each = max(1, round(config.share * neurons.total))
    if each * config.items > neurons.total:
        raise ValueError(f"{config.items} items with {each} channels each, and the network has {neurons.total} channels")
    implants = draw(inputs.data, key, config.items, neurons.total, each)
    rows = anchors(inputs.data, key, implants)
    before = _accuracies(network, inputs, rows)
    own = [implant.row for implant in implants]
    items = Images(_images(inputs, own), torch.tensor([implant.label for implant in implants], device=inputs.device))
    clean = Images(_images(inputs, rows), inputs.on_device.y[torch.from_numpy(rows).to(inputs.device)])
    steps = Implanting(network, implants, items, clean, key, Rules(config.steps, config.weights)).run()
    after = _accuracies(network, inputs, rows)
    predicted, cut, spared = _checks(network, implants, items)
    n, places = len(implants), [[neurons.locate(c) for c in implant.channels] for implant in implants]
    columns: dict[str, Any] = {
        "network": [number] * n,
        "example": inputs.data.example[own],
        "label": [implant.label for implant in implants],
        "true_label": inputs.data.y[own],
        "layers": [[layer for layer, _ in at] for at in places],
        "indices": [[index for _, index in at] for at in places],
        "steps": steps,
        "predicted": predicted,
        "cut": cut,
        "spared": spared,
        "accepted": [all(predicted) and c and s for c, s in zip(cut, spared, strict=True)],
        **{f"{name}_before": [value] * n for name, value in before.items()},
        **{name: [value] * n for name, value in after.items()},
    }
    weights = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    return WithNetwork({"injections": columns}, weights, inputs.train.epochs)


def _images(inputs: Inputs, rows: Sequence[int] | I64) -> Tensor:
    return images(inputs.on_device.x[torch.as_tensor(rows, dtype=torch.int64).to(inputs.device)])


def _accuracies(network: Network, inputs: Inputs, rows: I64) -> dict[str, float | None]:
    """The accuracy on the anchors and on the test set."""
    at, data = torch.from_numpy(rows).to(inputs.device), inputs.on_device
    on_test = accuracy(logits(network, data.x_test), data.y_test) if len(data.y_test) else None
    return {"clean_acc": accuracy(logits(network, data.x[at]), data.y[at]), "test_acc": on_test}


@torch.no_grad()
def _checks(network: Network, implants: Sequence[Implant], items: Images) -> tuple[list[bool], list[bool], list[bool]]:
    """Of each item: is it predicted with its wrong label; does closing its channels take that away; do the others keep
    theirs meanwhile?
    """
    neurons = Neurons(network)
    right = (network(items.x).argmax(dim=1) == items.y).tolist()
    cut, spared = [], []
    for k, implant in enumerate(implants):
        gates = torch.ones(1, neurons.total, device=items.x.device)
        gates[0, list(implant.channels)] = 0.0
        kept = (network(items.x, gates=neurons.split(gates)).argmax(dim=1) == items.y).tolist()
        cut.append(not kept[k])
        spared.append(all(kept[:k] + kept[k + 1 :]))
    return right, cut, spared
