"""python -m benchmarks [NAME…] [--json] [--quick] [--size SIZE] [--threads N]: every engine against its plain reference."""

from __future__ import annotations

import argparse
import json
import platform
import sys

import torch

from benchmarks.engines import ENGINES
from benchmarks.harness import Result, compare, matmul_rate
from benchmarks.sizes import NAMES
from memloc.commands.text_table import text_table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ENGINES)}; default: all")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one turn each, and only digits and 32x32x3")
    parser.add_argument("--size", choices=NAMES, action="append", help="default: all")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if wrong := [n for n in options.names if n not in ENGINES]:
        parser.error(f"{wrong[0]}: no such benchmark; valid: {', '.join(ENGINES)}")
    torch.set_num_threads(options.threads)
    sizes = options.size or (["digits", "32x32x3"] if options.quick else NAMES)
    results = []
    for name in options.names or ENGINES:
        for size in sizes:
            for comparison in ENGINES[name](size):
                turns = 1 if options.quick else 5 if size == "digits" else 3
                found = compare(comparison, turns)
                results.append(found)
                print(f"{name}, {size}, against {found.reference}: {found.ratio:.2f}", file=sys.stderr, flush=True)
    print(json.dumps([r.as_json() for r in results]) if options.json else table(results))
    return 0 if all(r.agrees for r in results) else 1


def table(results: list[Result]) -> str:
    """All results, and the machine."""
    header = ["engine", "size", "against", "ratio", "spread", "bound", "GFLOP", "of peak", "MB", "agrees"]
    rows = [
        [
            r.name, r.size, r.reference, f"{r.ratio:.2f}", f"{r.ratio_min:.2f} to {r.ratio_max:.2f}", f"{r.bound:.2f}",
            f"{r.flops / 1e9:.2f}", f"{r.peak_fraction:.0%}", f"{r.peak_mb:.0f}", "yes" if r.agrees else "NO",
        ]
        for r in results
    ]  # fmt: skip
    machine = (
        f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} thread, "
        f"torch {torch.__version__}, fastest matrix product {matmul_rate() / 1e9:.0f} GFLOP/s"
    )
    return text_table(header, rows) + machine


if __name__ == "__main__":
    sys.exit(main())
