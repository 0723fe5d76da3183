"""Networks that apply dropout masks by themselves, so that a notebook can call them like any module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from memloc.errors import UsageError, wrong_type

if TYPE_CHECKING:
    from memloc.models.dropouts import Dropout
    from memloc.models.groups import Network


class FixedMasks(nn.Module):
    """A network in whose forward pass each dropout site is multiplied by a fixed factor.

    network: the network without masks. factors: {site: float32 [1, C, 1, 1], or of the whole activation [1, C, H, W]}, in
    forward order; they move with the module (`.to("cuda")`).
    """

    def __init__(self, network: Network, factors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network, self.sites = network, tuple(factors)
        for number, factor in enumerate(factors.values()):  # the name of a site has dots, and the name of a buffer must not
            self.register_buffer(f"factor_{number}", factor, persistent=False)

    @property
    def factors(self) -> dict[str, Tensor]:
        """{site: the factor that its activations are multiplied by}."""
        return {site: self.get_buffer(f"factor_{number}") for number, site in enumerate(self.sites)}

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, classes] logits of float32 [N, C, H, W] normalised images."""
        logits: Tensor = self.network(x, masks=self.factors)
        return logits


class PositionMasks(nn.Module):
    """A network that runs every image under the mask of its position in the batch (`sparse` with `unit: batch_element`).

    network: the network without masks. Positions begin anew after `batch_size` images, the size of the training's batches.
    """

    def __init__(self, network: Network, dropout: Dropout) -> None:
        super().__init__()
        self.network = network
        self._dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, classes] logits of float32 [N, C, H, W] normalised images, in the order of their data."""
        masks = self._dropout.evaluation("plain", torch.arange(len(x))) or {}
        logits: Tensor = self.network(x, masks={site: mask.to(x.device) for site, mask in masks.items()})
        return logits


class OwnMasks(nn.Module):
    """A network that runs every training example under its own mask, as in its training (example-tied dropout).

    network: the network without masks. example: int64 [n], the training examples that have a mask.
    """

    def __init__(self, network: Network, dropout: Dropout, example: npt.NDArray[np.int64]) -> None:
        super().__init__()
        self.network = network
        self._dropout = dropout
        self._row = {int(index): row for row, index in enumerate(example)}

    def forward(self, x: Tensor, example: Tensor | npt.ArrayLike | None = None) -> Tensor:
        """float32 [N, classes] logits of N training examples, each under its own mask.

        Args:
            x: float32 [N, C, H, W], normalised images.
            example: integers [N] (or one, for N = 1), as in `TrialData.example`: whose images these are.

        Raises:
            UsageError: where they are no whole numbers, one is not among the training examples, or there are not as many as
                images.
        """
        indices = _whole_numbers(example)
        if len(indices) != len(x):
            raise UsageError(f"mode own: {len(x)} images and {len(indices)} examples; valid: an example for each image")
        if absent := [i for i in indices if i not in self._row]:
            raise UsageError(
                f"example {absent[0]}: is not among the training examples; valid: those in trial.data().example"
            )
        masks = self._dropout.evaluation("own", torch.tensor([self._row[i] for i in indices])) or {}
        logits: Tensor = self.network(x, masks={site: mask.to(x.device) for site, mask in masks.items()})
        return logits


def _whole_numbers(example: Any) -> list[int]:
    """Indices of examples as a list.

    Raises:
        UsageError: they are something else.
    """
    valid = "model(x, example) with whole numbers, one for each image, as in trial.data().example"
    if example is None:
        raise UsageError(f"mode own: has no examples; valid: {valid}")
    try:
        array = np.asarray(example.detach().cpu() if isinstance(example, Tensor) else example)
    except ValueError:  # lists of unequal lengths
        raise wrong_type("mode own: example", example, valid) from None
    if array.size and array.dtype.kind not in "iu":
        raise UsageError(f"mode own: examples are of type {array.dtype}; valid: {valid}")
    if array.ndim > 1:
        raise UsageError(f"mode own: examples have the shape {list(array.shape)}; valid: {valid}")
    return [int(i) for i in np.atleast_1d(array)]
