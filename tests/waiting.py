"""How long tests wait for what must come."""

from __future__ import annotations

import time
from collections.abc import Callable

# Seconds, far more than anything takes: beside other work a test may get a tenth of a core, and should not fail for that.
LONG = 600.0


def wait_until(true: Callable[[], object], seconds: float = LONG) -> None:
    """Returns once it is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
