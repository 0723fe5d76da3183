"""Reading images of one's own: CPU time beside a plain loop of Pillow, and peak memory, for growing numbers of images.

    python -m benchmarks.reading_images [--data-dir DIR] [--images N …] [--turns N] [--json]

The images are the first N of cifar10-jpeg/train.parquet in DIR: JPEGs of 32×32 pixels. memloc reads them as a training
does: pixels, labels, checks, identity. The loop decodes each and puts it into an array. Each runs in a process of its own,
turn by turn, and both must give the same pixels. Memory is what a process adds at its peak to what its imports hold.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memloc.commands.text_table import text_table
from memloc.data import load
from memloc.data.directory import data_dir
from memloc.models.architectures import resolved

FILE = "cifar10-jpeg/train.parquet"
IMAGES = (5_000, 10_000, 20_000, 35_000, 50_000)
BATCH = 1024  # rows of the table at a time


@dataclass(frozen=True)
class Cost:
    """What one reading took. seconds: of all its processors. megabytes: at its peak, of 10⁶ bytes. pixels: their hash."""

    seconds: float
    megabytes: float
    pixels: str


@dataclass(frozen=True)
class Compared:
    """ratio: of the loop's CPU seconds to memloc's, the median over turns, with the smallest and the largest.

    per_second: images that memloc reads in a CPU second. megabytes: its peak; pixels: what all pixels take.
    """

    images: int
    ratio: float
    ratio_min: float
    ratio_max: float
    per_second: float
    megabytes: float
    pixels: float
    agrees: bool


def by_memloc(file: Path) -> np.ndarray:
    """uint8 N×3×H×W, of all images of a table."""
    return load(resolved(dataset=f"parquet:{file}", model="resnet9", test=0.0).source).x_train


def by_pillow(file: Path) -> np.ndarray:
    """The same, one image after the other."""
    from PIL import Image

    table, x, k = pq.ParquetFile(file), None, 0
    for batch in table.iter_batches(BATCH, columns=["image"], use_threads=False):
        for row in batch.column("image").field("bytes"):
            pixels = np.asarray(Image.open(io.BytesIO(row.as_py())).convert("RGB")).transpose(2, 0, 1)
            if x is None:
                x = np.empty((table.metadata.num_rows, *pixels.shape), dtype=np.uint8)
            x[k], k = pixels, k + 1
    assert x is not None
    return x


WAYS: dict[str, Callable[[Path], np.ndarray]] = {"memloc": by_memloc, "Pillow": by_pillow}


def own_cost(way: str, file: Path) -> Cost:
    """Reads in this process."""
    import PIL.Image

    PIL.Image.init()
    before, clock = peak(), time.process_time()
    x = WAYS[way](file)
    return Cost(time.process_time() - clock, peak() - before, hashlib.sha256(x.tobytes()).hexdigest())


def peak() -> float:
    """The most memory that this process has held until now, in megabytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def cost(way: str, file: Path) -> Cost:
    """Reads in a new process."""
    command = [sys.executable, "-m", "benchmarks.reading_images", "--one", way, str(file)]
    return Cost(**json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def first_rows(source: Path, n: int, target: Path) -> None:
    """A table of the first n rows of another one."""
    table = pq.ParquetFile(source)
    with pq.ParquetWriter(target, table.schema_arrow) as writer:
        left = n
        for batch in islice(table.iter_batches(BATCH), -(-n // BATCH)):
            writer.write_batch(batch.slice(0, min(left, len(batch))))
            left -= len(batch)


def compared(file: Path, turns: int) -> Compared:
    """Both ways on one table."""
    n = pq.ParquetFile(file).metadata.num_rows
    found: dict[str, list[Cost]] = {way: [] for way in WAYS}
    for turn in range(turns):
        for way in list(WAYS)[:: 1 if turn % 2 == 0 else -1]:
            found[way].append(cost(way, file))
    ours, plain = found.values()
    ratios = [p.seconds / o.seconds for o, p in zip(ours, plain, strict=True)]
    return Compared(
        images=n,
        ratio=median(ratios),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        per_second=n / median(o.seconds for o in ours),
        megabytes=median(o.megabytes for o in ours),
        pixels=_pixels(file) * n / 1e6,
        agrees=len({one.pixels for one in (*ours, *plain)}) == 1,
    )


def _pixels(file: Path) -> int:
    """Bytes of one image's pixels, read from the first row."""
    from PIL import Image

    batch: pa.RecordBatch = next(pq.ParquetFile(file).iter_batches(1, columns=["image"]))
    with Image.open(io.BytesIO(batch.column("image").field("bytes")[0].as_py())) as image:
        return 3 * image.width * image.height


def table(several: Sequence[Compared]) -> str:
    """A row for each number of images."""
    rows = [
        [
            f"{c.images:,}",
            f"{c.ratio:.2f} [{c.ratio_min:.2f}, {c.ratio_max:.2f}]",
            f"{c.per_second:,.0f}",
            f"{c.megabytes:.0f}",
            f"{c.pixels:.0f}",
            "yes" if c.agrees else "NO",
        ]
        for c in several
    ]
    return text_table(["images", "Pillow / memloc", "per CPU s", "peak MB", "pixels MB", "same"], rows)


def main() -> int:
    """Prints each comparison as soon as it is known, then all of them. Exit code 1: the pixels differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading_images", description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help=f"has {FILE}; default: MEMLOC_DATA, else ~/.cache/memloc")
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES, metavar="N")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    given: Any = parser.parse_args()
    if given.one:
        print(json.dumps(asdict(own_cost(given.one[0], Path(given.one[1])))))
        return 0
    source = data_dir(given.data_dir) / FILE
    if not source.is_file():
        parser.error(f"{source}: no such file; --data-dir names the folder that has {FILE}")
    several = []
    with tempfile.TemporaryDirectory() as folder:
        for n in given.images:
            file = Path(folder, f"first-{n}.parquet")
            first_rows(source, n, file)
            several.append(compared(file, given.turns))
            print(table(several[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
            file.unlink()
    print(json.dumps([asdict(c) for c in several], indent=1) if given.json else table(several))
    return 0 if all(c.agrees for c in several) else 1


if __name__ == "__main__":
    sys.exit(main())
