"""Errors of the user: what they carry, also from one process to another."""

from __future__ import annotations

import pickle

import pytest

from memloc.errors import MemlocError, ReplayError, StoreError, UsageError, error_line, nearest


@pytest.mark.parametrize(
    ("kind", "code"), [(MemlocError, 1), (ReplayError, 1), (UsageError, 2), (StoreError, 3)], ids=lambda v: str(v)
)
def test_kinds_have_their_exit_codes_and_survive_the_way_between_processes(kind: type[MemlocError], code: int) -> None:
    error = pickle.loads(pickle.dumps(kind("one: wrong", "two: wrong\ttoo")))
    assert type(error) is kind
    assert error.exit_code == code
    assert list(error.problems) == ["one: wrong", "two: wrong\ttoo"]
    assert str(error) == "one: wrong\ntwo: wrong\ttoo"


def test_the_nearest_valid_word() -> None:
    assert nearest("nosie", ["seed", "width", "noise"]) == " (did you mean 'noise'?)"
    assert nearest("nosie", ["width", "lr"]) == ""
    assert nearest("x", []) == ""


def test_an_exception_in_one_line() -> None:
    assert error_line(ValueError("first\nsecond")) == "ValueError: first"
    assert error_line(ValueError("\n first\nsecond"), with_type=False) == "first"
    for silent in (KeyboardInterrupt(), KeyboardInterrupt(" \n")):
        assert error_line(silent) == error_line(silent, with_type=False) == "KeyboardInterrupt"
