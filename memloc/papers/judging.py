"""The scorecard: every claim of a paper, judged on a store (docs/claims.md says how)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import isfinite

from memloc.analysis.observations import Observations
from memloc.analysis.resolvable import reading_resolvable
from memloc.analysis.settings import Scope, Setting, named, nearness, scope_name
from memloc.papers.claims import Case, Claim, Numbers
from memloc.papers.deciding import Estimate, saying, untestable
from memloc.papers.judgement import Judgement
from memloc.papers.missing import command, wanted
from memloc.papers.paper import Paper
from memloc.store import Store


def judge(store: Store, paper: Paper, sweep: str | None = None) -> list[Judgement]:
    """Every number of the paper's claims, in the paper's order, judged on the complete analyses of a store, or of one sweep.

    A claim is judged setting by setting. The numbers that the store lacks come after those that it has, as not run. All are
    of one snapshot, without the trainings that this version of memloc cannot resolve.

    Raises:
        UsageError: where the store has no such sweep.
    """
    return reading_resolvable(store, lambda reader: judgements(Observations(reader), paper), sweep)


def judgements(observations: Observations, paper: Paper) -> list[Judgement]:
    """As `judge`, for what was read of a store."""
    return [j for claim in paper.claims for j in ClaimJudge(observations, paper, claim).all()]


class ClaimJudge:
    """Judges one claim on a store."""

    def __init__(self, observations: Observations, paper: Paper, claim: Claim) -> None:
        self.observations, self.claim = observations, claim
        self._made = partial(Judgement, paper_id=paper.id, where=claim.where, claim=claim.text, claim_id=claim.id)

    def all(self) -> Iterator[Judgement]:
        """The paper's measurement, then those beside it that were run."""
        names: dict[str, Setting] = {}
        for suffix, settings in self.claim.measurements.items():
            there = [s for s in settings(self.observations) if self.claim.speaks_of(s)]
            names = self._named(there, names)
            yield from (j for j in self._measured(names, suffix) if not suffix or j.verdict != "not_run")

    def _measured(self, names: Mapping[str, Setting], suffix: str) -> Iterator[Judgement]:
        """The judgements of one measurement. names: of its settings in ids; suffix: what the ids end with."""
        claim = self.claim
        paper: dict[str, tuple[Scope, Numbers]] = {
            "" if claim.floats else scope_name(s): (s, n) for s, n in claim.scopes.items()
        }
        done = set()
        for name in sorted(names, key=lambda n: (_place(n, list(paper)), n)):
            setting, numbers = names[name], paper[name][1] if name in paper else {}
            estimates = self._estimates(setting, numbers)
            for part in sorted(estimates, key=lambda p: _place(p, list(claim.numbers))):
                done.add((name, part))
                yield self._judgement((name, part, suffix), numbers.get(part), estimates[part], setting)
        for name, (scope, numbers) in paper.items():
            for part, number in numbers.items():
                if (name, part) not in done:
                    yield self._not_run((name, part, suffix), number, scope)

    def _estimates(self, setting: Setting, numbers: Numbers) -> dict[str, Estimate]:
        """{part: estimate} in one setting. If no training can be tested, each of the paper's parts says so.

        numbers: the paper's numbers of this setting; empty if it has none.
        """
        claim, observations = self.claim, self.observations
        memorizing = claim.memorizing and not claim.atypical  # those by C-score look for themselves
        kept, left_out = observations.testable(setting.trials) if memorizing else (setting.trials, "")
        if not kept:
            return dict.fromkeys(claim.numbers, untestable(left_out, [], observations.memorized_sql(setting.trials)))
        found = claim.estimates(Case(observations, setting.only(kept), numbers))
        return {part: saying(one, left_out) for part, one in found.items() if one is not None}

    def _named(self, there: Sequence[Setting], beside: Mapping[str, Setting]) -> dict[str, Setting]:
        """{name in ids: setting}. If the claim floats, the setting nearest to the paper's has no name.

        beside: the names of the measurement that this one stands beside. A setting of both has the same name in both.
        """
        same = {name: s for name, other in beside.items() for s in there if s.same_as(other)}
        names = named([s for s in there if s not in same.values()], scope_name, taken=same)
        if not self.claim.floats or "" in same:
            return {**same, **names}
        (scope,) = self.claim.scopes
        nearest = min(names, key=lambda n: nearness(names[n], scope), default=None)
        return {**same, **{"" if n == nearest else n: s for n, s in names.items()}}

    def _judgement(self, ends: tuple[str, str, str], paper: float | None, estimate: Estimate, setting: Setting) -> Judgement:
        ours, lo, hi = (v if v is not None and isfinite(v) else None for v in estimate.interval or (None, None, None))
        return self._made(
            id=self._id(*ends),
            part=ends[1],
            suffix=ends[2],
            paper=paper,
            verdict=estimate.verdict,
            reason=estimate.reason,
            sql=estimate.sql,
            ours=ours,
            lo=lo,
            hi=hi,
            leans=estimate.leans,
            seeds=len(estimate.trials),
            beside=estimate.beside,
            on=setting.words,
            setting=setting,
        )

    def _not_run(self, ends: tuple[str, str, str], paper: float | None, scope: Scope) -> Judgement:
        _, part, suffix = ends
        run, wanting = command(self.claim, scope, part), wanted(self.claim, scope, part)
        reason = wanting if run else f"{wanting}; no shipped sweep has it"
        sql = f"SELECT * FROM trials JOIN analyses USING (trial) WHERE stage = '{self.claim.stages(part)[-1]}'"
        made = partial(self._made, verdict="not_run", reason=reason, sql=sql, command=run)
        return made(id=self._id(*ends), part=part, suffix=suffix, paper=paper)

    def _id(self, name: str, part: str, suffix: str) -> str:
        return ".".join(word for word in (self.claim.id, name, part, suffix) if word)


def _place(name: str, order: Sequence[str]) -> int:
    """A key that sorts what is in the order first."""
    return order.index(name) if name in order else len(order)
