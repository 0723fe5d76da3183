"""`memloc data check` of images of one's own: what they are, in words or JSON, and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memloc.errors import UsageError

if TYPE_CHECKING:
    from memloc.data import Raw, Source
    from memloc.data.overview import Overview

MOST_CLASSES = 20  # that are named


def sorted_out(arguments: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """(data sets by name, images of one's own, FIELD=VALUE) of a command line."""
    from memloc.data import KINDS, SOURCES
    from memloc.sweep.command_line import OVERRIDE

    own = [a for a in arguments if a.partition(":")[0] + ":" in KINDS or (a in KINDS and a not in SOURCES)]
    fields = [a for a in arguments if a not in own and OVERRIDE.match(a)]
    return [a for a in arguments if a not in own and a not in fields], own, fields


def sources(own: Sequence[str], fields: Sequence[str], skip_broken: bool) -> list[Source]:
    """The sources of these data sets, each read as the fields say.

    Raises:
        UsageError: naming every field that is wrong or that a source does not have.
    """
    from memloc.data import KINDS, Source
    from memloc.models.architectures import resolved
    from memloc.sweep.command_line import typed

    given = {name: typed(text) for name, _, text in (field.partition("=") for field in fields)}
    given |= {"skip_broken": True} if skip_broken else {}
    made = []
    for dataset in own:
        kind = KINDS.get(dataset) or KINDS[dataset.partition(":")[0] + ":"]
        fields_of = [name for name in kind.model_fields if name != "dataset"]
        if stray := [name for name in given if name not in fields_of]:
            have = ", ".join(fields_of)
            raise UsageError(f"{stray[0]}: {kind.FORM or dataset} has no such field; valid: {have}")
        if dataset in KINDS and dataset.endswith(":"):  # nothing would be the current folder
            raise UsageError(f"{dataset!r} is not valid; valid: {kind.FORM}")
        try:
            where = kind.absolute(dataset, Path.cwd())
        except (OSError, RuntimeError, ValueError) as error:
            raise UsageError(f"{dataset!r}: {error}") from None
        source = resolved(dataset=where, model="resnet9", **given).source
        made += [source] if isinstance(source, Source) else []
    return made


def checked(source: Source, sheet: str | None) -> dict[str, Any]:
    """Reads the images; an entry of the command's output. sheet: the file of a contact sheet, or None."""
    from memloc.commands.output import write_whole
    from memloc.data import directory, load
    from memloc.data.contact_sheet import contact_sheet
    from memloc.data.overview import as_json, overview

    raw = load(source, directory.data_dir(None))
    about = overview(raw)
    lines = list(_lines(source.dataset, raw, about))
    if sheet is not None:
        write_whole(Path(sheet), contact_sheet(raw))
        lines.append(f"  contact sheet: {sheet}")
    return {"dataset": source.dataset, "file": None, "ok": True, "says": "\n".join(lines), **as_json(about)}


def check_sheet(sheet: str | None, own: Sequence[str]) -> None:
    """Raises UsageError unless the file of the contact sheet ends in .png and is of one source."""
    if sheet is None:
        return
    if Path(sheet).suffix.lower() != ".png":
        raise UsageError(f"-o {sheet}: a contact sheet is a PNG; name a file that ends in .png")
    if len(own) != 1:
        raise UsageError(
            f"-o {sheet}: a contact sheet is of one source of your own, such as folder:DIR; here are {len(own)}"
        )


def _lines(dataset: str, raw: Raw, about: Overview) -> Iterator[str]:
    channels, height, width = about.shape
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}.get(channels, f"{channels} channels")
    yield dataset
    yield f"  images: {about.n_train:,} for training, {about.n_test:,} for testing; {height}×{width} pixels, {kind}"
    shown = [f"{name} {n:,}" for name, n in list(about.classes.items())[:MOST_CLASSES]]
    more = f", and {len(about.classes) - MOST_CLASSES:,} more" if len(about.classes) > MOST_CLASSES else ""
    yield f"  classes: {len(about.classes)} ({', '.join(shown)}{more})"
    if about.given_wrong is not None:
        often = [f"{true} as {given} ({times:,})" for true, given, times in about.confused]
        most = f"; most often {', '.join(often)}" if often else ""
        yield f"  wrong labels: {about.given_wrong:,} of {about.n_train:,} ({about.given_wrong / about.n_train:.1%}){most}"
    yield (
        f"  duplicates: {about.duplicates:,} of the training images repeat an earlier one, {about.contradictions:,} of "
        f"these under another label; {about.leaked:,} of the test images are training images too"
    )
    yield from (f"  odd: {line}" for line in about.oddities)
    yield from (f"  note: {line}" for line in about.notes)
    yield f"  identity: {about.identity}"
