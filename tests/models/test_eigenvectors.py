"""Eigenvectors of symmetric matrices, also of those that PyTorch's own routine gives up."""

from __future__ import annotations

from typing import Any

import pytest
import scipy.linalg
import torch
from threadpoolctl import threadpool_info
from torch import Tensor

from memloc.models.eigenvectors import eigh


def low_rank(d: int, rank: int) -> Tensor:
    rows = torch.randn(rank, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows[:, d // 9 :] = 0  # as the patches of a 3×3 convolution whose image is one pixel
    return rows.T @ rows / rank


@pytest.mark.parametrize("fails", [False, True])
def test_they_give_the_matrix(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = low_rank(90, 4)
    if fails:

        def gives_up(_: Tensor) -> None:
            raise torch.linalg.LinAlgError("failed to converge")

        monkeypatch.setattr(torch.linalg, "eigh", gives_up)
    values, vectors = eigh(matrix)
    assert (values.dtype, values.shape, vectors.shape) == (torch.float64, (90,), (90, 90))
    assert (values.diff() >= -1e-12).all()
    assert int((values > 1e-9).sum()) == 4
    torch.testing.assert_close(vectors * values @ vectors.T, matrix, rtol=0, atol=1e-12)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(90, dtype=torch.float64), rtol=0, atol=1e-12)


def test_a_matrix_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(torch.linalg.LinAlgError):
        eigh(torch.full((3, 3), float("nan")))


def test_the_other_routine_has_as_many_threads_as_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bits may depend on them, and a worker has another number of cores."""
    real, seen = scipy.linalg.eigh, list[int]()

    def noted(*arguments: Any, **named: Any) -> Any:
        seen.extend(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return real(*arguments, **named)

    def gives_up(_: Tensor) -> None:
        raise torch.linalg.LinAlgError("failed to converge")

    monkeypatch.setattr(scipy.linalg, "eigh", noted)
    monkeypatch.setattr(torch.linalg, "eigh", gives_up)
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        seen.clear()
        eigh(low_rank(18, 2))
        assert set(seen) == {threads}
