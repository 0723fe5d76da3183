"""One's own images: the same ones from a folder, a table of paths, Parquet, and a data set of Hugging Face."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memloc.data import Raw, source, source_of
from memloc.data.assembly import OwnImages
from memloc.data.halves import placeless
from memloc.data.sources.parquet_files import ParquetFiles
from memloc.errors import UsageError
from tests.data.pictures import classes, encoded, pixels, write

NAMES = ("cat", "dog", "eel")
N = 4  # images of a class


def read(dataset: str, **fields: Any) -> Raw:
    return source_of({"dataset": dataset, **fields}).load(Path())


def rows(folder: Path, part: str) -> list[tuple[str, bytes, int]]:
    """(path, bytes, class) of every image of a part, in order."""
    return [
        (f"{part}/{name}/{i}.png", (folder / part / name / f"{i}.png").read_bytes(), k)
        for k, name in enumerate(NAMES)
        for i in range(N)
    ]


def as_folder(folder: Path) -> str:
    return f"folder:{folder}"


def as_csv(folder: Path) -> str:
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        writer.writerows([path, NAMES[k], part] for part in ("train", "test") for path, _, k in rows(folder, part))
    return f"csv:{folder}/list.csv"


def features() -> dict[bytes, bytes]:
    """What Hugging Face writes beside a table."""
    named = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(NAMES)}}
    return {b"huggingface": json.dumps({"info": {"features": named}}).encode()}


def table(folder: Path, part: str, **columns: Any) -> pa.Table:
    listed = rows(folder, part)
    images = pa.array([{"bytes": content, "path": path} for path, content, _ in listed])
    labels = pa.array([k for *_, k in listed])
    return pa.table({"image": images, "label": labels, **columns}).replace_schema_metadata(features())


def as_parquet(folder: Path) -> str:
    for part in ("train", "test"):
        pq.write_table(table(folder, part), folder / f"{part}-00000-of-00001.parquet", row_group_size=5)
    return f"parquet:{folder}"


def write_hf(folder: Path, rows: pa.Table) -> None:
    folder.mkdir(parents=True)
    half = len(rows) // 2
    names = []
    for k, part in enumerate((rows.slice(0, half), rows.slice(half))):
        names.append(f"data-0000{k}-of-00002.arrow")
        with pa.OSFile(str(folder / names[-1]), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(part, max_chunksize=3)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")


def as_hf(folder: Path) -> str:
    for part in ("train", "test"):
        write_hf(folder / "hf" / part, table(folder, part))
    (folder / "hf" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    return f"hf:{folder}/hf"


FORMS: dict[str, Callable[[Path], str]] = {"folder": as_folder, "csv": as_csv, "parquet": as_parquet, "hf": as_hf}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("train", "test"):
        classes(tmp_path / part, NAMES, N)
    return tmp_path


@pytest.mark.parametrize("form", FORMS)
def test_the_same_images_in_every_form(folder: Path, form: str) -> None:
    raw = read(FORMS[form](folder))
    expected = np.stack([pixels(100 * k + i) for k in range(3) for i in range(N)])
    assert (raw.x_train.transpose(0, 2, 3, 1) == expected).all()
    assert (raw.x_test == raw.x_train).all()
    assert raw.y_train.tolist() == raw.y_test.tolist() == [k for k in range(3) for _ in range(N)]
    assert raw.origin.class_names == NAMES
    assert raw.origin.files == tuple(path for path, *_ in rows(folder, "train"))
    assert raw.origin.notes == ()
    assert raw.identity == read(as_folder(folder)).identity  # of the content, wherever it lies


@pytest.mark.parametrize("form", FORMS)
def test_of_one_size_and_without_the_broken_ones(folder: Path, form: str) -> None:
    write(folder / "train/cat/1.png", encoded(pixels(7, 30, 40)))
    write(folder / "train/dog/2.png", b"no image")
    write(folder / "test/eel/0.png", b"")
    dataset = FORMS[form](folder)
    with pytest.raises(UsageError, match=r"2 of 24 images cannot be read: train/dog/2.png is no .*, test/eel/0.png is"):
        read(dataset)
    with pytest.raises(UsageError, match=r"the images have 2 sizes, from 12×16 to 30×40"):
        read(dataset, skip_broken=True)
    raw = read(dataset, skip_broken=True, image="12x16")
    assert raw.x_train.shape == (11, 3, 12, 16)
    assert raw.x_test.shape == (11, 3, 12, 16)
    assert "train/dog/2.png" not in raw.origin.files
    assert raw.y_train.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert raw.y_test.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert (raw.x_train[3].transpose(1, 2, 0) == pixels(3)).all()
    assert any("2 images left out: train/dog/2.png" in note for note in raw.origin.notes)


@pytest.mark.parametrize("form", ["parquet", "hf", "csv"])
def test_what_people_said(folder: Path, form: str) -> None:
    person = [(k + (i == 0)) % 3 for k in range(3) for i in range(N)]  # the first of every class is wrong
    if form == "csv":
        path = as_csv(folder).removeprefix("csv:")
        lines = Path(path).read_text().splitlines()
        more = ["person", *(NAMES[p] for p in person), *[""] * 12]
        Path(path).write_text("\n".join(f"{line},{value}" for line, value in zip(lines, more, strict=True)))
        dataset = f"csv:{path}"
    else:
        both = {part: table(folder, part, person=pa.array(person, pa.int8())) for part in ("train", "test")}
        both["test"] = both["test"].drop_columns(["person"])  # as in cifar10-jpeg
        if form == "parquet":
            for part, content in both.items():
                pq.write_table(content, folder / f"{part}.parquet")
            dataset = f"parquet:{folder}/train.parquet:{folder}/test.parquet"
        else:
            for part, content in both.items():
                write_hf(folder / "hf" / part, content)
            (folder / "hf" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
            dataset = f"hf:{folder}/hf"
    raw = read(dataset, labels="person", true_label="label")
    assert raw.y_train.tolist() == person
    assert raw.y_true is not None
    assert raw.y_true.tolist() == raw.y_test.tolist() == [k for k in range(3) for _ in range(N)]
    assert raw.origin.class_names == NAMES
    true = read(dataset, labels="true", true_label="label")
    assert (true.y_train.tolist(), true.y_true) == (raw.y_true.tolist(), None)
    assert read(dataset).y_train.tolist() == raw.y_true.tolist()


# --- folders


def test_validation_takes_the_place_of_a_test_set(tmp_path: Path) -> None:
    classes(tmp_path / "Train")
    classes(tmp_path / "val", n=1)
    raw = read(f"folder:{tmp_path}")
    assert len(raw.y_test) == 2
    assert raw.origin.notes == (f"{tmp_path}: the validation images are the test set",)
    classes(tmp_path / "test", n=2)
    raw = read(f"folder:{tmp_path}")
    assert len(raw.y_test) == 4
    assert raw.origin.notes == (f"{tmp_path}: the validation images are left out",)
    with pytest.raises(UsageError, match=r"test: 0\.1: there is a test set of 4 images; leave test out"):
        read(f"folder:{tmp_path}", test=0.1)


def test_a_folder_without_test_set(tmp_path: Path) -> None:
    made = classes(tmp_path, n=10)
    raw = read(f"folder:{tmp_path}")
    assert (len(raw.y_train), raw.y_test.tolist()) == (16, [0, 0, 1, 1])
    for image, file in zip(raw.x_train, raw.origin.files, strict=True):
        assert (image.transpose(1, 2, 0) == made[file]).all()
    assert len(read(f"folder:{tmp_path}", test=0.0).y_test) == 0


def test_odd_things_in_a_folder(tmp_path: Path) -> None:
    classes(tmp_path, n=10, channels=None)
    (tmp_path / "empty").mkdir()
    classes(tmp_path / "cat", ("deeper",), 1, channels=None)
    classes(tmp_path, (".hidden",), 3)
    classes(tmp_path / "dog", (".thumbnails",), 3)
    write(tmp_path / "cat/.DS_Store", b"x")
    write(tmp_path / "cat/readme.txt", b"x")
    write(tmp_path / "readme.txt", b"x")
    write(tmp_path / "stray.png", encoded(pixels(5)))
    classes(tmp_path, ("__background__", "__MACOSX"), 1)
    name = os.fsdecode(b"caf\xe9.png")
    write(tmp_path / "dog" / name, encoded(pixels(77, channels=None)))
    (tmp_path / "dog/link.png").symlink_to(tmp_path / "cat/1.png")
    (tmp_path / "dog/loop").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "cat")
    raw = read(f"folder:{tmp_path}", test=0.0)
    assert raw.x_train.shape == (34, 1, 12, 16)
    assert raw.origin.class_names == ("cat", "dog", "linked")
    assert np.bincount(raw.y_train).tolist() == [11, 12, 11]
    assert "dog/caf\\xe9.png" in raw.origin.files
    assert "cat/deeper/0.png" in raw.origin.files
    assert f"{tmp_path}: folders without images are left out: empty" in raw.origin.notes
    beside = (
        "images outside of the folders of classes, and folders that begin with __, are left out: stray.png, __background__"
    )
    assert f"{tmp_path}: {beside}" in raw.origin.notes
    assert any("2 files whose names are not those of images left out: cat/readme.txt" in note for note in raw.origin.notes)


def test_trains_are_a_class_beside_others(tmp_path: Path) -> None:
    classes(tmp_path, ("bus", "train", "van"))
    assert read(f"folder:{tmp_path}").origin.class_names == ("bus", "train", "van")


def test_what_stands_beside_train_and_test_is_said(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    classes(tmp_path, ("bus", "van"))
    raw = read(f"folder:{tmp_path}")
    assert raw.origin.class_names == ("cat", "dog")
    beside = "folders that are neither for training nor for testing are left out: bus, van"
    assert f"{tmp_path}: {beside}" in raw.origin.notes


def make_unlabelled(folder: Path) -> None:
    for name in ("train", "test"):
        write(folder / name / "1.png", encoded(pixels(1)))


def make_flat(folder: Path) -> None:
    write(folder / "1.png", encoded(pixels(1)))


def make_one(folder: Path) -> None:
    classes(folder, ("only",))


def make_broken_link(folder: Path) -> None:
    classes(folder)
    (folder / "cat/9.png").symlink_to(folder / "nowhere")


def make_pipe(folder: Path) -> None:
    classes(folder)
    os.mkfifo(folder / "cat/9.png")


def make_unknown_test_class(folder: Path) -> None:
    classes(folder / "train")
    classes(folder / "test", ("cat", "gnu"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, ": there are no folders; there must be one for each of at least 2 classes; folder:DIR needs"),
        (make_flat, ": there are no folders; there must be"),
        (make_unlabelled, ": there are no folders; there must be"),
        (make_one, ": the only folder is only; there must be one for each of at least 2 classes"),
        (make_broken_link, "1 of 11 images cannot be read: cat/9.png is a link to nowhere; mend or"),
        (make_pipe, "1 of 11 images cannot be read: cat/9.png is no regular file"),
        (make_unknown_test_class, ":label of the test set: label gnu of example 5 is of a class without training examples"),
        (Path.rmdir, ": no such folder; folder:DIR needs DIR/CLASS/IMAGE, or DIR/train/CLASS/IMAGE"),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    make(folder)
    with pytest.raises(UsageError) as caught:
        read(f"folder:{folder}")
    (problem,) = caught.value.problems
    assert str(folder) in problem
    assert message in problem


# --- tables


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_of_paths(tmp_path: Path, separator: str, encoding: str) -> None:
    classes(tmp_path)
    lines = [
        f"file{separator}label",
        *(f"cat/{i}.png{separator}7" for i in range(5)),
        *(f"dog/{i}.png{separator}12" for i in range(5)),
    ]
    (tmp_path / "a.csv").write_text("\r\n".join(lines) + "\n", encoding=encoding)
    raw = read(f"csv:{tmp_path}/a.csv", test=0.0)
    assert raw.origin.class_names == ("7", "12")
    assert np.bincount(raw.y_train).tolist() == [5, 5]


@pytest.mark.parametrize(
    ("content", "fields", "message"),
    [
        (b"", {}, "a.csv: is empty; csv:FILE needs a table with a header"),
        (b"path,label\na.png\n", {}, "a.csv:2: has 1 value, the header 2; must be one for each column"),
        (b'path,label\n\n"a\nb.png",1\n\na.png,1,2\n', {}, "a.csv:6: has 3 values, the header 2"),
        (b"path,label\n\n", {}, "a.csv: has a header and no rows; csv:FILE needs"),
        (b"path,path\na,b\n", {}, "two columns of the header have one name: path, path"),
        (b"path,label\nz\xff,1\n", {}, "a.csv:2: is not UTF-8 (byte 0xff)"),
        (b"a,b\n1,2\n", {}, "no column is known to hold the images; a, b can; say image_column=COLUMN (in a file"),
        (
            b"path,label\na,1\n",
            {"image_column": "pat"},
            "there is no column 'pat'; it has path, label (did you mean 'path'",
        ),
        (b"path,label,split\na,1,all\n", {}, "split is 'all' for a; must be train, test or val"),
        (
            b"path,label\n" + 300 * b"x" + b" ,1\n" + b"b,2\n",
            {},
            f"2 of 2 images cannot be read: {300 * 'x'} cannot be read: File",
        ),
        (b"path,label\na.png,1\nb.png,2\n", {}, "2 of 2 images cannot be read: a.png is missing, b.png is missing; mend"),
        (b'path,label\n"a,1\n' + b"x" * 200_000, {}, "a.csv: is no table: field larger than field limit"),
    ],
)
def test_tables_of_paths_that_are_refused(tmp_path: Path, content: bytes, fields: dict[str, str], message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read(f"csv:{tmp_path}/a.csv", **fields)
    assert len(caught.value.problems) == 1
    assert message in str(caught.value)


def plain(**columns: Any) -> pa.Table:
    return pa.table({"photo": [encoded(pixels(k)) for k in range(6)], "kind": ["a", "b"] * 3, **columns})


def test_plain_bytes_and_other_columns(tmp_path: Path) -> None:
    rows = plain(weight=[1.5] * 6, day=pa.array([0] * 6, pa.date32()), words=pa.array([["x"]] * 6))
    pq.write_table(rows.set_column(1, "kind", rows["kind"].dictionary_encode()), tmp_path / "x.parquet")
    with pytest.raises(
        UsageError,
        match=r"which column holds the labels\? Say labels=COLUMN \(in a file labels: COLUMN\); it has kind, weight",
    ):
        read(f"parquet:{tmp_path}/x.parquet")
    raw = read(f"parquet:{tmp_path}/*.parquet", labels="kind", test=0.0)
    assert raw.y_train.tolist() == [0, 1] * 3
    assert raw.origin.class_names == ("a", "b")
    assert raw.origin.files[2] == "x.parquet, row 2"


def test_patterns_and_names(tmp_path: Path) -> None:
    for name in ("data/train-1", "data/train-0", "test/rows", "odd[1]"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(plain(), tmp_path / f"{name}.parquet")
    whole = read(f"parquet:{tmp_path}")
    assert (len(whole.y_train), len(whole.y_test)) == (18, 6)
    assert whole.origin.files[:7:6] == ("train-0.parquet, row 0", "train-1.parquet, row 0")
    assert len(read(f"parquet:{tmp_path}/data/train-*.parquet", test=0.0).y_train) == 12
    assert len(read(f"parquet:{tmp_path}/odd[1].parquet", test=0.0).y_train) == 6  # a name, not a pattern
    assert len(read(f"parquet:{tmp_path}/test/rows.parquet", test=0.0).y_train) == 6  # alone it is for training


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "x.parquet: no such file; parquet:PATH needs a Parquet file"),
        (lambda path: path.write_bytes(b"hello"), "x.parquet: is no Parquet file: "),
        (lambda path: path.mkdir(), "x.parquet: there is no such Parquet file"),
        (
            lambda path: pq.write_table(pa.table({"label": [1, 2]}), path),
            "no column is known to hold the images; it has label; a column of images holds the bytes of image files, or a",
        ),
        (lambda path: pq.write_table(plain(other=[b"x"] * 6), path), "photo, other can; say image_column=COLUMN (in"),
        (lambda path: pq.write_table(plain().slice(0, 0), path), "has no image"),
        (
            lambda path: pq.write_table(pa.table({"image": pa.array([None, b"x"], pa.binary()), "label": [0, 1]}), path),
            "2 of 2 images cannot be read: x.parquet, row 0 has no bytes in the table, x.parquet, row 1 is no image",
        ),
    ],
)
def test_parquet_that_is_refused(tmp_path: Path, make: Callable[[Path], Any], message: str) -> None:
    make(tmp_path / "x.parquet")
    with pytest.raises(UsageError) as caught:
        read(f"parquet:{tmp_path}/x.parquet")
    assert len(caught.value.problems) == 1
    assert message in str(caught.value)


def test_files_with_unlike_columns(tmp_path: Path) -> None:
    pq.write_table(plain(), tmp_path / "train.parquet")
    pq.write_table(plain().rename_columns(["picture", "kind"]), tmp_path / "test.parquet")
    with pytest.raises(UsageError, match=r"test.parquet: lacks column photo, which train.parquet has"):
        read(f"parquet:{tmp_path}")


def test_damaged_parquet_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(plain(), path, compression="zstd")
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read(f"parquet:{path}", test=0.0)
        except UsageError as error:
            refused += len(error.problems)
    assert refused > 10


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "state.json: no such file; hf:DIR needs a folder that datasets.save_to_disk wrote"),
        ("{", "state.json: is no JSON: "),
        ("[]", "state.json: is no JSON object"),
        ("{}", "state.json: lists no files"),
        ('{"_data_files": [{"filename": "../../etc/passwd"}]}', "state.json: lists no files"),
        ('{"_data_files": [{"filename": "a.arrow"}]}', "a.arrow: no such file"),
        ('{"_data_files": [{"filename": "state.json"}]}', "state.json: is no file of Arrow"),
    ],
)
def test_saved_data_sets_that_are_refused(tmp_path: Path, state: str | None, message: str) -> None:
    if state is not None:
        (tmp_path / "state.json").write_text(state)
    with pytest.raises(UsageError) as caught:
        read(f"hf:{tmp_path}")
    assert len(caught.value.problems) == 1
    assert message in str(caught.value)


def test_other_labels_of_the_same_files_need_one_reading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person = pa.array([(k + 1) % 3 for k in range(3) for _ in range(N)])
    pq.write_table(table(folder, "train", person=person), folder / "train.parquet")
    pq.write_table(table(folder, "test"), folder / "test.parquet")
    readings = []
    plain_read = ParquetFiles.read
    monkeypatch.setattr(ParquetFiles, "read", lambda self: readings.append(1) or plain_read(self))
    first, second = (read(f"parquet:{folder}", labels=labels) for labels in ("given", "person"))
    assert len(readings) == 1
    assert first.x_train is second.x_train
    assert second.y_train.tolist() == person.to_pylist()
    hint = "the labels are person; if label has the true ones, true_label: label tells which are wrong"
    assert second.origin.notes == (f"{folder}: {hint}",)
    pq.write_table(table(folder, "test").slice(1), folder / "test.parquet")
    assert len(read(f"parquet:{folder}").y_test) == 3 * N - 1  # a changed file is read again


def test_changed_images_are_read_again(folder: Path) -> None:
    """Nothing tells from a table of paths that an image has changed."""
    dataset = as_csv(folder)
    before = read(dataset)
    write(folder / "train/cat/0.png", encoded(pixels(999)))
    after = read(dataset)
    assert (after.x_train[0].transpose(1, 2, 0) == pixels(999)).all()
    assert after.identity != before.identity


@pytest.mark.parametrize("dataset", ["parquet:a.parquet:", "parquet::a.parquet"])
def test_a_gap_between_paths_is_not_the_current_folder(tmp_path: Path, dataset: str) -> None:
    with pytest.raises(ValueError, match="there is no path before or after a ':'"):
        ParquetFiles.absolute(dataset, tmp_path)


def test_blanks_around_paths(tmp_path: Path) -> None:
    for name in ("0.png", "1.png", " 2.png"):
        write(tmp_path / name, encoded(pixels(0)))
    (tmp_path / "list.csv").write_text("path, label\n 0.png, a\n1.png , b\n 2.png, b\n")
    assert read(f"csv:{tmp_path}/list.csv", test=0).origin.files == ("0.png", "1.png", " 2.png")


def test_a_pattern_in_a_folder_with_brackets(tmp_path: Path) -> None:
    (tmp_path / "[2024]").mkdir()
    pq.write_table(plain(), tmp_path / "[2024]/train-0.parquet")
    assert len(read(f"parquet:{tmp_path}/[2024]/train-*.parquet", test=0).y_train) == 6


@pytest.mark.parametrize("again", ["x.parquet", "x*.parquet"])
def test_a_file_that_is_named_twice(tmp_path: Path, again: str) -> None:
    pq.write_table(plain(), tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=r"x.parquet: is named twice; every file may be named once"):
        read(f"parquet:{tmp_path}/x.parquet:{tmp_path}/{again}")


def test_images_in_a_dictionary(tmp_path: Path) -> None:
    rows = plain()
    pq.write_table(rows, tmp_path / "plain.parquet")
    pq.write_table(rows.set_column(0, "photo", rows["photo"].dictionary_encode()), tmp_path / "coded.parquet")
    coded, whole = (read(f"parquet:{tmp_path}/{name}.parquet", test=0) for name in ("coded", "plain"))
    assert coded.identity == whole.identity


@pytest.mark.parametrize("column", ["photo", "kind"])
def test_two_columns_of_one_name(tmp_path: Path, column: str) -> None:
    rows = plain()
    pq.write_table(rows.append_column(column, rows[column]), tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=rf"x.parquet: two columns have one name, {column}; every column needs its own"):
        read(f"parquet:{tmp_path}/x.parquet")


def test_a_column_with_a_point_in_its_name(tmp_path: Path) -> None:
    photos = [{"bytes": encoded(pixels(k)), "path": f"{k}.png"} for k in range(6)]
    write_hf(tmp_path / "hf", pa.table({"a.photo": photos, "label": [0, 1] * 3, "meta.id": list(range(6))}))
    raw = read(f"hf:{tmp_path}/hf", test=0)
    assert raw.y_train.tolist() == [0, 1] * 3
    assert raw.origin.files[:2] == ("0.png", "1.png")


def with_names(*names: str) -> dict[bytes, bytes]:
    named = {"label": {"_type": "ClassLabel", "names": list(names)}}
    return {b"huggingface": json.dumps({"info": {"features": named}}).encode()}


@pytest.mark.parametrize("second", ["train-1", "test"])
@pytest.mark.parametrize("names", [("dog", "cat"), ("cat", "dog", "eel")])
def test_files_that_name_the_classes_differently(tmp_path: Path, second: str, names: tuple[str, ...]) -> None:
    for name, of_file in (("train-0", ("cat", "dog")), (second, names)):
        rows = plain(label=[0, 1] * 3).replace_schema_metadata(with_names(*of_file))
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    with pytest.raises(
        UsageError, match=rf"label: train-0.parquet and {second}.parquet name the classes differently: class"
    ):
        read(f"parquet:{tmp_path}")


def test_one_file_with_numbers_and_one_with_text(tmp_path: Path) -> None:
    for k, labels in enumerate(([0, 1] * 3, ["cat", "dog"] * 3)):
        pq.write_table(plain(label=labels), tmp_path / f"train-{k}.parquet")
    with pytest.raises(UsageError, match=r"some labels are numbers and some are text \(0, 'cat'\); must be of one kind"):
        read(f"parquet:{tmp_path}")


def test_numbers_with_a_point_in_a_table_of_paths(tmp_path: Path) -> None:
    for k in range(12):
        write(tmp_path / f"{k}.png", encoded(pixels(k)))
    lines = "".join(f"{k}.png,{k}.{'0' * (k % 3)}\n" for k in range(12))
    (tmp_path / "list.csv").write_text("path,label\n" + lines)
    raw = read(f"csv:{tmp_path}/list.csv", test=0)
    assert raw.y_train.tolist() == list(range(12))
    assert "float64 labels, all whole, become whole numbers" in raw.origin.notes[0]


@pytest.mark.parametrize("form", ["folder", "parquet", "hf"])
def test_a_name_that_the_system_cannot_look_up(folder: Path, form: str) -> None:
    """As that of a folder which this user may not enter. It is nothing that is read, and no bug."""
    dataset = FORMS[form](folder)
    wanted = read(dataset).x_train
    for at in (folder, folder / "train", folder / "hf"):
        if at.exists():
            (at / "far.parquet").symlink_to(300 * "x")
    assert np.array_equal(read(dataset).x_train, wanted)
    with pytest.raises(UsageError):
        read(f"{form}:{folder}/{300 * 'x'}")


@pytest.mark.parametrize("form", ["folder", "parquet", "csv"])
def test_test_and_validation_without_training(tmp_path: Path, form: str) -> None:
    for name in ("test", "val"):
        classes(tmp_path / name, n=2)
        if form == "parquet":
            pq.write_table(plain(label=[0, 1] * 3), tmp_path / f"{name}.parquet")
    (tmp_path / "list.csv").write_text("path,label,split\ntest/cat/0.png,0,test\nval/dog/0.png,1,val\n")
    with pytest.raises(UsageError, match="is for training: there are test, val; "):
        read(f"{form}:{tmp_path}" + ("/list.csv" if form == "csv" else ""))


def test_a_folder_with_a_blank_name(tmp_path: Path) -> None:
    classes(tmp_path, (" ", "dog"))
    with pytest.raises(UsageError, match=r"folder ' ' has a blank name; a class needs a name"):
        read(f"folder:{tmp_path}")


def test_a_label_of_many_digits_is_text(tmp_path: Path) -> None:
    classes(tmp_path)
    many = "9" * 5000
    lines = [f"{name}/{k}.png,{label}" for name, label in (("cat", many), ("dog", 1)) for k in range(5)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *lines]))
    assert read(f"csv:{tmp_path}/list.csv").origin.class_names == ("1", many)


@pytest.mark.parametrize(
    ("labels", "shown"), [((-1, 1), "-1, 1"), ((2, 3), "2 to 3"), (range(0, 14, 2), "0, 2, 4, 6, 8, …, 12")]
)
def test_labels_with_gaps_are_named_in_a_note(tmp_path: Path, labels: Any, shown: str) -> None:
    classes(tmp_path, ("a",), 2 * len(labels))
    lines = [f"a/{k}.png,{labels[k % len(labels)]}" for k in range(2 * len(labels))]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *lines]))
    notes = read(f"csv:{tmp_path}/list.csv", test=0.0).origin.notes
    last = len(labels) - 1
    assert f"{tmp_path}/list.csv: labels {shown} are numbered 0 to {last}; table labels has what they were" in notes


def test_a_system_that_does_not_say_which_cores_it_grants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    classes(tmp_path)
    assert read(f"folder:{tmp_path}").origin.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["a/1.png", "../b/2.png"], ["a/1.png", "../b/2.png"]),
        (["/home/ann/pets/cat/1.png", "/home/ann/pets/dog/2.png"], ["cat/1.png", "dog/2.png"]),
        (["/home/ann/1.png"], ["1.png"]),
        (["//home/ann/1.png", "/home/ann/2.png"], ["1.png", "2.png"]),
        (["/x/1.png", "/y/2.png", "z/3.png"], ["x/1.png", "y/2.png", "z/3.png"]),
        (["C:\\Users\\ann\\cat\\1.png", "c:\\Users\\Ann\\dog\\2.png"], ["cat/1.png", "dog/2.png"]),
        (["C:\\pets\\1.png", "D:\\2.png"], ["pets/1.png", "2.png"]),
    ],
)
def test_tables_have_no_absolute_path(files: list[str], named: list[str]) -> None:
    assert placeless(files) == named


def test_a_table_of_absolute_paths_gives_names_below_their_folder(folder: Path) -> None:
    relative = read(as_csv(folder))
    lines = (folder / "list.csv").read_text().replace("train/", f"{folder}/train/").replace("test/", f"{folder}/test/")
    (folder / "list.csv").write_text(lines)
    absolute = read(f"csv:{folder}/list.csv")
    assert absolute.identity == relative.identity
    assert [f"train/{file}" for file in absolute.origin.files] == list(relative.origin.files)


@pytest.mark.parametrize("form", FORMS)
def test_a_path_that_no_folder_was_given_for_is_below_the_data_directory(folder: Path, form: str) -> None:
    """So it is in the sweeps that come with memloc. The same source says the same wherever the data lie."""
    dataset = FORMS[form](folder)
    kind, _, path = dataset.partition(":")
    below = ":".join(str(Path(name).relative_to(folder.parent)) for name in path.split(":"))
    source = source_of({"dataset": f"{kind}:{below}"})
    assert source.load(folder.parent).identity == read(dataset).identity
    assert source.flat()["dataset"] == f"{kind}:{below}"
    with pytest.raises(UsageError, match=f"^{folder}/elsewhere/"):
        source.load(folder / "elsewhere")


def test_several_columns_of_labels_need_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(plain(person=["b", "a"] * 3), tmp_path / "x.parquet")
    readings: list[ParquetFiles] = []
    read_it = ParquetFiles.read

    def counted(self: ParquetFiles) -> OwnImages:
        readings.append(self)
        return read_it(self)

    monkeypatch.setattr(ParquetFiles, "read", counted)
    dataset = f"parquet:{tmp_path}/x.parquet"
    kind, person, again = (read(dataset, labels=name) for name in ("kind", "person", "kind"))
    assert len(readings) == 1
    assert (kind.y_train == again.y_train).all()
    assert (kind.x_train == again.x_train).all()
    of_kind, of_person = (dict(zip([x.tobytes() for x in r.x_train], r.y_train, strict=True)) for r in (kind, person))
    both = of_kind.keys() & of_person.keys()
    assert both
    assert all(of_kind[x] == 1 - of_person[x] for x in both)
    monkeypatch.setattr(source, "MOST_KEPT", 10)
    for name in ("kind", "person"):
        read(dataset, labels=name)
    assert len(readings) == 2  # the images of the last one were kept; these are more than may be
