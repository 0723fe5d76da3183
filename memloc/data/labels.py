"""The examples that a training sees, and their wrong labels. All draws are keyed by data_seed, or noise_seed, alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from memloc.config import DataConfig
from memloc.data.arrays import I64, Data, Description, HeldOut, Raw
from memloc.data.cuts import held_out
from memloc.errors import UsageError, setting
from memloc.seeds import U64, below, hashed


def prepare(raw: Raw, config: DataConfig) -> Data:
    """Takes the class-stratified subset, then adds label noise (science.md, Data), then holds out the cut of a ratio.

    If the data set knows its wrong labels, they are the label noise, and nothing is drawn.

    Every draw depends on (data_seed or noise_seed, example) alone, so it is the same for every training `seed`. The wrong
    labels at a smaller noise rate are among those at a larger one.

    Raises:
        UsageError: `check_fits` finds a problem.
    """
    if problems := check_fits(raw.description, config):
        raise UsageError(*(f"{name}: {problem}" for name, problem in problems.items()))
    example, seed = np.arange(len(raw.y_train)), config.data_seed
    if config.subset is not None:
        example = stratified_subset(raw.y_train, config.subset, seed)
    y = raw.y_train[example]
    true_label = y if raw.y_true is None else raw.y_true[example]
    if config.noise:
        key = config.seed_of_noise
        drawn = noisy_set(example, config.noise, key, config.noise_count)
        y = np.where(drawn, wrong_labels(example, true_label, raw.classes, config.wrong, key), true_label)
    noisy = y != true_label
    out, others = np.zeros(len(example), dtype=bool), None
    if config.held_out is not None:
        out = held_out(len(example), config.held_out.ratio, config.held_out.cut, seed)
        others = HeldOut(raw.x_train[example[out]], y[out], noisy[out], example[out])
    y, true_label, noisy, example = y[~out], true_label[~out], noisy[~out], example[~out]
    given = None if raw.given_wrong is None else float(raw.given_wrong.mean())
    x_test, y_test = raw.x_test, raw.y_test
    if config.test_subset is not None:
        test = stratified(y_test, config.test_subset, hashed(0, "test subset", i=np.arange(len(y_test))))
        x_test, y_test = x_test[test], y_test[test]
    return Data(raw.x_train[example], y, true_label, noisy, example, x_test, y_test, raw.classes, others, given, raw.origin)


def examples_seen(config: DataConfig, data: Description, labels: Callable[[], I64]) -> I64:
    """int64 [n]: the examples that a training of this configuration sees, in order.

    labels: gives the training labels, int64 [N]. It is called only if they are needed.
    """
    example = np.arange(data.n_train)
    if config.subset not in (None, data.n_train):
        example = stratified_subset(labels(), config.subset, config.data_seed)
    if config.held_out is None:
        return example
    return example[~held_out(len(example), config.held_out.ratio, config.held_out.cut, config.data_seed)]


def given_wrong_seen(config: DataConfig, raw: Raw) -> int:
    """How many of the examples that a training sees have a label that is wrong as it is given."""
    example = examples_seen(config, raw.description, lambda: raw.y_train)
    return 0 if raw.given_wrong is None else int(raw.given_wrong[example].sum())


def noisy_seen(config: DataConfig, data: Description, labels: Callable[[], I64]) -> int:
    """How many of the examples that a training sees carry a wrong label; labels: as above."""
    if config.subset is None:
        noisy = _noisy_of_all(data.n_train, config.noise, config.seed_of_noise, config.noise_count)
    else:
        example = examples_seen(config.model_copy(update={"held_out": None}), data, labels)
        noisy = noisy_set(example, config.noise, config.seed_of_noise, config.noise_count)
    if config.held_out is None:
        return int(noisy.sum())
    return int(noisy[~held_out(len(noisy), config.held_out.ratio, config.held_out.cut, config.data_seed)].sum())


@lru_cache(maxsize=8)
def _noisy_of_all(n: int, noise: float, seed: int, count: str) -> npt.NDArray[np.bool_]:
    return noisy_set(np.arange(n), noise, seed, count)


def check_fits(data: Description, config: DataConfig) -> dict[str, str]:
    """{field: problem} of a training's settings against the data set itself."""
    problems = {}
    if config.subset is not None and not data.classes <= config.subset <= data.n_train:
        valid = f"{data.classes} (one per class) to {data.n_train} (all)"
        problems["subset"] = f"{config.subset} is not valid; valid: {valid}"
    if config.test_subset is not None and not data.classes <= config.test_subset <= data.n_test:
        valid = f"{data.classes} (one per class) to {data.n_test} (all)" if data.n_test else "null: there are no test images"
        problems["test_subset"] = f"{config.test_subset} is not valid; valid: {valid}"
    if config.noise and data.given_wrong:
        problems["noise"] = (
            f"{config.noise} on top of given labels of which {data.given_wrong} of {data.n_train} are wrong; valid: 0; or "
            f"{setting('labels', 'true')}, which draws over the true labels, if they are known; or "
            f"{setting('truth', 'hidden')}, which forgets that some are wrong"
        )
    if config.wrong == "offset" and data.classes < 3 and config.noise > 0:
        problems["wrong"] = "offset needs at least 3 classes; valid here: uniform"
    return problems


def stratified_subset(labels: I64, size: int, data_seed: int) -> I64:
    """`size` indices in order, each class in proportion (largest remainders), keyed per example. labels: int64 [N]."""
    return stratified(labels, size, hashed(data_seed, "subset", i=np.arange(len(labels))))


def stratified(labels: I64, size: int, rank: U64) -> I64:
    """`size` indices in order, each class in proportion (largest remainders); of a class those with the lowest rank.

    Args:
        labels: int64 [N].
        size: at most N.
        rank: uint64 [N].
    """
    classes, counts = np.unique(labels, return_counts=True)
    # In whole numbers, so that equal remainders are equal: the quota of a class is counts·size / N.
    take, remainder = np.divmod(counts * size, counts.sum())
    largest_first = np.argsort(-remainder, kind="stable")  # ties: lower class first
    take[largest_first[: size - take.sum()]] += 1
    chosen = []
    for label, n in zip(classes, take, strict=True):
        members = np.flatnonzero(labels == label)
        chosen.append(members[np.argsort(rank[members], kind="stable")[:n]])
    return np.sort(np.concatenate(chosen))


def noisy_set(example: I64, noise: float, data_seed: int, count: str = "round") -> npt.NDArray[np.bool_]:
    """bool [n]: `noisy_count` distinct examples, those that come first in a keyed order."""
    order = np.argsort(hashed(data_seed, "noise", i=example), kind="stable")
    noisy = np.zeros(len(example), dtype=bool)
    noisy[order[: noisy_count(len(example), noise, count)]] = True
    return noisy


def noisy_count(n: int, noise: float, count: str = "round") -> int:
    """How many of n examples carry a wrong label: round(noise·n), half to even; `floor`: ⌊noise·n⌋."""
    # The tiny allowance makes ⌊0.29·100⌋ = 29, although binary floating point gives 28.999….
    return math.floor(noise * n + 1e-9) if count == "floor" else round(noise * n)


def wrong_labels(example: I64, true_label: I64, classes: int, wrong: str, data_seed: int) -> I64:
    """int64 [n]: for each example its wrong label, never the true one.

    `uniform`: (y + 1 + U{0..K−2}) mod K, uniform over the other K−1 classes. `offset`: (y + 1 + U{0..K−3}) mod K,
    never y − 1 either (the published code's draw).
    """
    hashes = hashed(data_seed, "wrong label", i=example)
    span = classes - 1 if wrong == "uniform" else classes - 2
    return (true_label + 1 + below(hashes, max(span, 1))) % classes
