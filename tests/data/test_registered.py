"""Data sets that a program registers: torchvision's, and anything else with a length and items."""

from __future__ import annotations

import io
from collections import UserList
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms

import memloc
from memloc.data import load, registered, source_of
from memloc.errors import UsageError
from memloc.models.architectures import TRAINING, resolved
from memloc.store import Store
from tests.conftest import run_inline
from tests.data.pictures import classes, encoded, pixels
from tests.data.registrations import forgotten

N = 12
IMAGES = [pixels(k) for k in range(N)]


@pytest.fixture(autouse=True)
def _only_here() -> Iterator[None]:
    with forgotten():
        yield
    load.cache_clear()


def read(**fields: Any) -> Any:
    return load(source_of({"dataset": "mine", "test": 0.0, **fields}))


FORMS = {
    "Pillow": Image.fromarray,
    "H×W×C": lambda x: x,
    "C×H×W": lambda x: x.transpose(2, 0, 1),
    "tensor": lambda x: torch.tensor(x.transpose(2, 0, 1)),
    "ToTensor": transforms.ToTensor(),
}


@pytest.mark.parametrize("form", FORMS)
def test_images_of_many_forms(form: str) -> None:
    memloc.register_dataset("mine", [(FORMS[form](image), k % 2) for k, image in enumerate(IMAGES)])
    raw = read()
    assert (raw.x_train.transpose(0, 2, 3, 1) == np.stack(IMAGES)).all()
    assert raw.y_train.tolist() == [k % 2 for k in range(N)]
    assert raw.origin.files[3] == "mine[3]"


@pytest.mark.parametrize("label", [lambda k: torch.tensor(k), lambda k: np.int32(k), lambda k: "ab"[k], bool])
def test_labels_of_many_types(label: Any) -> None:
    memloc.register_dataset("mine", [(image, label(k % 2)) for k, image in enumerate(IMAGES)])
    assert read().y_train.tolist() == [k % 2 for k in range(N)]


def test_a_folder_of_torchvision_is_the_folder(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    classes(tmp_path / "test", n=2)
    train, test = (datasets.ImageFolder(str(tmp_path / half)) for half in ("train", "test"))
    memloc.register_dataset("mine", train, test=test)
    raw = load(source_of({"dataset": "mine"}))
    folder = load(source_of({"dataset": f"folder:{tmp_path}"}))
    assert raw.identity == folder.identity
    assert raw.origin.class_names == ("cat", "dog")
    assert raw.origin.files == tuple(name.removeprefix("train/") for name in folder.origin.files)


def test_true_labels_names_and_sizes() -> None:
    given, true = [k % 2 for k in range(N)], [int(k > 5) for k in range(N)]
    memloc.register_dataset(
        "mine", list(zip(IMAGES, given, strict=True)), true_labels=true, class_names=("ant", "bee")
    )  # fmt: skip
    raw = read(image="6x8")
    assert raw.x_train.shape == (N, 3, 6, 8)
    assert raw.given_wrong.tolist() == [a != b for a, b in zip(given, true, strict=True)]
    assert raw.origin.class_names == ("ant", "bee")
    assert read(labels="true").y_train.tolist() == true


@pytest.mark.parametrize("form", [torch.tensor, np.array, lambda y: pd.Series(y, index=range(N)[::-1]), tuple])
def test_true_labels_of_many_types_are_in_the_order_of_the_examples(form: Any) -> None:
    true = [int(k < 4) for k in range(N)]
    memloc.register_dataset("mine", [(image, 0) for image in IMAGES], true_labels=form(true))
    assert read().y_true.tolist() == true
    raw = read(test=0.25)
    at = [int(file[5:-1]) for file in raw.origin.files]  # of mine[7]
    assert raw.y_true.tolist() == [true[k] for k in at]
    assert raw.y_test.tolist() == [true[k] for k in range(N) if k not in at]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "true_labels has 2 labels; must be 12"),
        ([[0], [1, 2]], "true_labels has 2 labels; must be 12"),
        (3, "has one value; must be 12"),
    ],
)
def test_another_number_of_true_labels(labels: Any, message: str) -> None:
    memloc.register_dataset("mine", [(image, k % 2) for k, image in enumerate(IMAGES)], true_labels=labels)
    with pytest.raises(UsageError, match=message):
        read()


def test_true_labels_of_unlike_lengths() -> None:
    memloc.register_dataset("mine", [(image, 0) for image in IMAGES], true_labels=[[0], [1, 2], *range(10)])
    with pytest.raises(UsageError, match="the label of example 0 is of type list; must be whole numbers or text"):
        read()


def test_test_classes_of_another_order(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    classes(tmp_path / "test", ("ant", "cat", "dog"), n=2)
    train, test = (datasets.ImageFolder(str(tmp_path / half)) for half in ("train", "test"))
    memloc.register_dataset("mine", train, test=test)
    with pytest.raises(
        UsageError, match=r"train.classes and test.classes differ: class 0 is 'cat' in one and 'ant' in the other"
    ):
        load(source_of({"dataset": "mine"}))


@pytest.mark.parametrize("damaged", [0, 3])
def test_broken_images_that_pillow_has_not_decoded(damaged: int) -> None:
    content = [encoded(image, "JPEG") for image in IMAGES]
    content[damaged] = content[damaged][: len(content[damaged]) - 60]

    class Lazy(Moody):
        def __getitem__(self, k: int) -> tuple[Any, int]:
            return Image.open(io.BytesIO(content[k])), k % 2

    memloc.register_dataset("mine", Lazy())
    with pytest.raises(UsageError, match=rf"1 of 12 images cannot be read: mine\[{damaged}\] is damaged: "):
        read()
    assert len(read(skip_broken=True).y_train) == N - 1


def test_tensors_with_gradients() -> None:
    tensors = [torch.tensor(image / 255, requires_grad=True) for image in IMAGES]
    memloc.register_dataset("mine", [(tensor, k % 2) for k, tensor in enumerate(tensors)])
    assert (read().x_train.transpose(0, 2, 3, 1) == np.stack(IMAGES)).all()


@pytest.mark.parametrize("samples", [[("/home/ann/0.png", 0), ("1.png", 1)], [(), ()]])
def test_samples_that_have_no_folder_in_common(samples: Any) -> None:
    items = UserList([(image, k) for k, image in enumerate(IMAGES[:2])])
    items.samples = samples  # type: ignore[attr-defined]
    memloc.register_dataset("mine", items)
    assert read().origin.files == ("mine[0]", "mine[1]")


@pytest.mark.parametrize("names", [5, "abc", [0, 1], ""])
def test_class_names_that_are_no_names(names: Any) -> None:
    with pytest.raises(UsageError, match=r"class_names=.*; must be a list of names, such as \['cat', 'dog'\]"):
        memloc.register_dataset("mine", [], class_names=names)


def test_class_names_may_be_an_array() -> None:
    items = [(image, k % 2) for k, image in enumerate(IMAGES)]
    memloc.register_dataset("mine", items, class_names=np.array(["cat", "dog"]))  # type: ignore[arg-type]
    assert read().origin.class_names == ("cat", "dog")


def test_a_length_that_cannot_be_told() -> None:
    class Endless(Moody):
        def __len__(self) -> int:
            raise OSError("the disk is gone")

    memloc.register_dataset("mine", Endless())
    with pytest.raises(UsageError, match="mine: has no length: OSError: the disk is gone; must be a data set with a length"):
        read()


def test_a_later_one_takes_the_place() -> None:
    for shift in range(2):
        memloc.register_dataset("mine", [(image, (k + shift) % 2) for k, image in enumerate(IMAGES)])
        assert read().y_train.tolist() == [(k + shift) % 2 for k in range(N)]


def test_a_sweep_on_it(tmp_path: Path) -> None:
    text = """
defaults: {dataset: mine, test: 0.25, model: resnet9, width: 0.0625, epochs: 1, batch_size: 4}
blocks: {a: {stages: {evaluate: {}}}}
"""
    assert TRAINING.check("dataset", "mine")[1]
    with pytest.raises(UsageError, match="'mine' is not valid"):
        resolved(dataset="mine", model="resnet9", test=0.25)
    memloc.register_dataset("mine", [(image, "ab"[k % 2]) for k, image in enumerate(IMAGES)])
    store = Store(str(tmp_path / "store"))
    run_inline(tmp_path, text, store)
    opened = memloc.open_store(tmp_path / "store")
    assert opened.pandas("labels")["name"].tolist() == ["a", "b"]
    assert len(opened.pandas("files")) == len(opened.trials()[0].data().y) == N - round(0.25 * N)
    assert set(opened.pandas("files")["file"]) <= {f"mine[{k}]" for k in range(N)}


class Moody:
    """Another image each time."""

    def __init__(self) -> None:
        self.times = 0

    def __len__(self) -> int:
        return N

    def __getitem__(self, k: int) -> tuple[Any, int]:
        self.times += 1
        return pixels(self.times), k % 2


class Broken(Moody):
    def __getitem__(self, k: int) -> tuple[Any, int]:
        if k == 5:
            raise OSError("the disk is gone")
        return IMAGES[k], k % 2


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (Moody(), r"mine\[0\]: gives another image each time; register the data set without random transforms"),
        (Broken(), r"mine\[5\]: OSError: the disk is gone"),
        ([{"image": 1}] * 3, r"mine\[0\]: is of type dict; must be \(image, label\)"),
        ([(np.zeros((2, 3, 4, 5), np.uint8), 0)] * 3, r"mine\[0\]: image has shape \(2, 3, 4, 5\); must be H×W"),
        ([(np.full((4, 4), 1.5), 0)] * 3, r"mine\[0\]: images are float64 from 1.5 to 1.5; must be 0..1, or uint8"),
        ([("a.png", 0)] * 3, r"mine\[0\]: images are <U5; must be uint8"),
        ([(IMAGES[0], None)] * 3, "mine:label: example 0 has no label"),
        ([(IMAGES[0], float("nan"))] * 3, "mine:label: label nan of example 0 is no whole number"),
        ([(IMAGES[0], np.array([0, 1, 1]))] * 3, "mine:label: the label of example 0 is of type ndarray; must be"),
    ],
)
def test_items_that_are_refused(items: Any, message: str) -> None:
    memloc.register_dataset("mine", items)
    with pytest.raises(UsageError, match=message) as caught:
        read()
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("name", "items", "message"),
    [
        ("digits", [], "'digits' is a data set of memloc's own; choose another name"),
        ("a:b", [], "'a:b' is no name; must be letters, digits, _ and -, such as 'mine'"),
        (3, [], "3 is no name"),
        ("mine", 3, "register_dataset: 3 is of type int; valid: a data set with a length whose items are"),
        ("mine", iter([]), "is of type list_iterator; valid: a data set with a length"),
    ],
)
def test_registrations_that_are_refused(name: Any, items: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        memloc.register_dataset(name, items)
    assert list(registered._REGISTERED) == []
