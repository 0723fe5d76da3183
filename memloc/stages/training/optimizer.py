"""The optimizers of trainings (`optimizer`), by torch's functional forms.

`torch.optim.SGD` and `torch.optim.AdamW` compute the same. But the first optimizer in a process imports torch's compiler
(`torch._dynamo`), which takes as long as importing torch itself: 1.6 s in every process that trains.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from memloc.config import TrainConfig

BETA2, EPSILON = 0.999, 1e-8  # AdamW's, torch's defaults


class Optimizer(ABC):
    """What this program uses of a torch optimizer, under its names. Parameters without a gradient stay.

    SLOTS: {tensor of a parameter's state: what follows the parameter's name where it is saved}. fused: one kernel per step,
    which `torch.amp.GradScaler` may tell to leave the step out. Otherwise a few kernels for all parameters together (torch's
    `foreach`). state: {parameter: {slot: tensor}}; empty for the parameters that have not been updated yet.
    """

    SLOTS: ClassVar[Mapping[str, str]]

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, momentum: float, weight_decay: float, fused: bool = False
    ) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters), "lr": lr}]
        self.momentum, self.weight_decay, self.fused = momentum, weight_decay, fused
        self.state: dict[Tensor, dict[str, Tensor]] = {p: {} for p in self.param_groups[0]["params"]}
        # What GradScaler expects of an optimizer that looks at `grad_scale` and `found_inf` itself.
        self._step_supports_amp_scaling = fused

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One update with the present gradients."""
        scaling = {"grad_scale": getattr(self, "grad_scale", None), "found_inf": getattr(self, "found_inf", None)}
        for group in self.param_groups:
            self.update([p for p in group["params"] if p.grad is not None], group["lr"], scaling)

    @abstractmethod
    def update(self, parameters: list[Tensor], lr: float, scaling: Mapping[str, Any]) -> None:
        """One update of these parameters, which have gradients. scaling: what the gradient scaler says."""

    @abstractmethod
    def prepare(self) -> None:
        """Makes the state of parameters that have none: what it is before the first update."""

    def tensors(self, named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
        """{name: tensor} of the state of the named parameters, to be saved."""
        return {name + self.SLOTS[slot]: tensor for name, p in named for slot, tensor in self.state[p].items()}

    def load(self, named: Iterable[tuple[str, Tensor]], tensors: Mapping[str, Tensor]) -> None:
        """Takes over what `tensors` has returned."""
        for name, p in named:
            for slot, suffix in self.SLOTS.items():
                if name + suffix in tensors:
                    self.state[p][slot] = self._like(slot, p).copy_(tensors[name + suffix])

    def _like(self, slot: str, parameter: Tensor) -> Tensor:
        return torch.zeros_like(parameter)


class SGD(Optimizer):
    """Stochastic gradient descent with momentum."""

    SLOTS: ClassVar[Mapping[str, str]] = {"momentum_buffer": ""}

    def update(self, parameters: list[Tensor], lr: float, scaling: Mapping[str, Any]) -> None:
        buffers: list[Any] = [self.state[p].get("momentum_buffer") for p in parameters] if self.momentum else []
        gradients: list[Any] = [p.grad for p in parameters]
        sgd(
            parameters,
            gradients,
            buffers,
            foreach=not self.fused,
            fused=self.fused,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            **scaling,
        )
        for parameter, buffer in zip(parameters, buffers, strict=False):
            self.state[parameter]["momentum_buffer"] = buffer

    def prepare(self) -> None:
        for p, state in self.state.items():
            state.setdefault("momentum_buffer", torch.zeros_like(p))


class AdamW(Optimizer):
    """Adam with decoupled weight decay. `momentum` is β₁; β₂ and ε are torch's defaults."""

    SLOTS: ClassVar[Mapping[str, str]] = {"exp_avg": "", "exp_avg_sq": "#square", "step": "#step"}

    def update(self, parameters: list[Tensor], lr: float, scaling: Mapping[str, Any]) -> None:
        self.prepare()
        states = [self.state[p] for p in parameters]
        first, second, steps = ([state[slot] for state in states] for slot in self.SLOTS)
        gradients: list[Any] = [p.grad for p in parameters]
        adamw(
            parameters,
            gradients,
            first,
            second,
            [],
            steps,
            foreach=not self.fused,
            fused=self.fused,
            amsgrad=False,
            beta1=self.momentum,
            beta2=BETA2,
            lr=lr,
            weight_decay=self.weight_decay,
            eps=EPSILON,
            maximize=False,
            **scaling,
        )

    def prepare(self) -> None:
        for p, state in self.state.items():
            for slot in self.SLOTS:
                if slot not in state:
                    state[slot] = self._like(slot, p)

    def _like(self, slot: str, parameter: Tensor) -> Tensor:
        if slot != "step":
            return torch.zeros_like(parameter)
        return torch.zeros((), device=parameter.device if self.fused else "cpu")  # on the host, unless a kernel counts


def optimizer_of(config: TrainConfig, parameters: Iterable[Tensor], lr: float, fused: bool = False) -> Optimizer:
    """The optimizer of a training, with another learning rate."""
    kind = AdamW if config.optimizer == "adamw" else SGD
    return kind(parameters, lr, config.momentum, config.weight_decay, fused)
