"""What a notebook may pass: a value of a wrong type is one line that names the type and what is valid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import memloc
from memloc.api import OpenStore, data_dir, store_uri
from memloc.errors import UsageError


@pytest.fixture(scope="module")
def store(tiny: Path) -> OpenStore:
    return memloc.open_store(tiny)


def tied(store: OpenStore) -> Any:
    return store.trials(dropout="example_tied")[0]


WRONG: dict[str, tuple[Callable[[Any], object], str]] = {
    "open_store(3)": (lambda s: memloc.open_store(3), "store: 3 is of type int; valid: text, a pathlib.Path, or None"),
    "open_store(b'x')": (lambda s: memloc.open_store(b"x"), "store: b'x' is of type bytes; valid: text"),
    "data_dir=3": (lambda s: memloc.open_store(s.uri, data_dir=3), "data_dir: 3 is of type int; valid: text"),
    "data_dir(3)": (lambda s: data_dir(3), "data directory: 3 is of type int; valid: text"),
    "store_uri(3)": (lambda s: store_uri(3), "store: 3 is of type int; valid: text"),
    "trial(3)": (lambda s: s.trial(3), "trial: 3 is of type int; valid: the id of a trial"),
    "trial(None)": (lambda s: s.trial(None), "trial: None is of type NoneType; valid: the id of a trial"),
    "trial('')": (lambda s: s.trial(""), "trial: is empty; valid: the id of a trial"),
    "table(3)": (lambda s: s.table(3), "table: 3 is of type int; valid: the name of a table or view"),
    "pandas(None)": (lambda s: s.pandas(None), "table: None is of type NoneType; valid: the name"),
    "table of a trial": (lambda s: tied(s).table(3), "table: 3 is of type int; valid: the name of a table or view"),
    "partial='yes'": (lambda s: s.table("rewind", partial="yes"), "partial: 'yes' is of type str; valid: True or False"),
    "partial of a trial": (lambda s: tied(s).table("rewind", partial=1), "partial: 1 is of type int; valid: True or False"),
    "sql(5)": (lambda s: s.sql(5), "query: 5 is of type int; valid: one SELECT"),
    "sql('')": (lambda s: s.sql(" "), "query: is empty; valid: one SELECT"),
    "sql, sweep=3": (lambda s: s.sql("SELECT 1", sweep=3), "sweep: 3 is of type int; valid: a sweep's name"),
    "claims, sweep=3": (lambda s: s.claims(sweep=3), "sweep: 3 is of type int; valid: a sweep's name"),
    "mask of two": (lambda s: tied(s).mask([1, 2]), r"example: \[1, 2\] is of type list; valid: one index"),
    "mask(None)": (lambda s: tied(s).mask(None), "example: None is of type NoneType; valid: one index"),
    "mask(1.0)": (lambda s: tied(s).mask(1.0), "example: 1.0 is of type float; valid: one index"),
    "model(True)": (lambda s: tied(s).model(epoch=True), "epoch: True is of type bool; valid: a whole number, 0 to 2"),
    "model('1')": (lambda s: tied(s).model("1"), "epoch: '1' is of type str; valid: a whole number, 0 to 2, or None"),
    "mode=3": (lambda s: tied(s).model(mode=3), "mode 3: valid: plain, own, scaled, dropped"),
    "rescale=None": (lambda s: tied(s).model(rescale=None), "rescale None: valid: none, authors, consistent"),
    "rescale without dropped": (
        lambda s: tied(s).model(mode="own", rescale="authors"),
        "rescale authors: applies to mode dropped only; here mode is own",
    ),
    "a mode of another dropout": (
        lambda s: s.trials(dropout="none")[0].model(mode="own"),
        r"valid here: plain \(the others need example-tied dropout\)",
    ),
    "a mapping": (lambda s: s.trials(noise={0.2: 1}), r"noise: \{0.2: 1\} is of type dict; valid: a value, or a list"),
}


@pytest.mark.parametrize("call", WRONG)
def test_a_wrong_argument_is_one_line(store: OpenStore, call: str) -> None:
    function, message = WRONG[call]
    with pytest.raises(UsageError, match=f"^(mode own: trial .*)?{message}") as raised:
        function(store)
    assert "\n" not in str(raised.value)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(UsageError) as raised:
        memloc.open_store(["x" * 1000])  # type: ignore[arg-type]
    assert len(str(raised.value)) < 200


def test_every_kind_of_collection(store: OpenStore) -> None:
    seeds = [
        [0, 1], (0, 1), {0, 1}, frozenset([0, 1]), range(2), {0: "a"}.keys(), iter([0, 1]), (n for n in range(2)),
        np.arange(2), map(int, "01"), 0, np.int64(0),
    ]  # fmt: skip
    for wanted in seeds:
        assert len(store.trials(seed=wanted)) == 2, wanted
    assert store.trials(seed=frozenset([3])) == []
    assert len(store.trials(dropout="none")) == 1  # text is one value


def test_numbers_of_other_libraries(store: OpenStore) -> None:
    trial = tied(store)
    example = trial.data().example[0]
    plain = trial.mask(int(example))
    for same in (example, example.numpy(), np.int64(int(example))):
        assert all(torch.equal(mask, plain[site]) for site, mask in trial.mask(same).items())
    assert isinstance(trial.model(np.int64(1)), torch.nn.Module)


def test_a_store_shows_itself_without_reading(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = memloc.open_store(tiny)
    monkeypatch.setattr("memloc.store.Files.listing", lambda *_: pytest.fail("it reads"))
    assert repr(store) == f"OpenStore({str(tiny)!r})"


def test_a_prefix_of_several_trials(store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memloc.store.Snapshot.trainings", lambda self: dict.fromkeys(["ab2", "ab1", "b", *"cdefg"]))
    of = "of 8 finished trainings in the store"
    with pytest.raises(UsageError, match=rf"^trial 'A': 2 {of} begin so: ab1, ab2; type more digits of one$"):
        store.trial("A")
    with pytest.raises(UsageError, match=rf"^trial '3': none {of} begins so; there are ab1, ab2, b, c, d and 3 more$"):
        store.trial("3")


def test_a_prefix_may_have_capitals(store: OpenStore) -> None:
    trial = store.trials()[0]
    assert store.trial(trial.id[:6].upper()) == trial
