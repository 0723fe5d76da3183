"""python -m benchmarks.gpu [--device cpu --small] [--only a,b] [--budget S]: memloc on one GPU, in at most six minutes.

It prints one table, and writes gpu.json into the folder that $OUT names. The exit code is 1 if something is not right.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.gpu import bits, rates, sweeps
from benchmarks.gpu.setting import Setting
from memloc.commands.text_table import text_table
from memloc.errors import error_line

CHECKS: dict[str, Callable[[Setting], None]] = {
    "machine": rates.machine,
    "against_cpu": bits.against_cpu,
    "deterministic": bits.deterministic,
    "no_waiting": bits.no_waiting,
    "same_bits": bits.same_bits,
    "steps": rates.steps,
    "memory": rates.memory,
    "engines": rates.engines,
    "sweeps": sweeps.same_tables,
    "graphs": bits.graphs,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny networks: does it run?")
    parser.add_argument("--only", default=",".join(CHECKS), metavar="A,B", help=f"of {', '.join(CHECKS)}; default: all")
    parser.add_argument("--budget", type=float, default=330.0, metavar="S", help="no check begins after so many seconds")
    options = parser.parse_args()
    names = options.only.split(",")
    if wrong := [name for name in names if name not in CHECKS]:
        parser.error(f"{wrong[0]}: no such check; valid: {', '.join(CHECKS)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --device cpu --small shows what would be done")
    setting = Setting(torch.device(options.device), options.small)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        checked(setting, names, options.budget)
    setting.check = "warnings"
    for text in dict.fromkeys(str(warning.message).splitlines()[0][:160] for warning in caught):
        setting.told("warning", text)
    if "OUT" in os.environ:
        Path(os.environ["OUT"], "gpu.json").write_text(json.dumps(setting.as_json(), indent=1), encoding="utf-8")
    print("\n" + table(setting), end="")
    return 1 if any(row.right is False for row in setting.rows) else 0


def checked(setting: Setting, names: list[str], budget: float) -> None:
    """Does the checks by name, as long as the budget of seconds lasts. One that raises has failed; the next one begins."""
    begun = time.monotonic()
    for name in names:
        setting.check = name
        if time.monotonic() - begun > budget:
            setting.told("not begun", "no time is left")
            continue
        try:
            CHECKS[name](setting)
        except Exception as error:
            traceback.print_exc()
            setting.told("failed", error_line(error)[:160], "", False)
        setting.free()


def table(setting: Setting) -> str:
    """All rows."""
    words = {None: "", True: "yes", False: "NO"}
    rows = [[row.check, row.what, row.found, words[row.right], row.note] for row in setting.rows]
    return text_table(["check", "what", "found", "right", "note"], rows)


if __name__ == "__main__":
    sys.exit(main())
