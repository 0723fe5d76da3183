"""Augmentation against a loop over pixels, and its keys: (seed, epoch, example), nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from memloc.data.augment import augment, shifts

ALPHA = 1e-4


def by_loop(image: torch.Tensor, down: int, right: int, flip: int) -> torch.Tensor:
    """Shifts an image (C×H×W) on black, then mirrors it left to right where flip is 1."""
    _, h, w = image.shape
    out = torch.zeros_like(image)
    for r in range(h):
        for c in range(w):
            if 0 <= r + down < h and 0 <= c + right < w:
                out[:, r + down, c + right] = image[:, r, c]
    return torch.from_numpy(out.numpy()[:, :, ::-1].copy()) if flip else out


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 16, 16), (3, 9, 12)])
def test_every_pixel_against_a_loop(channels: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    moves = torch.tensor([(d, r, f) for d in (-2, 0, 1) for r in (-1, 0, 2) for f in (0, 1)])
    x = torch.randint(1, 256, (len(moves), channels, height, width), dtype=torch.uint8, generator=generator)
    found = augment(x, moves)
    assert found.dtype == torch.uint8
    assert found.shape == x.shape
    for i, (down, right, flip) in enumerate(moves.tolist()):
        assert torch.equal(found[i], by_loop(x[i], down, right, flip)), (down, right, flip)


def test_an_image_does_not_hang_on_its_batch() -> None:
    x = torch.randint(0, 256, (20, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    shift = shifts("crop_flip", np.arange(20), 16, 16, seed=3, epoch=2)
    whole = augment(x, shift)
    rows = torch.tensor([7, 3, 7, 19])
    assert torch.equal(augment(x[rows], shift[rows]), whole[rows])
    assert torch.equal(augment(x, torch.zeros(20, 3, dtype=torch.int64)), x)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 32), (28, 20), (7, 7)])
def test_shifts_are_uniform_up_to_an_eighth_of_the_side(height: int, width: int) -> None:
    found = shifts("crop_flip", np.arange(20_000), height, width, seed=0, epoch=1)
    for column, reach in ((found[:, 0], height // 8), (found[:, 1], width // 8)):
        values, counts = column.unique(return_counts=True)
        assert values.tolist() == list(range(-reach, reach + 1))
        if reach:
            assert stats.chisquare(counts.numpy()).pvalue > ALPHA
    flips = int(found[:, 2].sum())
    assert set(found[:, 2].tolist()) == {0, 1}
    assert stats.binomtest(flips, 20_000, 0.5).pvalue > ALPHA


def test_crop_is_crop_flip_without_the_flip() -> None:
    crop, both = (shifts(kind, np.arange(500), 16, 16, seed=0, epoch=1) for kind in ("crop", "crop_flip"))
    assert torch.equal(crop[:, :2], both[:, :2])
    assert not crop[:, 2].any()


def test_keyed_by_seed_epoch_and_example() -> None:
    example = np.arange(3000)
    one = shifts("crop_flip", example, 32, 32, seed=0, epoch=1)
    picked = np.array([17, 2999, 4])
    assert torch.equal(shifts("crop_flip", picked, 32, 32, seed=0, epoch=1), one[picked])  # a subset changes nothing
    down, right, flip = one.T.numpy()
    others = [shifts("crop_flip", example, 32, 32, seed=0, epoch=2), shifts("crop_flip", example, 32, 32, seed=1, epoch=1)]
    pairs = [(down, right), (down, flip), (right, flip), (down[1:], down[:-1]), (flip[1:], flip[:-1])]
    pairs += [(one[:, k].numpy(), other[:, k].numpy()) for other in others for k in range(3)]
    for a, b in pairs:
        table = np.histogram2d(a, b, bins=[np.arange(-4.5, 5), np.arange(-4.5, 5)])[0]
        table = table[table.any(axis=1)][:, table.any(axis=0)]
        assert min(table.shape) >= 2
        assert stats.chi2_contingency(table).pvalue > ALPHA
