"""`memloc model`: against the network itself and hand counts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memloc.commands.model import model
from memloc.errors import UsageError
from memloc.stages import STAGES
from tests.models import own_nets

OWN = f"python:{own_nets.__file__}"


def report(capsys: pytest.CaptureFixture[str], name: str, *fields: str, dataset: str = "digits") -> dict[str, Any]:
    model(name, list(fields), dataset, "", True)
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_resnet9_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    said = report(capsys, "resnet9", "width=0.25")
    first, *_, last = said["groups"]
    # 16 filters of 3×3, and scale and shift of the batch norm; 16×16 places; a multiplication and its addition are two.
    assert first == {
        "group": "conv1", "parameters": 16 * 9 + 32, "neurons": 16, "layers": {"conv1": 16}, "sites": ["conv1"],
        "operations": 2 * 16 * 9 * 16 * 16,
    }  # fmt: skip
    assert (last["parameters"], last["neurons"], last["operations"]) == (320, 320, 640)
    assert [site for group in said["groups"] for site in group["sites"]] == [
        "conv1", "conv2", "res1", "conv3", "res2", "conv4",
    ]  # fmt: skip
    assert said["totals"]["parameters"] == sum(group["parameters"] for group in said["groups"])
    assert {a["what"] for a in said["abilities"]} >= set(STAGES)
    assert [a for a in said["abilities"] if a["problem"]] == []


def test_an_own_network(capsys: pytest.CaptureFixture[str]) -> None:
    said = report(capsys, f"{OWN}:with_dropout")
    assert [g["group"] for g in said["groups"]] == ["conv1", "conv2", "fc1", "fc2"]
    assert said["notes"] == ["bn1 belongs to conv1: it is a norm"]
    assert said["own_dropouts"] == {"dropout drop": 0.25}
    assert said["groups"][2]["parameters"] == 8 * 4 * 4 * 12 + 12
    assert [a["what"] for a in said["abilities"] if a["problem"]] == [
        "flips, ablate: weight", "inject", "locate", "compile: true",
    ]  # fmt: skip
    groups = report(capsys, f"{OWN}:with_dropout", "groups={early: 'conv.*|bn1', late: 'fc.*'}", "sites=drop")["groups"]
    assert [(g["group"], g["sites"]) for g in groups] == [("early", []), ("late", ["drop"])]


def test_what_a_network_cannot_do(capsys: pytest.CaptureFixture[str]) -> None:
    """No activation, so no hidden units, and one group, so no dropout sites."""
    said = report(capsys, f"{OWN}:lonely")
    problems = {a["what"]: a["problem"] for a in said["abilities"] if a["problem"]}
    assert problems["flips"].startswith("the network has no neurons")
    assert "it has no dropout sites, since no group hands on one tensor" in problems["dropout: example_tied"]
    assert "dropout: sparse, unit: weight" not in problems
    assert problems["batch_norm: frozen"] == "it has no batch norms"


def test_weights_that_are_computed_cannot_be_masked(capsys: pytest.CaptureFixture[str]) -> None:
    problems = {a["what"]: a["problem"] for a in report(capsys, f"{OWN}:weight_normed")["abilities"] if a["problem"]}
    assert "0 computes its weight anew in every pass" in problems["dropout: sparse, unit: weight"]
    assert "dropout: sparse, unit: element" not in problems


def test_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    model(f"{OWN}:make", [], "digits", "", False)
    said = capsys.readouterr().out
    assert f"{OWN}:make, images of 1×16×16, 10 classes" in said
    assert "bn1 belongs to conv1: it is a norm" in said
    assert any(line.split() == ["fc2", "130", "120", "240"] for line in said.splitlines())


@pytest.mark.parametrize(
    ("name", "fields", "problem"),
    [
        ("resnet", [], r"model: 'resnet' is not valid; valid: resnet50, .*did you mean 'resnet9'"),
        ("resnet9", ["width"], "width: is not FIELD=VALUE"),
        ("resnet9", ["sites=x"], "sites: used only with model: python: or timm:"),
        ("resnet9", ["width=0"], "width: 0 is not valid; valid: a number > 0"),
        (f"{OWN}:raises", [], r"raises\(1, 16, 16, 10\) raises ZeroDivisionError"),
        ("timm:test_vit", ["sites=nowhere"], "sites: 'nowhere' matches no module; there are: patch_embed"),
    ],
)
def test_bad_arguments(name: str, fields: list[str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        model(name, fields, "digits", "", False)
