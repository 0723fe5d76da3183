"""The program: `memloc`, `python -m memloc`, `python cli.py`."""

from __future__ import annotations

import sys

from memloc.interruption import interrupt, kept_orders, on_orders, whole_orders


def main() -> None:
    """Runs the command line. An order to stop ends it with a line, also while it is still being imported."""
    with on_orders(interrupt), kept_orders():
        try:
            with whole_orders():
                from memloc import commands

                commands.main()
        except KeyboardInterrupt:
            print("memloc: interrupted", file=sys.stderr)
            sys.exit(130)


if __name__ == "__main__":
    main()
