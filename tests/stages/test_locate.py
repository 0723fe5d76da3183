"""The three truths, and the rows of `localization`, against plain loops on small trained networks."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from memloc.config import FieldError, UnusedFieldError
from memloc.data.device import images
from memloc.models.channels import activations
from memloc.models.dropouts import ExampleTied
from memloc.stages.base import NetworkFacts, WithNetwork
from memloc.stages.inject.config import STAGE as INJECT
from memloc.stages.inject.config import InjectConfig
from memloc.stages.inputs import Inputs, OfPart
from memloc.stages.locate import compute, learned_gates, truths
from memloc.stages.locate.cases import Case, Setting, is_predicted
from memloc.stages.locate.config import METHODS, STAGE, Locate, LocateConfig, ResolvedLocate
from memloc.stages.locate.item import Examples
from memloc.stages.locate.judged import auc
from memloc.stages.locate.method import Method
from memloc.stages.neurons.task import Neurons
from tests.stages.conftest import Trained, run_once, settings

CONTROLS = ["norm_out", "other_item", "random", "reference_only"]


def rows_of(config: ResolvedLocate, inputs: Inputs, group: int, method: str) -> list[dict[str, Any]]:
    columns = STAGE.run(config, inputs, {"group": group, "method": method})["localization"]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


# --- tied -------------------------------------------------------------------------------------------------------------


def tied_group(tied: Trained, **fields: int) -> tuple[Inputs, Setting, list[Case]]:
    inputs = tied.inputs()
    config = STAGE.resolve(LocateConfig(**fields), tied.config)
    return inputs, *truths.group_of(config, inputs, 0)


def test_the_truth_are_the_memorization_channels_of_one_example_beside_a_decoy(tied: Trained) -> None:
    inputs, setting, cases = tied_group(tied, noisy=4, clean=4)
    data, sites = inputs.data, setting.network.sites
    assert {bool(data.noisy[case.row]) for case in cases} == {True, False}
    for case in cases:
        decoy = decoy_of(setting, case.row)
        assert data.noisy[decoy] == data.noisy[case.row]
        assert data.y[decoy] != data.y[case.row]
        assert decoy_of(setting, decoy) == case.row
        dropout = inputs.dropout(setting.network)
        assert isinstance(dropout, ExampleTied)
        mine, theirs = (np.concatenate([dropout.own(row)[site] for site in sites]) for row in (case.row, decoy))
        general = np.concatenate([np.arange(shape[0]) < dropout.generalization(site) for site, shape in sites.items()])
        assert case.truth is not None
        assert case.plain is not None
        assert not (case.candidates & general).any()
        assert (case.candidates == (mine != theirs)).all()
        assert (case.truth == (mine & ~theirs)).all()
        assert (case.plain[0] == (mine & ~general)).all()
        assert (case.plain[1] == general).all()


def decoy_of(setting: Setting, row: int) -> int:
    (pair,) = (pair for noisy in (False, True) for pair in truths.pairs(setting, noisy) if row in pair)
    return next(r for r in pair if r != row)


def test_located_is_of_truth_deleted_alone(tied: Trained) -> None:
    """No file of a table is written that has no rows."""
    config = STAGE.resolve(LocateConfig(truth="tied", noisy=2, clean=0, evaluated=0), tied.config)
    assert set(STAGE.run(config, tied.inputs(), {"group": 0, "method": "activation"})) == {"localization"}


def test_a_group_has_the_first_pairs_of_its_set_and_the_rest_change_nothing(tied: Trained) -> None:
    (_, few, _), (_, more, _) = tied_group(tied, noisy=4, clean=0), tied_group(tied, noisy=8, clean=0)
    assert truths.pairs(few, True) == truths.pairs(more, True)
    assert {row for pair in truths.pairs(few, True)[:2] for row in pair} == {*few.members.tolist()}
    assert {*few.members.tolist()} < {*more.members.tolist()}
    paired = [row for pair in truths.pairs(few, True) for row in pair]
    assert len(paired) == len({*paired}) > 8


@pytest.mark.parametrize("name", ["norm_out", "reference_only", "other_item"])
def test_an_order_that_does_not_look_at_the_example_has_one_half_over_a_pair(
    tied: Trained, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Channels whose label survives may be stronger ones, so a pair is skipped as a whole, or not at all."""
    monkeypatch.setattr(truths, "is_predicted", lambda item: int(item.own.y) not in (1, 6))  # on any processor
    inputs, setting, cases = tied_group(tied, noisy=8, clean=8)
    config = STAGE.resolve(LocateConfig(noisy=8, clean=8, evaluated=0), tied.config)
    inputs.memo.clear()
    found = {row["example"]: row for group in range(2) for row in rows_of(config, inputs, group, name)}
    assert len(found) == 16
    apart = []
    for case in cases:
        pair = (case.row, decoy_of(setting, case.row))
        one, two = (found[int(inputs.data.example[row])] for row in pair)
        assert one["skipped"] == two["skipped"] == any(int(inputs.data.y[row]) in (1, 6) for row in pair)
        if not one["skipped"]:
            assert one["auc"] + two["auc"] == pytest.approx(1.0, abs=1e-12)
            apart.append(one["auc"] != 0.5)
    assert len(apart) < len(cases)
    assert sum(apart) >= 2


def test_references_run_under_the_masks_of_the_item(tied: Trained) -> None:
    """The reference leak: under masks of their own, an activation contrast reads the item's mask, on clean examples too."""
    inputs, setting, cases = tied_group(tied, noisy=0, clean=8)
    right, leaking = [], []
    for case in cases:
        item = case.item
        if item is None or case.truth is None:
            continue
        assert item.masks is not None
        off = np.concatenate([np.asarray(item.masks[site].flatten()) == 0 for site in setting.network.neurons])  # type: ignore[union-attr]
        assert float(item.strengths(item.references)[:, off].abs().max()) == 0
        assert float(item.sensitivities(item.references)[:, off].abs().max()) == 0
        own = item.strengths()[0]
        decoy = decoy_of(setting, case.row)
        rows = torch.from_numpy(setting.clean([case.row, decoy, truths.another(setting, [case.row, decoy])])[:32])
        assert torch.equal(images(inputs.on_device.x[rows]), item.references.x)
        masks = inputs.dropout(setting.network).evaluation("own", rows)
        theirs = activations(setting.network, item.references.x, masks)
        leak = torch.cat([theirs[site].double().mean(dim=(0, 2, 3)) for site in setting.network.neurons])
        for found, reference in ((right, item.strengths(item.references).mean(dim=0)), (leaking, leak)):
            # Relative to the references, as a channel that is mostly off under their own masks is.
            scores = (own / (reference + 1e-6)).numpy()
            found.append(auc(scores[case.truth], scores[setting_general(case)]))
    assert len(right) >= 4
    assert np.mean(leaking) > np.mean(right) + 0.2


def setting_general(case: Case) -> Any:
    assert case.plain is not None
    return case.plain[1]


def test_an_example_is_skipped_if_its_label_or_that_of_its_decoy_is_not_predicted(tied: Trained) -> None:
    inputs, setting, cases = tied_group(tied, noisy=6, clean=2)
    for case in cases:
        decoy = decoy_of(setting, case.row)
        dropout = inputs.dropout(setting.network)
        masks = {
            site: torch.tensor(dropout.own(case.row)[site] | dropout.own(decoy)[site]).float().view(1, -1, 1, 1)
            for site in setting.network.sites
        }
        x = images(inputs.on_device.x[[case.row, decoy]])
        z = inputs.network(inputs.train.epochs)(x, masks=masks)
        assert (case.item is None) == bool((z.argmax(dim=1).numpy() != inputs.data.y[[case.row, decoy]]).any())
    config = STAGE.resolve(LocateConfig(noisy=6, clean=2, evaluated=0), tied.config)
    rows = rows_of(config, inputs, 0, "norm_out")
    assert [row["skipped"] for row in rows] == [case.item is None for case in cases]
    assert all(row["auc"] is None and row["k"] is None for row in rows if row["skipped"])


# --- deleted ----------------------------------------------------------------------------------------------------------


def test_channels_are_closed_until_the_label_is_lost(plain: Trained) -> None:
    inputs = plain.inputs()
    config = STAGE.resolve(LocateConfig(noisy=2, clean=1, evaluated=30), plain.config)
    setting, cases = truths.group_of(config, inputs, 0)
    rows = rows_of(config, inputs, 0, "gradient")
    found = [case for case in cases if case.item is not None]
    assert found
    for case in found:
        assert case.item is not None
        mine = [row for row in rows if row["example"] == inputs.data.example[case.row]]
        order = case.item.sensitivities(case.item.own)[0].argsort(descending=True).tolist()
        label, k = int(inputs.data.y[case.row]), 0
        while k < 64 and _predicted(case, order[:k]) == label:
            k += 1
        censored = _predicted(case, order[:k]) == label
        assert [row["k"] for row in mine] == [k, 5, 10]
        assert {row["k_star"] for row in mine} == {None if censored else k}
        assert {row["censored"] for row in mine} == {censored}
        for row in mine:
            closed = order[: row["k"]]
            assert row["own_flip"] == (_predicted(case, closed) != label)
            assert row["own_true"] == (_predicted(case, closed) == inputs.data.true_label[case.row])
        sets = compute._sets(setting, 30)
        assert sets is not None
        members = [r for r in sets.rows.tolist() if setting.noisy[r] and r != case.row]
        before, after = (_accuracy(case, inputs, members, closed) for closed in ([], order[:5]))
        assert mine[1]["noisy_drop"] == pytest.approx(before - after)


def test_the_first_neurons_of_every_method_are_named(plain: Trained) -> None:
    inputs = plain.inputs()
    config = STAGE.resolve(LocateConfig(noisy=2, clean=1, evaluated=0), plain.config)
    network, cases = truths.group_of(config, inputs, 0)
    by_example = {int(inputs.data.example[case.row]): case for case in cases if case.item is not None}
    for method in METHODS:
        if method.name in ("gradient", "activation", "norm_out"):
            located = STAGE.run(config, inputs, {"group": 0, "method": method.name})["located"]
            assert list(located["example"]) == list(by_example)
            for k, (example, case) in enumerate(by_example.items()):
                assert case.item is not None
                order = method.scores(case.item).detach().argsort(descending=True).tolist()[:20]  # no ties so far
                named = [Neurons(network.network).locate(n) for n in order]
                assert [*zip(located["layers"][k], located["indices"][k], strict=True)][:20] == named
                assert len(located["layers"][k]) == Neurons(network.network).total
                assert located["noisy"][k] == inputs.data.noisy[case.row]
                assert located["method"][k] == method.name
                assert example == located["example"][k]


def test_sets_that_are_too_small_to_compare_are_refused(plain: Trained, tied: Trained) -> None:
    for run, least in ((plain, 2), (tied, 3)):
        config = STAGE.resolve(LocateConfig(noisy=4, clean=4), run.config)
        for n_noisy in range(5):
            size = replace(run.size, n=60, n_noisy=n_noisy)
            problem = STAGE.misfit(config, run.config, size, NetworkFacts(1, (), True, {}, {}))
            assert (problem is None) == (n_noisy == 0 or n_noisy >= least)
            assert problem is None or problem.field == "noisy"


def test_references_must_be_left(plain: Trained) -> None:
    config, facts = STAGE.resolve(LocateConfig(noisy=4, clean=4), plain.config), NetworkFacts(1, (), True, {}, {})
    for clean, refused in ((34, True), (35, False)):
        problem = STAGE.misfit(config, plain.config, replace(plain.size, n=clean + 10, n_noisy=10), facts)
        assert (problem is not None) == refused
        assert problem is None or f"only {clean} clean examples" in str(problem)


@pytest.mark.parametrize("method", ["flips", "contrast"])
def test_no_score_depends_on_how_many_items_are_asked_for(plain: Trained, method: str) -> None:
    orders = []
    for noisy, clean in ((4, 0), (6, 6)):
        config = STAGE.resolve(LocateConfig(noisy=noisy, clean=clean, evaluated=0), plain.config)
        located = [
            STAGE.run(config, plain.inputs(), {"group": g, "method": method})["located"] for g in range(2 if clean else 1)
        ]
        orders.append(
            {
                e: list(zip(x, k, strict=True))
                for of in located
                for e, x, k in zip(of["example"], of["layers"], of["indices"], strict=True)
            }
        )
    few, many = orders
    assert 0 < len(few) < len(many)
    assert few == {example: many[example] for example in few}


def test_a_training_that_diverged_predicts_nothing(plain: Trained) -> None:
    inputs = plain.inputs()
    broken = {
        name: torch.full_like(t, torch.nan) if t.is_floating_point() else t for name, t in plain.epochs[-1].weights.items()
    }
    inputs = replace(inputs, weights=lambda epoch: broken)
    config = STAGE.resolve(LocateConfig(noisy=2, clean=0), plain.config)
    rows = rows_of(config, inputs, 0, "activation")
    assert len(rows) == 2
    assert all(row["skipped"] and row["k"] is None for row in rows)


def test_every_number_of_closings_has_one_row(plain: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the label is lost after 5."""
    monkeypatch.setattr(compute, "first_lost", lambda predicted, label: 5)
    rows = rows_of(STAGE.resolve(LocateConfig(noisy=2, clean=0, evaluated=0), plain.config), plain.inputs(), 0, "gradient")
    assert [row["k"] for row in rows if not row["skipped"]] == [5, 10] * len(
        {row["example"] for row in rows if not row["skipped"]}
    )


def test_a_users_control_runs_if_it_is_asked_for() -> None:
    mine = Method("mine", lambda item: item.open()[0], control=True)
    train = settings()[0]
    for unasked, fields, there in (([], {}, False), ([], {"methods": ("mine",)}, True), ([mine], {}, True)):
        stage = Locate([mine], unasked)
        assert ("mine" in stage.resolve(stage.config(**fields), train).methods) == there


def _gates(case: Case, closed: list[int]) -> dict[str, torch.Tensor]:
    assert case.item is not None
    gates = case.item.open()
    gates[0, closed] = 0
    return Neurons(case.item.network).split(gates)


@torch.no_grad()
def _predicted(case: Case, closed: list[int]) -> int:
    assert case.item is not None
    return int(case.item.network(case.item.own.x, gates=_gates(case, closed)).argmax())


@torch.no_grad()
def _accuracy(case: Case, inputs: Inputs, rows: list[int], closed: list[int]) -> float:
    assert case.item is not None
    z = case.item.network(images(inputs.on_device.x[rows]), gates=_gates(case, closed))
    return float((z.argmax(dim=1) == inputs.on_device.y[rows]).double().mean())


def test_rows_do_not_depend_on_the_group(plain: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned_gates, "STEPS", 3)
    config = STAGE.resolve(LocateConfig(noisy=1, clean=2, evaluated=10), plain.config)
    for method in ("flips", "random", "slimming_drop"):
        whole = rows_of(config, plain.inputs(), 0, method)
        with monkeypatch.context() as patched:
            patched.setattr(truths, "GROUP", 1)
            apart = [row for group in (2, 0, 1) for row in rows_of(config, plain.inputs(), group, method)]
        key = lambda row: (row["example"], row["k"])  # noqa: E731
        assert sorted(apart, key=key) == sorted(whole, key=key)


def test_examples_are_keyed_and_more_of_them_change_none(plain: Trained) -> None:
    inputs = plain.inputs()
    few, many = (
        [case.row for case in truths.group_of(STAGE.resolve(LocateConfig(noisy=n, clean=0), plain.config), inputs, 0)[1]]
        for n in (2, 5)
    )
    assert set(few) < set(many)
    assert all(inputs.data.noisy[many])


# --- injected ---------------------------------------------------------------------------------------------------------


@cache
def injected() -> tuple[Inputs, ResolvedLocate, WithNetwork]:
    run = run_once(noise=0.0, subset=200, epochs=8, batch_size=16)
    config = InjectConfig(networks=1, items=2, share=0.04, steps=60)
    given = INJECT.run(config, run.inputs(), {"network": 0})
    assert isinstance(given, WithNetwork)
    inputs = run.inputs()
    rows = {**given.tables["injections"], "analysis": ["a", "a"], "accepted": [True, False]}
    inputs.tables = {"injections": rows}
    inputs.networks = [OfPart("inject", {"network": 0}, lambda: given.weights)]
    resolved = STAGE.resolve(LocateConfig(evaluated=20), run.config, ["inject"])
    return inputs, STAGE.completed(resolved, {"inject": config}), given


def test_the_truth_are_the_channels_of_the_item() -> None:
    inputs, config, given = injected()
    setting, cases = truths.group_of(config, inputs, 0)
    rows = given.tables["injections"]
    (case,) = cases  # the other one was not accepted
    true = [[Neurons(setting.network).locate(int(n)) for n in np.flatnonzero(t)] for t in (case.truth, case.spared)]
    assert true == [list(zip(rows["layers"][k], rows["indices"][k], strict=True)) for k in range(2)]
    assert case.candidates.all()
    assert int(inputs.data.example[case.row]) == rows["example"][0]
    assert int(setting.labels[case.row]) == rows["label"][0] != inputs.data.y[case.row]
    assert setting.noisy.sum() == 2
    assert all(torch.equal(t, given.weights[name]) for name, t in setting.network.state_dict().items())
    assert any(not torch.equal(t, given.weights[name]) for name, t in setting.before.state_dict().items())
    item = case.item
    assert item is not None
    assert is_predicted(item)
    assert int(item.other.y) == rows["label"][1]
    assert not {*setting.members.tolist()} & {*setting.clean().tolist()}
    assert (item.same_label.y == rows["label"][0]).all()


def test_the_rows_of_an_injected_item() -> None:
    inputs, config, _ = injected()
    _, (case,) = truths.group_of(config, inputs, 0)
    assert case.item is not None
    assert case.truth is not None
    assert case.spared is not None
    (row,) = rows_of(config, inputs, 0, "gradient")
    scores = case.item.sensitivities(case.item.own)[0].numpy()
    assert row["spec_auc"] == pytest.approx(auc(scores[case.truth], scores[case.spared]))
    assert row["auc"] == pytest.approx(auc(scores[case.truth], scores[~case.truth]))
    assert not row["control"]
    assert (row["k"], row["n_truth"], row["n_candidates"], row["network"]) == (3, 3, 84, 0)
    top = np.argsort(-scores)[:3]
    assert row["recall"] == pytest.approx(case.truth[top].mean())
    assert row["own_flip"] == (_predicted(case, top.tolist()) != int(case.item.own.y))


def test_the_control_of_the_other_item_is_not_judged_beside_the_neurons_of_that_item() -> None:
    made, config, given = injected()
    third = next(e for e in made.data.example.tolist() if e not in given.tables["injections"]["example"])
    label = (int(made.data.y[made.data.example == third][0]) + 1) % 10
    of_third = {"example": third, "label": label, "layers": ["conv1"] * 2, "indices": [0, 3], "accepted": True,
                "analysis": "a", "network": 0}  # fmt: skip
    rows = {name: [*made.tables["injections"][name], value] for name, value in of_third.items()}
    inputs = replace(made, tables={"injections": rows}, memo={})
    setting, (case, *_) = truths.group_of(config, inputs, 0)
    assert case.spared is not None
    assert case.of_other is not None
    total = Neurons(setting.network)
    places = [{*zip(rows["layers"][k], rows["indices"][k], strict=True)} for k in range(3)]
    assert {total.locate(int(n)) for n in np.flatnonzero(case.of_other)} == places[1]
    assert {total.locate(int(n)) for n in np.flatnonzero(case.spared)} == places[1] | places[2]
    assert case.item is not None
    assert int(case.item.other.y) == rows["label"][1]
    (row, *_) = rows_of(config, inputs, 0, "other_item")
    scores = case.item.sensitivities(case.item.other)[0].numpy()
    assert row["control"]
    assert row["spec_auc"] == pytest.approx(auc(scores[case.truth], scores[case.spared & ~case.of_other]))


def test_parts_are_networks_by_methods() -> None:
    _, config, _ = injected()
    parts = STAGE.parts(config, settings(noise=0.0)[0], run_once(noise=0.0, subset=200, epochs=8, batch_size=16).size)
    assert config.networks == 1
    assert parts == [{"group": 0, "method": method.name} for method in METHODS]
    assert len(parts) == 16 + 3


# --- settings, and methods that are wrong --------------------------------------------------------------------------------


def test_the_truth_follows_from_the_training_and_the_block() -> None:
    plain, tied = (settings(**fields)[0] for fields in ({}, {"dropout": "example_tied", "p_gen": 0.3, "p_mem": 0.2}))
    assert [STAGE.resolve(LocateConfig(), train, beside).truth for train, beside in
            ((plain, []), (tied, []), (plain, ["inject"]))] == ["deleted", "tied", "injected"]  # fmt: skip
    few = STAGE.resolve(LocateConfig(methods=("zero_out", "gradient")), plain)
    assert few.methods == ("gradient", "zero_out", *CONTROLS)
    assert (few.before, few.clean, few.noisy) == (1, 10, 10)
    for fields, train, beside, said in (
        ({"truth": "tied"}, plain, [], "tied needs dropout: example_tied"),
        ({"truth": "deleted"}, tied, [], "valid: tied"),
        ({"truth": "injected"}, plain, [], "add `inject: {}`"),
        ({"truth": "deleted"}, plain, ["inject"], "into another block"),
        ({"clean": 0, "noisy": 0}, plain, [], "at least one of them"),
        ({"before": 9}, plain, [], "beyond the last epoch"),
    ):
        with pytest.raises(FieldError, match=said):
            STAGE.resolve(LocateConfig(**fields), train, beside)
    with pytest.raises(UnusedFieldError):
        STAGE.resolve(LocateConfig(noisy=3), plain, ["inject"])
    with pytest.raises(FieldError, match="5, and truth tied takes pairs of examples; valid: 4 or 6"):
        STAGE.resolve(LocateConfig(noisy=5), tied)
    assert STAGE.resolve(LocateConfig(noisy=5), plain).noisy == 5


@pytest.mark.parametrize(
    ("scores", "said"),
    [(lambda item: torch.zeros(3), r"shape \(3,\)"), (lambda item: item.open()[0] / 0, "numbers that are not finite")],
)
def test_a_method_that_gives_something_else_says_so(scores: Any, said: str) -> None:
    inputs, config, _ = injected()
    with pytest.raises(ValueError, match=f"method mine: {said}; valid: a finite number for each of the 84 channels"):
        compute.run(config, inputs, 0, Method("mine", scores))


def test_a_search_closes_what_the_stage_flips_would(plain: Trained) -> None:
    """The greedy order ends with the label lost, and the first neuron is the one with the largest gradient."""
    config = STAGE.resolve(LocateConfig(noisy=2, clean=0), plain.config)
    _, cases = truths.group_of(config, plain.inputs(), 0)
    for case in cases:
        if case.item is not None:
            closed, gradient = case.item.search()
            assert closed[0] == int(gradient.argmax())
            assert len(set(closed)) == len(closed) <= 64


def test_other_images_would_give_other_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned_gates, "STEPS", 3)
    inputs, config, _ = injected()
    _, (case,) = truths.group_of(config, inputs, 0)
    item = case.item
    assert item is not None
    moved = replace(item, own=Examples(item.own.x.flip(-1), item.own.y))
    for method in METHODS:
        if not method.control and method.name not in ("flips", "weight_change"):
            assert not torch.equal(method.scores(item), method.scores(moved)), method.name
