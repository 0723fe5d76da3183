"""A sweep file and a command line become a list of trainings, each with the analyses that it needs.

A sweep is data: defaults, and blocks that are the product of their axes. The order of precedence is preset < defaults <
a block's `set` and `axes` < the command line. All errors are collected, each with file:line:field.
"""

from memloc.sweep.loading import load
from memloc.sweep.only import only
from memloc.sweep.plugins import with_plugins
from memloc.sweep.request import Entry, Request, Sweep
from memloc.sweep.shipped import about, find, shipped
from memloc.sweep.yaml import read

__all__ = ["Entry", "Request", "Sweep", "about", "find", "load", "only", "read", "shipped", "with_plugins"]
