"""What an exception says of the device: its memory ran out, or this process can compute nothing on it any more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import torch

from memloc.errors import DeviceError, error_line

Fault: TypeAlias = Literal["memory", "device", ""]

# PyTorch has types for what CUDA's runtime reports. What its libraries and the driver report comes as a RuntimeError, with
# their own words.
_MEMORY = re.compile(
    r"(CUDA|HIP)( driver)?( error:)? out of memory|Triton Error \[(CUDA|HIP)\]: out of memory|out of memory \(2\)|"
    r"_STATUS_(INTERNAL_ERROR_(DEVICE|HOST)_)?ALLOC(ATION)?_FAILED|CUFFT_ALLOC_FAILED|rocblas_status_memory_error"
)
_DEVICE = re.compile(
    r"(CUDA|HIP)( driver)? error: |Triton Error \[(CUDA|HIP)\]|No (CUDA|HIP) GPUs are available|(CUDA|HIP) unknown error|"
    r"(CU|HIP)(BLAS|BLASLT|DNN|SOLVER|SPARSE|RAND)_STATUS_|cuDNN (Frontend )?error: |CUFFT_|MIOpen Error|rocblas_status_"
)
# What they refuse to do: a matter of the computation, after which the process goes on. Said in the first line.
_REFUSED = re.compile(
    r"NOT_SUPPORTED|BAD_PARAM|INVALID_VALUE|unsupported|not supported|[Nn]o valid (engine|execution)|stream is capturing|"
    r"invalid (configuration )?argument|invalid device (ordinal|function)|too many resources requested|no kernel image|"
    r"hipErrorInvalid(Configuration|Value)"
)


def fault_of(error: BaseException, device: torch.device | None = None) -> Fault:
    """What the exception, or one that led to it, says of the device; "" if nothing.

    device: on which the process computes, if that is known. On a CPU a text alone says nothing, as of a stage of the user's
    that asks for a GPU.
    """
    faults = [_own_fault(one, device is not None and device.type == "cpu") for one in _chain(error)]
    return "device" if "device" in faults else "memory" if "memory" in faults else ""


@contextmanager
def as_device_error(device: torch.device | None = None) -> Iterator[None]:
    """Turns what says that the device has failed into a DeviceError. device: as in `fault_of`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DeviceError) or fault_of(error, device) != "device":
            raise
        raise DeviceError(f"{error_line(error)}; this process cannot use the device any more") from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _own_fault(error: BaseException, on_cpu: bool) -> Fault:
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return "memory"
    if isinstance(error, DeviceError):
        return "device"
    if not isinstance(error, RuntimeError) or type(error).__name__ == "LinAlgError":  # of NaNs in a matrix
        return ""
    of_runtime = isinstance(error, torch.AcceleratorError | torch.cuda.CudaError)
    if on_cpu and not of_runtime:
        return ""
    if _MEMORY.search(text):
        return "memory"
    if _REFUSED.search(text.partition("\n")[0]):
        return ""
    return "device" if of_runtime or _DEVICE.search(text) else ""
