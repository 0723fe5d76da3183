"""The sweep behind `memloc detect`: trainings on the labels as they are, and on labels of which some were made wrong."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

PLANTED = 0.05  # the share of labels that are made wrong on purpose
IN = 0.8  # the share of the examples that a training sees, if every example is judged by networks that have not seen it

_COMMAND = "# Written by `memloc detect`. The same trainings again: memloc sweep THIS-FILE "
_TEXT = """\
{command}{typed}
about: >-
  The likely mislabeled examples of {data}. Block plain learns the labels as they are. Block planted learns them with
  {percent} % made wrong on purpose. What it finds of those says how many of the others are wrong.
{plugins}defaults: {{model: resnet9, width: 0.25, epochs: 20, batch_size: 128}}
blocks:
  plain:
    axes: {{seed: [0]}}
    checkpoints: last
    stages: {{{stages}}}
  planted:
    paired: {{seed: {seeds}, noise_seed: {seeds}}}
    set: {{noise: {planted}}}
    checkpoints: last
    stages: {{{judges}}}
"""


@dataclass(frozen=True)
class Detecting:
    """How suspects are looked for.

    seeds: how often labels are planted, at least 1. flips: the neurons of every example are searched. out_of_sample: every
    example is judged by a network that has not seen it, of five that each see 80 % of the examples.
    """

    seeds: int
    flips: bool = False
    out_of_sample: bool = False

    def text(self, data: str, typed: str, plugins: Sequence[str] = ()) -> str:
        """The YAML of the sweep.

        data: the data set, in words. typed: the values of the command line, as one types them. plugins: paths and modules.
        """
        judges = f"held_out: {{ratios: [{IN}], min_held_out: 1}}" if self.out_of_sample else ""
        flips = "flips: {clean: 1000000, noisy: 1, post_eval: 0}" if self.flips else ""
        return _TEXT.format(
            command=_COMMAND,
            data=_on_one_line(data),
            typed=_on_one_line(typed),
            percent=round(100 * PLANTED),
            plugins=f"plugins: {json.dumps(list(plugins))}\n" if plugins else "",
            stages=", ".join(filter(None, (judges, flips))),
            judges=judges,
            planted=PLANTED,
            seeds=list(range(1, self.seeds + 1)),
        )


def data_of(text: str) -> str | None:
    """The data set of a sweep that `Detecting.text` wrote, as a person typed it; None: it has written no such text."""
    command = text.partition("\n")[0].partition(_COMMAND)[2]
    try:
        values = [value.partition("dataset=") for value in shlex.split(command)]
    except ValueError:  # an open quote: somebody has changed the line
        return None
    return next((data for before, name, data in values if name and not before), None)


def _on_one_line(text: str) -> str:
    """What a person typed, for a comment or a sentence: a line end in it would end those."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
