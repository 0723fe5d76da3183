"""Which column of a table holds the images and which the labels, if nobody says so."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from memloc.errors import UsageError, nearest, setting

LABELS = ("label", "labels", "class", "target", "y", "fine_label", "category")
IMAGES = ("image", "img", "image_path", "path", "file", "filename", "file_name")


def label_column(columns: Sequence[str], named: Collection[str]) -> str | None:
    """The usual column of labels: the only one of which the file names the classes, else one of LABELS, else the only one.

    columns: those that can hold labels. named: those whose numbers have names.
    """
    if len(named) == 1:
        return next(iter(named))
    return next((name for name in LABELS if name in columns), columns[0] if len(columns) == 1 else None)


def image_column(
    where: str, columns: Sequence[str], asked: str | None, fitting: Sequence[str], wanted: str = "paths of images"
) -> str:
    """The column of images.

    Args:
        where: the table, for messages.
        columns: all it has.
        asked: the one that somebody names, or None.
        fitting: those that can hold images.
        wanted: what such a column holds.

    Raises:
        UsageError: there is no such column, or several can be meant.
    """
    have, must = ", ".join(columns) or "none", f"a column of images holds {wanted}"
    if asked is not None and asked not in columns:
        raise UsageError(f"{where}: image_column: there is no column {asked!r}; it has {have}{nearest(asked, columns)}")
    if asked is not None and asked not in fitting:
        raise UsageError(f"{where}: image_column: {asked} holds no images; {', '.join(fitting) or 'no column'} can; {must}")
    usual = next((name for name in IMAGES if name in fitting), fitting[0] if len(fitting) == 1 else None)
    if asked is None and usual is None:
        say = f"{', '.join(fitting)} can; say {setting('image_column', 'COLUMN')}"
        which = say if fitting else f"it has {have}; {must}"
        raise UsageError(f"{where}: no column is known to hold the images; {which}")
    return asked or str(usual)
