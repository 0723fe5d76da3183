"""How a function of the user's makes a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memloc.models.dropouts import Shape
from memloc.models.traced.origin import Origin
from memloc.models.traced.program import GroupingError
from memloc.own_code import BROKEN, OwnCode
from memloc.torch_settings import settings_kept


@dataclass(frozen=True)
class Function(Origin):
    """A function (channels, height, width, classes) -> nn.Module. groups: (group, pattern) of each; sites: see `Origin`."""

    code: OwnCode
    function: str
    groups: tuple[tuple[str, str], ...] | None = None
    sites: str | None = None

    @property
    def key(self) -> str:  # type: ignore[override]
        """The initial values depend on the seed and on the file, not on where it lies."""
        return "python"

    def create(self, shape: Shape, classes: int) -> nn.Module:
        make = self.code.function(self.function)
        try:
            with torch.device("cpu"), settings_kept():
                model: Any = make(*shape, classes)
                if isinstance(model, nn.Module):
                    _materialise(model, shape)
        except BROKEN as error:  # it is the user's function
            called = f"{self.function}({', '.join(map(str, (*shape, classes)))})"
            raise GroupingError(f"{called} raises {self.code.explained(error)}") from error
        if not isinstance(model, nn.Module):
            raise GroupingError(f"{self.function} returns a {type(model).__name__}; valid: an nn.Module")
        if unlike := [name for name, value in model.state_dict().items() if not isinstance(value, Tensor)]:
            raise GroupingError(f"{unlike[0]} of its state is no tensor; memloc keeps tensors alone")
        elsewhere = [name for name, tensor in model.state_dict().items() if tensor.device.type != "cpu"]
        if elsewhere:
            raise GroupingError(
                f"{elsewhere[0]} is made on {model.state_dict()[elsewhere[0]].device}; memloc moves it itself"
            )
        _own_all_tensors(model)
        return model

    def explained(self, error: BaseException) -> str:
        return self.code.explained(error)


def _materialise(model: nn.Module, shape: Shape) -> None:
    """Gives lazy modules their shapes. They draw their first values in the first pass."""
    if any(isinstance(module, nn.modules.lazy.LazyModuleMixin) for module in model.modules()):
        with torch.no_grad():
            model.eval()(torch.zeros(2, *shape))


def _own_all_tensors(model: nn.Module) -> None:
    """Makes buffers of plain tensors that modules hold, so that they move to a device with the others.

    Raises:
        GroupingError: one of them is computed from parameters.
    """
    for place, module in model.named_modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor):
                if value.grad_fn is not None:
                    raise GroupingError(
                        f"{f'{place}.{name}'.lstrip('.')} is computed from parameters before a forward pass, as by the old "
                        "nn.utils.weight_norm and by pruning; take nn.utils.parametrizations.weight_norm, or prune.remove"
                    )
                delattr(module, name)
                module.register_buffer(name, value, persistent=False)
