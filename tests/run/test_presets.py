"""The published code's settings, through both executors: the same bits, whatever ran where."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run.programs import assert_same, memloc

AUTHORS = """about: Every option of the published code, on a few digits.
preset: authors
defaults: {dataset: digits, model: resnet9, width: 0.0625, noise: 0.1, subset: 120, epochs: 4, batch_size: 32, lr: 0.05}
blocks:
  layers: {axes: {seed: [2]}, stages: {gradients: {epochs: [4]}, rewind: {}, retrain: {epochs: 2}}}
  tied: {set: {dropout: example_tied, p_gen: 0.3, p_mem: 0.2}, stages: {evaluate: {}}}
  flips:
    preset: authors-flips
    set: {epochs: 12, augment: none}
    stages: {flips: {clean: 5, noisy: 3, repeats: 2, group_size: 3, post_eval: 20}, detection: {}}
"""


@pytest.mark.slow  # test_ray.py compares the executors in every `make test`
def test_inline_and_ray_write_the_same(tmp_path: Path) -> None:
    path = tmp_path / "authors.yaml"
    path.write_text(AUTHORS)
    for options in (("--executor", "inline"), ("--cpus", "2")):
        done = memloc(tmp_path, "sweep", str(path), *options, "--store", str(tmp_path / options[1]))
        assert done.code == 0, done.err
    assert_same(tmp_path / "inline", tmp_path / "2")
