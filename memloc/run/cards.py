"""GPUs by name: what their makers publish, and the share of it that networks like these are assumed to reach.

The rates are those of dense matrices. NVIDIA's data sheets often state twice the rate of tensor cores, which holds for
sparse ones. tests/run/test_cards.py computes fp32 and bandwidth from cores, clocks and buses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from memloc.errors import UsageError

Precision: TypeAlias = Literal["fp32", "tf32", "bf16", "fp16"]
TERA, GIGA = 1e12, 1e9
DEFAULT = "a100"  # of a forecast where neither an option nor a machine says which card

# The shares of the published rates that are assumed until a store has measurements (docs/performance.md, On GPUs).
# fp32: cuDNN's convolutions with 64 to 512 channels come to half to two thirds of the peak. Tensor cores: images of 32×32
# make small matrices, operands are converted, and deterministic algorithms are not always the fastest: a third. Bandwidth:
# copies of large tensors reach four fifths of it, normalisations and sums somewhat less.
SHARES: dict[str, float] = {"fp32": 0.6, "tensor": 0.36, "bandwidth": 0.75}
LAUNCH = 8e-6  # seconds of the host for each kernel, about: PyTorch without graphs


@dataclass(frozen=True)
class Card:
    """A GPU. fp32, tf32, bf16, fp16: published operations per second; without tensor cores for a precision, those of fp32.

    bandwidth: of its memory, bytes per second. memory: bytes. shares: those that are assumed to be reached (`SHARES`).
    product: what its maker's name contains, as a regular expression. source: where the numbers are published.
    """

    name: str
    fp32: float
    tf32: float
    bf16: float
    fp16: float
    bandwidth: float
    memory: float
    product: str = ""
    source: str = ""
    share: float | None = None  # of every rate, in place of SHARES

    def rate(self, precision: str) -> float:
        """Published operations per second."""
        return float(getattr(self, precision))

    def rate_share(self, precision: str) -> float:
        """The share of `rate` that is assumed to be reached."""
        if self.share is not None:
            return self.share
        return SHARES["fp32" if precision == "fp32" or self.rate(precision) <= self.fp32 else "tensor"]

    def reached(self, precision: str) -> float:
        """Operations per second that are assumed to be reached."""
        return self.rate(precision) * self.rate_share(precision)

    def believed(self, precision: str) -> str:
        """`assumes 36 % of 495 TFLOP/s (tf32) and 75 % of 3.4 TB/s`."""
        rate = f"{self.rate_share(precision):.0%} of {self.rate(precision) / TERA:.0f} TFLOP/s ({precision})"
        if self.bandwidth == float("inf"):
            return f"assumes {rate}"
        return f"assumes {rate} and {SHARES['bandwidth']:.0%} of {self.bandwidth / TERA:.1f} TB/s"


def _card(name: str, rates: tuple[float, ...], bandwidth: float, memory: float, product: str, source: str) -> Card:
    """rates: TFLOP/s in fp32, tf32, bf16, fp16. bandwidth, memory: GB/s, GB."""
    fp32, tf32, bf16, fp16 = (rate * TERA for rate in rates)
    return Card(name, fp32, tf32, bf16, fp16, bandwidth * GIGA, memory * GIGA, product, f"NVIDIA, {source}")


# In the order in which a product's name is compared: the more specific name first.
CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        _card("h200", (66.9, 494.7, 989.4, 989.4), 4800, 141, r"\bH200\b(?! NVL)", "H200 data sheet, SXM"),
        _card("h100-pcie", (51.2, 378, 756, 756), 2000, 80, r"\bH100\b.*PCIe", "H100 data sheet, PCIe"),
        _card("h100", (66.9, 494.7, 989.4, 989.4), 3350, 80, r"\bH100\b(?! NVL)", "H100 data sheet, SXM"),
        _card("a100-80-pcie", (19.5, 156, 312, 312), 1935, 80, r"\bA100\b.*80GB PCIe", "A100 data sheet, PCIe 80 GB"),
        _card("a100-80", (19.5, 156, 312, 312), 2039, 80, r"\bA100\b.*80GB", "A100 data sheet, SXM 80 GB"),
        _card("a100", (19.5, 156, 312, 312), 1555, 40, r"\bA100\b", "A100 data sheet, 40 GB"),
        _card("v100-pcie", (14, 14, 14, 112), 900, 16, r"\bV100\b.*PCIE", "V100 data sheet, PCIe"),
        _card("v100", (15.7, 15.7, 15.7, 125), 900, 16, r"\bV100\b", "V100 data sheet, SXM2"),
        _card("l40s", (91.6, 183, 362, 362), 864, 48, r"\bL40S\b", "L40S data sheet"),
        _card("l4", (30.3, 60, 121, 121), 300, 24, r"\bL4\b", "L4 data sheet"),
        _card("a10", (31.2, 62.5, 125, 125), 600, 24, r"\bA10\b", "A10 data sheet"),
        _card("t4", (8.1, 8.1, 8.1, 65), 320, 16, r"\bT4\b", "T4 product brief (the data sheet says 300 GB/s)"),
        _card(
            "rtx4090",
            (82.6, 82.6, 165.2, 165.2),
            1008,
            24,
            r"RTX 4090\b(?! D)",
            "Ada architecture white paper, FP32 accumulate",
        ),
        _card("rtx3090", (35.6, 35.6, 71, 71), 936, 24, r"RTX 3090\b(?! Ti)", "Ampere GA102 white paper, FP32 accumulate"),
    )
}


def card_name(product: str) -> str:
    """The card of a product, as `torch.cuda.get_device_name` names it; of an unknown one its own name.

    A part of a card (MIG) is none of these, nor is a laptop's, which has less of everything under the same name.
    """
    if re.search(r"\bMIG\b|\bLaptop\b", product):
        return product
    return next((card.name for card in CARDS.values() if re.search(card.product, product)), product)


def chosen(gpu: str | None, tflops: float | None) -> Card | None:
    """The card of `--gpu CARD` or `--tflops N`; None where neither is given.

    Raises:
        UsageError: both are given, the card is unknown, or N is no speed.
    """
    if gpu is not None and tflops is not None:
        raise UsageError("--gpu and --tflops: each says how fast the GPUs are; leave one of them out")
    if tflops is not None:
        if not 0 < tflops < 1e6:
            raise UsageError(f"--tflops {tflops:g}: valid: above 0, TFLOP/s that trainings reach on a GPU")
        rate = tflops * TERA
        return Card(f"GPU of {tflops:g} TFLOP/s", rate, rate, rate, rate, float("inf"), float("inf"), share=1.0)
    if gpu is None:
        return None
    name = gpu.lower()
    if name not in CARDS:
        raise UsageError(f"--gpu {gpu}: valid: {', '.join(CARDS)}; or --tflops N")
    return CARDS[name]
