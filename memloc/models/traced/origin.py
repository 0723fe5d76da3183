"""What an architecture says of its module, so that it can be traced, cut and run like any other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from torch import fx, nn

from memloc.errors import error_line
from memloc.models.dropouts import Shape
from memloc.models.traced import units
from memloc.models.traced.cut import groups_of_tensors, split_by_owners, split_into_groups
from memloc.models.traced.program import GroupingError, Program


@dataclass(frozen=True)
class Untraced:
    """kinds: of modules that are one operation each. functions: that are one operation each."""

    kinds: frozenset[type[nn.Module]] = frozenset()
    functions: tuple[Callable[..., object], ...] = ()


class Origin(ABC):
    """Where a module comes from. Equal origins give equal modules; it can be a key.

    key: names the stream of random numbers from which the initial values are drawn. fails: what stands before an exception
    of the module in a message.
    """

    key: str
    fails: ClassVar[str] = "its forward pass fails"
    groups: tuple[tuple[str, str], ...] | None = None
    sites: str | None = None

    @abstractmethod
    def create(self, shape: Shape, classes: int) -> nn.Module:
        """The module for images of shape (C, H, W), with its own initialisation, drawn from torch's global generator.

        Raises:
            GroupingError: it cannot be made, or cannot take these images.
        """

    def initialised(self, shape: Shape, classes: int) -> nn.Module:
        """As `create`, with the weights with which a training begins.

        Raises:
            GroupingError, UsageError: these weights cannot be read, or do not fit.
        """
        return self.create(shape, classes)

    def untraced(self) -> Untraced:
        """What is one operation."""
        return Untraced()

    def without_neurons(self, model: nn.Module) -> Collection[str]:
        """The names of modules whose convolutions have no neurons."""
        return ()

    def explained(self, error: BaseException) -> str:
        """What an exception of the module says, in one line."""
        return error_line(error, with_type=False)

    def program(self, model: nn.Module, graph: fx.Graph) -> tuple[Program, list[str]]:
        """(the model cut into groups: by the patterns if there are some, else by its children; notes on how).

        Raises:
            GroupingError
        """
        if self.groups is not None:
            found = units.matched(model, graph, dict(self.groups))
            try:
                return split_by_owners(graph, model, found.names, found.owners), found.notes
            except GroupingError as error:
                raise GroupingError(f"{error}; put them into one group", "groups") from None
        found = units.children(model, graph)
        return split_by_owners(graph, model, found.names, found.owners), found.notes


def by_stages(model: nn.Module, graph: fx.Graph) -> Program | None:
    """The model cut by its stages or blocks, if it has some that run one after the other."""
    with suppress(GroupingError):
        program = split_into_groups(graph, model, units.stages(model, graph))
        groups_of_tensors(model, program)
        return program
    return None
