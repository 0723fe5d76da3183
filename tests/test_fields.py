"""Every field says what it means where its type stands; the command and docs/fields.md are made from that."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from pydantic import Field

from memloc import commands
from memloc.commands.field_list import markdown
from memloc.config import Registry, StageConfig
from memloc.config.about import about_fields
from memloc.models.architectures import TRAINING, resolved
from memloc.stages import REGISTRY, STAGES
from tests.models import own_nets

FIELDS = about_fields(REGISTRY)


def test_the_page_is_up_to_date() -> None:
    page = Path(__file__).parents[1] / "docs" / "fields.md"
    assert page.read_text(encoding="utf-8") == markdown(FIELDS), "python -m memloc.commands.field_list > docs/fields.md"


def test_every_field_is_there_and_says_what_it_means() -> None:
    assert {f.field for f in FIELDS if f.owner == "training"} == set(TRAINING)
    for name, stage in STAGES.items():
        assert [f.field for f in FIELDS if f.owner == name] == list(stage.config.model_fields)
    for field in FIELDS:
        assert len(field.meaning) > 5, field
        assert field.source, field
        assert field.values, field


# A name for each prefix.
EXAMPLES = {"python:": f"python:{own_nets.__file__}:make", "timm:": "timm:test_vit"}


def test_defaults_are_those_of_a_resolved_training() -> None:
    """What is said to be the default is what a training has that does not say it."""
    needed = {"dropout: example_tied": {"p_gen": 0.4, "p_mem": 0.1}}
    for field in FIELDS:
        if field.owner != "training" or field.default in ("required", "by schedule and epochs"):
            continue
        if field.field == "code":  # filled in, with the hash of a file
            continue
        key, _, kinds = field.used_with.partition(": ")
        first = kinds.split(", ")[0]
        kind = EXAMPLES.get(first, f"{first}x" if first.endswith(":") else first)
        of_kind = {key: kind} if kind else {}
        given = {"dataset": "digits", "model": "resnet9", **of_kind, **needed.get(field.used_with, {})}
        value = resolved(**given).flat().get(field.field)
        assert str(value).lower().replace("none", "null") == field.default.replace("none", "null")


def test_a_field_needs_one_place() -> None:
    class OfAPlugin(StageConfig):
        size: int = 3
        """How large it is. [a plugin's paper]"""
        plain: bool = Field(False, description="Is it plain? [memloc]")

    class Stage:
        config = OfAPlugin

    registry = Registry(TRAINING, {"mine": Stage()}, REGISTRY.count_examples, dict)  # type: ignore[arg-type, dict-item]
    assert [(f.field, f.default, f.values, f.meaning, f.source) for f in about_fields(registry) if f.owner == "mine"] == [
        ("size", "3", "a whole number", "How large it is.", "a plugin's paper"),
        ("plain", "false", "true or false", "Is it plain?", "memloc"),
    ]


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command(as_json: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["memloc", "sweep", "--fields", *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert not ended.value.code
    out = capfd.readouterr().out
    if as_json:
        assert [(f["owner"], f["field"]) for f in json.loads(out)] == [(f.owner, f.field) for f in FIELDS]
    else:
        assert "  masks  default site   (dropout: example_tied)\n      site: each dropout site draws its own masks" in out
        assert "stage flips\n" in out
        assert max(map(len, out.splitlines())) <= 110
