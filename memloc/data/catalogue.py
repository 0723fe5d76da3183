"""The data sets that are known by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from memloc.data import digits
from memloc.data.arrays import Description, Raw
from memloc.data.cifar10 import CIFAR10
from memloc.data.idx import FASHION_MNIST, MNIST
from memloc.data.named import NamedDataset
from memloc.data.source import Source
from memloc.data.svhn import SVHN
from memloc.errors import nearest

# A bundled data set is a function that loads it. A downloaded one is known by its files.
SOURCES: dict[str, Callable[[], Raw] | NamedDataset] = {
    "digits": digits.load,
    **{dataset.name: dataset for dataset in (CIFAR10, MNIST, FASHION_MNIST, SVHN)},
}


def _known(value: str) -> str:
    if value in SOURCES:
        return value
    raise ValueError(f"valid: {', '.join(SOURCES)}{nearest(value, SOURCES)}")


class ByName(Source):
    """A data set of `SOURCES`."""

    dataset: Annotated[str, AfterValidator(_known)]

    def load(self, data_dir: Path) -> Raw:
        """As `Source.load`."""
        source = SOURCES[self.dataset]
        return source.load(data_dir) if isinstance(source, NamedDataset) else source()

    def known(self) -> Description | None:
        """As `Source.known`: of a downloaded data set, whose files need not be there."""
        source = SOURCES[self.dataset]
        return source.description if isinstance(source, NamedDataset) else None

    def class_names(self) -> tuple[str, ...]:
        """As `Source.class_names`."""
        source = SOURCES[self.dataset]
        return source.class_names if isinstance(source, NamedDataset) else ()
