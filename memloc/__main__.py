"""`python -m memloc`: the program without its entry point on the path."""

from memloc.commands import main

main()
