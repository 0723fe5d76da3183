"""What a source of data is: a configuration that says what is read and how, and the function that reads it.

A source of a user's own images is a module in sources/, and nothing else (docs/architecture.md).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field

from memloc.config import Neutral, SourceConfig, Valid, last_name
from memloc.data.arrays import Description, Raw
from memloc.data.assembly import OwnImages, assembled

MOST_KEPT = 2**29  # bytes of images that are kept for other labels of them
LARGEST_SIDE = 4096  # pixels of an image that a network is trained on


class Source(SourceConfig):
    """A source of data."""

    @abstractmethod
    def load(self, data_dir: Path) -> Raw:
        """The raw arrays, checked; data_dir: where downloaded data sets lie.

        Raises:
            UsageError: one line on what is missing or wrong, and where.
        """

    def known(self) -> Description | None:
        """The description, if it is known without reading any file."""
        return None

    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, if they are known without reading any file."""
        return ()


def _size(value: Any) -> Any:
    """32, [32, 48] and `32x48` as text: a field of a training is one value, in SQL and on a command line too."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value, value]
    if isinstance(value, list) and len(value) == 2 and all(type(side) is int for side in value):
        value = f"{value[0]}x{value[1]}"
    return value


def sides(size: str) -> tuple[int, int]:
    """(height, width) of `32x48`.

    Raises:
        ValueError: it is no such text, or a side is not from 1 to LARGEST_SIDE.
    """
    height, width = (int(side) for side in size.split("x"))
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise ValueError(size)
    return height, width


def _checked_size(value: str) -> str:
    try:
        height, width = sides(value)
    except ValueError:
        raise ValueError(
            f"valid: [height, width] from 1 to {LARGEST_SIDE} pixels, such as [32, 32] or 32x32; a column that holds the "
            "images is image_column"
        ) from None
    return f"{height}x{width}"


ImageSize = Annotated[
    str, BeforeValidator(_size), AfterValidator(_checked_size), Valid("[height, width] in pixels, or 32x32")
]


class OwnSource(Source):
    """Images of a user's own. PREFIX: how `dataset` begins."""

    PREFIX: ClassVar[str]

    test: Annotated[float, Field(ge=0, lt=1)] | None = None
    """The share of one's own images that is kept for testing, of every class alike, where they have no test set; null: 0.2.
    [memloc]
    """

    @abstractmethod
    def read(self) -> OwnImages:
        """The images with all their labels.

        Raises:
            UsageError: one line on what is missing or wrong, and where.
        """

    def load(self, data_dir: Path) -> Raw:
        """As `Source.load`."""
        return assembled(self.placed(data_dir).read(), self.test)

    def placed(self, data_dir: Path) -> Self:
        """The same with absolute paths. Those that a shipped sweep names are relative to the data directory."""
        return self.model_copy(update={"dataset": self.absolute(self.dataset, data_dir)})

    @classmethod
    def absolute(cls, dataset: str, folder: Path) -> str:
        """As `SourceConfig.absolute`. What follows the prefix is one path."""
        path = Path(dataset.removeprefix(cls.PREFIX)).expanduser()
        return cls.PREFIX + str((folder / path).resolve())

    @classmethod
    def placeless(cls, dataset: str) -> str:
        """As `SourceConfig.placeless`."""
        return cls.PREFIX + last_name(dataset.removeprefix(cls.PREFIX))

    @property
    def path(self) -> Path:
        """What follows the prefix."""
        return Path(self.dataset.removeprefix(self.PREFIX))


def behind(prefix: str, form: str) -> Callable[[str], str]:
    """The check that something follows the prefix; form: how one writes it."""

    def check(value: str) -> str:
        if not value.removeprefix(prefix).strip():
            raise ValueError(f"valid: {form}")
        return value

    return check


class PictureSource(OwnSource):
    """Images in files of an image format."""

    image: ImageSize | None = None
    """The size to which one's own images are brought; null: they all have one size already. [memloc]"""
    skip_broken: Annotated[bool, Neutral(False)] = False
    """Are images that cannot be read left out? [memloc]"""

    @property
    def sides(self) -> tuple[int, int] | None:
        """(height, width) of `image`."""
        return None if self.image is None else sides(self.image)


def _column_as_text(value: Any) -> Any:
    """In YAML, and so on a command line, `true` and 1 are no text. A column may have such a name."""
    return "true" if value is True else str(value) if type(value) is int else value


class LabelledSource(OwnSource):
    """Images with one or several columns of labels."""

    labels: Annotated[
        str,
        BeforeValidator(_column_as_text),
        Field(min_length=1),
        Valid("given, true, or a column"),
        Neutral("given"),
    ] = "given"
    """The labels that are trained on: given (those of the data set's usual column), true (its true labels), or another
    column. Where the true labels are known too, the wrong ones are known, and nothing is drawn. [memloc]
    """
    true_label: Annotated[str, BeforeValidator(_column_as_text), Field(min_length=1), Valid("a column")] | None = None
    """The column with the true labels; null: true_label or y_true, if there is one. [memloc]"""

    truth: Annotated[Literal["used", "hidden"], Neutral("used")] = "used"
    """used: where the true labels are known, they say which labels are wrong. hidden: nothing looks at them, so wrong labels
    may be drawn on top of those that are wrong already. [memloc]
    """

    def stamp(self) -> object:
        """What changes with the files; None: that cannot be told without reading them."""
        return None

    def load(self, data_dir: Path) -> Raw:
        """As `Source.load`. Several columns of labels of the same images need one reading."""
        raw = assembled(_LAST.of(self.placed(data_dir)), self.test, self.labels, self.true_label)
        return raw.without_truth() if self.truth == "hidden" else raw


class _Last:
    """The images that were read last, for other labels of the same ones, until their files change.

    They are kept where no test set is split off: then the arrays of a data set are these very images. Else they are kept
    beside those arrays, up to MOST_KEPT.
    """

    def __init__(self) -> None:
        self._kept: tuple[object, OwnImages] | None = None

    def of(self, source: LabelledSource) -> OwnImages:
        """The images of a source."""
        images = source.model_copy(update={"labels": "given", "true_label": None, "truth": "used", "test": None})
        key, kept, self._kept = (images, source.stamp()), self._kept, None
        own = kept[1] if kept is not None and kept[0] == key else source.read()
        is_shared = own.test is not None or source.test == 0
        if key[1] is not None and (is_shared or own.train.x.nbytes <= MOST_KEPT):
            self._kept = key, own
        return own


_LAST = _Last()


def every_label_as_given(source: type[SourceConfig]) -> dict[str, Any]:
    """{field: value} with which trainings learn every label of a user's own data as it is given.

    No image is kept for testing unless there is a test set, and nothing looks at true labels.
    """
    kept = {"test": 0} if issubclass(source, OwnSource) else {}
    return kept | ({"truth": "hidden"} if issubclass(source, LabelledSource) else {})


def with_truth(source: SourceConfig) -> SourceConfig:
    """The same source with the true labels that it knows."""
    return source.model_copy(update={"truth": "used"}) if isinstance(source, LabelledSource) else source


def stamp_of(files: Iterable[Path]) -> object:
    """Sizes and times of files; None if one of them is not there."""
    try:
        return tuple((str(file), stat.st_size, stat.st_mtime_ns) for file in files for stat in [file.stat()])
    except OSError:
        return None


class TableSource(PictureSource, LabelledSource):
    """A table with a column of images and columns of labels."""

    image_column: Annotated[str, BeforeValidator(_column_as_text), Field(min_length=1), Valid("a column")] | None = None
    """The column that holds the images; null: the only one that can. [memloc]"""
