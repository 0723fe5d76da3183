"""Imported before memloc: from then on every call of the functions below is checked against its annotated shapes and dtypes.

Only modules that no test compiles: a compiled step must be one graph, and a check is none of its operations.
"""

from __future__ import annotations

from jaxtyping import install_import_hook

CHECKED = ["memloc.data.augment", "memloc.data.device", "memloc.models.gates", "memloc.models.inference"]

install_import_hook(CHECKED, "beartype.beartype")
