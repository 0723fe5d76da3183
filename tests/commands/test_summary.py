"""The closing table of a sweep, on rows whose answer is known."""

from __future__ import annotations

from memloc.commands.query import text_table
from memloc.commands.summary import critical_layer
from memloc.commands.words import bytes_in_words, labels, seconds_in_words
from memloc.config import resolved


def rewound(layer: str, epoch: int, noisy: float | None, trial: str = "a") -> dict[str, object]:
    return {"trial": trial, "layer": layer, "epoch": epoch, "noisy_acc": noisy}


def test_critical_layer_is_the_one_whose_rewinding_costs_most() -> None:
    rows = [rewound(*r) for r in [("x", 0, 0.9), ("x", 5, 0.7), ("y", 0, 0.5), ("y", 5, 0.9), ("x", 9, 1.0), ("y", 9, 0.0)]]
    # Epoch 9 is the last: rewinding to it is the identity and says nothing. y: (0.5 + 0.9)/2 < x: (0.9 + 0.7)/2.
    assert critical_layer(rows, "a") == "y (noisy 0.700)"
    assert critical_layer(rows, "b") == ""
    assert critical_layer([rewound("x", 0, None)], "a") == ""
    assert critical_layer([rewound("x", 9, 1.0)], "a") == ""


def test_text_table_aligns_numbers_right_and_text_left() -> None:
    assert text_table(["a", "number"], [["long text", "1.5"], ["b", "20"]]) == (
        "a          number\n"
        "---------  ------\n"
        "long text     1.5\n"
        "b              20\n"
    )  # fmt: skip


def test_labels_name_what_differs() -> None:
    base = {"dataset": "digits", "model": "resnet9"}
    a, b = resolved(**base, seed=0), resolved(**base, seed=1, dropout="example_tied", p_gen=0.2, p_mem=0.1)
    assert labels([a, b]) == ["dropout=none seed=0", "dropout=example_tied p_gen=0.2 p_mem=0.1 seed=1"]
    assert labels([a]) == ["dataset=digits model=resnet9"]


def test_words() -> None:
    assert [bytes_in_words(n) for n in (0, 999, 1500, 123e6, 2.5e12)] == ["0 B", "999 B", "1.5 KB", "123 MB", "2.5 TB"]
    assert [seconds_in_words(s) for s in (3, 600, 7200, 400000)] == ["3 s", "10 min", "2.0 h", "4.6 days"]
