"""Cards that get no work on a real Ray with two logical GPUs: who holds them, what is said, and that the others go on.

    python -m tests.run.held_cards

Prints what was seen as JSON. No process imports torch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

# isort: off
import memloc.run.ray as _environment  # noqa: F401  (first: it sets what Ray reads when it is imported)
import ray

# isort: on
from memloc.run.admission import Report
from memloc.run.placement import Resources
from memloc.run.quarantine import CardPlace, Quarantine
from memloc.run.ray import admission_actor
from memloc.run.ray.admission_actor import Answer
from memloc.run.ray.connect import connected
from memloc.run.ray.holding import Holders
from memloc.run.ray.own_card import own_place

SECONDS = 120.0  # for a process to start


class Untested(Quarantine):
    """As if every card had shown before that it computes, and had failed again."""

    def is_tested(self, card: CardPlace) -> bool:
        return False


class Actor(admission_actor.AdmissionActor.__ray_metadata__.modified_class):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.cards = Untested()
        self.holders = Holders(self.cards)


@ray.remote(num_gpus=1, num_cpus=0, max_calls=50)
def where(seconds: float) -> CardPlace | None:
    """The card of this task."""
    time.sleep(seconds)
    return own_place()


def waited(seen: Callable[[], Any]) -> Any:
    """What is seen as soon as it is true."""
    until = time.monotonic() + SECONDS
    while not (value := seen()):
        assert time.monotonic() < until
        time.sleep(0.2)
    return value


def seen_in_a_run() -> dict[str, Any]:
    """A run on both cards: one breaks, tasks go on, then the other breaks."""
    admission = ray.remote(num_cpus=0)(Actor).remote()
    one, other = ray.get([where.remote(3.0), where.remote(3.0)])

    def reported() -> Answer:
        answer: Answer = ray.get(admission.report.remote("t", Report()))
        return answer

    def breaks(card: CardPlace) -> Answer:
        for _ in range(2):
            ray.get(admission.failed_device.remote("t", "an error", card))
        answer: Answer = waited(lambda: (answer := reported()).cards and answer)
        return answer

    first = breaks(one)
    places = ray.get([where.remote(0.1) for _ in range(6)])
    get_work = [ray.get(admission.gets_work.remote(card)) for card in (one, other)]
    last = breaks(other)
    time.sleep(1.0)
    return {
        "names": [str(one), str(other)],
        "said": [*first.cards, *last.cards],
        "elsewhere": all(place == other for place in places),
        "get work": get_work,
        "broken": [len(first.broken), len(last.broken)],
        "no card": [first.no_card, last.no_card],
        "free": free_cards(),
    }


def free_cards() -> float:
    return float(ray.available_resources().get("GPU", 0.0))


def main() -> None:
    with connected(Resources(gpus=2, cpus=1), "held"):
        seen = seen_in_a_run()
        waited(lambda: free_cards() == 2.0)  # who holds cards ends with the run
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
