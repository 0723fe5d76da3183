"""Eigenvalues and eigenvectors of symmetric matrices."""

from __future__ import annotations

import scipy.linalg
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvalues [d], the smallest first, and the eigenvectors [d, d], a column each, of a symmetric matrix [d, d].

    PyTorch's LAPACK gives up on some matrices of low rank, whose values are finite. SciPy's other method solves these.

    Raises:
        torch.linalg.LinAlgError: the matrix is not finite.
    """
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        if not torch.isfinite(matrix).all():
            raise
        with threadpool_limits(torch.get_num_threads(), "blas"):  # SciPy has a library of its own, with as many as cores
            found = scipy.linalg.eigh(matrix.cpu().numpy(), driver="evr")
        values, vectors = (torch.from_numpy(of).to(matrix.device) for of in found)
    return values, vectors
