"""What a field's type says of it beside its values, wherever in the type the marker stands."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from memloc.config import Checkpoints, Epochs, Neutral, PathOrSweep, marker


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[int, Checkpoints()],
        Annotated[int, Checkpoints()] | None,
        Annotated[int, Neutral(3), Checkpoints()],
        Annotated[Annotated[int, Checkpoints()] | None, Neutral(3)],
        Epochs,
        Epochs | None,
    ],
)
def test_found_wherever_it_stands(annotation: Any) -> None:
    assert marker(annotation, Checkpoints) == Checkpoints()
    assert marker(annotation, PathOrSweep) is None


@pytest.mark.parametrize("annotation", [int, int | None, tuple[int, ...], Annotated[int, Neutral(3)] | None])
def test_not_where_there_is_none(annotation: Any) -> None:
    assert marker(annotation, Checkpoints) is None


@pytest.mark.parametrize(
    ("prefix", "value", "path"),
    [
        ("", "scores.npy", "scores.npy"),
        ("", "sweep:name", None),
        ("c_score:", "c_score:scores.npy", "scores.npy"),
        ("c_score:", "c_score:sweep:name", None),
        ("c_score:", "labels", None),
        ("c_score:", None, None),
    ],
)
def test_the_path_in_a_value(prefix: str, value: Any, path: str | None) -> None:
    assert PathOrSweep(prefix).path(value) == path
