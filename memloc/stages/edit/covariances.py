"""The two factors of K-FAC for layers of a network: the covariance of inputs and that of gradients at the outputs.

For a layer with weights W (out×in; of a convolution in = channels·height·width of a patch), over examples and positions:

    A = E[a aᵀ], a: a patch of the layer's input, with its zero padding, not centred, without a 1 for the bias
    G = E[Σ_c p_c g_c g_cᵀ], g_c = ∂(−log p_c)/∂(output), p: the network's own probabilities

G is exact: every class counts with its probability, and nothing is drawn. So no label is looked at. K-FAC's curvature of W
is A ⊗ G, times the number of positions, which changes no order and no share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from memloc.data.device import images
from memloc.models.groups import Network
from memloc.models.inference import MaskSource, groups_of

AT_ONCE = 64  # examples whose patches are there at the same time

# {layer: (its input, its output)}; both B×channels×H×W, or B×…×features
Seen: TypeAlias = Mapping[str, tuple[Tensor, Tensor]]


class Covariances(NamedTuple):
    """inputs: A, float64 [in, in]. outputs: G, float64 [out, out]. Both are on the CPU."""

    inputs: Tensor
    outputs: Tensor


def covariances(
    network: Network, layers: Sequence[str], x: UInt8[Tensor, "n c h w"], masks: MaskSource
) -> dict[str, Covariances]:
    """{layer: its A and G} over images, in evaluation mode, under the dropout factors of the rows.

    layers: convolutions and linear layers that run once in a forward pass (`models/weight_matrices.py`).
    """
    network.eval().requires_grad_(False)
    factors: dict[str, _Sums] = {layer: _Sums(network.get_submodule(layer)) for layer in layers}
    with _watched(network, layers) as seen:
        for rows in groups_of(len(x), x.device):
            z = network(images(x[rows]), masks=masks(rows))
            for layer, (entering, _) in seen.items():
                factors[layer].add_inputs(entering)
            outputs = [seen[layer][1] for layer in layers]
            for gradients in _of_classes(z, outputs):
                for layer, gradient in zip(layers, gradients, strict=True):
                    factors[layer].add_outputs(gradient)
    return {layer: sums.means() for layer, sums in factors.items()}


def _of_classes(z: Float[Tensor, "b classes"], outputs: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
    """For every class c: √p_c · ∂(−log p_c)/∂output, of each output, example by example."""
    p = z.detach().softmax(dim=1)
    classes = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    for c in range(z.shape[1]):
        of_logits = p[:, c : c + 1].sqrt() * (p - classes[c])
        more = c + 1 < z.shape[1]
        yield torch.autograd.grad(z, outputs, of_logits, retain_graph=more, materialize_grads=True)


class _Sums:
    """The sums behind a layer's A and G so far."""

    def __init__(self, module: nn.Module) -> None:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        self.module, weight = module, module.weight
        self.inputs = torch.zeros((weight[0].numel(),) * 2, dtype=torch.float64, device=weight.device)
        self.outputs = torch.zeros((len(weight),) * 2, dtype=torch.float64, device=weight.device)
        self.count = 0

    def add_inputs(self, entering: Tensor) -> None:
        for part in torch.split(entering.detach(), AT_ONCE):
            rows = patches(self.module, part).double()  # float32 sums of a narrow matrix's products are off by 10⁻⁴
            self.count += len(rows)
            self.inputs += rows.T @ rows

    def add_outputs(self, gradient: Tensor) -> None:
        for part in torch.split(gradient, AT_ONCE):
            rows = part.movedim(1, -1) if isinstance(self.module, nn.Conv2d) else part
            rows = rows.flatten(0, -2).double()
            self.outputs += rows.T @ rows

    def means(self) -> Covariances:
        return Covariances((self.inputs / self.count).cpu(), (self.outputs / self.count).cpu())


def patches(module: nn.Module, x: Float[Tensor, " b *shape"]) -> Float[Tensor, "rows inputs"]:
    """What the layer's weights are multiplied with: a row for each example and position."""
    if not isinstance(module, nn.Conv2d):
        return x.flatten(0, -2)
    assert not isinstance(module.padding, str)
    unfolded = F.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride)
    return unfolded.transpose(1, 2).flatten(0, 1)


@contextmanager
def _watched(network: Network, layers: Sequence[str]) -> Iterator[Seen]:
    """What enters and leaves the layers in the last forward pass. The network goes on with a copy of what leaves them.

    An operation in place that follows a layer would change its output.
    """
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def hook(layer: str, args: tuple[Any, ...], output: Tensor) -> Tensor:
        if not output.requires_grad:  # no watched layer comes before it
            output.requires_grad_(True)
        seen[layer] = args[0], output
        return output.clone()

    handles = [
        network.get_submodule(layer).register_forward_hook(lambda _, args, output, layer=layer: hook(layer, args, output))
        for layer in layers
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
