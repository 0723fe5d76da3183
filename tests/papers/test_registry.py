"""The papers by name."""

from __future__ import annotations

import pkgutil

import pytest

import memloc.papers
from memloc.errors import UsageError
from memloc.papers.registry import NAMES, USUAL, paper


def test_every_folder_is_a_paper_with_ids_that_occur_once() -> None:
    packages = {m.name for m in pkgutil.iter_modules(memloc.papers.__path__) if m.ispkg}
    assert packages == set(NAMES) >= {"maini2023"}
    for name in NAMES:
        one = paper(name)
        assert one.id == name
        exhibits = [e.id for s in one.sections for e in s.exhibits] + [e.id for e in one.pictures]
        for ids in ([c.id for c in one.claims], exhibits, [s.name for s in one.sections]):
            assert len(set(ids)) == len(ids)
        known = {c.id for c in one.claims}
        assert all(set(e.claims) <= known for s in one.sections for e in s.exhibits)
    assert USUAL in NAMES


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    known = ", ".join(NAMES)
    with pytest.raises(UsageError, match=rf"--paper maini: no such paper; did you mean 'maini2023'\?; valid: {known}, or"):
        paper("maini")
