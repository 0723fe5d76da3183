"""A Python file of a person's own: named by path or module, run from its text, its errors with their line."""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
import sys
from pathlib import Path

import pytest

from memloc import own_code
from memloc.errors import UsageError
from memloc.own_code import OwnCode
from tests.run.programs import python

TEXT = '''"""A module."""
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Pair:
    one: int

def half(x):
    return 1 / x
'''


def test_a_file_by_its_text(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(TEXT)
    code = own_code.read(own_code.absolute("mine.py", tmp_path))
    file.unlink()
    again: OwnCode = pickle.loads(pickle.dumps(code))
    assert (again, again.sha256) == (code, code.sha256)
    assert again.function("half")(4) == 0.25
    assert dataclasses.asdict(again.function("Pair")(3)) == {"one": 3}  # a dataclass looks up its module
    assert again.module() is code.module()  # executed once


def test_annotations_are_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def half(x: int): ...\n")  # without `from __future__ import annotations`
    function = own_code.read(own_code.absolute("mine.py", tmp_path)).function("half")
    assert function.__annotations__ == {"x": int}


SETTINGS = {
    "threads": ("torch.set_num_threads(3)", "torch.get_num_threads()"),
    "default dtype": ("torch.set_default_dtype(torch.float64)", "torch.get_default_dtype()"),
    "default device": ("torch.set_default_device('meta')", "torch.zeros(1).device.type"),
    "gradients": ("torch.set_grad_enabled(False)", "torch.is_grad_enabled()"),
    "deterministic": ("torch.use_deterministic_algorithms(True)", "torch.are_deterministic_algorithms_enabled()"),
    "benchmark": ("torch.backends.cudnn.benchmark = True", "torch.backends.cudnn.benchmark"),
    "old name, all products": (
        "torch.set_float32_matmul_precision('medium')",
        "torch.backends.mkldnn.matmul.fp32_precision",
    ),
    "old name, matrices": ("torch.backends.cuda.matmul.allow_tf32 = True", "torch.backends.cuda.matmul.allow_tf32"),
    "old name, convolutions": ("torch.backends.cudnn.allow_tf32 = True", "torch.backends.cudnn.allow_tf32"),
    "new name, all": ("torch.backends.fp32_precision = 'tf32'", "torch.backends.cudnn.conv.fp32_precision"),
    "new name, one": ("torch.backends.cudnn.conv.fp32_precision = 'tf32'", "torch.backends.cudnn.conv.fp32_precision"),
}  # {what: (what a file does, what it changes)}


PROGRAM = """
import torch
from memloc import own_code
from memloc.models.architectures import resolved
from memloc.torch_settings import settings_kept

torch.set_num_threads(1)
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
before = {what: eval(read) for what, (_, read) in SETTINGS.items()}

def check():
    now = {what: eval(read) for what, (_, read) in SETTINGS.items()}
    assert now == before, {what: value for what, value in now.items() if value != before[what]}

for what, (change, read) in SETTINGS.items():
    with torch.device("cpu"), settings_kept():  # the device as while a network is made
        exec(change)
        assert eval(read) != before[what], what
    check()
own_code.read(FILE).module()
check()
problem = resolved(dataset="digits", model=f"python:{FILE}:make").architecture.misfits((1, 8, 8), 10)
assert "returns a NoneType" in problem["model"], problem
check()
"""


def test_what_a_file_sets_for_all_of_torch_is_set_back(tmp_path: Path) -> None:
    """A file runs once in a process, after the numerics of the first training were set, and before those of the next."""
    changes = [change for change, _ in SETTINGS.values()]
    # torch loses one of two contexts of devices, as there are while a network is made, if a default device is set inside.
    inside = [f"    {change}" for change in changes if "device" not in change]
    (tmp_path / "mine.py").write_text("\n".join(["import torch", *changes, "def make(*size):", *inside]))
    done = python(os.environ, "-c", f"SETTINGS = {SETTINGS!r}\nFILE = {str(tmp_path / 'mine.py')!r}\n{PROGRAM}")
    assert done.code == 0, done.err


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def one(): return 1\n")
    first = own_code.read(str(file))
    file.write_text("def one(): return 22\n")
    second = own_code.read(str(file))
    assert first.sha256 != second.sha256
    assert (first.function("one")(), second.function("one")()) == (1, 22)


def test_a_module_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With imports relative to its package, and not in place of the module that Python itself imports."""
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "other.py").write_text("FOUR = 4\n")
    (package / "mine.py").write_text("from .other import FOUR\ndef four(): return FOUR\n")
    monkeypatch.syspath_prepend(tmp_path)
    code = own_code.read(own_code.absolute("own_package.mine", tmp_path))
    assert code.origin == "own_package.mine"
    assert code.function("four")() == 4
    assert "own_package.mine" not in sys.modules
    assert code.sha256 == own_code.read(str(package / "mine.py")).sha256


def test_an_error_has_its_line_and_its_traceback_goes_to_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = OwnCode(str(tmp_path / "gone.py"), TEXT)
    caplog.set_level(logging.INFO, "memloc")
    with pytest.raises(ZeroDivisionError) as caught:
        code.function("half")(0)
    assert code.explained(caught.value) == "ZeroDivisionError: division by zero (gone.py:10: return 1 / x)"
    assert "Traceback" in caplog.text
    assert "return 1 / x" in caplog.text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = = 1", "is not Python: SyntaxError: invalid syntax (bad.py:1: x = = 1)"),
        ("import sys\nsys.exit('bye')", "cannot be loaded: SystemExit: bye (bad.py:2: sys.exit('bye'))"),
        ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero (bad.py:1: 1 / 0)"),
        ("import nowhere_at_all", "(bad.py:1: import nowhere_at_all); it must be installed, or stand in the same file"),
        ("def other(): ...", "no function make; it has other"),
        ("", "no function make; it has none"),
        ("make = 3", "make is a int; valid: a function"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        own_code.read(str(file)).function("make")
    (said,) = caught.value.problems
    assert said.startswith(f"{file}: ")
    assert said.endswith(problem)


def test_the_mark_at_the_begin_of_a_file_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(TEXT)
    (tmp_path / "marked.py").write_text(TEXT, encoding="utf-8-sig")
    plain, marked = (own_code.read(str(tmp_path / name)) for name in ("plain.py", "marked.py"))
    assert marked.function("half")(4) == 0.25
    assert marked.sha256 == plain.sha256


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "latin.py").write_bytes(b"# \xe9\n")
    (tmp_path / "large.py").write_text("#" * (own_code.MAX_BYTES + 1))
    for name, problem in (
        ("folder.py", "is no regular file"),
        ("latin.py", "is not UTF-8"),
        ("large.py", "has at most 1048576"),
        ("lat.py", r"no such file \(did you mean 'latin.py'\?\)"),
    ):
        with pytest.raises(UsageError, match=problem):
            own_code.read(str(tmp_path / name))
    with pytest.raises(UsageError, match=r"no\.such\.module: no such module: ModuleNotFoundError"):
        own_code.read("no.such.module")
    with pytest.raises(UsageError, match="math: no module that Python finds here"):  # it has no source
        own_code.read("math")
