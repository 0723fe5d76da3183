"""What decides the bits of a training besides its configuration: the processor, the libraries, and the environment."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")
# Lines of /proc/cpuinfo, on x86 and on ARM. oneDNN and MKL choose kernels by the maker and the model, and cut blocks by the
# cache.
CPU_LINES = ("vendor_id", "cpu family", "model", "model name", "cache size", "CPU implementer", "CPU variant", "CPU part")
# Instructions for which kernels exist.
CPU_FLAGS = re.compile(r"s?sse|avx|fma|f16c|bmi|amx|asimd|sve|sme(?!p)|bf16|i8mm|fphp")

_ONEDNN = ("MAX_CPU_ISA", "CPU_ISA_HINTS", "DEFAULT_FPMATH_MODE", "GRAPH_SDPA_FORCE_PRIMITIVE")
# From the documentation of oneDNN, MKL, OpenMP, glibc, NumPy and OpenBLAS, and from the names in libtorch_cpu.so. The
# variables for a number of threads are not among these: a training sets its own.
CPU_VARIABLES = (
    *(f"{prefix}_{name}" for prefix in ("DNNL", "ONEDNN", "MKLDNN") for name in _ONEDNN),
    "ATEN_CPU_CAPABILITY", "TORCH_LINEAR_FLATTEN_3D", "TORCH_MKLDNN_MATMUL_MIN_DIM", "TORCH_MKLDNN_MATMUL_MIN_SIZE",
    "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "MKL_DISABLE_FAST_MM", "MKL_DYNAMIC", "MKL_NUM_STRIPES",
    "OMP_DYNAMIC", "OMP_THREAD_LIMIT", "KMP_DETERMINISTIC_REDUCTION", "KMP_FORCE_REDUCTION",
    "GLIBC_TUNABLES", "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "OPENBLAS_CORETYPE", "BLIS_ARCH_TYPE",
)  # fmt: skip
# From the documentation of PyTorch ("CUDA environment variables"), cuBLAS, cuDNN and ROCm, and from libtorch_cuda.so.
GPU_VARIABLES = (
    "NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "CUBLASLT_WORKSPACE_SIZE", "CUBLAS_EMULATE_SINGLE_PRECISION",
    "CUBLAS_EMULATION_STRATEGY", "CUDNN_CONV_WSCAP_DBG", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TORCH_BLAS_PREFER_CUBLASLT",
    "TORCH_BLAS_PREFER_HIPBLASLT", "TORCH_CUDNN_USE_HEURISTIC_MODE_B", "TORCH_CUDNN_V8_API_DISABLED",
    "TORCH_LINALG_PREFER_CUSOLVER", "DISABLE_ADDMM_CUDA_LT", "PYTORCH_MIOPEN_SUGGEST_NHWC",
    "PYTORCH_MIOPEN_SUGGEST_NHWC_BATCHNORM", "HSA_OVERRIDE_GFX_VERSION",
)  # fmt: skip
COMPILER_VARIABLES = "TORCHINDUCTOR_"  # torch.compile: all of them but those of its caches and processes
_HARMLESS = re.compile(r"_(CACHE|COMPILE_THREADS|COMPILE_WORKER|WORKER|FILE_LOCK|REDIS)|PASSW|SECRET|TOKEN")  # or private
WORKSPACE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}  # what a training on a GPU sets unless it is set


# Of torch's description of itself: builds of one version differ in these. The lines on CUDA depend on the visible GPUs.
BUILD = re.compile(r"Math Kernel Library Version \S+|MKL-DNN v\S+|BLAS_INFO=\w+|LAPACK_INFO=\w+")


def kind(device: torch.device) -> str:
    """The kind of the device, by its name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    # torch's own kernels are chosen by this capability. It alone does not tell an AVX512 with AMX from one without.
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def arithmetic(device: torch.device) -> dict[str, object]:
    """The processor, torch's build, and the variables that change what kernels compute, as far as they are set."""
    if device.type == "cuda":
        return {
            "device": kind(device),
            "build": [str(torch.__version__), torch.backends.cudnn.version()],  # type: ignore[no-untyped-call]
            "environment": _chosen({**WORKSPACE, **os.environ}, GPU_VARIABLES),
        }
    build = [str(torch.__version__), *BUILD.findall(torch.__config__.show())]
    return {"device": kind(device), "cpu": processor(), "build": build, "environment": _chosen(os.environ, CPU_VARIABLES)}


def _chosen(environment: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    compiler = (name for name in environment if name.startswith(COMPILER_VARIABLES) and not _HARMLESS.search(name))
    return {name: environment[name] for name in sorted({*names, *compiler}) if environment.get(name)}


@lru_cache(maxsize=1)
def processor() -> str:
    """The maker, the model and the vector instructions of this machine's CPU."""
    try:
        return described(CPU_INFO.read_text(encoding="utf-8", errors="replace"))
    except OSError:  # not Linux
        return _brand() or platform.processor()


def described(cpu_info: str) -> str:
    """What /proc/cpuinfo says of the first CPU, as far as kernels are chosen by it."""
    first = (line.partition(":") for line in cpu_info.strip().split("\n\n")[0].splitlines())
    lines = {name.strip(): value.strip() for name, _, value in first}
    flags = (lines.get("flags") or lines.get("Features") or "").split()
    known = [lines[name] for name in CPU_LINES if name in lines]
    return "; ".join([*known, " ".join(sorted(flag for flag in flags if CPU_FLAGS.match(flag)))])


def _brand() -> str:
    """The CPU's name on macOS; "" elsewhere."""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
