"""Decoding images, against Pillow's plain result and against arithmetic."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from memloc.data import pictures
from memloc.data.pictures import Encoded, PictureError, decoded, file_content, unified
from memloc.errors import UsageError
from tests.data.pictures import encoded, pixels

RGB, GREY = pixels(0), pixels(1, channels=None)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("image", [RGB, GREY])
def test_what_loses_nothing_is_taken_as_it_is(kind: str, image: Any) -> None:
    picture = decoded(encoded(image, kind))
    assert (picture.pixels == image).all()
    assert (picture.sides, picture.said) == ((12, 16), ())


def test_jpeg() -> None:
    content = encoded(RGB, "JPEG")
    assert (decoded(content).pixels == np.asarray(Image.open(io.BytesIO(content)))).all()
    assert decoded(encoded(GREY, "JPEG")).pixels.shape == (12, 16)


def test_black_and_white() -> None:
    image = Image.fromarray(GREY > 127)
    assert image.mode == "1"
    assert (decoded(encoded(image)).pixels == 255 * (GREY > 127)).all()


def test_palette() -> None:
    image = Image.fromarray(RGB).quantize(7)
    assert (decoded(encoded(image)).pixels == np.asarray(image.convert("RGB"))).all()


def test_alpha_that_hides_nothing_is_dropped() -> None:
    opaque = np.dstack([RGB, np.full((12, 16), 255, np.uint8)])
    picture = decoded(encoded(opaque))
    assert (picture.pixels == RGB).all()
    assert picture.said == ()
    grey = Image.fromarray(np.dstack([GREY, np.full((12, 16), 255, np.uint8)]), "LA")
    assert (decoded(encoded(grey)).pixels == GREY).all()


def test_transparent_parts_become_white() -> None:
    alpha = pixels(5, channels=None)
    picture = decoded(encoded(np.dstack([RGB, alpha])))
    share = alpha[..., None] / 255
    assert np.abs(picture.pixels - (share * RGB + (1 - share) * 255)).max() <= 1.01
    assert picture.said == (pictures.TRANSPARENT,)


def test_a_transparent_colour() -> None:
    image = Image.fromarray(GREY)
    picture = decoded(encoded(image, transparency=int(GREY[0, 0])))
    assert (picture.pixels == np.where(GREY[0, 0] == GREY, 255, GREY)).all()


def test_sixteen_bits() -> None:
    deep = GREY.astype(np.uint16) * 257
    picture = decoded(encoded(Image.fromarray(deep)))
    assert (picture.pixels == GREY).all()
    assert picture.said == ()
    between = decoded(encoded(Image.fromarray(np.full((2, 2), 3 * 257 + 200, np.uint16))))
    assert (between.pixels.tolist(), between.said) == ([[4, 4], [4, 4]], (pictures.DEEP,))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_16_bits(kind: int, channels: int) -> bytes:
    """kind: as PNG has it; 2: RGB, 6: RGBA. All values are 0x10FF."""
    row = b"\0" + b"\x10\xff" * 4 * channels
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "value", "said"),
    [
        (png_of_16_bits(2, 3), 0x10, pictures.CUT),
        (b"P5 4 4 65535\n" + b"\x10\xff" * 16, 0x11, pictures.DEEP),
        (b"P6 4 4 65535\n" + b"\x10\xff" * 48, 0x11, pictures.DEEP),
    ],
)
def test_sixteen_bits_of_a_colour(content: bytes, value: int, said: str) -> None:
    picture = decoded(content)
    assert (picture.pixels == value).all()
    assert picture.said == (said,)


def test_sixteen_bits_with_transparency() -> None:
    assert decoded(png_of_16_bits(6, 4)).said == (pictures.TRANSPARENT, pictures.CUT)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("GIF", {}), ("PNG", {"transparency": 7})])
def test_a_grey_palette_is_grey(kind: str, options: dict[str, int]) -> None:
    pixels = decoded(encoded(Image.fromarray(GREY // 8 * 8).quantize(32), kind, **options)).pixels
    assert pixels.shape == (12, 16)


def test_cmyk() -> None:
    image = Image.fromarray(RGB).convert("CMYK")
    picture = decoded(encoded(image, "TIFF"))
    assert (picture.pixels == np.asarray(image.convert("RGB"))).all()
    assert picture.said == (pictures.CONVERTED,)


def test_the_first_picture_of_an_animation() -> None:
    frames = [Image.fromarray(pixels(k)).quantize(255) for k in range(3)]
    picture = decoded(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert picture.said == (pictures.SEVERAL,)
    assert (picture.pixels == np.asarray(frames[0].convert("RGB"))).all()


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(1, lambda x: x), (2, lambda x: x[:, ::-1]), (3, lambda x: x[::-1, ::-1]), (4, lambda x: x[::-1]),
     (5, lambda x: x.transpose(1, 0, 2)), (6, lambda x: np.rot90(x, -1)), (7, lambda x: np.rot90(x, 2).transpose(1, 0, 2)),
     (8, lambda x: np.rot90(x))],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_turned_as_exif_says(orientation: int, turned: Any, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    smooth = np.kron(pixels(3, 3, 4), np.ones((8, 8, 1), np.uint8))  # what JPEG keeps
    picture = decoded(encoded(smooth, kind, exif=exif, **options))
    expected = turned(smooth)
    assert picture.pixels.shape == expected.shape
    assert np.abs(picture.pixels.astype(int) - expected).max() <= (8 if kind == "JPEG" else 0)
    assert picture.sides == expected.shape[:2]


def test_broken_metadata_of_good_pixels() -> None:
    picture = decoded(encoded(RGB, exif=b"no metadata at all"))
    assert (picture.pixels == RGB).all()
    assert picture.said == (pictures.UNREADABLE,)


def test_of_another_size() -> None:
    """Means over blocks, where the sides are divided by a whole number and the image is smooth."""
    smooth = np.add.outer(np.arange(64), 2 * np.arange(96)).astype(np.uint8)
    picture = decoded(encoded(smooth), (16, 24))
    assert picture.pixels.shape == (16, 24)
    means = smooth.reshape(16, 4, 24, 4).mean(axis=(1, 3))
    assert np.abs(picture.pixels - means)[1:-1, 1:-1].max() <= 1
    assert picture.sides == (64, 96)


@pytest.mark.parametrize("exif", [None, 6])
def test_a_large_jpeg_is_decoded_at_a_fraction_and_looks_the_same(exif: int | None) -> None:
    smooth = np.kron(pixels(3, 4, 4), np.ones((128, 96, 1), np.uint8))
    options: dict[str, Any] = {}
    if exif:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = exif
    quick = decoded(encoded(smooth, "JPEG", quality=95, subsampling=0, **options), (16, 16)).pixels
    exact = decoded(encoded(np.rot90(smooth, -1) if exif else smooth), (16, 16)).pixels
    assert np.abs(quick.astype(int) - exact).mean() < 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello", "is no image that Pillow reads"),
        (encoded(pixels(0, 64, 64), "JPEG")[:-900], "is damaged: "),
        (encoded(pixels(0, 64, 64), "PNG")[:-900], "is damaged: "),
        (encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF"), r"has pixels of 32 bits \(mode F\); must have 8"),
    ],
)
def test_refused(content: bytes, message: str) -> None:
    with pytest.raises(PictureError, match=message):
        decoded(content)


@pytest.mark.parametrize(("side", "message"), [(12_000, "has 12000×12000 pixels; must be at most 89,478,485"), (30_000, "")])
def test_a_decompression_bomb(side: int, message: str) -> None:
    """A few kilobytes that would become gigabytes. Pillow itself refuses twice the size."""
    content = encoded(Image.new("1", (side, side)))
    assert len(content) < 200_000
    read = all_of([content, encoded(RGB)], skip_broken=True)
    assert len(read.x) == 1
    assert (message or "decompression bomb") in read.notes[0]


def all_of(contents: list[bytes], sides: tuple[int, int] | None = None, skip_broken: bool = False) -> pictures.Unified:
    images = [Encoded(f"{k}.png", lambda content=content: content) for k, content in enumerate(contents)]  # type: ignore[misc]
    return unified(images, len(images), "mine", sides, skip_broken)


def test_together() -> None:
    images = [pixels(k) for k in range(5)]
    read = all_of([encoded(image) for image in images])
    assert (read.x.transpose(0, 2, 3, 1) == np.stack(images)).all()
    assert (list(read.kept), read.notes) == ([0, 1, 2, 3, 4], [])


def test_grey_only_if_all_are() -> None:
    grey = [pixels(k, channels=None) for k in range(3)]
    read = all_of([encoded(image) for image in grey])
    assert (read.x == np.stack(grey)[:, None]).all()
    assert all_of([encoded(RGB), encoded(grey[0])]).x.shape[1] == 3
    mixed = all_of([encoded(grey[0]), encoded(RGB)])
    assert (mixed.x[0] == grey[0]).all()
    assert (mixed.x[1] == RGB.transpose(2, 0, 1)).all()


def test_broken_images_are_named_and_left_out_only_if_asked() -> None:
    contents = [encoded(pixels(0)), b"x", encoded(pixels(1)), *([b""] * 7)]
    with pytest.raises(UsageError) as caught:
        all_of(contents)
    assert caught.value.problems == (
        "mine: 8 of 10 images cannot be read: 1.png is no image that Pillow reads, 3.png is empty, 4.png is empty, 5.png is "
        "empty, 6.png is empty, and 3 more; mend or remove them; skip_broken=true (in a file skip_broken: true) leaves "
        "them out",
    )
    read = all_of(contents, skip_broken=True)
    assert (read.x.transpose(0, 2, 3, 1) == np.stack([pixels(0), pixels(1)])).all()
    assert list(read.kept) == [0, 2]
    assert read.notes[0].startswith("8 images left out: 1.png is no image that Pillow reads, 3.png")
    with pytest.raises(UsageError, match="mine: has no image"):
        all_of([b"x"], skip_broken=True)


def test_unlike_sizes() -> None:
    contents = [encoded(pixels(0)), encoded(pixels(1)), encoded(pixels(2, 20, 4))]
    with pytest.raises(
        UsageError, match="mine: the images have 2 sizes, from 12×16 to 20×4 pixels, most often 12×16"
    ) as caught:
        all_of(contents)
    assert str(caught.value).endswith("(2 of 3); image=32x32 (in a file image: 32x32) brings them to one size")
    assert all_of(contents, (8, 9)).x.shape == (3, 3, 8, 9)


def test_more_than_the_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memloc.data.declared.total_memory", lambda: 1000)
    with pytest.raises(UsageError, match=r"2 images of 12×16 pixels: unpacked it has 1,152 bytes, .*; choose a smaller"):
        all_of([encoded(RGB)] * 2)


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"12345")
    (tmp_path / "good").symlink_to(tmp_path / "large")
    assert file_content(tmp_path / "good") == b"12345"
    monkeypatch.setattr(pictures, "MOST_BYTES", 4)
    for name, message in {
        "link": "is a link to nowhere", "none": "is missing", "folder": "is no regular file", "large": "has 5 bytes; must",
        "a\0b": "is missing", "x" * 300: "cannot be read: File name too long",
    }.items():  # fmt: skip
        with pytest.raises(PictureError, match=message):
            file_content(tmp_path / name)
