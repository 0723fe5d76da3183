"""A figure or table of a paper: declared by its section, made from one snapshot of a store.

An exhibit shows the paper's settings if they were run, else those of other data sets, and it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from memloc.analysis.observations import Observations
from memloc.analysis.observed import Observed
from memloc.analysis.settings import Scope, Setting, differing, name_of, rate_in_words, usual_in_words
from memloc.papers.charts import Chart, Table
from memloc.papers.claims import InStore
from memloc.papers.judgement import Judgement

Drawn: TypeAlias = Sequence[Chart | Table]
SHOWN = 12  # settings of one exhibit


@dataclass(frozen=True)
class Wanted:
    """The settings of the paper's exhibit. models, noises: None for any. fields: the values of its other training fields."""

    datasets: Sequence[str]
    models: Sequence[str] | None = None
    noises: Sequence[float] | None = None
    fields: Mapping[str, object] = field(default_factory=dict)

    def has(self, setting: Setting) -> bool:
        return setting.scope.dataset in self.datasets and self.fits(setting)

    def fits(self, setting: Setting) -> bool:
        """As `has`, for any data set."""
        model = self.models is None or setting.scope.model in self.models
        return model and (self.noises is None or setting.scope.noise in self.noises)

    def deviations(self, setting: Setting) -> dict[str, str]:
        """{field: `0.25 (the paper's: 1)`}: the fields in which a setting differs from the paper's exhibit."""
        papers = {k: str(self.fields.get(k, usual_in_words(setting, k))) for k in setting.unlike_paper}
        return {k: f"{v} (the paper's: {papers[k]})" for k, v in setting.unlike_paper.items() if str(v) != papers[k]}


USUAL = Wanted(("cifar10",), ("resnet9",), (0.1,))


@dataclass
class Evidence:
    """What exhibits are made of: the rows of one snapshot, and the claims as they were judged on it.

    data_dir: where data sets lie, for images; None: the usual place. problems: messages for the user; they are not on the
    page, because its bytes depend on the store and the data alone.
    """

    observations: Observations
    judgements: Sequence[Judgement]
    data_dir: Path | None = None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Subject(Observed):
    """A setting that an exhibit shows. label: the words that tell it from the exhibit's others, "" if it is alone."""

    evidence: Evidence
    label: str = ""

    def titled(self, name: str) -> str:
        """`(a) Neurons: MNIST`; the name alone if there is one setting."""
        return f"{name}: {self.label}" if self.label else name

    def judged(self, claim: str) -> list[Judgement]:
        """The judgements of a claim in the setting, of every measurement."""
        there = (j for j in self.evidence.judgements if j.claim_id == claim and j.setting is not None)
        return [j for j in there if j.setting and j.setting.same_as(self.setting)]

    def numbers(self, claim: str) -> dict[str, Judgement]:
        """{part: judgement} of the measurement that the paper made."""
        return {j.part: j for j in self.judged(claim) if not j.suffix}


@dataclass(frozen=True)
class Exhibit:
    """A figure or table.

    id: `fig01`, `table1`: the name of its files. where: the paper's section. shows: what the paper shows, in plain words.
    command: runs the paper's own exhibit, after `first` if there is one. settings: those of a store that it can show;
    wanted: those of the paper; shown: the most that it shows. memorizing: of each setting it shows the trainings on which
    claims are judged, or all if there are none; atypical: S_n is by C-score. draw: its charts and tables for the settings
    that were chosen. claims: ids of the claims whose numbers are printed below it. of_paper: is it one of the paper? If not,
    its settings are not compared with the paper's.
    """

    id: str
    name: str
    title: str
    where: str
    shows: str
    command: str
    settings: InStore
    draw: Callable[[Sequence[Subject]], Drawn]
    wanted: Wanted = USUAL
    claims: Sequence[str] = ()
    memorizing: bool = True
    atypical: bool = False
    first: str = ""
    shown: int = SHOWN
    of_paper: bool = True

    def there(self, observations: Observations) -> list[Setting]:
        """The settings of a store that it can show, each with the trainings that it shows."""
        several = self.settings(observations)
        if not self.memorizing:
            return several
        return [s.only(observations.testable(s.trials, atypical=self.atypical)[0] or s.trials) for s in several]


@dataclass(frozen=True)
class Shown:
    """An exhibit with its charts and tables. Without any it was not run.

    judgements: the numbers printed below it. differences: of its settings from the paper's, in words. trainings: how many
    stand behind it, in words. left_out: how many more settings the store has.
    """

    exhibit: Exhibit
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    judgements: Sequence[Judgement] = ()
    differences: Sequence[str] = ()
    trainings: str = ""
    left_out: int = 0

    @property
    def run(self) -> bool:
        return bool(self.charts or self.tables)

    @property
    def setting(self) -> str:
        """`Not the paper's setting: Fashion-MNIST in place of CIFAR-10; width 0.25 (the paper's: 1).`; "" if not run."""
        said = f"Not the paper's setting: {'; '.join(self.differences)}." if self.differences else "The paper's setting."
        said = said if self.exhibit.of_paper else "Beyond the paper."
        return said if self.run else ""

    @property
    def sql(self) -> list[str]:
        """The queries that return the rows behind it."""
        return list(dict.fromkeys(part.sql for part in (*self.charts, *self.tables) if part.sql))


def show(exhibit: Exhibit, evidence: Evidence) -> Shown:
    """The exhibit on a store."""
    chosen, left_out = choose(exhibit.there(evidence.observations), exhibit.wanted, exhibit.shown)
    labels = zip(chosen, differing(chosen), strict=True)
    subjects = [Subject(evidence.observations, setting, evidence, label) for setting, label in labels]
    drawn = exhibit.draw(subjects) if chosen else ()
    if not drawn:
        return Shown(exhibit)
    differences = [*_in_place(chosen, exhibit.wanted), *_deviations(chosen, exhibit.wanted)]
    numbers = [j for subject in subjects for claim in exhibit.claims for j in subject.judged(claim)]
    return Shown(
        exhibit,
        charts=[d for d in drawn if not isinstance(d, Table)],
        tables=[d for d in drawn if isinstance(d, Table)],
        judgements=[j for j in numbers if j.ours is not None],
        differences=differences if exhibit.of_paper else (),
        trainings=_trainings(chosen),
        left_out=left_out,
    )


def choose(settings: Sequence[Setting], wanted: Wanted, shown: int = SHOWN) -> tuple[list[Setting], int]:
    """(the settings to show, how many more there are).

    They are the paper's if there are any. Else they are those of other data sets, first of the wanted networks and rates.
    Those that differ least from the paper's come first.
    """
    # Labels that are wrong as given are one more difference, though no field says so.
    order = sorted(settings, key=lambda s: (len(wanted.deviations(s)) + bool(s.scope.labels), *s.place))
    others = [s for s in order if s.scope.dataset not in wanted.datasets]
    pools = ([s for s in order if wanted.has(s)], [s for s in others if wanted.fits(s)], others, order)
    pool = next((p for p in pools if p), [])
    return pool[:shown], len(order) - len(pool[:shown])


def per_setting(draw: Callable[[Subject], Drawn]) -> Callable[[Sequence[Subject]], Drawn]:
    """Draws setting by setting."""
    return lambda subjects: [part for subject in subjects for part in draw(subject)]


def _trainings(settings: Sequence[Setting]) -> str:
    """`2 trainings`, `2 to 3 trainings each`."""
    sizes = sorted(len(s.trials) for s in settings)
    ends = " to ".join(str(n) for n in dict.fromkeys((sizes[0], sizes[-1])))
    return f"{ends} training{'s' if sizes[-1] > 1 else ''}{' each' if len(settings) > 1 else ''}"


def _in_place(settings: Sequence[Setting], wanted: Wanted) -> list[str]:
    """`Fashion-MNIST in place of CIFAR-10`: data sets, models and rates that the paper's exhibit does not show."""
    scopes, models, noises = [s.scope for s in settings], wanted.models, wanted.noises
    shown = (  # [(what the setting has in words, is it the paper's?)], the paper's in words
        ([(name_of(s.dataset), s.dataset in wanted.datasets) for s in scopes], map(name_of, wanted.datasets)),
        ([(name_of(s.model), models is None or s.model in models) for s in scopes], map(name_of, models or ())),
        (
            [(rate_in_words(s), noises is None or (s.noise in noises and not s.labels)) for s in scopes],
            (rate_in_words(Scope(noise=rate)) for rate in noises or ()),
        ),
    )
    replaced = []
    for there, papers in shown:
        if others := dict.fromkeys(words for words, is_papers in there if not is_papers):
            replaced.append(f"{', '.join(others)} in place of {', '.join(papers)}")
    return replaced


def _deviations(settings: Sequence[Setting], wanted: Wanted) -> list[str]:
    """`subset 500 (the paper's: all)`: first the deviations of all settings, then those of some of them."""
    having: dict[str, int] = {}
    for setting in settings:
        for name, value in wanted.deviations(setting).items():
            words = f"{name} {value}"
            having[words] = having.get(words, 0) + 1
    shared = [words for words, n in having.items() if n == len(settings)]
    some = [f"{words} in {n} of {len(settings)} settings" for words, n in having.items() if n < len(settings)]
    return [*shared, *some]
