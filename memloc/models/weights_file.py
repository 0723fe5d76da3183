"""A file of weights that memloc did not write: safetensors, or a state dict that torch reads with `weights_only`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from memloc.errors import UsageError, error_line
from memloc.own_weights import carried, hash_of

INSIDE = ("state_dict", "model_state_dict", "model", "module", "net", "network")  # where training scripts put the weights


def read_weights(path: str, sha256: str | None = None) -> dict[str, Tensor]:
    """{name: tensor} of the file, on the CPU. sha256: the hash that it must have. If it was carried here, no file is read.

    A state dict may lie inside of a mapping, under a usual name (`state_dict`, `model`, …), and its names may begin with
    `module.` (of DataParallel) or `_orig_mod.` (of torch.compile).

    Raises:
        UsageError: it cannot be read, is no such file, holds no tensors, or is another one.
    """
    content = None if sha256 is None else carried(sha256)
    if content is None and sha256 not in (None, hash_of(path)):
        raise UsageError(f"{path}: has changed since the sweep was planned; its sha256 was {sha256}")
    tensors = _tensors(_loaded(path, content))
    if not tensors:
        raise UsageError(f"{path}: holds no state dict, {{name: tensor}}, also not under {', '.join(INSIDE)}")
    for prefix in ("module.", "_orig_mod."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _loaded(path: str, content: bytes | None) -> Any:
    """What the file holds. content: its bytes, if it was carried here."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    is_safetensors = path.endswith(".safetensors") if content is None else content[8:9] == b"{"
    if is_safetensors:
        try:
            return load_file(path) if content is None else load(content)
        except SafetensorError as error:
            raise UsageError(f"{path}: is no safetensors file: {error_line(error, with_type=False)}") from None
    try:
        return torch.load(path if content is None else io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors
        how = "write the weights anew: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        raise UsageError(f"{path}: torch does not read it with weights_only=True ({type(error).__name__}); {how}") from None


def _tensors(value: Any) -> dict[str, Tensor]:
    if not isinstance(value, Mapping):
        return {}
    inside = (_tensors(value[name]) for name in INSIDE if name in value)
    if within := next((found for found in inside if found), {}):  # beside it may be tensors too, such as the loss
        return within
    return {name: tensor for name, tensor in value.items() if isinstance(name, str) and isinstance(tensor, Tensor)}
