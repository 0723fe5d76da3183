"""Stores made of simulated tables: what a claim's test must make of numbers that are known."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from memloc.analysis.observations import Observations
from memloc.analysis.reader import Reader, known_tables, visible
from memloc.config import canonical, fingerprint
from memloc.models.architectures import resolved
from memloc.papers.exhibits import Evidence, Exhibit, Shown, show
from memloc.papers.judgement import Judgement
from memloc.papers.judging import judgements
from memloc.papers.paper import Paper
from memloc.papers.registry import paper
from memloc.stages.training.schema import trial_row
from memloc.store import Commit, Store

Columns = dict[str, Any]


class Judged(Mapping[str, Judgement]):
    """{id: judgement} of a store as it is now. A claim is judged when one of its numbers is asked for; a loop judges all."""

    def __init__(self, reader: Reader, of: Paper) -> None:
        self._observations, self._paper = Observations(reader), of
        self._by_claim: dict[str, dict[str, Judgement]] = {}
        weakref.finalize(self, reader.close)

    def of(self, name: str) -> dict[str, Judgement]:
        """{id: judgement} of one claim."""
        if name not in self._by_claim:
            claims = [claim for claim in self._paper.claims if claim.id == name]
            sections = [replace(s, claims=[c for c in claims if c in s.claims]) for s in self._paper.sections]
            found = judgements(self._observations, replace(self._paper, sections=sections))
            assert len({j.id for j in found}) == len(found), "ids are unique"
            self._by_claim[name] = {j.id: j for j in found}
        return self._by_claim[name]

    def __getitem__(self, name: str) -> Judgement:
        return self.of(name.split(".")[0])[name]

    def __iter__(self) -> Iterator[str]:
        for claim in self._paper.claims:
            yield from self.of(claim.id)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Simulated:
    """A store that trainings and analyses with given rows are published to."""

    def __init__(self, folder: Path, section: str | None = None) -> None:
        """section: of the paper, the only one whose claims are judged; None: all are."""
        self.store = Store(str(folder / "store"))
        whole = paper()
        self.paper = replace(whole, sections=[s for s in whole.sections if section in (None, s.name)])
        assert self.paper.sections

    def judged(self) -> Judged:
        return Judged(self.reader(), self.paper)

    def shown(self, exhibit: Exhibit, problems: list[str] | None = None) -> Shown:
        """The exhibit on the store as it is now. problems: gets those that it reports."""
        with closing(self.reader()) as reader:
            observations = Observations(reader)
            evidence = Evidence(observations, judgements(observations, self.paper))
            made = show(exhibit, evidence)
        if problems is not None:
            problems += evidence.problems
        return made

    def drawn(self, *exhibits: Exhibit) -> list[Shown]:
        """The same of several, without the numbers of the scorecard: nothing is judged."""
        with closing(self.reader()) as reader:
            evidence = Evidence(Observations(reader), ())
            return [show(exhibit, evidence) for exhibit in exhibits]

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with closing(self.reader()) as reader:
            rows: list[dict[str, Any]] = reader.sql(sql).to_pylist()
        return rows

    def reader(self) -> Reader:
        return Reader(self.store, visible(self.store, self.store.snapshot(), None, False))

    def training(
        self,
        *,
        n: int = 100,
        noisy_acc: Sequence[float] | None = None,
        curves: Mapping[str, Sequence[float]] | None = None,
        evaluated: Mapping[tuple[str, str], Sequence[float | None]] | float | None = 1.0,
        learning_time: Sequence[int] | None = None,
        model: str = "resnet9",
        identity: str = "simulated",
        version: int = 1,
        classes: int = 10,
        given_noise: float | None = None,
        **fields: Any,
    ) -> str:
        """A training of n examples, the first round(noise·n) of them mislabeled.

        Args:
            noisy_acc: of the training pass, by epoch; by default it reaches 0.2 at epoch 15 and 0.8 at epoch 25.
            curves: more columns of `epochs`, such as test_acc.
            evaluated: rows {(mode, rescale): (clean, noisy, test)} of an evaluation at T, and the share of noisy examples
                that get their true label as a fourth; a number: noisy accuracy in mode plain or own; None: not evaluated.
            identity: of the data. version: of the code of training.
            given_noise: the share of labels that are wrong as given; `noise: 0` stands beside it.
        """
        given = resolved(**{"dataset": "cifar10", "model": model, "noise": 0.1, **fields})
        config = canonical(given)
        apart = [] if (identity, version) == ("simulated", 1) else [identity, version]
        trial, epochs = fingerprint(["simulated", config, *apart]), given.epochs
        noisy = np.arange(n) < round((given_noise or given.noise) * n)
        climb = np.clip((np.arange(1, epochs + 1) - 11.6) * 0.06, 0, 1) if noisy_acc is None else np.asarray(noisy_acc)
        by_epoch = {"epoch": range(1, epochs + 1), "noisy_acc": climb if noisy.any() else None, **(curves or {})}
        by_example = {
            "example": np.arange(n),
            "label": np.arange(n) % classes,
            "true_label": (np.arange(n) + noisy) % classes,
            "noisy": noisy,
            "learning_time": np.ones(n) if learning_time is None else learning_time,
        }
        tables = {
            "trials": trial_row(trial, given, n, given_noise),
            "epochs": _filled("epochs", {"trial": [trial] * epochs, **by_epoch}),
            "examples": _filled("examples", {"trial": [trial] * n, **by_example}),
        }
        self._publish(Commit(trial, trial, None, "train", {"data": identity, "version": version}, 0, 1, config), tables)
        if isinstance(evaluated, float):
            evaluated = {("own" if given.example_tied else "plain", "none"): (1.0, evaluated, 0.9)}
        if evaluated is not None:
            self._evaluate(trial, epochs, evaluated)
        return trial

    def _evaluate(self, trial: str, epoch: int, evaluated: Mapping[tuple[str, str], Sequence[float | None]]) -> None:
        """evaluated: as in `training`."""
        names = ("mode", "rescale", "clean_acc", "noisy_acc", "test_acc", "noisy_true_acc")
        rows = [(mode, rescale, *[*accuracies, None][:4]) for (mode, rescale), accuracies in evaluated.items()]
        config = {"epoch": epoch, "modes": [mode for mode, _ in evaluated]}
        self.analysis(trial, "evaluate", config, evaluation=_columns(names, rows))

    def analysis(
        self,
        trial: str,
        stage: str,
        config: Mapping[str, Any],
        reads: Sequence[str] = (),
        version: int | None = None,
        **tables: Mapping[str, Any],
    ) -> str:
        """A complete analysis with these rows; columns that are not given are NULL. Returns its id.

        version: of the stage; None: the id tells none.
        """
        said = {"trial": trial, "stage": stage, "config": dict(config), "reads": list(reads), "version": version}
        analysis = fingerprint(said if version else [trial, stage, dict(config)])
        filled = {}
        for name, columns in tables.items():
            n = len(next(iter(columns.values())))
            ids = {"trial": [trial] * n, "analysis": [analysis] * n}
            filled[name] = _filled(name, {**{k: v for k, v in ids.items() if k in known_tables()[name].names}, **columns})
        part = fingerprint([analysis, "part"])
        self._publish(Commit(part, trial, analysis, stage, {"all": "all"}, 0, 1, dict(config), reads=tuple(reads)), filled)
        return analysis

    # --- one stage each ---------------------------------------------------------------------------------------------------

    def gradients(
        self,
        trial: str,
        *,
        clean: float = 1.0,
        noisy: float = 1.0,
        cosine: float | Callable[[int], float] = -0.9,
        epochs: Sequence[int] = range(1, 51),
        last: float | None = None,
        last_cosine: float | None = None,
        control: float = 0.0,
        **config: Any,
    ) -> str:
        """Two tensors (conv, linear) of one number each, so that norms are as given; last, last_cosine: of the second.

        cosine: of all epochs, or by epoch. control: the cosine of a random set, of squared norm 0.01, and the rest.
        """
        rows = [
            (e, layer, noisy if last is None or layer == "conv" else last) for e in epochs for layer in ("conv", "linear")
        ]
        epoch, layers, norms = zip(*rows, strict=True)
        of_noisy = np.array(norms)
        by_epoch = cosine if callable(cosine) else lambda _: cosine
        cosines = np.array([by_epoch(e) if last_cosine is None or layer == "conv" else last_cosine for e, layer, _ in rows])
        dot = cosines * clean * of_noisy
        # The root with control's sign of x = control·√(0.01·‖rest‖²), where ‖rest‖² = total − 0.01 − 2x.
        total, c2 = clean**2 + of_noisy**2 + 2 * dot, 0.01 * control**2
        dot_control = np.sign(control) * np.sqrt(c2**2 + c2 * (total - 0.01)) - c2
        columns = {
            "epoch": epoch,
            "layer": layers,
            "param": [f"{layer}.weight" for layer in layers],
            "numel": np.ones(len(rows)),
            "sq_clean": np.full(len(rows), clean**2),
            "sq_noisy": of_noisy**2,
            "dot": dot,
            "sq_control": np.full(len(rows), 0.01),
            "dot_control": dot_control,
        }
        return self.analysis(
            trial, "gradients", {"epochs": list(epochs), "bn": "batch", "at": "trajectory", **config}, gradients=columns
        )

    def rewind(
        self,
        trial: str,
        left: Mapping[str, float],
        clean: Mapping[str, float] | None = None,
        *,
        last: int = 50,
        epochs: Sequence[int] = (0, 10, 20),
        **config: Any,
    ) -> str:
        """noisy (and clean) accuracy left by rewinding each group to any of the epochs; 1 at the last."""
        rows = [
            (layer, e, 1.0 if e == last else (clean or left)[layer], 1.0 if e == last else left[layer])
            for e in (*epochs, last)
            for layer in left
        ]
        columns = _columns(("layer", "epoch", "clean_acc", "noisy_acc"), rows)
        return self.analysis(trial, "rewind", {"epochs": [*epochs, last], "buffers": "final", **config}, rewind=columns)

    def retrain(self, trial: str, reached: Mapping[str, Sequence[float]], **config: Any) -> str:
        """Noisy accuracy of each group by epoch 0..E."""
        rows = [(layer, e, v) for layer, values in reached.items() for e, v in enumerate(values)]
        columns = _columns(("layer", "epoch", "noisy_acc"), rows)
        return self.analysis(trial, "retrain", {"epochs": 20, "peak_epoch": 10, "lr": 0.1, **config}, retrain=columns)

    def flips(
        self,
        trial: str,
        counts: Mapping[bool, Sequence[int]],
        *,
        repeats: int = 1,
        layers: Mapping[bool, Sequence[str]] | None = None,
        left: Mapping[bool, float] | None = None,
        eligible: float = 1.0,
        **config: Any,
    ) -> str:
        """counts: {noisy: of each example}; noisy examples are numbered from 0, as `training` has them.

        layers: {noisy: where each of its searches closes gates}.
        """
        rows = []
        for repeat in range(repeats):
            for noisy, of in counts.items():
                start = 0 if noisy else len(counts[True])
                for k, count in enumerate(of):
                    fit = not noisy or k < eligible * len(of)
                    closed = list((layers or {noisy: ["conv"] * 3})[noisy])
                    rows.append((start + k, repeat, noisy, fit, count, False, closed, *[left and left[noisy]] * 3))
        names = ("example", "repeat", "noisy", "eligible", "count", "censored", "layers")
        columns = _columns((*names, "clean_acc", "noisy_acc", "test_acc"), rows)
        defaults = {"estimator": "fast", "reference": 16, "ablate": "activation", "max_neurons": 200, "repeats": repeats}
        sizes = {"clean": len(counts[False]), "noisy": len(counts[True])}
        return self.analysis(trial, "flips", {**defaults, **sizes, **config}, flips=columns)

    def _publish(self, commit: Commit, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self.store.publish(commit, tables, known_tables())


def _filled(table: str, columns: Mapping[str, Any]) -> Columns:
    n = len(next(v for v in columns.values() if v is not None))
    found: Columns = {name: [None] * n for name in known_tables()[table].names}
    return {**found, **{k: list(v) for k, v in columns.items() if v is not None}}


def _columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Columns:
    """{name: its value in every row}."""
    return {name: [row[k] for row in rows] for k, name in enumerate(names)}
