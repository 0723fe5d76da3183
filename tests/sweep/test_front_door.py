"""What people type by habit: either it means what they think, or they are told what to write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from memloc import sweep
from memloc.errors import UsageError
from memloc.stages import REGISTRY, STAGES
from memloc.sweep import Sweep
from tests.counting import calls

HEAD = "defaults: {dataset: digits, model: resnet9}\n"
WHOLE = "valid: a whole number >= 1 and <= 100000"
SEED = f"valid: a whole number >= 0 and < {2**63}"
RATE = "valid: a number > 0"

# (field, what is typed, what is valid, what to write)
REFUSED = [
    ("epochs", "1:30", WHOLE, "write 1..30 for all whole numbers from 1 to 30"),
    ("seed", "010", SEED, "write 10, without leading zeros: YAML would read 010 as octal"),
    ("seed", "001", SEED, "write 1, without leading zeros: YAML would read 001 as octal"),
    ("lr", "1:1.5", RATE, "write [1, 1.5] for a list; YAML would read 1:1.5 in base 60"),
    ("lr", "01.5", RATE, "write 1.5, without leading zeros"),
    ("lr", "00.5", RATE, "write 0.5, without leading zeros"),
    ("seed", "0x10", SEED, "write 16, in decimal"),
    ("epochs", "0b11", WHOLE, "write 3, in decimal"),
    ("epochs", "0o7", WHOLE, "write 7, in decimal"),
    ("epochs", "1_000", WHOLE, "write 1000, without underscores"),
    ("lr", "1_0.5", RATE, "write 10.5, without underscores"),
    ("seed", "range(3)", SEED, "write 0..2"),
    ("seed", "0-3", SEED, "write 0..3 for all whole numbers from 0 to 3"),
    ("seed", "0...3", SEED, "write 0..3 for all whole numbers from 0 to 3"),
    ("noise", "10%", "valid: a number >= 0 and <= 1", "write 0.1"),
    ("noise", "2.5 %", "valid: a number >= 0 and <= 1", "write 0.025"),
    ("lr", "1e-3", RATE, "YAML reads 1e-3 as text: write 0.001"),
    ("lr", "1e-9", RATE, "YAML reads 1e-9 as text: write it with a point and a sign, like 1.0e-3"),
    ("epochs", "1e1", WHOLE, "YAML reads 1e1 as text: write 10"),
]
LISTS = [
    ("epochs", "1,000", WHOLE, "write 1000, without commas"),
    ("seed", "0,1,2", SEED, "write [0, 1, 2]"),
    ("seed", "0,1", SEED, "write [0, 1]"),
    ("seed", "range(1, 4)", SEED, "write 1..3"),
    ("lr", "0.1,0.2", RATE, "write [0.1, 0.2]"),
    ("lr", "1,5", RATE, "write 1.5, or [1, 5] for two values"),
    (
        "seed",
        "0..3,7",
        SEED,
        "a range stands alone in place of an axis, as in 0..3; anything else is a list, as in [0, 1, 7]",
    ),
]
NAMES = [
    ("model", "resnet18", "(write timm:resnet18)"),
    ("model", "ResNet18", "(write timm:resnet18)"),
    ("model", "ResNet-9", "(did you mean 'resnet9'?)"),
    ("dataset", "CIFAR10", "(did you mean 'cifar10'?)"),
    ("dataset", "cifar-10", "(did you mean 'cifar10'?)"),
    ("dataset", "CIFAR_10", "(did you mean 'cifar10'?)"),
    ("dataset", "Fashion-MNIST", "(did you mean 'fashion_mnist'?)"),
    ("precision", "FP16", "(did you mean 'fp16'?)"),
    ("dropout", "Example-Tied", "(did you mean 'example_tied'?)"),
]


def load(folder: Path, text: str, overrides: Sequence[str] = ()) -> Sweep:
    (folder / "mine.yaml").write_text(text)
    return sweep.load(folder / "mine.yaml", REGISTRY, overrides)


def problem_of(folder: Path, text: str, overrides: Sequence[str] = ()) -> str:
    with pytest.raises(UsageError) as caught:
        load(folder, text, overrides)
    (problem,) = (p.replace(str(folder) + "/", "") for p in caught.value.problems)
    return problem


# --- numbers


@pytest.mark.parametrize(("field", "typed", "valid", "write"), REFUSED)
def test_numbers_that_mean_something_else_are_refused(
    tmp_path: Path, field: str, typed: str, valid: str, write: str
) -> None:
    said = f"'{typed}' is not valid; {valid} ({write})"
    block = HEAD + "blocks:\n  a: {}\n"
    assert problem_of(tmp_path, block, [f"{field}={typed}"]) == f"command line:{field}: {said}"
    assert problem_of(tmp_path, block, [f"{field}=[1, {typed}]"]).endswith(f": {said}")
    in_file = HEAD + f"blocks:\n  a:\n    set:\n      {field}: {typed}\n"
    assert problem_of(tmp_path, in_file) == f"mine.yaml:5:blocks.a.set.{field}: {said}"
    in_axis = HEAD + f"blocks:\n  a:\n    axes:\n      {field}:\n      - {typed}\n"
    assert problem_of(tmp_path, in_axis) == f"mine.yaml:6:blocks.a.axes.{field}.0: {said}"
    entries = load(tmp_path, block).entries
    with pytest.raises(UsageError) as caught:
        sweep.only(entries, [f"{field}={typed}"], REGISTRY)
    assert "write" in caught.value.problems[0]


@pytest.mark.parametrize(("field", "typed", "valid", "write"), LISTS)
def test_lists_by_habit_are_told_how_to_write_them(tmp_path: Path, field: str, typed: str, valid: str, write: str) -> None:
    said = f"'{typed}' is not valid; {valid} ({write})"
    assert problem_of(tmp_path, HEAD + "blocks: {a: {}}\n", [f"{field}={typed}"]) == f"command line:{field}: {said}"
    in_file = HEAD + f"blocks:\n  a:\n    axes:\n      {field}: {typed}\n"
    assert write.split(",")[0] in problem_of(tmp_path, in_file)


@pytest.mark.parametrize(("field", "typed", "hint"), NAMES)
def test_names_in_other_spellings(tmp_path: Path, field: str, typed: str, hint: str) -> None:
    assert problem_of(tmp_path, HEAD + "blocks: {a: {}}\n", [f"{field}={typed}"]).endswith(hint)
    assert problem_of(tmp_path, HEAD + f"blocks: {{a: {{set: {{{field}: {typed}}}}}}}\n").endswith(hint)


@pytest.mark.parametrize(
    ("typed", "write"),
    [("0..5", "(write [0, 1, 2, 3, 4, 5])"), ("0,5", "(write [0, 5])"), ("5", ""), ("[0, 010]", "(write 10, without"),
     ("0..500", "(write the list out; ranges are for axes)"), ("", "'' is not valid")],
)  # fmt: skip
def test_lists_of_a_stage(tmp_path: Path, typed: str, write: str) -> None:
    text = HEAD + "blocks: {a: {stages: {rewind: {}}}}\n"
    assert write in problem_of(tmp_path, text, [f"rewind.epochs={typed}"])


@pytest.mark.parametrize(
    ("typed", "said"),
    [("plain", "; valid: null, or a non-empty list without duplicates, each plain, own, scaled, dropped (write [plain])"),
     ("[plain, drop]", "(did you mean 'dropped'?)"),
     ("scaledd", "(did you mean 'scaled'?)"), ("", "scaled, dropped")],
)  # fmt: skip
def test_names_in_a_list_of_a_stage(tmp_path: Path, typed: str, said: str) -> None:
    assert problem_of(tmp_path, HEAD + "blocks: {a: {stages: {evaluate: {}}}}\n", [f"evaluate.modes={typed}"]).endswith(said)


@pytest.mark.parametrize(
    ("typed", "said"),
    [("subset=", "'' is not valid; valid: a whole number"), ("seed=#3", "'#3' is not valid"), ("seed=1 #2", "'1 #2' is not"),
     ("seed=- 1", "'- 1' is not valid"), ("seed=a: b: c", "'a: b: c' is not valid"), ("seed=@", "'@' is not valid"),
     ("model=timm:", "'timm:' is not valid"), ("model=timm: resnet18", "'timm: resnet18' is not valid"),
     ("dataset=npz:a #1.npz", "a #1.npz: no such file"), ("seed=null", "null is not valid"), ("seed=true", "true is not")],
)  # fmt: skip
def test_a_value_is_all_that_was_typed(tmp_path: Path, typed: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is dropped in silence: no comment, no empty variable of a shell."""
    monkeypatch.chdir(tmp_path)
    if "npz" in typed:
        (entry,) = load(tmp_path, HEAD + "blocks: {a: {}}\n", [typed]).entries
        assert entry.config.flat()["dataset"] == f"npz:{tmp_path}/a #1.npz"
    else:
        assert said in problem_of(tmp_path, HEAD + "blocks: {a: {}}\n", [typed])


@pytest.mark.parametrize(
    ("typed", "value"),
    [("0.5", 0.5), (".5", 0.5), ("5.", 5.0), ("+0.1", 0.1), ("1.0e-3", 0.001), ("2", 2.0), ("1.5e+1", 15.0)],
)
def test_decimal_numbers_are_numbers(tmp_path: Path, typed: str, value: float) -> None:
    (entry,) = load(tmp_path, HEAD + "blocks: {a: {}}\n", [f"lr={typed}"]).entries
    assert entry.config.lr == value


# --- ranges


def seeds(loaded: Sweep) -> list[int]:
    return [e.config.seed for e in loaded.entries]


def test_a_range_has_both_ends(tmp_path: Path) -> None:
    assert seeds(load(tmp_path, HEAD + "blocks: {a: {axes: {seed: 0..3}}}\n")) == [0, 1, 2, 3]
    assert seeds(load(tmp_path, HEAD + "blocks: {a: {}}\n", ["seed=5..7"])) == [5, 6, 7]
    assert seeds(load(tmp_path, HEAD + "blocks: {a: {axes: {seed: [9], noise: [0.1]}}}\n", ["seed=2..2"])) == [2]
    loaded = load(tmp_path, HEAD + "blocks: {a: {axes: {epochs: 1..2, seed: 0..1}}}\n")
    assert [(e.config.epochs, e.config.seed) for e in loaded.entries] == [(1, 0), (1, 1), (2, 0), (2, 1)]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("seed=3..0", "3..0 is empty; write 0..3"),
        ("seed=-1..3", f"-1 is not valid; {SEED}"),
        (f"seed=0..{2**63}", f"{2**63} is not valid; {SEED}"),
        ("epochs=0..3", f"0 is not valid; {WHOLE}"),
        ("lr=0..3", "0..3 is a range of whole numbers; lr takes a number > 0: write a list"),
        ("seed=[0..3]", f"'0..3' is not valid; {SEED} (a range stands alone in place of an axis, as in 0..3; "
         "anything else is a list, as in [0, 1, 7])"),
    ],
)  # fmt: skip
def test_what_is_no_range(tmp_path: Path, typed: str, said: str) -> None:
    assert problem_of(tmp_path, HEAD + "blocks: {a: {}}\n", [typed]) == f"command line:{typed.split('=')[0]}: {said}"


def test_a_range_in_only(tmp_path: Path) -> None:
    entries = load(tmp_path, HEAD + "blocks: {a: {axes: {seed: 0..9}}}\n").entries
    assert [e.config.seed for e in sweep.only(entries, ["seed=0..3"], REGISTRY)] == [0, 1, 2, 3]
    assert [e.config.seed for e in sweep.only(entries, ["seed=0..1,5,8..20"], REGISTRY)] == [0, 1, 5, 8, 9]
    with pytest.raises(UsageError, match=r"^command line:--only seed=0-3: .*write 0\.\.3"):
        sweep.only(entries, ["seed=0-3"], REGISTRY)
    with pytest.raises(UsageError, match="no trial fits; seed there: 0, 1, 2"):
        sweep.only(entries, ["seed=20..30"], REGISTRY)


@pytest.mark.parametrize(
    ("typed", "said"),
    [("seed=[0, 1]", "no brackets here; write seed=0, 1"), ("seed=[3]", "no brackets here; write seed=3"),
     ("seed=,", "is not FIELD=VALUE,VALUE"), ("seed=", "is not FIELD=VALUE,VALUE")],
)  # fmt: skip
def test_what_only_does_not_take(tmp_path: Path, typed: str, said: str) -> None:
    entries = load(tmp_path, HEAD + "blocks: {a: {axes: {seed: 0..1}}}\n").entries
    with pytest.raises(UsageError) as caught:
        sweep.only(entries, [typed], REGISTRY)
    assert caught.value.problems == (f"command line:--only {typed}: {said}",)


def test_only_knows_the_trainings_that_use_a_field(tmp_path: Path) -> None:
    text = "defaults: {dataset: digits}\nblocks: {a: {axes: {model: [resnet9, vit_small]}}}\n"
    entries = load(tmp_path, text).entries
    (entry,) = sweep.only(entries, ["tokens=patch"], REGISTRY)
    assert entry.config.model == "vit_small"
    with pytest.raises(UsageError, match=r"^command line:--only masks=site: no trial fits; none uses masks$"):
        sweep.only(entries, ["masks=site"], REGISTRY)


# --- what some trainings of a block do not use

DROPOUTS = """defaults: {dataset: digits, model: resnet9, p_gen: 0.2, p_mem: 0.1}
blocks:
  a:
    axes: {dropout: [none, example_tied]}
    stages: {rewind: {%s}}
"""


def test_mask_mode_is_used_where_it_applies(tmp_path: Path) -> None:
    loaded = load(tmp_path, DROPOUTS % "mask_mode: scaled")
    assert [e.requests[0].config.mask_mode for e in loaded.entries] == [None, "scaled"]  # type: ignore[attr-defined]
    loaded = load(tmp_path, DROPOUTS % "", ["rewind.mask_mode=own"])
    assert [e.requests[0].config.mask_mode for e in loaded.entries] == [None, "own"]  # type: ignore[attr-defined]


def test_mask_mode_is_required_where_it_applies(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, DROPOUTS % "")
    assert problem.startswith(
        "mine.yaml:5:blocks.a.stages.rewind.mask_mode: required on a training with dropout: example_tied"
    )


def test_mask_mode_that_no_training_uses_is_an_error(tmp_path: Path) -> None:
    text = DROPOUTS.replace("none, example_tied", "none, standard") % "mask_mode: own"
    problem = problem_of(tmp_path, text)
    assert problem.startswith("mine.yaml:5:blocks.a.stages.rewind.mask_mode: used only with dropout: example_tied")
    problem = problem_of(tmp_path, DROPOUTS.replace("none, example_tied", "none, standard") % "", ["rewind.mask_mode=own"])
    assert problem.startswith("command line:rewind.mask_mode: used only with dropout: example_tied")


def test_each_block_must_use_what_it_says(tmp_path: Path) -> None:
    """Another block's tied training is no excuse; but one override is for all blocks."""
    other = "  b: {set: {dropout: %s}, stages: {rewind: {%s}}}\n"
    text = DROPOUTS % "mask_mode: own" + other % ("none", "mask_mode: own")
    assert problem_of(tmp_path, text).startswith("mine.yaml:6:blocks.b.stages.rewind.mask_mode: used only with")
    text = DROPOUTS % "" + other % ("none", "")
    assert load(tmp_path, text, ["rewind.mask_mode=own"]).entries


# --- one value where several are meant, and the other way round

SEVERAL = "for a training with each of these, write the field under `axes:` of a block"


@pytest.mark.parametrize(("typed", "shown"), [("[0, 1, 2]", "[0, 1, 2]"), ("0..2", "'0..2'"), ("[x]", "['x']")])
def test_several_values_belong_under_axes(tmp_path: Path, typed: str, shown: str) -> None:
    said = f"{shown} is not valid; {SEED} ({SEVERAL})"
    in_set = HEAD + f"blocks:\n  a: {{set: {{seed: {typed}}}}}\n"
    assert problem_of(tmp_path, in_set) == f"mine.yaml:3:blocks.a.set.seed: {said}"
    in_defaults = HEAD.replace("resnet9", f"resnet9, seed: {typed}") + "blocks: {a: {}}\n"
    assert problem_of(tmp_path, in_defaults) == f"mine.yaml:1:defaults.seed: {said}"
    names = HEAD.replace("digits", "[digits, cifar10]") + "blocks: {a: {}}\n"
    assert problem_of(tmp_path, names).endswith(f"({SEVERAL})")


@pytest.mark.parametrize("typed", ["[0.1, 0.2]", "0..2"])
def test_a_stage_takes_one_value(tmp_path: Path, typed: str) -> None:
    text = HEAD + f"blocks: {{a: {{stages: {{retrain: {{lr: {typed}}}}}}}}}\n"
    hint = "(a stage's field takes one value; write a block for each)"
    assert problem_of(tmp_path, text).endswith(f"is not valid; {RATE} {hint}")


def test_every_bad_item_of_a_stages_list_is_named(tmp_path: Path) -> None:
    text = HEAD + "blocks: {a: {stages: {evaluate: {}}}}\n"
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text, ["evaluate.modes=[plain, bare, owm, null]"])
    valid = "valid: plain, own, scaled, dropped"
    assert caught.value.problems == (
        f"command line:evaluate.modes.1: 'bare' is not valid; {valid}",
        f"command line:evaluate.modes.2: 'owm' is not valid; {valid} (did you mean 'own'?)",
        f"command line:evaluate.modes.3: null is not valid; {valid}",
    )


def test_a_range_that_no_list_holds(tmp_path: Path) -> None:
    text = HEAD + "blocks: {a: {stages: {rewind: {}}}}\n"
    problem = problem_of(tmp_path, text, [f"rewind.epochs=0..{2**70}"])
    assert problem.endswith("(write the list out; ranges are for axes)")


@pytest.mark.parametrize(
    ("typed", "said"),
    [("defaults.seed=1", "; a training's field stands alone: write seed=…"), ("a.lr=1", "write lr=…"),
     ("retrian.lr=1", f"(did you mean 'retrain'?); valid: {', '.join(sorted(STAGES))}")],
)  # fmt: skip
def test_a_trainings_field_after_a_dot(tmp_path: Path, typed: str, said: str) -> None:
    assert problem_of(tmp_path, HEAD + "blocks: {a: {}}\n", [typed]).endswith(said)


def test_python_words_for_values_are_in_no_message(tmp_path: Path) -> None:
    for text, said in (
        ("a: {axes: {seed: }}", "null is not a non-empty list"),
        ("a: {axes: {seed: true}}", "true is not a non-empty list"),
        ("a: {axes: {model: resnet9}}", "'resnet9' is not a non-empty list"),
        ("a: {set: true}", "true is not a mapping"),
        ("a: {about: [null]}", "[null] is not text"),
        ("a: {preset: true}", "true is no preset"),
        ("a: {axes: {compile: [true, true]}}", "true stands in this axis twice"),
        ("a: {set: {true: 1}}", "the key true is not text"),
        ("a: {set: {compile: true, model: 'timm:resnet18'}}", "true with model: timm:resnet18: networks of timm run"),
    ):
        assert said in problem_of(tmp_path, HEAD + f"blocks: {{{text}}}\n")


# --- what the command line does to a file


def test_an_override_that_makes_a_files_field_useless_is_named(tmp_path: Path) -> None:
    text = HEAD + "blocks:\n  a: {set: {dropout: sparse, keep: 0.5, unit: weight}}\n"
    cause = "on the command line makes it so: leave it out, or change a copy of the file (--show prints it)"
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text, ["dropout=none"])
    assert [p.split("; ", 1)[1] for p in caught.value.problems] == [f"dropout=none {cause}"] * 2
    problem = problem_of(tmp_path, text, ["dropout=standard"])
    assert "'weight' with dropout: standard; valid: element, channel; dropout=standard on the" in problem
    assert "command line" not in problem_of(tmp_path, text.replace("sparse, keep: 0.5", "none"))
    with pytest.raises(UsageError) as caught:
        sweep.load(sweep.find("demo"), REGISTRY, ["dropout=none"])
    assert all(f"dropout=none {cause}" in problem for problem in caught.value.problems)


# --- many trials


@pytest.mark.parametrize("listed", [False, True], ids=["range", "list"])
def test_many_seeds_are_expanded_in_linear_time(tmp_path: Path, listed: bool) -> None:
    """Twice as many ask for twice as many calls: a check of each against each would ask for four times as many."""
    counts = {}
    first = 1_000_000 * listed  # no two expansions have a training in common, so neither finds the other's in a cache
    for seeds in (2, 100, 200, 400):  # the first one for what is read once
        first += 1000
        last = first + seeds - 1
        axis = str(list(range(first, last + 1))) if listed else f"{first}..{last}"
        text = HEAD + f"blocks: {{a: {{axes: {{seed: {axis}}}, stages: {{evaluate: {{}}}}}}}}\n"
        counts[seeds] = calls(lambda text=text, seeds=seeds: _expanded(tmp_path, text, seeds))  # type: ignore[misc]
    assert counts[400] - counts[200] == pytest.approx(2 * (counts[200] - counts[100]), rel=0.1)


def _expanded(folder: Path, text: str, seeds: int) -> None:
    assert len(load(folder, text).entries) == seeds


def test_the_first_trials_of_a_huge_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "huge.yaml").write_text(HEAD + "blocks: {a: {axes: {seed: 0..999999, data_seed: 0..999999}}}\n")
    path = tmp_path / "huge.yaml"
    with pytest.raises(UsageError, match="1,000,000,000,000 trials; more than 100,000 need --yes"):
        sweep.load(path, REGISTRY)
    loaded = sweep.load(path, REGISTRY, first=3)
    assert [(e.config.seed, e.config.data_seed) for e in loaded.entries] == [(0, 0), (0, 1), (0, 2)]
    assert loaded.notes == ("1,000,000,000,000 trials; only the first 3 were looked at",)
