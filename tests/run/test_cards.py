"""Cards: their names, what is believed of them, prices by shape, and the commits that count for them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from memloc.errors import UsageError
from memloc.run import training_step
from memloc.run.by_shape.computations import of_step
from memloc.run.by_shape.counting import Counts, Kernel
from memloc.run.by_shape.price import forward_rate, seconds, training_rate
from memloc.run.by_shape.subject import Subject
from memloc.run.cards import CARDS, LAUNCH, SHARES, card_name, chosen
from memloc.run.cost import Rate
from memloc.run.estimate import card_of, cost_model
from memloc.run.pending import pending
from memloc.run.placement import Resources
from memloc.run.quantities import train_passes
from memloc.stages.training.loop import Training
from memloc.store import Snapshot, Store
from tests.conftest import TINY, planned

SHAPE = (3, 32, 32)
H100, A100 = CARDS["h100"], CARDS["a100"]
LARGE = "defaults: {dataset: digits, model: resnet9, epochs: 2, batch_size: 512, precision: %s}\nblocks: {a: {}}\n"


@pytest.mark.parametrize(
    ("product", "card"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA A100-PCIE-40GB", "a100"),
        ("NVIDIA A100-SXM4-80GB", "a100-80"),
        ("NVIDIA A100 80GB PCIe", "a100-80-pcie"),
        ("NVIDIA H100 NVL", "NVIDIA H100 NVL"),
        ("NVIDIA H200 NVL", "NVIDIA H200 NVL"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("Tesla V100-PCIE-32GB", "v100-pcie"),
        ("Tesla V100S-PCIE-32GB", "Tesla V100S-PCIE-32GB"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L40", "NVIDIA L40"),
        ("NVIDIA A10", "a10"),
        ("NVIDIA A10G", "NVIDIA A10G"),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA GeForce RTX 4090 D", "NVIDIA GeForce RTX 4090 D"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 Laptop GPU"),
        ("NVIDIA A100-SXM4-80GB MIG 3g.40gb", "NVIDIA A100-SXM4-80GB MIG 3g.40gb"),
        ("AMD Instinct MI300X", "AMD Instinct MI300X"),
    ],
)
def test_the_card_of_a_product(product: str, card: str) -> None:
    assert card_name(product) == card


def test_published_rates_are_of_dense_matrices() -> None:
    """Tensor cores do not beat twice the half precision rate, and no card is slower in a smaller format."""
    for card in CARDS.values():
        assert card.fp32 <= card.tf32 <= card.fp16, card.name
        assert card.fp32 <= card.bf16 <= card.fp16, card.name
        assert 5 < card.fp32 / card.bandwidth < 120, card.name  # operations per byte
        assert 16e9 <= card.memory <= 141e9
        assert card.source
    assert CARDS["v100"].reached("tf32") == CARDS["v100"].reached("fp32")  # no such tensor cores


# {card: (cores for fp32, clock in GHz at which its maker counts, bits of the memory's bus, Gbit/s of each)}
HARDWARE = {
    "h200": (16896, 1.98, 6144, 6.25),
    "h100": (16896, 1.98, 5120, 5.23),
    "h100-pcie": (14592, 1.755, 5120, 3.125),
    "a100-80": (6912, 1.41, 5120, 3.186),
    "a100-80-pcie": (6912, 1.41, 5120, 3.024),
    "a100": (6912, 1.41, 5120, 2.43),
    "v100": (5120, 1.53, 4096, 1.754),
    "v100-pcie": (5120, 1.37, 4096, 1.754),
    "l40s": (18176, 2.52, 384, 18),
    "l4": (7424, 2.04, 192, 12.5),
    "a10": (9216, 1.695, 384, 12.5),
    "t4": (2560, 1.59, 256, 10),
    "rtx4090": (16384, 2.52, 384, 21),
    "rtx3090": (10496, 1.695, 384, 19.5),
}
# Tensor cores in bf16 or fp16, and in tf32, as multiples of fp32; Hopper counts them at a lower clock.
TENSOR = {
    "h": (14.8, 7.4), "a100": (16, 8), "v": (8, 1), "l": (4, 2), "a10": (4, 2), "t": (8, 1), "r": (2, 1),
}  # fmt: skip


def test_published_rates_follow_from_cores_and_clocks() -> None:
    """Two operations a core and cycle; a bit of each line of the bus. To a per cent, as data sheets round."""
    assert set(HARDWARE) == set(CARDS)
    for name, (cores, clock, bus, rate) in HARDWARE.items():
        card = CARDS[name]
        assert card.fp32 == pytest.approx(2e9 * cores * clock, rel=0.01), name
        assert card.bandwidth == pytest.approx(1e9 * bus * rate / 8, rel=0.01), name
        half, tf32 = next(TENSOR[begin] for begin in sorted(TENSOR, key=len, reverse=True) if name.startswith(begin))
        assert card.fp16 == pytest.approx(half * card.fp32, rel=0.015), name
        assert card.tf32 == pytest.approx(tf32 * card.fp32, rel=0.015), name


def test_what_is_chosen() -> None:
    assert chosen(None, None) is None
    assert chosen("H100", None) is H100
    fast = chosen(None, 40.0)
    assert fast is not None
    assert {fast.reached(p) for p in ("fp32", "tf32", "bf16", "fp16")} == {40e12}
    for gpu, tflops, wrong in (("h101", None, "h100-pcie"), (None, 0.0, "above 0"), ("l4", 1.0, "leave one")):
        with pytest.raises(UsageError, match=wrong):
            chosen(gpu, tflops)


def test_a_kernel_takes_the_longer_of_operations_and_bytes() -> None:
    operations, moved, half = 10**13, 10**11, torch.float32
    compute, traffic = Kernel(operations, 8, half), Kernel(0, moved, half)
    of_compute = operations / (66.9e12 * SHARES["fp32"])
    of_traffic = moved / (3350e9 * SHARES["bandwidth"])
    counts = Counts(Counter({compute: 2, traffic: 3}))
    assert seconds(counts, H100, "fp32") == pytest.approx(2 * of_compute + 3 * of_traffic)
    tensor = operations / (494.7e12 * SHARES["tensor"])
    assert seconds(counts, H100, "tf32") == pytest.approx(2 * tensor + 3 * of_traffic)
    both = Counts(Counter({Kernel(operations, moved, half): 1}))
    assert seconds(both, H100, "fp32") == pytest.approx(max(of_compute, of_traffic))
    assert seconds(both, H100, "tf32") == pytest.approx(max(tensor, of_traffic))
    small = Counts(Counter({Kernel(1, 8, half): 1000}))
    assert seconds(small, H100, "fp32") == pytest.approx(1000 * LAUNCH)


def test_precision_and_card_count(tmp_path: Path) -> None:
    rates = {}
    for precision in ("fp32", "tf32", "bf16"):
        (trial,) = planned(tmp_path, LARGE % precision, f"p{precision}").trials
        rates[precision] = training_rate(trial, SHAPE, H100).seconds
        assert training_rate(trial, SHAPE, A100).seconds > 1.5 * rates[precision]
    assert rates["fp32"] > 2 * rates["tf32"] > 2 * rates["bf16"]


def test_expectations_for_an_h100(tmp_path: Path) -> None:
    """docs/performance.md: 26 ms in fp32 and 9 ms in tf32 for a step of ResNet-9 with 512 images."""
    (trial,) = planned(tmp_path, LARGE % "tf32").trials
    step = of_step(Subject.of(trial, SHAPE))
    assert seconds(step, H100, "fp32") == pytest.approx(26e-3, rel=0.15)
    assert seconds(step, H100, "tf32") == pytest.approx(9e-3, rel=0.25)
    assert forward_rate(trial, SHAPE, H100).seconds < training_rate(trial, SHAPE, H100).seconds * 1.3


def on_card(snapshot: Snapshot, seconds_per_pass: float, **where: str) -> Snapshot:
    commits = {
        i: replace(c, where={"device": "cuda", **where}, seconds=c.passes * seconds_per_pass)
        for i, c in snapshot.commits.items()
    }
    return Snapshot(commits, {}, [])


def test_commits_count_for_their_own_card(tmp_path: Path, tiny: Path) -> None:
    snapshot = Store(str(tiny)).snapshot()
    works = pending(
        planned(tmp_path, TINY.replace("seed: [0, 1]", "seed: [5, 6]")), Store(str(tmp_path / "s")), snapshot, "all"
    )
    seen = on_card(snapshot, 1e-3, device_name="NVIDIA H100 80GB HBM3")
    work, gpus = works[0], Resources()

    def train(snapshot: Snapshot, card: Any) -> float:
        return cost_model(works, snapshot, tmp_path, gpus, None, card).train(work)

    passes = train_passes(work.trial)
    assert card_of(seen) is H100
    assert train(seen, H100) == pytest.approx(passes * 1e-3)
    assert train(seen, None) == pytest.approx(passes * 1e-3)
    assert train(seen, A100) == train(Snapshot({}, {}, []), A100) < passes * 1e-4  # priced by shape
    unknown = on_card(snapshot, 2e-3, device_name="AMD Instinct MI300X")
    assert card_of(unknown) == "AMD Instinct MI300X"
    assert train(unknown, "AMD Instinct MI300X") == pytest.approx(passes * 2e-3)
    nameless = on_card(snapshot, 3e-3)  # of before commits named the product
    assert card_of(nameless) is None
    assert train(nameless, None) == pytest.approx(passes * 3e-3)
    assert card_of(snapshot) is None


def test_calibration(tmp_path: Path, tiny: Path) -> None:
    """Measured seconds over those that are believed where the store knows nothing."""
    snapshot = on_card(Store(str(tiny)).snapshot(), 1e-3, device_name="NVIDIA H100 80GB HBM3")
    works = pending(planned(tmp_path, TINY), Store(str(tmp_path / "s")), Snapshot({}, {}, []), "all")
    trials = [work.trial for work in works]
    model = cost_model(works, snapshot, tmp_path, Resources(), None, H100)
    believed = training_rate(trials[-1], (1, 16, 16), H100).seconds
    ((network, (count, ratio)),) = model.calibration(trials).items()
    assert (network, count) == ("resnet9 (fp32)", len(snapshot.trainings()))
    assert ratio == pytest.approx(1e-3 / believed)
    assert cost_model(works, snapshot, tmp_path, Resources(), None, A100).calibration(trials) == {}


def test_stages_that_run_forward_have_a_rate_of_their_own(tmp_path: Path) -> None:
    plan = planned(tmp_path, TINY)
    works = pending(plan, Store(str(tmp_path / "s")), Snapshot({}, {}, []), "all")
    model = cost_model(works, Snapshot({}, {}, []), tmp_path, Resources(), None, H100)
    model.forward = lambda trial, shape: Rate(7.0, "forward")
    trial = works[0].trial
    for analysis in trial.analyses:
        passes = analysis.kind.passes(analysis.config, analysis.size)
        assert (model.part(trial, analysis) == pytest.approx(7.0 * passes)) == analysis.kind.forward_only


def test_a_step_on_a_gpu_is_timed_as_the_training_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numerics, its whole batch, its optimizer; here on a CPU."""
    text = (LARGE % "tf32").replace("batch_size: 512", "width: 0.0625, batch_size: 200, optimizer: adamw")
    (trial,) = planned(tmp_path, text).trials
    seen: list[Any] = []
    monkeypatch.setattr(training_step, "set_up_numerics", lambda config, device: seen.append(config.precision))
    step = Training._step

    def watched(self: Training, rows: Any, *given: Any) -> Any:
        seen.append((len(rows), type(self.optimizer).__name__))
        return step(self, rows, *given)

    monkeypatch.setattr(Training, "_step", watched)
    rate = training_step._timed_as_it_is(trial, (1, 16, 16), torch.device("cpu"))
    assert seen == ["tf32", *[(200, "AdamW")] * 8]
    assert rate.seconds > 0
