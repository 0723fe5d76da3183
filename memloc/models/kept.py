"""Dropout factors as one byte each: which activations are kept, and by what they are multiplied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True)
class Kept:
    """The factors `scale` where mask is true and 0 where it is false.

    mask: bool, of the shape of the factors. scale: a number of float32, so that nothing is rounded when it is taken over.
    """

    mask: Tensor
    scale: float = 1.0

    def float(self) -> Tensor:
        """The factors, float32."""
        return self.mask.to(torch.float32).mul_(self.scale)

    def to(self, device: torch.device) -> Kept:
        """The same factors on a device."""
        return Kept(self.mask.to(device), self.scale)


Factor: TypeAlias = Tensor | Kept  # a tensor is float32
Masks: TypeAlias = Mapping[str, Factor]  # {site: factors that broadcast against the activations there}


def floats(masks: Masks | None) -> dict[str, Tensor] | None:
    """{site: its factors, float32}."""
    return None if masks is None else {site: factor.float() for site, factor in masks.items()}


def scale_of(keep: float) -> float:
    """1/keep in float32, which is what inverted dropout multiplies by."""
    return float(torch.ones((), dtype=torch.float32).div_(keep))


def times(x: Tensor, factor: Factor, arranged: Callable[[Tensor], Tensor] = lambda factor: factor) -> Tensor:
    """x·factor, bit for bit what the product with float32 factors is; x: float, B×….

    arranged: gives the factors the axes of x. For the backward pass a `Kept` stays one byte per factor.
    """
    if isinstance(factor, Tensor):
        return x * arranged(factor)
    product: Tensor = _Times.apply(x, arranged(factor.mask), factor.scale)
    return product


class _Times(torch.autograd.Function):
    """x·mask·scale. A factor of 0 or 1 rounds nothing, so this is x·(mask·scale): zeros keep their sign, NaN stays."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.dtype, ctx.scale = x.dtype, scale
        return _product(x, mask, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return _product(gradient, mask, ctx.scale).to(ctx.dtype), None, None


def _product(x: Tensor, mask: Tensor, scale: float) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # of bfloat16 and float32 the product is float32
    return (wide * mask).mul_(scale)


class OnDemand(Mapping[str, Factor]):
    """Factors that are made when a site is asked for.

    make: site -> its factors, the same whenever it is called. keep: are they kept after that? Otherwise a second look makes
    them again.
    """

    def __init__(self, sites: Mapping[str, object], make: Callable[[str], Factor], keep: bool = True) -> None:
        self._sites, self._make, self._keep = sites, make, keep
        self._made: dict[str, Factor] = {}

    def __contains__(self, site: object) -> bool:
        return site in self._sites

    def __getitem__(self, site: str) -> Factor:
        if site not in self._sites:
            raise KeyError(site)
        factor = self._made.get(site)
        if factor is None:
            factor = self._make(site)
            if self._keep:
                self._made[site] = factor
        return factor

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)
