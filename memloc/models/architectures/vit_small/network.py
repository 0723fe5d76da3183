"""A small vision transformer (timm's `VisionTransformer`: patch 2, 512 wide, 6 blocks, 8 heads, MLP as wide as the tokens).

tokens: `patch` cuts the image into 2×2 patches by a convolution. `shifted` is the published code's network (package
vit-pytorch, `vit_for_small_dataset`): shifted patch tokenization and locality self-attention of Lee et al. 2021
(arXiv:2112.13492). Either network computes what the package's computes. The blocks are written here because gates act inside
them.

Neurons: every attention head's output (all tokens of it) before the projection; every hidden unit of an MLP after its GELU;
every weight of the classifier, whose bias is none. Dropout sites: the token channels after `embed` and after every block;
(C, N, 1) for N tokens, the class token the first. The network's own dropouts (rate 0.1) are factors, too: after the position
embedding, on attention weights, after the projection, after GELU and after the MLP; see `Network.stochastic`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memloc.models.architectures.vit_small.config import PATCH, ViTSmall
from memloc.models.blocks import GatedLinear, masked, masked_tokens, uniform
from memloc.models.gates import Gates, gated
from memloc.models.groups import Network, State
from memloc.models.kept import Masks

DIM, DEPTH, HEADS, RATE = 512, 6, 8, 0.1
EPSILON = {"patch": 1e-6, "shifted": 1e-5}  # of layer norms, as the packages have it
SHIFTS = ((1, -1, 0, 0), (-1, 1, 0, 0), (0, 0, 1, -1), (0, 0, -1, 1))  # padding left, right, top, bottom: by one pixel


class Embed(nn.Module):
    """Patches as tokens, the class token before them, positions added."""

    def __init__(self, channels: int, count: int, tokens: str) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, DIM))
        self.pos_embed = nn.Parameter(torch.zeros(1, count, DIM))
        self.norm: nn.Module | None = None
        self.proj: nn.Module = nn.Conv2d(channels, DIM, PATCH, PATCH)
        if tokens == "shifted":
            features = channels * (1 + len(SHIFTS)) * PATCH**2
            self.norm = nn.LayerNorm(features, EPSILON[tokens])
            self.proj = nn.Linear(features, DIM)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens, float32 B×(1 + patches)×DIM, of images B×C×H×W."""
        if self.norm is None:
            patches = self.proj(x).flatten(2).transpose(1, 2)
        else:
            patches = self.proj(self.norm(_patches(torch.cat([x, *(F.pad(x, shift) for shift in SHIFTS)], dim=1))))
        return torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1) + self.pos_embed


def _patches(x: Tensor) -> Tensor:
    """B×C×H×W as B×tokens×(rows of the patch · its columns · C)."""
    b, c, h, w = x.shape
    cut = x.reshape(b, c, h // PATCH, PATCH, w // PATCH, PATCH).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(b, (h // PATCH) * (w // PATCH), PATCH * PATCH * c)


class TransformerBlock(nn.Module):
    """Attention, then the MLP, each on normalised tokens and added to them.

    shifted: the temperature is learned, and no token attends to itself.
    """

    def __init__(self, name: str, tokens: str) -> None:
        super().__init__()
        self.name, eps = name, EPSILON[tokens]
        self.temperature = nn.Parameter(torch.zeros(())) if tokens == "shifted" else None
        self.norm1 = nn.LayerNorm(DIM, eps)
        self.qkv = nn.Linear(DIM, 3 * DIM, bias=False)
        self.proj = nn.Linear(DIM, DIM)
        self.norm2 = nn.LayerNorm(DIM, eps)
        self.fc1 = nn.Linear(DIM, DIM)
        self.fc2 = nn.Linear(DIM, DIM)

    def forward(self, x: Tensor, gates: Gates, masks: Masks | None) -> Tensor:
        """Tokens of tokens, float32 B×N×DIM; gates and masks: of the whole network."""
        x = x + self._attention(self.norm1(x), gates, masks)
        hidden = F.gelu(self.fc1(self.norm2(x)))
        if (gate := gates.get(f"{self.name}.mlp")) is not None:
            hidden = gated(hidden, gate, -1)
        y = self.fc2(masked(hidden, f"{self.name}.hidden_drop", masks))
        return x + masked(y, f"{self.name}.mlp_drop", masks)

    def _attention(self, x: Tensor, gates: Gates, masks: Masks | None) -> Tensor:
        # Written out, and not PyTorch's fused form: its dropout draws from the global generator, and on a GPU its gradient
        # adds up in no fixed order.
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, DIM // HEADS)).permute(2, 0, 3, 1, 4).unbind(0)
        if self.temperature is None:
            scores = (q * (DIM // HEADS) ** -0.5) @ k.transpose(-2, -1)
        else:
            scores = q @ k.transpose(-2, -1) * self.temperature.exp()
            itself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
            scores = scores.masked_fill(itself, -torch.finfo(scores.dtype).max)
        attention = masked(scores.softmax(dim=-1), f"{self.name}.attention_drop", masks)
        heads = attention @ v
        if (gate := gates.get(f"{self.name}.heads")) is not None:
            heads = gated(heads, gate)
        return masked(self.proj(heads.transpose(1, 2).flatten(2)), f"{self.name}.proj_drop", masks)


class Head(nn.Module):
    """The class token, normalised, to logits."""

    def __init__(self, classes: int, tokens: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(DIM, EPSILON[tokens])
        self.fc = GatedLinear(DIM, classes, bias=True)

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Logits, float32 B×classes, of tokens B×N×DIM."""
        logits: Tensor = self.fc(self.norm(x[:, 0]), gates.get("head.fc"))
        return logits


class Architecture(Network):
    """embed → block0 → … → block5 → head."""

    def __init__(self, channels: int, height: int, width: int, classes: int, tokens: str) -> None:
        super().__init__()
        self.tokens = tokens
        self.count = 1 + (height // PATCH) * (width // PATCH)
        blocks = [f"block{k}" for k in range(DEPTH)]
        self.embed = Embed(channels, self.count, tokens)
        for name in blocks:
            self.add_module(name, TransformerBlock(name, tokens))
        self.head = Head(classes, tokens)
        self.groups = ("embed", *blocks, "head")
        self.sites = dict.fromkeys(self.groups[:-1], (DIM, self.count, 1))
        self.neurons = {}
        for name in blocks:
            self.neurons |= {f"{name}.heads": (HEADS,), f"{name}.mlp": (DIM,)}
        self.neurons["head.fc"] = (classes, DIM)

    @classmethod
    def build(cls, config: ViTSmall, shape: tuple[int, int, int], classes: int) -> Architecture:
        """The network for images of shape (C, H, W), H and W even; `initialise` then fills its parameters."""
        return cls(*shape, classes, config.tokens)

    def stochastic(self) -> dict[str, tuple[tuple[int, ...], float]]:
        tokens = ((self.count, DIM), RATE)
        rates: dict[str, tuple[tuple[int, ...], float]] = {"embed_drop": tokens}
        for name in self.groups[1:-1]:
            rates[f"{name}.attention_drop"] = ((HEADS, self.count, self.count), RATE)
            rates |= {f"{name}.{kind}_drop": tokens for kind in ("proj", "hidden", "mlp")}
        return rates

    def run_group(self, group: str, state: State, gates: Gates | None = None, masks: Masks | None = None) -> State:
        x, gates = state[0], gates or {}
        if group == "head":
            return (self.head(x, gates),)
        x = masked(self.embed(x), "embed_drop", masks) if group == "embed" else self.get_submodule(group)(x, gates, masks)
        return (masked_tokens(x, group, masks),)

    def initial(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """As the package's: timm's N(0, 0.02²) and no biases, but PyTorch's default for the patches; or vit-pytorch's,
        N(0, 1) for class token and positions, PyTorch's default for the rest.
        """
        kind = name.rpartition(".")[2]
        module = self.get_submodule(name.rpartition(".")[0])
        if kind == "temperature":
            return torch.full(shape, (DIM // HEADS) ** -0.5).log()
        if isinstance(module, nn.LayerNorm):
            return super().initial(name, shape, generator)
        if self.tokens == "shifted" or isinstance(module, nn.Conv2d):
            if isinstance(module, Embed):
                return torch.empty(shape).normal_(generator=generator)
            assert isinstance(module, nn.Conv2d | nn.Linear)
            return uniform(shape, module.weight[0].numel(), generator)
        if kind == "bias":
            return torch.zeros(shape)
        # timm cuts the normal at ±2, 100 standard deviations: that is nowhere, but for draws that rounding puts there.
        std = 1e-6 if kind == "cls_token" else 0.02
        return torch.empty(shape).normal_(0.0, std, generator=generator)
