"""The scorecard: every claim of a paper, judged on a store (docs/claims.md says how)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import isfinite

from memloc.analysis.observations import Observations, among
from memloc.analysis.reader import Reader
from memloc.analysis.resolvable import reading_resolvable
from memloc.analysis.settings import Scope, Setting, named, nearness, scope_name
from memloc.papers.claims import Claim, InStore, Numbers, Parts, saying
from memloc.papers.deciding import untestable
from memloc.papers.judgement import Estimate, Judgement
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

    def judged(reader: Reader) -> list[Judgement]:
        return judgements(Observations(reader), paper)

    return reading_resolvable(store, judged, sweep)


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
        yield from self._measured(self.claim.settings, "")
        for suffix, settings in self.claim.beside.items():
            yield from (j for j in self._measured(settings, suffix) if j.verdict != "not_run")

    def _measured(self, settings: InStore, suffix: str) -> Iterator[Judgement]:
        """The judgements of one measurement. suffix: what its ids end with."""
        claim = self.claim
        there = [s for s in settings(self.observations) if claim.speaks_of(s)]
        names = self._floating(there) if claim.floats else named(there, scope_name)
        paper: dict[str, tuple[Scope, Numbers]] = {
            "" if claim.floats else scope_name(s): (s, n) for s, n in claim.scopes.items()
        }
        done, order = set(), list(paper)
        for name in sorted(names, key=lambda n: (order.index(n) if n in paper else len(order), n)):
            setting, numbers = names[name], paper[name][1] if name in paper else {}
            estimates = self._estimates(setting, numbers)
            for part in sorted(estimates, key=lambda p: claim.parts.index(p) if p in claim.parts else len(claim.parts)):
                done.add((name, part))
                yield self._judgement((name, part, suffix), numbers.get(part), estimates[part], setting)
        for name, (scope, numbers) in paper.items():
            for part, number in numbers.items():
                if (name, part) not in done:
                    yield self._not_run((name, part, suffix), scope, number)

    def _estimates(self, setting: Setting, numbers: Numbers) -> Parts:
        """{part: estimate} in one setting. If no training can be tested, each of the paper's parts says so.

        numbers: the paper's numbers of this setting; empty if it has none.
        """
        claim, observations = self.claim, self.observations
        memorizing = claim.memorizing and not claim.atypical  # those by C-score look for themselves
        kept, left_out = observations.testable(setting.trials) if memorizing else (setting.trials, "")
        if not kept:
            sql = f"SELECT trial, epoch, noisy_acc FROM epochs WHERE {among('trial', setting.trials)} ORDER BY ALL"
            return dict.fromkeys(claim.parts, untestable(left_out, [], sql))
        estimates = claim.estimates(observations, setting.only(kept), numbers)
        return {part: saying(one, left_out) for part, one in estimates.items() if one is not None}

    def _floating(self, there: Sequence[Setting]) -> dict[str, Setting]:
        """As `named`; the setting nearest to the paper's has no name."""
        (scope,) = self.claim.scopes
        names = named(there, scope_name)
        nearest = min(names, key=lambda n: nearness(names[n], scope), default=None)
        return {"" if n == nearest else n: s for n, s in names.items()}

    def _judgement(self, ends: tuple[str, str, str], paper: float | None, estimate: Estimate, setting: Setting) -> Judgement:
        ours, lo, hi = (v if v is not None and isfinite(v) else None for v in estimate.interval or (None, None, None))
        return self._made(
            id=self._id(*ends),
            paper=paper,
            ours=ours,
            lo=lo,
            hi=hi,
            verdict=estimate.verdict,
            reason=estimate.reason,
            command=None,
            seeds=len(estimate.trials),
            sql=estimate.sql,
            on=setting.words,
            leans=estimate.leans,
            part=ends[1],
            suffix=ends[2],
            setting=setting,
        )

    def _not_run(self, ends: tuple[str, str, str], scope: Scope, paper: float | None) -> Judgement:
        part = ends[1]
        run, wanting = command(self.claim, scope, part), wanted(self.claim, scope, part)
        return self._made(
            id=self._id(*ends),
            paper=paper,
            ours=None,
            lo=None,
            hi=None,
            verdict="not_run",
            reason=wanting if run else f"{wanting}; no shipped sweep has it",
            command=run,
            seeds=0,
            sql=f"SELECT * FROM trials JOIN analyses USING (trial) WHERE stage = '{self.claim.stages(part)[-1]}'",
            on="",
            leans=None,
            part=part,
            suffix=ends[2],
            setting=None,
        )

    def _id(self, name: str, part: str, suffix: str) -> str:
        return ".".join(word for word in (self.claim.id, name, part, suffix) if word)
