"""What each command imports: reading a store or listing sweeps takes neither torch nor what only statistics need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "torchvision", "timm", "ray", "scipy", "sklearn", "altair", "vl_convert", "safetensors")
READERS = ("pyarrow", "duckdb", "pandas")

# One process for all of them, the one that needs least first: what a command loads stays loaded.
PROGRAM = """
import contextlib, io, json, sys
from memloc import commands

loaded = {}
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["memloc", *arguments]
    out = io.TextIOWrapper(io.BytesIO())
    with contextlib.redirect_stdout(out):
        try:
            commands.main()
        except SystemExit as ended:
            assert not ended.code, arguments
    loaded[" ".join(arguments[:2])] = sorted(sys.modules)
print(json.dumps(loaded))
"""


def test_what_each_command_imports(tiny: Path) -> None:
    at = ["--store", str(tiny)]
    query = "SELECT count(*) FROM trials JOIN epochs USING (trial)"
    orders = [
        ["--help"],
        ["sweep"],
        ["sweep", "demo", "--show"],
        ["status", *at],
        ["store", "ls", *at],
        ["query", query, *at],
    ]
    program = [sys.executable, "-c", PROGRAM, json.dumps(orders)]
    done = subprocess.run(program, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    loaded: dict[str, list[str]] = json.loads(done.stdout)
    names = list(loaded)
    assert len(names) == len(orders)
    there = {name: {n for n in (*HEAVY, *READERS, "yaml") if n in modules} for name, modules in loaded.items()}
    assert there[names[0]] == set()
    assert there[names[1]] == there[names[2]] == {"yaml"}
    assert there[names[3]] == there[names[4]] == {"yaml", "pyarrow"}
    assert there[names[5]] == {"yaml", *READERS}
