"""The quick look at a large JSON document never passes what the look at every value refuses."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memloc.store import documents

bounded = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["[[[", "}}}}", "e999", "NaN", '"', "1" * 30, "\\"]
)
NUMBER = st.integers(-10, 10) | st.floats() | st.sampled_from([2**63, 2**63 - 1, -(2**63), 10**40, 0.1, 1e-300, 1e300])
VALUE = st.recursive(NUMBER | TEXT | st.none() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))


def refused(content: bytes) -> bool:
    """What the slow look says: no number that a column cannot hold, nothing nested too deeply."""
    try:
        documents.check(json.loads(content))
    except (ValueError, RecursionError):
        return True
    return False


@settings(bounded, max_examples=60)
@given(value=VALUE, deeper=st.integers(0, 45), escaped=st.booleans(), chunk=st.sampled_from([1, 7, 64, 1 << 20]))
def test_what_is_plain_is_not_refused(
    value: object, deeper: int, escaped: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.dumps(value, ensure_ascii=escaped).encode()
    content = b"[" * deeper + content + b"]" * deeper
    monkeypatch.setattr(documents, "LARGE", 0)
    monkeypatch.setattr(documents, "CHUNK", chunk)
    if documents.is_plain(content):
        assert not refused(content)


def test_a_record_as_memloc_writes_it_is_plain() -> None:
    trial = {"trial": "e999" * 4, "config": {"lr": 0.1, "noise": 1e-05, "seed": 2**40, "name": "a [b] {c}"}, "blocks": ["a"]}
    content = json.dumps([trial] * 100).encode()
    assert len(content) > documents.LARGE
    assert documents.is_plain(content)


@pytest.mark.parametrize("odd", ["NaN", "-Infinity", "1e999", "1" + "0" * 18, "[" * 41 + "]" * 41])
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 8, 1 << 20])
def test_what_is_odd_is_found_wherever_it_lies(odd: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "LARGE", 0)
    monkeypatch.setattr(documents, "CHUNK", chunk)
    for before in range(9):
        assert not documents.is_plain(b"[" + b"1," * before + odd.encode() + b',"x"]')
