"""Curvature edit: its settings, what it costs, and the table of its rows (Merullo et al., 2025)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, ClassVar, Literal, get_args

import pyarrow as pa
from pydantic import AfterValidator, BeforeValidator, Field

from memloc.config import Epochs, FieldError, Share, TrainConfig, as_tuple, distinct
from memloc.stages.base import NetworkFacts, Part, Size, Stage
from memloc.stages.columns import ACCURACIES, FLOAT, INT, SMALL, TEXT, of_analysis
from memloc.stages.fields import MaskedConfig, check_epochs, resolve_sets

Rank = Literal["kfac", "activation", "gradient", "svd", "random", "magnitude"]
Budget = Literal["energy", "pairs"]
Norms = Literal["final", "recomputed"]
Images = Literal["train", "test"]
RANKS: tuple[Rank, ...] = get_args(Rank)
BUDGETS: tuple[Budget, ...] = get_args(Budget)
BY_ENERGY: tuple[Rank, ...] = ("kfac", "svd")  # kfac sets the numbers of pairs; a singular value is no pair
RHO = (0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99)
INNER, EACH = "inner", "each"
UNEDITED = 10  # so many checkpoints are evaluated without an edit, unless the configuration names them


class EditConfig(MaskedConfig):
    """Which weights are edited, and how. Every combination of what is listed has a row."""

    epochs: Epochs | None = None
    """The checkpoints that are edited; null: the last. [memloc]"""
    groups: Annotated[tuple[str, ...], BeforeValidator(as_tuple), Field(min_length=1), AfterValidator(distinct)] = (INNER,)
    """The layer groups whose weights are edited together: inner (all but the first and the last one), or the name of one.
    each: every single one, edit by edit. [inner: memloc; Merullo et al., 2025, edit layers in the middle]
    """
    ranks: Annotated[tuple[Rank, ...], BeforeValidator(as_tuple), Field(min_length=1), AfterValidator(distinct)] = RANKS
    """By what a part of the weights is kept. kfac: curvature, in the eigenbases of K-FAC. activation: the covariance of the
    inputs alone. gradient: that of the gradients alone. svd: singular values. random: by chance, in K-FAC's bases.
    magnitude: the size of a weight. [kfac, svd: Merullo et al., 2025; the others: memloc]
    """
    rho: Annotated[
        tuple[Share, ...],
        BeforeValidator(as_tuple),
        Field(min_length=1),
        AfterValidator(distinct),
        AfterValidator(lambda shares: tuple(sorted(shares))),
    ] = RHO
    """The share of the energy that is kept: of what a rank ranks by, such as the sum of all curvatures, or of the squares of
    all singular values. [Merullo et al., 2025]
    """
    budget: Annotated[tuple[Budget, ...], BeforeValidator(as_tuple), Field(min_length=1), AfterValidator(distinct)] = BUDGETS
    """How much activation, gradient, random and magnitude keep. energy: the share rho of their own energy. pairs: as much as
    kfac keeps at this rho. [memloc]
    """
    bn: Annotated[tuple[Norms, ...], BeforeValidator(as_tuple), Field(min_length=1), AfterValidator(distinct)] = ("final",)
    """The running statistics of batch norms. final: those of the checkpoint. recomputed: those of the edited network, on the
    images of the covariances. [memloc]
    """
    images: Annotated[tuple[Images, ...], BeforeValidator(as_tuple), Field(min_length=1), AfterValidator(distinct)] = (
        "train",
    )
    """The images of the covariances: the training set, mislabeled examples included, or the test set. No label is looked at.
    [train: Merullo et al., 2025; test: memloc]
    """
    unedited: Epochs | None = None
    """The checkpoints that are evaluated as they are, to compare with; null: ten of them, up to the last. [memloc]"""


class ResolvedEdit(EditConfig):
    """A resolved `EditConfig`: the checkpoints are known."""

    epochs: Epochs
    unedited: Epochs


class Edit(Stage[ResolvedEdit]):
    """Accuracies without the directions of the weights that have little curvature (Merullo et al., 2025)."""

    name: ClassVar[str] = "edit"
    version: ClassVar[int] = 1
    extent: ClassVar[tuple[str, ...]] = ("epochs", "groups", "ranks", "rho", "budget", "bn", "images", "unedited")
    # Of the edits of single groups by curvature, at the ρ at which edits are judged.
    atlas: ClassVar[tuple[str, ...]] = (
        f"""SELECT e.analysis, e.trial, 'edit' AS method, e.groups AS layer, NULL AS unit, NULL AS example,
                   1 - min(e.noisy_acc) AS score
            FROM edits AS e JOIN trials AS t ON t.trial = e.trial AND t.epochs = e.epoch
            WHERE e.rank = 'kfac' AND e.rho = 0.9 AND e.bn = 'final' AND e.images = 'train' AND e.groups <> '{INNER}'
              AND e.noisy_acc IS NOT NULL GROUP BY ALL""",
    )
    footprint: ClassVar[Literal["less", "as much", "more"]] = "as much"
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "edits": of_analysis(
            ("epoch", SMALL),
            ("groups", TEXT),
            ("rank", TEXT),
            ("rho", FLOAT),
            ("budget", TEXT),
            ("bn", TEXT),
            ("images", TEXT),
            ("pairs", INT),
            ("pairs_kept", INT),
            ("energy_kept", FLOAT),
            *ACCURACIES[:2],
            ("noisy_true_acc", FLOAT),
            *ACCURACIES[2:],
        )
    }
    config = EditConfig

    def resolve(self, config: EditConfig, train: TrainConfig, beside: Collection[str] = ()) -> ResolvedEdit:
        epochs = config.epochs or (train.epochs,)
        steps = tuple(sorted({max(1, round(k * train.epochs / UNEDITED)) for k in range(1, UNEDITED + 1)}))
        unedited = config.unedited or (steps if train.given_epochs is None else train.checkpoint_epochs)
        check_epochs("epochs", epochs, train)
        check_epochs("unedited", unedited, train)
        if config.mask_mode == "own" and "test" in config.images:
            raise FieldError("images", "test with mask_mode: own: test images have no masks of their own; valid: train")
        return resolve_sets(config, train).resolved_as(ResolvedEdit, epochs=epochs, unedited=unedited)

    def fits(self, train: TrainConfig, network: NetworkFacts) -> Mapping[str, str | None]:
        groups = tuple(network.matrices)
        none = None if any(_problem(group, network) is None for group in groups) else _problem(groups[0], network)
        return {"": none, f"groups: {INNER}": none or _inner_problem(network)}

    def misfit(self, config: ResolvedEdit, train: TrainConfig, size: Size, network: NetworkFacts) -> FieldError | None:
        if unknown := [g for g in config.groups if g not in (INNER, EACH, *size.groups)]:
            valid = ", ".join((INNER, EACH, *size.groups))
            return FieldError("groups", f"{unknown[0]}: no such layer group; valid: {valid}")
        if INNER in config.groups and (problem := _inner_problem(network)):
            return FieldError("groups", f"{INNER}: {problem}")
        for groups in selections(config, size.groups).values():
            for group in groups:
                if problem := _problem(group, network):
                    return FieldError("groups", problem)
        if "recomputed" in config.bn and not network.running_statistics:
            return FieldError("bn", "recomputed: the network has no batch norms; valid: final")
        if "test" in config.images and not size.n_test:
            return FieldError("images", "test: the data set has no test images; valid: train")
        return None

    def parts(self, config: ResolvedEdit, train: TrainConfig, size: Size) -> Sequence[Part]:
        edited = [{"epoch": t, "images": images} for t in config.epochs for images in config.images]
        return [*edited, {"unedited": "all"}]

    def epochs(self, config: ResolvedEdit, train: TrainConfig, part: Part) -> Sequence[int]:
        return [int(part["epoch"])] if "epoch" in part else config.unedited

    def keeps(self, config: ResolvedEdit) -> Sequence[int]:
        return (*config.epochs, *config.unedited)

    def passes(self, config: ResolvedEdit, size: Size) -> float:
        # The products of patches take about nine passes, every class one backward pass without gradients of weights. A
        # single group of many runs half of the network. The parts cost differently: this is their mean.
        whole = size.n + size.n_test
        each = sum(whole if len(groups) > 1 else whole / 2 for groups in selections(config, size.groups).values())
        edits = len(ranked(config)) * len(config.rho) * (each * len(config.bn) + size.n * ("recomputed" in config.bn))
        parts = len(config.epochs) * len(config.images)
        return (parts * (edits + (10 + 1.2 * size.classes) * size.n) + len(config.unedited) * whole) / (parts + 1)

    def rows(self, config: ResolvedEdit, size: Size) -> Mapping[str, int]:
        each = len(selections(config, size.groups)) * len(ranked(config)) * len(config.rho) * len(config.bn)
        return {"edits": max(each, len(config.unedited))}


def selections(config: EditConfig, groups: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """{name of what is edited together: its layer groups}, in the order of the configuration."""
    chosen: dict[str, tuple[str, ...]] = {}
    for name in config.groups:
        if name == INNER:
            chosen[name] = tuple(groups[1:-1])
        else:
            chosen |= {group: (group,) for group in (groups if name == EACH else (name,))}
    return chosen


def ranked(config: EditConfig) -> list[tuple[Rank, Budget]]:
    """The ranks, each with its budgets."""
    return [(rank, budget) for rank in config.ranks for budget in (BUDGETS[:1] if rank in BY_ENERGY else config.budget)]


def _problem(group: str, network: NetworkFacts) -> str | None:
    """Why a layer group cannot be edited; None: it can."""
    if group in network.others:
        return f"{network.others[group]}; what can be edited is plain convolutions and linear layers"
    return None if network.matrices[group] else f"{group} has no convolution and no linear layer"


def _inner_problem(network: NetworkFacts) -> str | None:
    inner = tuple(network.matrices)[1:-1]
    if not inner:
        return "the network has no layer group between the first and the last one"
    return next((problem for group in inner if (problem := _problem(group, network))), None)


STAGE = Edit()
