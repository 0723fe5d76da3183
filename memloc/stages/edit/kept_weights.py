"""What is kept of a layer's weights W (out×in), by K-FAC's curvature (Merullo et al., 2025) or by something else.

With A = U_A diag(μ) U_Aᵀ and G = U_G diag(λ) U_Gᵀ, W has the coordinates C = U_Gᵀ W U_A, and λ_i μ_j is the curvature of
C_ij. `kfac` keeps the pairs (i, j) with the largest λ_i μ_j, as few as have the share ρ of Σλ Σμ, and sets the others to 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from memloc.models.eigenvectors import eigh
from memloc.stages.edit.config import Budget, Rank
from memloc.stages.edit.covariances import Covariances


class Kept(NamedTuple):
    """weight: float64 [out, in]. pairs: how many numbers a rank chooses from; kept: how many it keeps.

    energy: the share that it keeps of what it ranks by; None where nothing can be ranked: then the weights stay as they are.
    """

    weight: Tensor
    pairs: int
    kept: int
    energy: float | None


@dataclass(frozen=True)
class Layer:
    """The weights of a layer in the bases of its covariances. Everything is float64, on the CPU.

    weight: W. shuffled: all pairs in a random order, int64 [out·in].
    """

    weight: Float[Tensor, "out inputs"]
    of_inputs: Eigen
    of_outputs: Eigen
    shuffled: Tensor

    @staticmethod
    def of(weight: Tensor, both: Covariances, shuffled: Tensor) -> Layer | None:
        """weight: of any floating type, out×…. None where K-FAC has nothing to rank: no curvature, or no finite one."""
        weight = weight.detach().cpu().double().flatten(1)
        if not all(t.isfinite().all() for t in (weight, *both)) or not all(t.diagonal().sum() > 0 for t in both):
            return None
        return Layer(weight, Eigen.of(both.inputs), Eigen.of(both.outputs), shuffled)

    @cached_property
    def curvature(self) -> Float[Tensor, "out inputs"]:
        """λ_i μ_j."""
        return self.of_outputs.values[:, None] * self.of_inputs.values

    @cached_property
    def coordinates(self) -> Float[Tensor, "out inputs"]:
        """C."""
        return self.of_outputs.vectors.T @ self.weight @ self.of_inputs.vectors

    @cached_property
    def order(self) -> Tensor:
        """The pairs, largest curvature first; of equal ones the first."""
        return self.curvature.flatten().argsort(descending=True, stable=True)

    def pairs(self, rho: float) -> int:
        """How many pairs kfac keeps."""
        return fewest(self.curvature.flatten()[self.order], rho)

    def without(self, dropped: Tensor) -> Tensor:
        """W without some of its coordinates. dropped: bool [out, in]. Without any it is W, to the last bit."""
        coordinates = torch.where(dropped, self.coordinates, 0.0)
        return self.weight - self.of_outputs.vectors @ coordinates @ self.of_inputs.vectors.T


class Eigen(NamedTuple):
    """values: float64 [d], not negative, the largest first. vectors: float64 [d, d], a column each."""

    values: Tensor
    vectors: Tensor

    @staticmethod
    def of(covariance: Tensor) -> Eigen:
        """The eigenvalues and eigenvectors of a symmetric matrix. Values below 0 are rounding."""
        values, vectors = eigh(covariance)
        return Eigen(values.flip(0).clamp(min=0), vectors.flip(1))


def fewest(energies: Float[Tensor, " n"], rho: float) -> int:
    """How many of the first numbers have the share ρ of the sum of all; all n for ρ = 1.

    energies: not negative, not all 0.
    """
    if rho == 1:
        return len(energies)
    sums = energies.cumsum(0)
    return min(len(energies), int((sums < rho * sums[-1]).sum()) + 1)


def _first(order: Tensor, count: int, shape: torch.Size) -> Tensor:
    """bool [shape]: all but the first of an order."""
    dropped = torch.ones(shape, dtype=torch.bool)
    dropped.view(-1)[order[:count]] = False
    return dropped


def _kfac(layer: Layer, rho: float, budget: Budget) -> Kept:
    count, shape = layer.pairs(rho), layer.weight.shape
    dropped = _first(layer.order, count, shape)
    energy = float(layer.curvature[~dropped].sum() / layer.curvature.sum())
    return Kept(layer.without(dropped), shape.numel(), count, energy)


def _activation(layer: Layer, rho: float, budget: Budget) -> Kept:
    """The directions of inputs with the largest μ_j, for all outputs."""
    return _directions(layer, rho, budget, 1)


def _gradient(layer: Layer, rho: float, budget: Budget) -> Kept:
    """The directions of outputs with the largest λ_i, for all inputs."""
    return _directions(layer, rho, budget, 0)


def _directions(layer: Layer, rho: float, budget: Budget, axis: int) -> Kept:
    """Whole directions: with budget `pairs`, the number that comes nearest to kfac's pairs, at least one."""
    shape, values = layer.weight.shape, (layer.of_outputs, layer.of_inputs)[axis].values
    others = shape[1 - axis]
    nearest = min(max(1, round(layer.pairs(rho) / others)), shape[axis])
    count = nearest if budget == "pairs" else fewest(values, rho)
    far = torch.arange(shape[axis]) >= count
    dropped = (far if axis else far[:, None]).expand(shape)
    return Kept(layer.without(dropped), shape.numel(), count * others, float(values[:count].sum() / values.sum()))


def _random(layer: Layer, rho: float, budget: Budget) -> Kept:
    """Pairs in a random order. Each has as much energy as the others."""
    shape = layer.weight.shape
    count = layer.pairs(rho) if budget == "pairs" else fewest(torch.ones(shape.numel(), dtype=torch.float64), rho)
    return Kept(layer.without(_first(layer.shuffled, count, shape)), shape.numel(), count, count / shape.numel())


def _magnitude(layer: Layer, rho: float, budget: Budget) -> Kept:
    """The largest weights. Their energy is their square."""
    squares = layer.weight.square()
    sizes, order = squares.flatten().sort(descending=True, stable=True)
    count = layer.pairs(rho) if budget == "pairs" else fewest(sizes, rho)
    dropped = _first(order, count, squares.shape)
    weight = torch.where(dropped, 0.0, layer.weight)
    return Kept(weight, squares.numel(), count, float(sizes[:count].sum() / sizes.sum()))


def _svd(layer: Layer, rho: float, budget: Budget) -> Kept:
    """The largest singular values. Their energy is their square, and a pair is one of them."""
    left, values, right = torch.linalg.svd(layer.weight, full_matrices=False)
    squares = values.square()
    count = fewest(squares, rho)
    rest = (left[:, count:] * values[count:]) @ right[count:]
    return Kept(layer.weight - rest, len(values), count, float(squares[:count].sum() / squares.sum()))


RANKED: Mapping[Rank, Callable[[Layer, float, Budget], Kept]] = {
    "kfac": _kfac,
    "activation": _activation,
    "gradient": _gradient,
    "svd": _svd,
    "random": _random,
    "magnitude": _magnitude,
}
