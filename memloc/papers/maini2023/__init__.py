"""The scorecard: every claim of the paper, judged on a store (docs/claims.md says how)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import isfinite

from memloc.analysis.reader import Reader
from memloc.analysis.reading import reading
from memloc.papers.maini2023 import atypical, detection, flipped_neurons, gradients, layers, tied_dropout
from memloc.papers.maini2023.deciding import untestable
from memloc.papers.maini2023.judgement import Estimate, Judgement, Verdict
from memloc.papers.maini2023.judging import Parts, saying
from memloc.papers.maini2023.missing import command, needs, wanted
from memloc.papers.maini2023.observations import Observations, among
from memloc.papers.maini2023.paper import CLAIMS, Claim, Numbers, Scope
from memloc.papers.maini2023.settings import Setting, named, nearness, scope_name
from memloc.store import Store

__all__ = ["JUDGES", "Judgement", "Verdict", "judge", "judgements"]

JUDGES = {
    **gradients.JUDGES,
    **layers.JUDGES,
    **flipped_neurons.JUDGES,
    **detection.JUDGES,
    **tied_dropout.JUDGES,
    **atypical.JUDGES,
}


def judge(store: Store, sweep: str | None = None) -> list[Judgement]:
    """Every number of the paper's claims, in the paper's order, judged on the complete analyses of a store, or of one sweep.

    A claim is judged setting by setting. The numbers that the store lacks come after those that it has, as not run.

    Raises:
        UsageError: where the store has no such sweep.
    """
    return reading(store, judgements, sweep)


def judgements(reader: Reader) -> list[Judgement]:
    """As `judge`, for a reader."""
    observations = Observations(reader)
    return [judgement for claim in CLAIMS for judgement in _of_claim(observations, claim)]


def _of_claim(observations: Observations, claim: Claim) -> Iterator[Judgement]:
    judge = JUDGES[claim.id]
    yield from _measured(observations, claim, judge.settings, "")
    for suffix, settings in judge.beside.items():
        yield from (j for j in _measured(observations, claim, settings, suffix) if j.verdict != "not_run")


def _measured(
    observations: Observations, claim: Claim, settings: Callable[[Observations], list[Setting]], suffix: str
) -> Iterator[Judgement]:
    """The judgements of one measurement of a claim. suffix: what its ids end with."""
    there = [s for s in settings(observations) if _speaks_of(claim, s)]
    names = _floating(claim, there) if claim.floats else named(there, scope_name)
    paper: dict[str, tuple[Scope, Numbers]] = {
        "" if claim.floats else scope_name(s): (s, n) for s, n in claim.scopes.items()
    }
    done = set()
    order = list(paper)
    for name in sorted(names, key=lambda n: (order.index(n) if n in paper else len(order), n)):
        setting, numbers = names[name], paper[name][1] if name in paper else {}
        parts = _parts(claim)
        estimates = _estimates(observations, claim, setting, numbers)
        for part in sorted(estimates, key=lambda p: parts.index(p) if p in parts else len(parts)):
            done.add((name, part))
            judgement = _judgement(claim, name, part, numbers.get(part), estimates[part], setting)
            yield replace(judgement, id=".".join(word for word in (judgement.id, suffix) if word))
    for name, (scope, numbers) in paper.items():
        for part, number in numbers.items():
            if (name, part) not in done:
                yield _not_run(claim, scope, name, part, number)


def _estimates(observations: Observations, claim: Claim, setting: Setting, numbers: Numbers) -> Parts:
    """{part: estimate} of one claim in one setting. If no training can be tested, each of the paper's parts says so.

    numbers: the paper's numbers of this setting; empty if it has none.
    """
    memorizing = claim.memorizing and claim.id != "A1"
    kept, left_out = observations.testable(setting.trials) if memorizing else (setting.trials, "")
    if not kept:
        sql = f"SELECT trial, epoch, noisy_acc FROM epochs WHERE {among('trial', setting.trials)} ORDER BY ALL"
        return dict.fromkeys(_parts(claim), untestable(left_out, [], sql))
    estimates = JUDGES[claim.id].numbers(observations, setting.only(kept), numbers)
    return {part: saying(one, left_out) for part, one in estimates.items() if one is not None}


def _parts(claim: Claim) -> list[str]:
    return list(next(iter(claim.scopes.values())))


def _speaks_of(claim: Claim, setting: Setting) -> bool:
    low, high = claim.rates
    if claim.id == "A1":
        return setting.scope.noise == 0
    return "noise" not in setting.config or (setting.scope.noise > 0 and low <= setting.scope.noise <= high)


def _floating(claim: Claim, there: list[Setting]) -> dict[str, Setting]:
    """As `named`; the setting nearest to the paper's has no name."""
    (scope,) = claim.scopes
    names = named(there, scope_name)
    nearest = min(names, key=lambda n: nearness(names[n], scope), default=None)
    return {"" if n == nearest else n: s for n, s in names.items()}


def _judgement(claim: Claim, name: str, part: str, paper: float | None, estimate: Estimate, setting: Setting) -> Judgement:
    ours, lo, hi = (v if v is not None and isfinite(v) else None for v in estimate.interval or (None, None, None))
    return Judgement(
        id=_id(claim, name, part),
        where=claim.where,
        claim=claim.text,
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
    )


def _not_run(claim: Claim, scope: Scope, name: str, part: str, paper: float | None) -> Judgement:
    run = command(claim, scope, part)
    wanting = wanted(claim, scope, part)
    return Judgement(
        id=_id(claim, name, part),
        where=claim.where,
        claim=claim.text,
        paper=paper,
        ours=None,
        lo=None,
        hi=None,
        verdict="not_run",
        reason=wanting if run else f"{wanting}; no shipped sweep has it",
        command=run,
        seeds=0,
        sql=f"SELECT * FROM trials JOIN analyses USING (trial) WHERE stage = '{needs(claim, part)[-1]}'",
        on="",
    )


def _id(claim: Claim, name: str, part: str) -> str:
    return ".".join(word for word in (claim.id, name, part) if word)
