"""The sweep that `memloc detect` writes."""

from __future__ import annotations

import shlex

import pytest

from memloc.sweep.detecting import Detecting, data_of
from memloc.sweep.yaml import parse


@pytest.mark.parametrize("data", ["folder:a", "folder:a\nblocks: {}", "folder:a: {b} # c", "folder:é\x85\u2028\x1b"])
def test_what_was_typed_stays_in_its_comment_and_its_sentence(data: str) -> None:
    usual, found = (parse(Detecting(2).text(name, f"dataset={name}"), "x").value for name in ("folder:a", data))
    assert found.keys() == usual.keys()
    assert {key: value for key, value in found.items() if key != "about"} == {
        key: value for key, value in usual.items() if key != "about"
    }
    assert f"examples of {data.partition(chr(10))[0][:8]}" in found["about"]


def test_the_data_set_that_a_file_names() -> None:
    for data in ("folder:a", "folder:my photos/'x'", "npz:a.npz"):
        assert data_of(Detecting(1).text(data, shlex.join([f"dataset={data}", "width=1"]))) == data
    for text in (
        "",
        "blocks: {}\n",
        "# Written by `memloc detect`. The same trainings again: memloc sweep THIS-FILE 'dataset=a",
    ):
        assert data_of(text) is None
