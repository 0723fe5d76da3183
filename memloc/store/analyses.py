"""The analyses among commits. It imports no more of Arrow than commits need."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import starmap

import numpy as np

from memloc.config import canonical_json
from memloc.config.analysis_ids import Said, codes_of
from memloc.store.commit_form import Commit
from memloc.store.shown import Shown


def analyses_of(commits: Sequence[Commit]) -> dict[str, Said]:
    """{analysis among the commits: what its parts say of it}"""
    shown = Shown.of(commits)
    every = enumerate(shown.said("analysis"))
    last = {analysis: place for place, analysis in every if analysis}  # all parts of an analysis say the same of it
    one = shown.at(np.array(list(last.values()), dtype=np.int64))
    texts: dict[int, str] = {}
    configs = [texts.get(id(c)) or texts.setdefault(id(c), canonical_json(c)) for c in one.said("config")]
    others = (one.said("reads"), map(codes_of, one.said("where")))
    said = zip(one.said("trial"), one.said("stage"), configs, *others, strict=True)
    return dict(zip(last, starmap(Said, said), strict=True))
