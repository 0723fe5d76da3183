"""The quick look at a sweep's record agrees with pydantic on everything that may stand there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memloc.store import documents, record_form
from tests.store.test_hostile_json import GONE, JSON, places, with_other

ID = "0123456789abcdef"
ANALYSIS = {"analysis": "a" * 16, "stage": "flips", "config": {"clean": 3, "scores": ["aum"]}, "parts": [ID, "c" * 16]}
TRIAL = {"trial": ID, "config": {"lr": 0.1, "seed": 3}, "blocks": ["one"], "analyses": [ANALYSIS]}
RECORD: Any = [TRIAL, {**TRIAL, "trial": "b" * 16, "analyses": []}]
ODD = [f"{ID} {ID}", f"{ID}\n", ID.upper(), {ID: 1}, [ID], {"NaN": 1e999}, 2**63, [[[]]], "", None, True, {}]


def said(content: bytes, quick: bool) -> Any:
    """The trials in the bytes, or that there are none."""
    try:
        return record_form.trials_in(content) if quick else documents.as_written(record_form._trials(), content)
    except ValueError as error:
        return str(error)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.sampled_from(list(places(RECORD))), st.just(GONE) | st.sampled_from(ODD) | JSON)
@example((0, "analyses", 0, "parts"), {ID: 1})
@example((0, "analyses", 0, "parts", 0), f"{ID} {ID}")
@example((0, "config", "lr"), 2**70)
def test_any_json_in_any_place(place: Any, value: Any) -> None:
    content = json.dumps(with_other(RECORD, place, value)).encode()
    assert said(content, quick=True) == said(content, quick=False)


@pytest.mark.parametrize("content", [b"{}", b"[]", b"[1]", b"null", b'"x"', b"[", b"\xff", b'[{"trial": 1}]', b"[NaN]"])
def test_what_is_no_record(content: bytes) -> None:
    assert said(content, quick=True) == said(content, quick=False)


def test_fields_of_later_versions_and_waiting_analyses_are_kept() -> None:
    later = [{**TRIAL, "more": {"x": [1]}, "waiting": [{"block": "one", "stage": "flips"}]}]
    assert record_form.trials_in(json.dumps(later).encode()) == later


def test_an_ordinary_record_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "as_written", lambda *_: pytest.fail("it takes a second for ten thousand trainings"))
    assert record_form.trials_in(json.dumps(RECORD).encode()) == RECORD
