"""The sweep behind `memloc detect`: trainings on the labels as they are, and on labels of which some were made wrong."""

from __future__ import annotations

PLANTED = 0.05  # the share of labels that are made wrong on purpose

_TEXT = """\
# Written by `memloc detect`. The same trainings again: memloc sweep THIS-FILE {typed}
about: >-
  The likely mislabeled examples of {about}. One training learns the labels as they are. {in_words} more learn them with
  {percent} % made wrong on purpose. What they find of those says how many of the others are wrong.
defaults: {{model: resnet9, width: 0.5, epochs: 20, batch_size: 128}}
blocks:
  plain:
    axes: {{seed: [0]}}
    checkpoints: last
    stages: {{{stages}}}
  planted:
    axes: {{seed: {seeds}}}
    set: {{noise: {planted}, data_seed: seed}}
    checkpoints: last
    stages: {{}}
"""


def sweep_text(about: str, typed: str, seeds: int, flips: bool) -> str:
    """The YAML of the sweep.

    Args:
        about: the data set, in words. typed: the values of the command line, as one types them.
        seeds: how many trainings have planted labels; at least 1.
        flips: whether the neurons of every example are searched.
    """
    stages = "flips: {clean: 1000000, noisy: 1, post_eval: 0}" if flips else ""
    numbers = "1" if seeds == 1 else f"1..{seeds}"
    return _TEXT.format(
        about=about, typed=typed, in_words=seeds, percent=round(100 * PLANTED), stages=stages, planted=PLANTED,
        seeds=f"[{numbers}]" if seeds == 1 else numbers,
    )  # fmt: skip
