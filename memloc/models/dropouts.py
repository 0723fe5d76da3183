"""Example-tied dropout (§6.2) and its baselines, as factors at a network's dropout sites.

A `Dropout` does not change the network's forward pass. For the rows of a batch it gives one factor per site, and the network
multiplies by it. An example's mask depends on (seed, site, example, channel) alone. Factors of single activations are one
byte each (`Kept`) and are made when the network asks for a site.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from memloc.config import TrainConfig
from memloc.config import training as kinds
from memloc.models.groups import Network
from memloc.models.kept import Kept, Masks, OnDemand, scale_of
from memloc.models.random_masks import RandomMasks
from memloc.models.recomputation import is_recomputing
from memloc.seeds import hashed, uniform

Shape = tuple[int, int, int]  # C, H, W
LAYERS = nn.modules.conv._ConvNd | nn.Linear  # whose weights `sparse` masks


class Dropout:
    """No dropout, and the interface of the others.

    rows: int64 [B], positions in the training data, or in evaluation (but for mode own) in the test data. mask_mode: plain,
    own, scaled or dropped (science.md, §6.2). by_position: do the factors depend on positions in a batch?
    """

    mask_modes: tuple[str, ...] = ("plain",)
    by_position = False

    def training(self, rows: Tensor, epoch: int, step: int) -> Masks | None:
        """The factors of one training step by site: B×C×H×W or B×C×1×1, or with 1 in place of B."""
        return None

    def fixed(self, rows: Tensor) -> Masks | None:
        """Those factors of a training step that are the same in every step. Random factors are left out."""
        return self.training(rows, 0, 0)

    def evaluation(self, mask_mode: str, rows: Tensor | None = None, rescale: str = "none") -> Masks | None:
        """The factors in evaluation mode by site; None: no factors, so the activations stay as they are.

        A factor is B×C×1×1 in mode own, and 1×C×1×1 in modes scaled and dropped. The masks of `sparse` are 1×C×H×W or
        1×C×1×1 in every mode, or B×C×H×W where they depend on the position. rows: needed in mode own and for masks by
        position. rescale: none, authors or consistent, for mode dropped.

        Raises:
            ValueError: mode own, or masks by position, without rows.
        """
        return None

    def own(self, row: int) -> dict[str, npt.NDArray[np.bool_]]:
        """{site: bool [C]}: the channels that are on for one training example; row: its position in the training data.

        Raises:
            ValueError: the dropout is not example-tied.
        """
        raise ValueError("only example-tied dropout has a mask per example")

    def constrain(self, network: Network) -> None:
        """Restores what the dropout fixes in the weights, after initialisation and after every update."""


class OwnDropouts:
    """The dropouts that are part of an architecture (`Network.stochastic`): factors 0 or 1/(1 − rate), in training alone."""

    def __init__(self, network: Network, seed: int, device: torch.device) -> None:
        self.sites = network.stochastic()
        self.random = RandomMasks(seed, "own dropout", device if self.sites else torch.device("cpu"))

    def training(self, count: int, epoch: int, step: int, others: Masks | None = None) -> Masks | None:
        """The factors of one training step for a batch of `count`, together with `others`."""
        if not self.sites:
            return others

        def drawn(site: str) -> Kept:
            shape, rate = self.sites[site]
            return self.random.drawn((count, *shape), 1 - rate, site, (epoch, step))

        own = OnDemand(self.sites, drawn, keep=not is_recomputing())
        return ChainMap(own, others) if others else own  # type: ignore[arg-type]  # it is only read


class ExampleTied(Dropout):
    """Channels 0..G−1 always on; every other channel belongs to example i with probability p_mem.

    The masks are kept packed, 1 bit per (example, channel), and unpacked for the rows of a batch.
    """

    mask_modes = ("plain", "own", "scaled", "dropped")

    def __init__(
        self,
        config: kinds.ExampleTied,
        seed: int,
        sites: Mapping[str, Shape],
        example: npt.NDArray[np.int64],
        device: torch.device,
    ) -> None:
        self.p_gen, self.p_mem = config.p_gen, config.p_mem
        self.channels = {site: shape[0] for site, shape in sites.items()}
        self.device = device
        self.packed = {
            site: torch.from_numpy(np.packbits(self._draw(config, seed, site, example), axis=1, bitorder="little")).to(
                device
            )
            for site in sites
        }
        self.shifts = torch.arange(8, dtype=torch.uint8, device=device)

    def generalization(self, site: str) -> int:
        """G = max(1, ⌊p_gen·C⌋)."""
        # The tiny allowance makes ⌊0.6·5⌋ = 3, although binary floating point gives 2.999….
        return max(1, int(np.floor(self.p_gen * self.channels[site] + 1e-9)))

    def _draw(
        self, config: kinds.ExampleTied, seed: int, site: str, example: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        channel = np.arange(self.channels[site])
        # Shared: the mask depends on (example, channel) alone, at every site and under every seed.
        key = (0, "example-tied, shared") if config.masks == "shared" else (seed, "example-tied", site)
        hashes = hashed(*key, i=example[:, None], j=channel[None, :])
        return np.asarray((channel < self.generalization(site)) | (uniform(hashes) < self.p_mem))

    def _unpack(self, site: str, rows: Tensor) -> Tensor:
        """float32 B×C×1×1 of 0 and 1."""
        bits = (self.packed[site][rows][:, :, None] >> self.shifts) & 1
        return bits.flatten(1)[:, : self.channels[site], None, None].to(torch.float32)

    def training(self, rows: Tensor, epoch: int, step: int) -> Masks | None:
        return {site: self._unpack(site, rows) for site in self.channels}

    def evaluation(self, mask_mode: str, rows: Tensor | None = None, rescale: str = "none") -> Masks | None:
        if mask_mode == "plain":
            return None
        if mask_mode == "own":
            if rows is None:
                raise ValueError("mode own is defined for training examples only")
            return self.fixed(rows)
        return {site: self._fixed(site, mask_mode, rescale) for site in self.channels}

    def _fixed(self, site: str, mask_mode: str, rescale: str) -> Tensor:
        """float32 1×C×1×1: (1, …, 1, rest, …, rest), rescaled in mode dropped."""
        n, g = self.channels[site], self.generalization(site)
        share = g / n
        scale = {
            "none": 1.0,
            "authors": (self.p_gen + self.p_mem) / self.p_gen,
            "consistent": (share + self.p_mem * (1 - share)) / share,
        }[rescale]
        factor = torch.full((1, n, 1, 1), self.p_mem if mask_mode == "scaled" else 0.0, device=self.device)
        factor[:, :g] = scale if mask_mode == "dropped" else 1.0
        return factor

    def own(self, row: int) -> dict[str, npt.NDArray[np.bool_]]:
        rows = torch.tensor([row], device=self.device)
        return {site: self._unpack(site, rows).flatten().bool().cpu().numpy() for site in self.channels}


class Standard(Dropout):
    """Random dropout: each unit kept with probability `keep` and scaled by 1/keep in training, off in evaluation."""

    def __init__(self, config: kinds.Standard, seed: int, sites: Mapping[str, Shape], device: torch.device) -> None:
        self.keep, self.unit, self.sites = config.keep, config.unit, dict(sites)
        self.random = RandomMasks(seed, "dropout", device)

    def training(self, rows: Tensor, epoch: int, step: int) -> Masks | None:
        def drawn(site: str) -> Kept:
            c, h, w = self.sites[site]
            if self.unit == "element":
                return self.random.drawn((len(rows), c, h, w), self.keep, site, (epoch, step), torch.channels_last)
            return self.random.drawn((len(rows), c, 1, 1), self.keep, site, (epoch, step))

        return OnDemand(self.sites, drawn, keep=not is_recomputing())

    def fixed(self, rows: Tensor) -> Masks | None:
        return None


@dataclass
class SparseActivations(Dropout):
    """A fixed keyed mask over elements or channels at the sites, times 1/keep, the same in training and test."""

    masks: dict[str, Tensor]

    @classmethod
    def build(cls, config: kinds.Sparse, seed: int, sites: Mapping[str, Shape], device: torch.device) -> SparseActivations:
        """The masks of every site, keyed by (seed, site), 1×C×H×W (element) or 1×C×1×1 (channel); each 0 or 1/keep."""
        masks = {}
        for site, (c, h, w) in sites.items():
            shape = (1, c, h, w) if config.unit == "element" else (1, c, 1, 1)
            kept = uniform(hashed(seed, "sparse", site, i=np.arange(int(np.prod(shape))))) < config.keep
            masks[site] = torch.from_numpy(kept.reshape(shape)).to(device, torch.float32) / config.keep
        return cls(masks)

    def training(self, rows: Tensor, epoch: int, step: int) -> Masks | None:
        return self.masks

    def evaluation(self, mask_mode: str, rows: Tensor | None = None, rescale: str = "none") -> Masks | None:
        return self.masks


class SparsePositions(Dropout):
    """A fixed keyed mask over elements at the sites for each position in a batch, times 1/keep (published code).

    In a training step the position is that in the batch. In evaluation the data are in order, in batches of training size,
    so it is the position in the data modulo the batch size.
    """

    by_position = True

    def __init__(
        self, config: kinds.Sparse, seed: int, sites: Mapping[str, Shape], batch_size: int, device: torch.device
    ) -> None:
        self.keep, self.scale, self.batch_size = config.keep, scale_of(config.keep), batch_size
        # The last batch of an epoch may have one example more.
        self.kept = {
            site: torch.stack([self._draw(seed, site, shape, k) for k in range(batch_size + 1)]).to(device)
            for site, shape in sites.items()
        }

    def _draw(self, seed: int, site: str, shape: Shape, position: int) -> Tensor:
        """bool C×H×W: the elements that are kept."""
        hashes = hashed(seed, "sparse, by position", site, i=position, j=np.arange(int(np.prod(shape))))
        return torch.from_numpy((uniform(hashes) < self.keep).reshape(shape))

    def training(self, rows: Tensor, epoch: int, step: int) -> Masks | None:
        return OnDemand(self.kept, lambda site: Kept(self.kept[site][: len(rows)], self.scale))

    def evaluation(self, mask_mode: str, rows: Tensor | None = None, rescale: str = "none") -> Masks | None:
        if rows is None:
            raise ValueError("masks by position in a batch need rows")
        positions = rows % self.batch_size
        return OnDemand(self.kept, lambda site: Kept(self.kept[site][positions], self.scale), keep=not is_recomputing())


class SparseWeights(Dropout):
    """A fixed keyed mask over convolution and linear weights, without rescaling.

    The masked weights are zero in every checkpoint, so the forward pass needs no mask. They are set back to zero after each
    update. Every other weight then has the same history as with a mask inside the forward pass.
    """

    def __init__(self, config: kinds.Sparse, seed: int, device: torch.device) -> None:
        self.keep, self.seed, self.device = config.keep, seed, device
        self.masks: dict[str, Tensor] = {}

    def mask(self, name: str, shape: torch.Size) -> Tensor:
        """bool of this shape, on the device: which weights of the parameter are kept; drawn once, keyed by (seed, name)."""
        if name not in self.masks:
            kept = uniform(hashed(self.seed, "sparse", name, i=np.arange(shape.numel()))) < self.keep
            self.masks[name] = torch.from_numpy(kept.reshape(tuple(shape))).to(self.device)
        return self.masks[name]

    @torch.no_grad()
    def constrain(self, network: Network) -> None:
        first: dict[int, str] = {}  # a weight that several layers share has the mask of the first one alone
        for name, module in network.named_modules():
            if isinstance(module, LAYERS) and first.setdefault(id(module.weight), name) == name:
                module.weight.mul_(self.mask(f"{name}.weight", module.weight.shape))


def computed_weights(network: nn.Module) -> list[str]:
    """The convolutions and linear layers that compute their weight anew in every pass: `SparseWeights` cannot mask it."""
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, LAYERS)]
    return [name for name, module in layers if not isinstance(module.weight, nn.Parameter)]


def build_dropout(
    config: TrainConfig, sites: Mapping[str, Shape], example: npt.NDArray[np.int64], device: torch.device
) -> Dropout:
    """The dropout of a resolved configuration; example: int64 [n], the training examples in row order."""
    match config.dropout:
        case kinds.ExampleTied():
            return ExampleTied(config.dropout, config.seed, sites, example, device)
        case kinds.Standard():
            return Standard(config.dropout, config.seed, sites, device)
        case kinds.Sparse(unit="weight"):
            return SparseWeights(config.dropout, config.seed, device)
        case kinds.Sparse(unit="batch_element"):
            return SparsePositions(config.dropout, config.seed, sites, config.batch_size, device)
        case kinds.Sparse():
            return SparseActivations.build(config.dropout, config.seed, sites, device)
        case kinds.NoDropout():
            return Dropout()
