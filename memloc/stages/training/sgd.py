"""Stochastic gradient descent by torch's functional form.

`torch.optim.SGD` computes the same. But the first optimizer in a process imports torch's compiler (`torch._dynamo`), which
takes as long as importing torch itself: 1.6 s in every process that trains.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd


class SGD:
    """What this program uses of `torch.optim.SGD`, under its names. Parameters without a gradient stay.

    fused: one kernel per step, which `torch.amp.GradScaler` may tell to leave the step out. Otherwise a few kernels for all
    parameters together (torch's `foreach`).
    state: {parameter: {"momentum_buffer": its momentum}}, without the parameters that have not been updated yet.
    """

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
        for group in self.param_groups:
            updated = [p for p in group["params"] if p.grad is not None]
            buffers: list[Any] = [self.state[p].get("momentum_buffer") for p in updated] if self.momentum else []
            sgd(
                updated,
                [p.grad for p in updated],
                buffers,
                foreach=not self.fused,
                fused=self.fused,
                grad_scale=getattr(self, "grad_scale", None),
                found_inf=getattr(self, "found_inf", None),
                weight_decay=self.weight_decay,
                momentum=self.momentum,
                lr=group["lr"],
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            for parameter, buffer in zip(updated, buffers, strict=False):
                self.state[parameter]["momentum_buffer"] = buffer
