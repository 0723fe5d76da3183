"""A sweep with edits, inline: refused at its line, resumed part by part, and the same rows whatever came before."""

from __future__ import annotations

from pathlib import Path

import pytest

from memloc.analysis.reading import read_table
from memloc.errors import UsageError
from memloc.store import Store
from tests.conftest import planned, run_inline
from tests.run.programs import contents

TEXT = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 60, noise: 0.1, epochs: 2, batch_size: 32}
blocks:
  edited:
    stages:
      edit: %s
"""
ASKED = "{epochs: [1, 2], ranks: [kfac, svd], rho: [0.9], groups: [inner, conv1]}"


def test_a_lost_part_is_computed_again_with_the_same_bits(tmp_path: Path) -> None:
    """The parts of one store run together; in the other one alone, after a kill."""
    store, folder = Store(str(tmp_path / "store")), tmp_path / "store"
    run_inline(tmp_path, TEXT % ASKED, store)
    whole = contents(folder)["edits"]
    rows = read_table(store, "edits").to_pylist()
    assert len(rows) == 2 * 2 * 2 + 2
    assert {row["groups"] for row in rows} == {"inner", "conv1", "none"}
    (commit,) = [
        path
        for path in (folder / "commits").rglob("*.json")
        if '"epoch": 1' in (text := path.read_text()) and '"images"' in text
    ]
    commit.unlink()
    assert len(read_table(Store(str(folder)), "edits")) == 0  # an analysis is shown when it is complete
    run_inline(tmp_path, TEXT % ASKED, Store(str(folder)))
    assert contents(folder)["edits"].equals(whole)


@pytest.mark.parametrize(
    ("fields", "model", "problem"),
    [
        ("{groups: [conv5]}", "", "edit.groups: conv5: no such layer group; valid: inner, each, conv1, conv2, res1.conv1, "),
        (
            "{groups: [each]}",
            "timm:test_efficientnet",
            "edit.groups: blocks.3.0.conv_dw is a convolution in 128 groups; what ",
        ),
        ("{}", "timm:test_efficientnet", "edit.groups: inner: blocks.3.0.conv_dw is a convolution in 128 groups; what can "),
        ("{bn: [recomputed], groups: [head]}", "timm:test_vit", "edit.bn: recomputed: the network has no batch norms; "),
        ("{rho: [0]}", "", "edit.rho.0: 0 is not valid; valid: a number > 0 and <= 1"),
        ("{ranks: [hessian]}", "", "edit.ranks.0: 'hessian' is not valid; valid: kfac, activation, gradient, svd, random, "),
    ],
)
def test_what_cannot_be_edited_is_told_at_its_field(tmp_path: Path, fields: str, model: str, problem: str) -> None:
    text = TEXT % fields
    if model:
        text = text.replace("model: resnet9, width: 0.0625", f"model: '{model}'")
    with pytest.raises(UsageError) as caught:
        planned(tmp_path, text)
    (said,) = caught.value.problems
    assert said.startswith(f"{tmp_path}/tiny.yaml:6:blocks.edited.stages.{problem}"), said
    assert "\n" not in said


def test_a_transformer_is_planned(tmp_path: Path) -> None:
    text = (TEXT % "{groups: [inner, each]}").replace("model: resnet9, width: 0.0625", "model: 'timm:test_vit'")
    assert len(planned(tmp_path, text).trials[0].analyses[0].parts) == 2
