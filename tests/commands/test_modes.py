"""An option that would have no effect is refused, for every mode of every command, whatever options there will be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.commands.test_help import COMMANDS
from tests.commands.test_query import run

# {what is typed: the parameters that have an effect with it}. A mode that is missing here is a mode without refusals.
MODES: dict[tuple[str, ...], set[str]] = {
    ("sweep",): {"arguments", "as_json"},  # with a name it is another mode
    ("sweep", "--fields"): {"arguments", "fields", "as_json"},
    ("sweep", "demo", "--show"): {"arguments", "show"},
    ("query", "--examples"): {"examples", "sweep", "store"},
}
REASONS = {
    ("sweep",): "name a sweep first; shipped: ",
    ("sweep", "--fields"): "--fields lists the fields of every sweep, and of the plugins of a NAME; leave one of them out",
    ("sweep", "demo", "--show"): "--show prints the YAML as it is; --dry-run shows what a sweep would do",
    ("query", "--examples"): "--examples prints queries and runs none; leave one of them out",
}


VALID = {"only": "seed=0", "executor": "ray", "checkpoints": "all", "format": "csv", "device": "cpu"}


def typed(parameter: Any) -> list[str]:
    """Something valid to type for a parameter."""
    if parameter.param_type_name == "argument":
        return ["demo" if parameter.name == "arguments" else "SELECT 1"]
    if parameter.is_flag:
        return [parameter.opts[0]]
    return [parameter.opts[0], VALID.get(parameter.name, "1")]


# Options that are modes of their own: typed together, the other one answers.
OTHER_MODES = {("sweep",): {"show", "fields"}, ("sweep", "demo", "--show"): {"fields"}}
CASES = [
    (mode, parameter)
    for mode, fitting in MODES.items()
    for parameter in COMMANDS[mode[:1]].params
    if parameter.name not in fitting | {"help"} | OTHER_MODES.get(mode, set())
]


@pytest.mark.parametrize(("mode", "parameter"), CASES, ids=[f"{' '.join(m)}+{p.name}" for m, p in CASES])
def test_what_has_no_effect_is_refused(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    mode: tuple[str, ...],
    parameter: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capfd, monkeypatch, *mode, *typed(parameter))
    name = parameter.opts[0] if parameter.param_type_name == "option" else typed(parameter)[0]
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"memloc: {name}: {REASONS[mode]}")
    assert list(tmp_path.iterdir()) == []


def test_values_with_show(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run(capfd, monkeypatch, "sweep", "demo", "--show", "seed=3")
    assert (code, out) == (2, "")
    assert err.startswith("memloc: seed=3: --show prints the YAML as it is")
    code, out, err = run(capfd, monkeypatch, "sweep", "--show")
    assert (code, out) == (2, "")
    assert err.startswith("memloc: --show: name a sweep first")
