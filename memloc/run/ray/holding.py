"""Cards that get no work are held by a process that does nothing: Ray itself cannot leave out a single card of a node."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from memloc.run.quarantine import CardPlace, Quarantine
from memloc.run.ray.own_card import own_device, own_place

LONG = 3600.0  # seconds between two looks of who does nothing; it ends with the run


class Holders:
    """The processes that hold suspect and broken cards. They belong to the actor that has this."""

    def __init__(self, cards: Quarantine) -> None:
        self.cards = cards
        self._asked: dict[Any, CardPlace] = {}  # {reference to the answer: the card}

    def hold(self, card: CardPlace) -> None:
        """Asks for the whole card. Ray may give another one of its node, which is given back at once."""
        there = NodeAffinitySchedulingStrategy(card.node, soft=False)
        me = ray.get_runtime_context().current_actor
        self._asked[_hold.options(scheduling_strategy=there).remote(card, me, self.cards.is_tested(card))] = card

    def look(self) -> None:
        """Takes in what has been answered since the last look."""
        if not self._asked:
            return
        for answer in ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)[0]:
            card = self._asked.pop(answer)
            try:
                if ray.get(answer):
                    self.cards.passed(card)
                    continue
            except RayError:  # it was killed with its node, or by what the card does to it
                if card.node not in gpus_of_nodes():
                    self.cards.passed(card)
                    continue
            self.hold(card)


def gpus_of_nodes() -> dict[str, float]:
    """{node: how many GPUs Ray hands out there} of the nodes that are alive."""
    return {node["NodeID"]: node["Resources"].get("GPU", 0.0) for node in ray.nodes() if node["Alive"]}


# A process of its own, whose context on the card ends with it.
@ray.remote(num_cpus=0, num_gpus=1, max_retries=0, max_calls=1)  # type: ignore[untyped-decorator]
def _hold(card: CardPlace, admission: Any, tests: bool) -> bool:
    """Whether the card computes; False also where this is another card. Does not return while it holds a broken one."""
    if own_place() != card:
        return False
    if tests and _computes():
        return True
    admission.broken.remote(card)
    while True:
        time.sleep(LONG)


def _computes() -> bool:
    from memloc.errors import DeviceError
    from memloc.run import quarantine

    try:
        return quarantine.computes(own_device())
    except DeviceError:
        return False
