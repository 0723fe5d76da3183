"""YAML as literals with lines."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from memloc.errors import UsageError
from memloc.sweep import yaml

LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefghijklmno", "bcdefghijklmnop", strict=True)
)


def test_every_key_and_item_knows_its_line() -> None:
    document = yaml.parse("a: 1\nb:\n  c: [x,\n      y]\n  d: {e: 2.5}\n", "f.yaml")
    assert document.value == {"a": 1, "b": {"c": ["x", "y"], "d": {"e": 2.5}}}
    assert document.at("a") == "f.yaml:1:a"
    assert document.at("b", "c", 1) == "f.yaml:4:b.c.1"
    assert document.at("b", "d", "e") == "f.yaml:5:b.d.e"
    assert document.at("b", "d", "nowhere") == "f.yaml:5:b.d.nowhere"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f: is empty"),
        ("# only a comment\n", "f: is empty"),
        ("a: 1\n\tb: 2\n", "f:2: not YAML"),
        ("a: [1", "f:1: not YAML"),
        ("a: {b: 1]", "f:1: not YAML"),
        ("a: 'x", "f:1: not YAML"),
        ("a: 1\na: 2\n", "f:2:a: stands twice"),
        ("b:\n  a: 1\n  a: 2\n", "f:3:b.a: stands twice"),
        ("1: x", "f:1: the key 1 is not text"),
        ("a: {b: 0,7}", "f:1: 7 between braces has no name of its own; a list stands in brackets"),
        ("a: [0, 1", "f:1: not YAML: while parsing a flow sequence expected ',' or ']', but got the end"),
        ("true: x", "f:1: the key true is not text"),
        ("? [a, b]\n: 1\n", "f:1: the key ['a', 'b'] is not text"),
        ("a: &x 1", "f:1: anchors and aliases"),
        (LAUGHS, "f:1: anchors and aliases"),
        ("a: !!python/object/apply:os.system [id]", "f:1: tags"),
        ("a: !mine 1", "f:1: tags"),
        ("a: 1\n---\nb: 2\n", "f:2: a second document"),
        ("[" * 5000, "f:1: nested more than 12 deep"),
        ("a: 1\x00", "f: not YAML"),
    ],
)
def test_what_is_refused_with_one_line(text: str, message: str) -> None:
    begun = time.process_time()
    with pytest.raises(UsageError) as caught:
        yaml.parse(text, "f")
    (problem,) = caught.value.problems
    assert problem.startswith(message)
    assert "\n" not in problem
    assert time.process_time() - begun < 10  # a bomb would take for ever


def test_merge_keys_are_no_way_around() -> None:
    with pytest.raises(UsageError, match="anchors and aliases"):
        yaml.parse("a: &x {b: 1}\nc:\n  <<: *x\n", "f")


def test_files(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("about: caf\xe9".encode("latin-1"))
    (tmp_path / "big.yaml").write_text("about: " + "x" * (yaml.MAX_BYTES + 1))
    for name, message in [
        ("", "is a directory"),
        ("missing.yaml", "no such file"),
        ("latin.yaml", "is not UTF-8; save the file as UTF-8"),
        ("x" * 300 + ".yaml", "cannot be read: File name too long"),
        ("big.yaml", "a sweep file has at most"),
    ]:
        with pytest.raises(UsageError, match=message) as caught:
            yaml.read(tmp_path / name)
        assert len(caught.value.problems) == 1


def test_only_numbers_text_and_constants() -> None:
    text = "[2001-13-45, 2001-12-14, 2001-12-14 21:59:43, 1e-3, 1.0e-3, 0x10, no, null, ~, '1', " + "9" * 5000 + "]"
    found = yaml.parse(text, "f").value
    assert found == [
        *("2001-13-45", "2001-12-14", "2001-12-14 21:59:43", "1e-3"),
        *(1e-3, "0x10", "no", None, None, "1", "9" * 5000),
    ]


def test_all_wrong_keys_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        yaml.parse("a: 1\nb: {c: 1, c: 2}\n3: 4\na: 2\n", "f")
    assert caught.value.problems == (
        "f:2:b.c: stands twice, in line 2 too",
        "f:3: the key 3 is not text; quote it if it is meant as a name",
        "f:4:a: stands twice, in line 1 too",
    )


def test_the_place_of_the_whole_has_no_field() -> None:
    assert yaml.parse("- a", "f").at() == "f:1"


def test_only_true_and_false_are_booleans() -> None:
    """As in YAML 1.2, so that `stochastic: off` and a data set called `no` are text."""
    words = ["true", "True", "TRUE", "false", "yes", "no", "on", "off", "Off", "y", "n", "NO", "truely", "'true'"]
    found = yaml.parse(f"[{', '.join(words)}]", "f").value
    assert found == [True, True, True, False, "yes", "no", "on", "off", "Off", "y", "n", "NO", "truely", "true"]
