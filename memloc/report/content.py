"""What a report says: all of it from one snapshot of a store, read once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from memloc.analysis.diverged import diverged_in_words
from memloc.analysis.instruments import Used, instruments_of
from memloc.analysis.observations import Observations
from memloc.analysis.reader import Reader
from memloc.analysis.settings import name_of, percent
from memloc.analysis.stopped import stopped_in_words
from memloc.counts import counted
from memloc.errors import UsageError
from memloc.invocation import at_store
from memloc.papers.charts import Table
from memloc.papers.exhibits import Evidence, Shown, show
from memloc.papers.findings import Finding, findings, first_of_each
from memloc.papers.judgement import Judgement
from memloc.papers.judging import judgements
from memloc.papers.paper import Paper, Section
from memloc.report.explorer import Explorer, explorer
from memloc.report.tables import LONGEST, number
from memloc.store import Commit
from memloc.store import shown as committed

MOST = 6  # findings on the first screen


@dataclass(frozen=True)
class Report:
    """What a page or a document shows.

    sweep: None for the whole store. ran: sentences about what was run. findings: at most six, one for each section.
    pictures: at most three exhibits for the first screen. sections: each with its exhibits. examples: (title, query) to
    begin with. own_stages: what stages of plugins have measured. problems: messages for the user, which are not part of
    the report.
    """

    paper: Paper
    sweep: str | None
    ran: Sequence[str]
    findings: Sequence[Finding]
    judgements: Sequence[Judgement]
    pictures: Sequence[Shown]
    sections: Sequence[tuple[Section, Sequence[Shown]]]
    examples: Sequence[tuple[str, str]] = ()
    own_stages: Sequence[Table] = ()
    explorer: Explorer | None = None
    problems: Sequence[str] = field(default=(), compare=False)

    @property
    def exhibits(self) -> list[Shown]:
        return [shown for _, several in self.sections for shown in several]

    @cached_property
    def shared(self) -> list[str]:
        """The differences from the paper's settings that all exhibits with data have."""
        of_paper = (shown for shown in self.exhibits if shown.run and shown.exhibit.of_paper)
        run = [[_general(words) for words in shown.differences] for shown in of_paper]
        return [words for words in (run[0] if run else ()) if all(words in others for others in run)]

    def own(self, shown: Shown) -> list[str]:
        """The differences of an exhibit beyond those."""
        return [words for words in shown.differences if _general(words) not in self.shared]


def _general(words: str) -> str:
    """A difference without what stands in the paper's exhibit, which may be one data set or several."""
    there, between, _ = words.partition(" in place of ")
    return f"{there}{between}the paper's" if between else words


def gather(reader: Reader, paper: Paper, sweep: str | None, data_dir: Path | None, explore: bool = True) -> Report:
    """The report of what a reader sees.

    data_dir: where data sets lie, for images; None: the usual place. explore: with the explorer of examples, for a page.
    """
    observations = Observations(reader)
    judged = judgements(observations, paper)
    evidence = Evidence(observations, judged, data_dir)
    used = instruments_of(reader, sentences=False)
    exhibits = {e.id: e for e in (*paper.pictures, *(e for section in paper.sections for e in section.exhibits))}
    shown = {id: show(exhibit, evidence) for id, exhibit in exhibits.items()}
    return Report(
        paper,
        sweep,
        ran=[*ran(reader.seen.commits), *([diverged] if (diverged := diverged_in_words(reader)) else [])],
        findings=first_of_each(findings(judged, paper))[:MOST],
        judgements=judged,
        pictures=[one for exhibit in paper.pictures if (one := shown[exhibit.id]).run],
        sections=[(section, [shown[exhibit.id] for exhibit in section.exhibits]) for section in paper.sections],
        examples=[(one.title, one.sql) for one in used],
        own_stages=[_own(one, reader) for one in used if one.own],
        explorer=explorer(observations, data_dir, evidence.problems) if explore else None,
        problems=evidence.problems,
    )


def _own(used: Used, reader: Reader) -> Table:
    """The rows behind a plugin's instrument, the first ones if there are many."""
    rows = reader.sql(used.sql).slice(0, LONGEST)
    cells = [[number(v) if isinstance(v, float) else str(v) for v in row.values()] for row in rows.to_pylist()]
    return Table(used.title, rows.column_names, cells, used.sql)


def one(reader: Reader, paper: Paper, id: str, data_dir: Path | None, sweep: str | None = None) -> Shown:
    """One exhibit of what a reader sees, as in the report. sweep: the one that the reader sees alone.

    Raises:
        UsageError: it was not run.
    """
    observations = Observations(reader)
    evidence = Evidence(observations, judgements(observations, paper), data_dir)
    (exhibit,) = (e for section in paper.sections for e in section.exhibits if e.id == id)
    shown = show(exhibit, evidence)
    if not shown.run:
        others = [e for section in paper.sections for e in section.exhibits if e is not exhibit]
        there = ", ".join(short(e.id) for e in others if show(e, evidence).run)
        also = f"; it has data for {there}" if there else ""
        command = " && ".join(c + at_store(reader.store.uri) for c in (exhibit.first, exhibit.command) if c)
        what = f"sweep {sweep}" if sweep else "the store"
        raise UsageError(f"--figure {short(id)}: {what} has no data for it{also}; to run it: {command}")
    return shown


def short(id: str) -> str:
    """How a user names an exhibit: `3` for fig03; the id for another one."""
    return str(int(id[3:])) if re.fullmatch(r"fig\d+", id) else id


def ran(several: Sequence[Commit]) -> list[str]:
    """Sentences about trainings, data sets, seeds, the time of computation, and versions."""
    commits = committed.Shown.of(several)
    configs = commits.trainings().said("config")
    if not configs:
        return ["Nothing was run."]
    models, data = (", ".join(sorted({name_of(str(c[k])) for c in configs})) for k in ("model", "dataset"))
    rates = ", ".join(percent(rate) for rate in sorted({float(c.get("noise") or 0) for c in configs}))
    seeds = sorted({int(c["seed"]) for c in configs})
    in_turn = len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1))
    named = f"{seeds[0]} to {seeds[-1]}" if in_turn else ", ".join(map(str, seeds))
    analyses = len(set(commits.said("analysis")) - {None})
    minutes = sum(commits.said("seconds")) / 60
    time = f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{max(1, round(minutes))} min"
    places = list({id(where): where for where in commits.said("where")}.values())  # commits share them
    versions = [
        f"{name} {', '.join(sorted(known))}"
        for name in ("memloc", "torch", "python")
        if (known := {str(v) for where in places if (v := {**where, **where.get("versions", {})}.get(name))})
    ]
    devices = sorted({str(name) for where in places if (name := where.get("device_name"))})
    stopped = stopped_in_words(commits)
    return [
        f"{counted(len(configs), 'training')} of {models} on {data}, with {rates} label noise and "
        f"seed{'s' * (len(seeds) > 1)} {named}; {counted(analyses, 'analysis')} of them.",
        f"The computation took {time} on {', '.join(devices) or 'unknown devices'}, with {', '.join(versions)}.",
        *([stopped] if stopped else []),
    ]
