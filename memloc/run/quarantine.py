"""Cards that fail again and again take no more work in a run. No Ray here, and no torch at import; run/ray holds them.

A card on which processes have failed twice in a row is suspect. It gets no work, and a process of its own computes there
what is known. If that comes out right, perhaps the work was to blame. The card gets work again then, twice at most in a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

FAULTS = 2  # in a row; a training has a third try, and a task more, which then find another card
SUSPICIONS = 3  # in a row, after which a card is broken even if it computes what is known
SIDE = 256  # of the matrices that are multiplied


class CardPlace(NamedTuple):
    """A GPU of a cluster: the id of its node, the name of the host, and the number by which Ray knows it."""

    node: str
    host: str
    number: str

    def __str__(self) -> str:
        return f"GPU {self.number} of {self.host}"


class Quarantine:
    """What is known of the cards of a run. suspect, broken: {card: how it has failed}; none of them gets work."""

    def __init__(self) -> None:
        self.suspect: dict[CardPlace, str] = {}
        self.broken: dict[CardPlace, str] = {}
        self._faults: Counter[CardPlace] = Counter()  # since something was computed there
        self._suspicions: Counter[CardPlace] = Counter()

    def gets_work(self, card: CardPlace) -> bool:
        """Whether work may begin there."""
        return card not in self.suspect and card not in self.broken

    def failed(self, card: CardPlace, how: str) -> bool:
        """A process has failed on the card. Returns whether it is suspect from now on."""
        self._faults[card] += 1
        if not self.gets_work(card) or self._faults[card] < FAULTS:
            return False
        self._suspicions[card] += 1
        self.suspect[card] = how
        return True

    def worked(self, card: CardPlace) -> None:
        """Work has been done there."""
        self._faults.pop(card, None)
        self._suspicions.pop(card, None)

    def is_tested(self, card: CardPlace) -> bool:
        """Whether the card may still show that it computes."""
        return card not in self.broken and self._suspicions[card] < SUSPICIONS

    def passed(self, card: CardPlace) -> None:
        """A suspect card computes what is known, or is gone: it gets work again."""
        self._faults.pop(card, None)
        self.suspect.pop(card, None)

    def breaks(self, card: CardPlace) -> str:
        """A suspect card takes no more work for good; returns the line that says so."""
        self.broken[card] = self.suspect.pop(card, "") or self.broken.get(card, "it does not compute")
        return f"{card} takes no more work in this run; it has failed again and again: {self.broken[card]}"

    def broken_nodes(self, gpus: Mapping[str, float]) -> frozenset[str]:
        """The nodes all of whose cards are broken. gpus: {node: how many GPUs it has}."""
        broken = Counter(card.node for card in self.broken)
        return frozenset(node for node, count in gpus.items() if count and broken[node] >= count)

    def none_left(self) -> str:
        """What is said where no other card is there."""
        card, how = next(reversed(self.broken.items()))
        return f"no GPU is left that computes; the last one was {card}: {how}"


def computes(device: torch.device) -> bool:
    """Whether the device multiplies matrices of ones as it should, in this process."""
    import torch

    try:
        ones = torch.ones(SIDE, SIDE, device=device)
        return bool((ones @ ones == SIDE).all())
    except Exception:  # whatever CUDA and its libraries say, it does not compute
        return False
