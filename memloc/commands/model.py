"""`memloc model`: the groups, parameters, neurons and dropout sites of a network, and what can be done with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from memloc.commands import completion, options, terminal
from memloc.commands.answers import answer
from memloc.errors import UsageError

if TYPE_CHECKING:
    from memloc.config import TrainConfig
    from memloc.run.network_report import NetworkReport

EXAMPLES = options.examples(
    "memloc model resnet9 --dataset cifar10",
    "memloc model timm:convnext_atto --dataset svhn",
    "memloc model python:nets.py:make",
    "memloc model python:nets.py:make groups='{early: \"conv.*\", late: fc}'",
)

MODEL: Any = typer.Argument(..., metavar="MODEL", help="resnet9, resnet50, vit_small, timm:NAME, python:FILE.py:FUNCTION.")
FIELDS: Any = typer.Argument(None, metavar="FIELD=VALUE", help="Fields of the network, such as width, groups, sites.")
DATASET: Any = typer.Option(
    "digits",
    "--dataset",
    metavar="D",
    help="The data set, for the shape of the images and the number of classes.",
    autocompletion=completion.data_sets,
)


def model(
    model: str = MODEL,
    fields: list[str] = FIELDS,
    dataset: str = DATASET,
    data_dir: str = options.DATA_DIR,
    as_json: bool = options.JSON,
) -> None:
    """Show a network: its layer groups, and what each stage can do with it."""
    from memloc.data import describe, directory
    from memloc.run.network_report import network_report

    config = _config(model, dataset, fields or [])
    data = describe(config.source, directory.data_dir(data_dir))
    if misfits := config.architecture.misfits(data.shape, data.classes):
        raise UsageError(*(f"{name}: {problem}" for name, problem in misfits.items()))
    report = network_report(config, data.shape, data.classes, (data.n_train, data.n_test))
    answer(json.dumps(report.as_json(), indent=1) if as_json else terminal.plain(in_words(report)))


def _config(model: str, dataset: str, fields: list[str]) -> TrainConfig:
    """A training with this network, from what was typed."""
    from pathlib import Path

    from memloc.models.architectures import resolved
    from memloc.stages import REGISTRY
    from memloc.sweep.checker import Checker
    from memloc.sweep.command_line import typed

    values: dict[str, Any] = {"model": model, "dataset": dataset}
    for text in fields:
        name, equals, raw = text.partition("=")
        if not equals:
            raise UsageError(f"{text}: is not FIELD=VALUE, such as width=0.5")
        values[name] = typed(raw, name)
    checker = Checker(REGISTRY, Path.cwd())
    problems = []
    for name, value in list(values.items()):
        values[name], wrong = checker.training(name, value)
        problems += [f"{name}: {problem}" for _, problem in wrong]
    if problems:
        raise UsageError(*problems)
    return resolved(**values)


def in_words(report: NetworkReport) -> str:
    """Tables of the groups and of what can be done."""
    from memloc.commands.prose import wrapped
    from memloc.commands.text_table import text_table

    shape = "×".join(map(str, report.shape))
    header = ["group", "parameters", "neurons", "operations", "dropout sites"]
    rows = [[g.group, str(g.parameters), str(g.neurons), str(g.operations), " ".join(g.sites)] for g in report.groups]
    totals = [str(sum(getattr(g, name) for g in report.groups)) for name in header[1:4]]
    lines = [f"{report.model}, images of {shape}, {report.classes} classes", ""]
    lines += text_table(header, [*rows, ["all", *totals, ""]]).splitlines()
    lines += ["", *report.notes] if report.notes else []
    lines += [f"{name}: {rate:g} of it is dropped in training, drawn by key" for name, rate in report.own_dropouts.items()]
    lines += _memory(report)
    can = [[a.what, "yes" if a.problem is None else "no", a.problem or ""] for a in report.abilities]
    lines += ["", *text_table(["stage or setting", "runs", "why not"], can).splitlines()]
    lines += [
        "",
        *wrapped("neurons: channels, hidden units, heads, and the classifier's weights (--json: by layer)", "", "  "),
    ]
    return "\n".join(lines)


def _memory(report: NetworkReport) -> list[str]:
    """A table of the memory of a GPU."""
    from memloc.commands.text_table import text_table
    from memloc.sizes import bytes_in_words

    if not report.memory:
        return []
    batch = report.memory[0].subject.config.batch_size
    header = [f"memory of a GPU, batches of {batch}", "needed", "of it stays", "with activation checkpointing"]
    rows = [[need.what, *map(bytes_in_words, (need.plain, need.kept, need.least))] for need in report.memory]
    return ["", *text_table(header, rows).splitlines()]
