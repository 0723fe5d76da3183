"""The scorecard: every claim of the paper against what a store holds."""

from __future__ import annotations

from memloc.analysis.claims.judgement import Judgement, Verdict
from memloc.store import Store

__all__ = ["Judgement", "Verdict", "judge"]


def judge(store: Store, sweep: str | None = None) -> list[Judgement]:
    """Every number of the paper's claims, in the paper's order, judged on the complete analyses of a store, or of one sweep.

    Raises:
        UsageError: where the store has no such sweep.
    """
    return []
