"""Networks of a person's own in a sweep file: paths, identities, errors at their place, and what a store says of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import memloc
from memloc.errors import UsageError
from memloc.models.architectures.resnet9.config import ResNet9
from memloc.store import Store
from tests.conftest import planned, run_inline
from tests.models import own_nets

TEXT = """
defaults: {dataset: digits, model: "python:nets.py:make", subset: 60, noise: 0.1, epochs: 1, batch_size: 20}
blocks:
  a: {stages: {evaluate: {}, rewind: {epochs: [0]}}}
"""


def in_folder(folder: Path, text: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "nets.py").write_text(Path(own_nets.__file__).read_text() + text)
    return folder


def test_a_path_is_relative_to_the_sweep_file_and_not_part_of_the_identity(tmp_path: Path) -> None:
    here, there, changed = in_folder(tmp_path / "here"), in_folder(tmp_path / "there"), in_folder(tmp_path / "c", "# else\n")
    (one,), (same,), (other,) = (planned(folder, TEXT).trials for folder in (here, there, changed))
    assert one.config.model == f"python:{here.resolve()}/nets.py:make"
    assert one.id == same.id != other.id
    (groups,) = planned(here, TEXT.replace("subset", "groups: {early: 'conv.*|bn1', late: 'fc.*'}, subset")).trials
    assert groups.size.groups == ("early", "late")
    assert groups.id != one.id


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ('model: "python:net.py:make"', "model: {}/net.py: no such file (did you mean 'nets.py'?)"),
        ('model: "python:nets.py:mak"', "model: {}/nets.py: no function mak (did you mean 'make'?)"),
        ('model: "python:nets.py"', "model: 'python:nets.py' is not valid; valid: python:FILE.py:FUNCTION or"),
        ('model: "python:nets:make"', "model: nets: no module that Python finds here; install it, or name a file (*.py)"),
        (
            'model: "python:nets.py:raises"',
            "model: python:{}/nets.py:raises: raises(1, 16, 16, 10) raises ZeroDivisionError",
        ),
        (
            'model: "python:broken.py:make"',
            "model: {}/broken.py: is not Python: SyntaxError: invalid syntax (broken.py:2: x =",
        ),
        (
            'model: "python:lonely.py:make"',
            "model: {}/lonely.py: cannot be loaded: ModuleNotFoundError: No module named 'beside' "
            "(lonely.py:1: import beside); it must be installed, or stand in the same file",
        ),
        ("groups: {all: 'conv.*'}", "groups: the parameter bn1.weight is in none of all; each is in one group"),
    ],
)
def test_errors_at_their_place(tmp_path: Path, field: str, problem: str) -> None:
    in_folder(tmp_path)
    (tmp_path / "broken.py").write_text("def make(*size):\n    x = = 1\n")
    (tmp_path / "lonely.py").write_text("import beside\n")
    text = TEXT.replace("a: {", "a: {set: {" + field + "}, ")
    with pytest.raises(UsageError) as caught:
        planned(tmp_path, text)
    (said,) = caught.value.problems
    assert said.startswith(f"{tmp_path}/tiny.yaml:4:blocks.a.set.{problem.format(tmp_path)}")


def test_every_field_of_the_other_networks_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"blocks\.a\.set\.groups: used only with model: python: or timm:"):
        planned(tmp_path, TEXT.replace('"python:nets.py:make"', "resnet9").replace("a: {", "a: {set: {groups: {a: x}}, "))


def test_a_store_names_the_file_and_runs_it_only_when_told_so(tmp_path: Path) -> None:
    folder = in_folder(tmp_path / "folder")
    run_inline(folder, TEXT, Store(str(tmp_path / "store")))
    file = tmp_path / "elsewhere.py"
    shutil.move(folder / "nets.py", file)
    (trial,) = memloc.open_store(str(tmp_path / "store")).trials()
    assert trial.pandas("rewind")["layer"].unique().tolist() == ["conv1", "conv2", "fc1", "fc2"]
    with pytest.raises(UsageError, match="a store holds no code"):
        trial.model()
    x = trial.data().x[:4]
    module = own_nets.make(1, 16, 16, 10).eval()
    network = trial.with_source(file).model()
    module.load_state_dict(network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(network(x), module(x))
    with pytest.raises(UsageError, match="model resnet9 needs no file"):
        ResNet9().with_source("nets.py")


def test_a_plan_refuses_what_a_network_cannot_do(tmp_path: Path) -> None:
    text = TEXT.replace("nets.py:make", "nets.py:lonely")
    in_folder(tmp_path)
    assert planned(tmp_path, text).trials
    for more, problem in (
        ("a: {stages: {flips: {}}}", "4:blocks.a.stages.flips: the network has no neurons: "),
        ("a: {set: {dropout: standard}}", "4:blocks.a.set.dropout: standard with model: python:"),
    ):
        with pytest.raises(UsageError) as caught:
            planned(tmp_path, text[: text.index("  a: {")] + f"  {more}\n")
        (said,) = caught.value.problems
        assert said.startswith(f"{tmp_path}/tiny.yaml:{problem}")
