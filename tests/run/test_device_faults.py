"""What is said of a device by PyTorch and by CUDA's and ROCm's libraries, in their own words."""

from __future__ import annotations

import pytest
import torch

from memloc.errors import DeviceError
from memloc.run.device_faults import Fault, as_device_error, fault_of

RUNTIME: list[tuple[str, Fault]] = [
    ("CUDA error: device-side assert triggered", "device"),
    ("CUDA error: uncorrectable ECC error encountered", "device"),
    ("CUDA error: an illegal memory access was encountered", "device"),
    ("CUDA error: unspecified launch failure", "device"),
    ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", "device"),
    ("HIP error: hipErrorLaunchFailure", "device"),
    ("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported by operations not supported", "device"),
    ("CUDA error: invalid configuration argument", ""),
    ("CUDA error: too many resources requested for launch", ""),
    ("CUDA error: no kernel image is available for execution on the device", ""),
    ("CUDA error: operation not permitted when stream is capturing", ""),
    ("CUDA error: out of memory", "memory"),
    ("HIP error: out of memory", "memory"),
]
OTHERS: list[tuple[str, Fault]] = [
    ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, k)`", "device"),
    ("CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasGemmEx`", "device"),
    ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", "device"),
    ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "memory"),
    ("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasLtMatmulAlgoGetHeuristic`", ""),
    ("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasGemmEx`", ""),
    ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR", "device"),
    ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED_CUDART", "device"),
    ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", "memory"),
    ("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.", ""),
    ("cuDNN Frontend error: [cudnn_frontend] Error: No valid execution plans built.", ""),
    ("GET was unable to find an engine to execute this computation", ""),
    ("cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate(handle)`", "device"),
    ("CUDA driver error: unknown error", "device"),
    ("CUDA driver error: out of memory", "memory"),
    ("Triton Error [CUDA]: device-side assert triggered", "device"),
    ("Triton Error [CUDA]: out of memory", "memory"),
    ("No CUDA GPUs are available", "device"),
    ("MIOpen Error: /MIOpen/src/hip/handlehip.cpp:83: Memory not available to allocate buffer", "device"),
    ("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)", ""),
    ("Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` … CuBLAS", ""),
]


@pytest.mark.parametrize(("text", "fault"), RUNTIME)
def test_what_the_runtime_says(text: str, fault: Fault) -> None:
    """PyTorch has a type for it since 2.8."""
    assert fault_of(torch.AcceleratorError(text)) == fault
    assert fault_of(RuntimeError(text)) == fault
    assert fault_of(ValueError(text)) == ""


@pytest.mark.parametrize(("text", "fault"), OTHERS)
def test_what_the_libraries_say(text: str, fault: Fault) -> None:
    assert fault_of(RuntimeError(text)) == fault


@pytest.mark.parametrize("text", ["No CUDA GPUs are available", "CUDA driver error: out of memory"])
def test_on_a_cpu_a_text_alone_says_nothing(text: str) -> None:
    """A stage of one's own asks for a GPU: its part fails, and the process goes on."""
    cpu = torch.device("cpu")
    assert fault_of(RuntimeError(text), torch.device("cuda")) != fault_of(RuntimeError(text), cpu) == ""
    with pytest.raises(RuntimeError) as raised, as_device_error(cpu):
        raise RuntimeError(text)
    assert type(raised.value) is RuntimeError
    assert fault_of(torch.AcceleratorError("CUDA error: device-side assert triggered"), cpu) == "device"


def test_memory_has_a_type_of_its_own() -> None:
    assert fault_of(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")) == "memory"
    assert fault_of(torch.AcceleratorError("something new")) == "device"
    assert fault_of(MemoryError("the machine's")) == ""


def test_what_led_to_the_error_counts() -> None:
    """A stage of one's own may raise what it likes; a device that has failed is worse than memory that ran out."""
    error, memory = ValueError("of a stage"), torch.OutOfMemoryError("CUDA out of memory")
    failed = torch.AcceleratorError("CUDA error: unspecified launch failure")
    error.__context__ = memory  # as Python sets it in a handler
    assert fault_of(error) == "memory"
    memory.__cause__ = failed
    assert fault_of(error) == "device"
    failed.__context__ = error  # in a circle
    assert fault_of(error) == "device"


def test_other_errors_pass() -> None:
    for error in (ValueError("of a part"), torch.OutOfMemoryError("CUDA out of memory"), DeviceError("said already")):
        with pytest.raises(type(error)) as raised, as_device_error():
            raise error
        assert raised.value is error
    with pytest.raises(DeviceError) as raised, as_device_error():
        raise RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR")
    assert str(raised.value) == (
        "RuntimeError: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR; this process cannot use the device any more"
    )
