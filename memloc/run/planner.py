"""From a sweep to its plan: the ids of all trainings, analyses and parts (docs/architecture.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from memloc.config import SourceConfig, StageConfig, TrainConfig
from memloc.config.analysis_ids import analysis_id
from memloc.config.retention import most
from memloc.data import Description, describe, load
from memloc.data.c_score_file import CScores
from memloc.data.cuts import held_out_size
from memloc.data.labels import check_fits, given_wrong_seen, noisy_count, noisy_seen
from memloc.errors import UsageError
from memloc.run import empty_sets, ids
from memloc.run.given_fit import misfit_of_given, problem_of_parts
from memloc.run.network_facts import built, misfits, unmet_by_network
from memloc.run.plan import AnalysisPlan, Parts, Plan, TrialPlan, Unmet
from memloc.run.score_sources import Need, Sources, atypical
from memloc.stages import stages_with
from memloc.stages.base import Size, Stage
from memloc.stages.training.schema import VERSION
from memloc.stages.training.steps import frozen_note
from memloc.store import Store
from memloc.sweep import Entry, Request, Sweep


def build_plan(sweep: Sweep, entries: Sequence[Entry], data_dir: Path, store: Store | None = None) -> Plan:
    """The plan of a sweep's entries. Of the data it needs only their descriptions.

    store: holds the C-scores of other sweeps, for analyses that take them.

    Raises:
        UsageError: naming every setting that does not fit the data.
    """
    problems: list[str] = []
    frozen: list[str] = []
    described: dict[SourceConfig, Description | None] = {}
    trials: dict[str, TrialPlan] = {}
    sources, common = Sources(data_dir, store, sweep.folder), _Common(stages_with(sweep.plugins))
    for entry in entries:
        source = entry.config.source
        if source not in described:
            described[source] = _describe(entry, data_dir, problems)
        data = described[source]
        found = _misfits(entry, data, common.stages) if data else []
        problems += found
        if data and not found:
            trial = _trial(entry, data, sources, common, problems)
            trials[trial.id] = _merge(trials[trial.id], trial) if trial.id in trials else trial
            frozen += _frozen_note(trial, data)
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    of_data = [note for data in described.values() if data for note in data.notes]
    notes = [*sweep.notes, *of_data, *frozen, *(note for trial in trials.values() for note in empty_sets.notes(trial))]
    return Plan(sweep.name, tuple(trials.values()), tuple(dict.fromkeys(notes)), sweep.own_files)


def _describe(entry: Entry, data_dir: Path, problems: list[str]) -> Description | None:
    try:
        return describe(entry.config.source, data_dir)
    except UsageError as error:
        problems += [f"{entry.place('dataset')}: {problem}" for problem in error.problems]
        return None


def _misfits(entry: Entry, data: Description, kinds: Mapping[str, Stage[Any]]) -> list[str]:
    config = entry.config
    fits = check_fits(data, config)
    problems = [f"{entry.place(name)}: {problem}" for name, problem in fits.items()]
    found = misfits(config, data.shape, data.classes)
    if not found:
        facts = built(config, data.shape, data.classes).facts
        found = unmet_by_network(config, facts)
        if problem := misfit_of_given(config, data.shape, data.classes):
            found["given_from"] = problem
        problems += [
            f"{request.where}: {problem}"
            for request in entry.requests
            if (problem := kinds[request.stage].fits(config, facts)[""])
        ]
    return problems + [f"{entry.place(name)}: {problem}" for name, problem in found.items()]


@dataclass
class _Common:
    """What many trainings have in common. Each is one object, so that a further seed adds little to a plan.

    stages: by name. sizes: by the training with seed 0. parts: by stage, its configuration, and the size.
    """

    stages: Mapping[str, Stage[Any]]
    sizes: dict[TrainConfig, Size] = field(default_factory=dict)
    parts: dict[tuple[str, StageConfig, Size], Parts] = field(default_factory=dict)

    def size(self, config: TrainConfig, data: Description, data_dir: Path) -> Size:
        unseeded = config.model_copy(update={"seed": 0})
        if unseeded not in self.sizes:
            self.sizes[unseeded] = _size(unseeded, data, data_dir)
        return self.sizes[unseeded]

    def parts_of(self, kind: Stage[Any], config: StageConfig, train: TrainConfig, size: Size) -> Parts:
        key = kind.name, config, size
        if key not in self.parts:
            self.parts[key] = Parts(kind.parts(config, train, size))
        return self.parts[key]


def _trial(entry: Entry, data: Description, sources: Sources, common: _Common, problems: list[str]) -> TrialPlan:
    config = entry.config
    for subset, n in (("subset", data.n_train), ("test_subset", data.n_test)):
        if getattr(config, subset) == n:  # all of them: the same training as without a subset
            config = config.model_copy(update={subset: None})
    trial_id = ids.training_id(config, data.identity, VERSION)
    size, facts = common.size(config, data, sources.data_dir), built(config, data.shape, data.classes).facts
    analyses: dict[str, AnalysisPlan] = {}
    unmet: list[Unmet] = []
    for block in entry.blocks:
        in_block: dict[str, list[str]] = {}
        missing: dict[str, Need] = {}
        requests = [r for r in entry.requests if r.block == block]
        for request in sorted(requests, key=lambda r: len(common.stages[r.stage].reads)):
            kind = common.stages[request.stage]
            need = next((missing[stage] for stage in kind.reads if stage in missing), None)
            scored = need or _scored(request, config, data, size, sources, problems)
            if isinstance(scored, Need):
                missing[request.stage] = scored
                unmet.append(Unmet(block, request.stage, scored))
                continue
            if misfit := kind.misfit(scored.config, config, scored.size, facts):
                place = f"{request.where}.{misfit.field}" if misfit.field else request.where
                problems.append(f"{place}: {misfit}")
                continue
            # One for every combination of the analyses that it reads: a stage may have several configurations.
            for reads in product(*(in_block[stage] for stage in kind.reads if stage in in_block)):
                read = {analyses[i].stage: analyses[i].config for i in reads}
                whole = replace(scored, config=kind.completed(scored.config, read))
                parts = common.parts_of(kind, whole.config, config, whole.size)
                if problem := problem_of_parts(config, kind, whole.config, parts):
                    problems.append(f"{request.where}: {problem}")
                analysis = _analysis(trial_id, kind, whole, parts, reads)
                in_block.setdefault(request.stage, []).append(analysis.id)
                analyses[analysis.id] = analysis
    asked = tuple(analyses.values()), tuple(unmet), most(entry.checkpoints)
    return TrialPlan(trial_id, config, data.identity, size, tuple(entry.blocks), *asked)


@dataclass(frozen=True)
class _Scored:
    """A stage's configuration with its C-scores, if it takes any, and the size of the training with the analysis's S_n."""

    config: StageConfig
    size: Size
    c_scores: CScores | None = None


def _scored(
    request: Request, train: TrainConfig, data: Description, size: Size, sources: Sources, problems: list[str]
) -> _Scored | Need:
    reference = request.config.c_scores_from()
    if reference is None:
        return _Scored(request.config, size)
    try:
        source = sources.find(reference, train, data)
    except UsageError as error:
        field = next(name for name, value in request.config if str(value).endswith(reference))
        problems += [f"{request.where}.{field}: {problem}" for problem in error.problems]
        return _Scored(request.config, size)
    if isinstance(source, Need):
        return source
    scores, examples = source
    config = request.config.with_c_scores(scores.identity)
    if (threshold := config.c_score_threshold()) is not None:
        size = replace(size, n_noisy=int(atypical(scores, examples, threshold).sum()))
    return _Scored(config, size, scores)


def _analysis(trial_id: str, kind: Stage[Any], scored: _Scored, parts: Parts, reads: tuple[str, ...]) -> AnalysisPlan:
    config, size = scored.config, scored.size
    plugins = kind.codes(config)
    codes = [code.sha256 for code in plugins]
    own_id = analysis_id(trial_id, kind.name, config, reads, kind.version, codes)
    return AnalysisPlan(own_id, kind.name, config, parts, size, reads, scored.c_scores, plugins)


def _merge(one: TrialPlan, other: TrialPlan) -> TrialPlan:
    """One plan of a training that a sweep has under two names, for example by a copy of its data set."""
    analyses = {a.id: a for a in (*one.analyses, *other.analyses)}
    blocks = dict.fromkeys((*one.blocks, *other.blocks))
    unmet = dict.fromkeys((*one.unmet, *other.unmet))
    asked = tuple(analyses.values()), tuple(unmet), most((one.checkpoints, other.checkpoints))
    return TrialPlan(one.id, one.config, one.data, one.size, tuple(blocks), *asked)


def _size(config: TrainConfig, data: Description, data_dir: Path) -> Size:
    network = built(config, data.shape, data.classes)
    n = data.n_train if config.subset is None else config.subset
    n_noisy, n_out = noisy_count(n, config.noise, config.noise_count), 0
    if config.held_out:
        n_out = held_out_size(n, config.held_out.ratio)
        if config.noise:  # how many of the mislabeled are held out is a matter of chance
            n_noisy = noisy_seen(config, data, lambda: load(config.source, data_dir).y_train)
    if data.given_wrong:
        n_noisy = given_wrong_seen(config, load(config.source, data_dir))
    n_test = data.n_test if config.test_subset is None else config.test_subset
    return Size(n - n_out, n_noisy, n_test, network.numbers, network.groups, data.classes, n_out)


def _frozen_note(trial: TrialPlan, data: Description) -> list[str]:
    """The note about a training that freezes the statistics of too short an epoch, if there is one."""
    note = frozen_note(trial.config, trial.size.n)
    return [note] if note and built(trial.config, data.shape, data.classes).facts.running_statistics else []
