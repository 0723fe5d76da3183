"""From a user's images to a data set: classes, true labels, and the test set that is split off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from memloc.config import DataConfig
from memloc.data import Raw, prepare
from memloc.data.arrays import content_identity
from memloc.data.assembly import Half, OwnImages, assembled, held_for_testing
from memloc.data.labels import check_fits
from memloc.data.sources.npz_file import NpzFile
from memloc.errors import UsageError

N = 30
X = np.arange(N * 4, dtype=np.uint8).reshape(N, 1, 2, 2)
Y = np.arange(N) % 3
TRUE = np.where(np.arange(N) % 5 == 0, (Y + 1) % 3, Y)  # six labels are wrong
FILES = [f"{i}.png" for i in range(N)]


def half(**columns: Any) -> Half:
    return Half(X, {"label": Y, **columns}, FILES)


def own(train: Half | None = None, test: Half | None = None, **more: Any) -> OwnImages:
    return OwnImages("mine", train or half(), test, **{"label": "label", **more})


def test_a_test_set_of_its_own() -> None:
    raw = assembled(own(test=Half(X[:4], {"label": Y[:4]})), None)
    assert (raw.x_train == X).all()
    assert (raw.y_train == Y).all()
    assert (raw.y_test == Y[:4]).all()
    assert raw.identity == "npz:" + content_identity(X, Y, X[:4], Y[:4])  # older files of arrays keep their trainings
    assert (raw.classes, raw.y_true, raw.given_wrong) == (3, None, None)
    assert raw.origin.files == tuple(FILES)


@pytest.mark.parametrize(("share", "size"), [(None, 6), (0.5, 15), (0.0, 0)])
def test_a_part_of_every_class_is_kept_for_testing(share: float | None, size: int) -> None:
    raw = assembled(own(), share)
    assert len(raw.y_test) == size
    assert np.bincount(raw.y_test, minlength=3).tolist() == [size // 3] * 3
    everything = np.concatenate([raw.x_train, raw.x_test])
    assert sorted(everything[:, 0, 0, 0]) == sorted(X[:, 0, 0, 0])
    at = raw.x_train[:, 0, 0, 0] // 4  # the first pixel says which image it is
    assert (raw.y_train == Y[at]).all()
    assert raw.origin.files == tuple(FILES[i] for i in at)
    assert bool(raw.origin.notes) == (share in (None, 0))


@pytest.mark.parametrize("form", [lambda y: y[:, None], lambda y: np.eye(3, dtype=int)[y], lambda y: np.eye(3)[y]])
@pytest.mark.parametrize("column", ["label", "true_label"])
def test_labels_of_every_form_are_split(form: Any, column: str) -> None:
    plain, other = (
        assembled(own(half(true_label=TRUE)), 0.2),
        assembled(own(half(**{"true_label": TRUE, column: form(Y)})), 0.2),
    )
    assert other.y_train.tolist() == (plain.y_train.tolist() if column == "label" else Y[_at(other)].tolist())
    assert other.y_true is not None
    assert other.y_test.tolist() == (plain.y_test.tolist() if column == "label" else Y[_at(other, "x_test")].tolist())


def _at(raw: Raw, images: str = "x_train") -> Any:
    return getattr(raw, images)[:, 0, 0, 0] // 4


UNLIKE = "0 is 'a' in one and 'b' in the other; both must have the same names in the same order"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (own(half(true_label=TRUE), names={"label": ("a", "b", "c"), "true_label": ("b", "a", "c")}), UNLIKE),
        (
            own(half(true_label=TRUE), names={"label": ("a", "b", "c"), "true_label": ("a", "b")}),
            "class 2 is 'c' .* and missing",
        ),
        (own(unlike={"label": "x and y name the classes differently"}), "mine:label: x and y name the classes differently"),
    ],
)
def test_names_that_differ_are_refused(images: OwnImages, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        assembled(images, 0.0)


def test_names_of_a_column_that_nobody_reads_may_differ() -> None:
    images = own(half(other=TRUE), names={"label": ("a", "b", "c"), "other": ("b", "a", "c")}, unlike={"other": "differ"})
    assert assembled(images, 0.0).origin.class_names == ("a", "b", "c")


def test_the_split_is_a_constant_and_its_classes_stay() -> None:
    y = np.array([0] * 50 + [1, 2] + [3] * 8)
    at = held_for_testing(y, 0.2)
    assert (at == held_for_testing(y, 0.2)).all()
    assert len(set(at) & set(range(50))) == 10
    assert set(y) == set(np.delete(y, at))
    assert (held_for_testing(y, 0.99) != -1).all()
    assert set(np.delete(y, held_for_testing(y, 0.99))) == {0, 1, 2, 3}


def labels_of(values: Any, **more: Any) -> Raw:
    return assembled(own(Half(X, {"label": values}, FILES), **more), 0.0)


def test_labels_with_gaps_are_numbered() -> None:
    raw = labels_of(Y * 2 + 1)
    assert (raw.y_train == Y).all()
    assert raw.origin.class_names == ("1", "3", "5")
    assert "mine: labels 1, 3, 5 are numbered 0 to 2; table labels has what they were" in raw.origin.notes
    assert "mine: labels 1 to 3 are numbered 0 to 2; table labels has what they were" in labels_of(Y + 1).origin.notes


def test_names() -> None:
    words = np.array(["cat", "ant", "bee"])[Y]
    raw = labels_of(words)
    assert raw.origin.class_names == ("ant", "bee", "cat")
    assert np.array(raw.origin.class_names)[raw.y_train].tolist() == words.tolist()
    named = labels_of(Y, names={"label": ("ant", "bee", "cat")})
    assert (named.y_train.tolist(), named.origin.class_names) == (Y.tolist(), ("ant", "bee", "cat"))


def test_a_class_without_examples_is_left_out() -> None:
    raw = labels_of(Y * 2, names={"label": ("ant", "bee", "cat", "dog", "eel", "fly")})
    assert (raw.classes, raw.origin.class_names) == (3, ("ant", "cat", "eel"))
    assert "mine: classes without training examples are left out: bee, dog, fly" in raw.origin.notes


@pytest.mark.parametrize("how", [{}, {"true_label": "truth"}, {"labels": "label", "true_label": "truth"}])
def test_labels_that_are_wrong_as_given(how: dict[str, str]) -> None:
    name = how.get("true_label", "true_label")
    raw = assembled(own(half(**{name: TRUE})), 0.0, **how)
    assert (raw.y_train == Y).all()
    assert raw.given_wrong is not None
    assert (raw.given_wrong == (Y != TRUE)).all()
    assert raw.description.given_wrong == 6
    assert raw.identity == "npz:" + content_identity(X, Y, X[:0], Y[:0], TRUE)
    data = prepare(raw, DataConfig(source=NpzFile(dataset="npz:x"), subset=20, data_seed=4))
    assert (data.noisy == (Y != TRUE)[data.example]).all()
    assert (data.true_label == TRUE[data.example]).all()
    assert data.given_noise == 0.2


def test_other_labels_of_the_same_images() -> None:
    person = (TRUE + (np.arange(N) == 7)) % 3
    images = own(half(true_label=TRUE, person=person))
    raw = assembled(images, 0.0, "person")
    assert (raw.y_train == person).all()
    assert raw.description.given_wrong == 1
    true = assembled(images, 0.0, "true")
    assert not any("tells which are wrong" in note for r in (raw, true) for note in r.origin.notes)
    assert (true.y_train == TRUE).all()
    assert (true.y_true, true.description.given_wrong) == (None, None)
    assert len({r.identity for r in (raw, true, assembled(images, 0.0))}) == 3


def test_the_test_set_has_the_true_labels() -> None:
    raw = assembled(own(half(true_label=TRUE)), 0.5)
    at = raw.x_test[:, 0, 0, 0] // 4
    assert (raw.y_test == TRUE[at]).all()
    of_its_own = Half(X[:5], {"label": Y[:5], "true_label": TRUE[:5]})
    assert (assembled(own(half(true_label=TRUE), of_its_own), None).y_test == TRUE[:5]).all()
    without = Half(X[:5], {"label": Y[:5]})
    assert (assembled(own(half(person=Y), without), None, "person").y_test == Y[:5]).all()


def test_true_labels_that_are_all_given_add_nothing() -> None:
    assert assembled(own(half(true_label=Y)), 0.0).identity == assembled(own(), 0.0).identity


def test_wrong_labels_whose_true_ones_nobody_knows() -> None:
    wrong = np.arange(N) % 7 == 0
    raw = assembled(own(wrong=wrong), 0.0)
    assert raw.y_true is not None
    assert (raw.y_true == np.where(wrong, -1, Y)).all()
    data = prepare(raw, DataConfig(source=NpzFile(dataset="npz:x")))
    assert (data.noisy == wrong).all()


@pytest.mark.parametrize(("noise", "fits"), [(0.0, True), (0.1, False)])
def test_drawn_noise_on_top_of_given_noise_is_an_error(noise: float, fits: bool) -> None:
    images = own(half(true_label=TRUE))
    config = DataConfig(source=NpzFile(dataset="npz:x"), noise=noise)
    problems = check_fits(assembled(images, 0.0).description, config)
    assert (problems == {}) == fits
    if not fits:
        assert problems["noise"].startswith(
            "0.1 on top of given labels of which 6 of 30 are wrong; valid: 0; or labels=true (in a file labels: true), which"
        )
    assert check_fits(assembled(images, 0.0, "true").description, config) == {}
    assert check_fits(assembled(own(half(true_label=Y)), 0.0).description, config) == {}


@pytest.mark.parametrize(
    ("images", "how", "message"),
    [
        (own(), {"labels": "person"}, "mine: labels: there is no column 'person'; it has label"),
        (
            own(half(human=Y)),
            {"true_label": "humane"},
            r"true_label: there is no column 'humane'; it has label, human \(did",
        ),
        (
            own(),
            {"labels": "true"},
            "mine: labels: true: the true labels are not known; name their column, true_label=COLUMN",
        ),
        (
            own(Half(X, {"a": Y, "b": Y}), label=None),
            {},
            r"which column holds the labels\? Say labels=COLUMN \(in a file labels: COLUMN\); it has a, b",
        ),
        (own(half(true_label=Y.astype(str))), {}, r"label and true_label have unlike labels \(0 and '0'\)"),
        (own(Half(X, {"label": Y[:9]})), {}, r"mine:label: labels have shape \(9,\); must be \(30,\)"),
        (own(Half(X[:1], {"label": Y[:1]})), {}, "mine: has 1 training image; needs at least 2"),
        (own(Half(X, {"label": Y * 0})), {}, r"the training labels have 1 class \(0\); needs at least 2"),
        (own(test=Half(X[:, :, :1], {"label": Y})), {}, "test images are 1×1×2 .* training images 1×2×2"),
        (own(test=Half(X, {"label": Y + 1})), {}, "label 3 of example 2 is of a class without training examples"),
        (own(test=Half(X, {"label": Y.astype(str)})), {}, r"labels are text \(0\), those for training whole numbers \(0\)"),
        (own(Half(X, {}), label=None), {}, "mine: no column holds labels; they must be whole numbers or text"),
        (own(test=Half(X, {})), {}, "the test set has no column label; it has no labels"),
        (own(names={"label": ("a", "b", "a")}), {}, "two classes have the name 'a'; every class needs its own"),
        (own(test=Half(X, {"other": Y})), {}, "the test set has no column label; it has other"),
        (own(test=Half(X, {"label": Y})), {"test": 0.3}, "test: 0.3: there is a test set of 30 images; leave test out"),
        (own(names={"label": ("a", "b")}), {}, r"label 2 of example 2 is no class; must be 0 to 1 \(a, b, …\)"),
        (own(Half(X, {"label": Y - 1}), names={"label": ("a", "b", "c")}), {}, "label -1 of example 0 is no class"),
        (
            own(half(y_true=Y), wrong=np.arange(N) < 3),
            {},
            "mine: wrong labels: 3 by noisy, 0 by the true labels; they differ first at example 0; mend one of them",
        ),
        (own(half(y_true=np.where(np.arange(N) == 4, -1, Y))), {}, "mine:y_true: label -1 of example 4 is no class of the"),
        (own(wrong=Y), {}, r"mine:noisy: int64 \(30,\); must be 30 booleans"),
    ],
)
def test_refused(images: OwnImages, how: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        assembled(images, how.pop("test", None), **how)
    assert len(caught.value.problems) == 1


def test_columns_that_are_called_given_and_true() -> None:
    """Where nothing else is known to hold the given or the true labels, these columns do."""
    images = own(Half(X, {"given": Y, "true": TRUE, "other": (Y + 1) % 3}), label=None)
    for labels in ("given", "true", "other"):
        wanted = {"given": Y, "true": TRUE, "other": (Y + 1) % 3}[labels]
        assert (assembled(images, 0.0, labels).y_train == wanted).all()
    raw = assembled(images, 0.0, true_label="true")
    assert (raw.y_train == Y).all()
    assert raw.given_wrong is not None
    assert (raw.given_wrong == (Y != TRUE)).all()
    both = own(half(given=(Y + 1) % 3, true_label=TRUE, true=(Y + 2) % 3))  # the words mean what they mean
    assert (assembled(both, 0.0, "given").y_train == Y).all()
    assert (assembled(both, 0.0, "true").y_train == TRUE).all()


@pytest.mark.parametrize("field", ["labels", "true_label"])
@pytest.mark.parametrize(("typed", "column"), [(True, "true"), (1, "1")])
def test_columns_whose_names_yaml_takes_for_no_text(field: str, typed: object, column: str) -> None:
    assert getattr(NpzFile.model_validate({"dataset": "npz:x", field: typed}), field) == column


def test_noisy_that_agrees_with_the_true_labels() -> None:
    raw = assembled(own(half(y_true=TRUE), wrong=Y != TRUE), 0.0)
    assert raw.y_true is not None
    assert (raw.y_true == TRUE).all()
    signs = assembled(own(Half(X, {"label": Y % 2 * 2 - 1, "y_true": TRUE % 2 * 2 - 1})), 0.0)  # -1 is a class
    assert signs.origin.class_names == ("-1", "1")
