"""What stage `inject` does unless a sweep says otherwise. Stage `locate`, which reads its networks, names what differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

USUAL: Mapping[str, Any] = {"items": 5, "share": 0.02, "weights": "out", "steps": 150}
