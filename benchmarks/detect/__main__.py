"""`memloc detect` beside cleanlab: AUC, precision, CPU time (docs/detect.md).

    python -m benchmarks.detect OUT [--settings digits,fashion,aggregate,human_1] [--draws 3] [--images N] [--rows FILE]

It needs the extra `bench`. Data, store and CPU times lie in OUT, so the same command goes on where it was. FILE (CSV) has
the rows that were measured, also on other machines. What it has is not run again. New rows are added, a draw at a time.
cleanlab gets the probabilities of the same network, cross-validated in five parts, and those of a logistic regression on the
pixels, as its tutorials do. Its three methods all count. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import memloc
from benchmarks.detect import rankings
from benchmarks.detect.settings import Labelled, Setting, settings
from memloc.statistics import Floats, auc, student_interval

CUT = """\
about: Five networks, each on four fifths of the data.
defaults: {{dataset: "npz:{file}", truth: hidden, model: resnet9, width: {width}, epochs: {epochs}, batch_size: 128}}
blocks: {{out: {{checkpoints: last, stages: {{held_out: {{ratios: [0.8], min_held_out: 1}}}}}}}}
"""


@dataclass(frozen=True)
class Place:
    """Where everything lies."""

    out: Path
    data: Path

    def run(self, name: str, *arguments: str) -> None:
        """Runs memloc, and notes its CPU seconds the first time."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "memloc", *arguments, "--executor", "inline", "--store", str(self.out / "store")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.spent({name: spent, **self.spent()})

    def spent(self, now: dict[str, float] | None = None) -> dict[str, float]:
        """{what: CPU seconds}, after writing them if they are given."""
        path = self.out / "cpu.json"
        if now is not None:
            path.write_text(json.dumps(now), encoding="utf-8")
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def judged(place: Place, setting: Setting, draw: int) -> Iterator[dict[str, object]]:
    """A row per ranking: its AUC, its precision at n (as many as are wrong) and at 100, and CPU seconds."""
    name = f"{setting.name}-{setting.images}-{draw}"
    data, file = setting.make(draw, place.data), place.out / f"{name}.npz"
    if not file.exists():
        data.save(file)
    fields = (f"width={setting.width}", "--epochs", str(setting.epochs), "-o", str(place.out / f"detect-{name}"))
    place.run(f"{name} memloc", "detect", f"npz:{file}", *fields)
    cut = place.out / f"cut-{name}.yaml"
    cut.write_text(CUT.format(file=file, width=setting.width, epochs=setting.epochs), encoding="utf-8")
    place.run(f"{name} cross-validation", "sweep", str(cut))
    wrong, spent = data.given != data.true, place.spent()
    for ranking, suspicion, cost in _rankings(place, name, data, spent):
        order = np.argsort(-suspicion, kind="stable")
        at_n, at_100 = (float(wrong[order[:k]].mean()) for k in (int(wrong.sum()), 100))
        yield {"setting": setting.name, "images": len(wrong), "draw": draw, "wrong": float(wrong.mean()), "ranking": ranking,
               "auc": auc(suspicion, wrong), "at_n": at_n, "at_100": at_100, "cpu": cost}  # fmt: skip


def _rankings(place: Place, name: str, data: Labelled, spent: dict[str, float]) -> Iterator[tuple[str, Floats, float]]:
    store = memloc.open_store(str(place.out / "store"))
    for ranking, suspicion in rankings.in_sample(store, f"detect-{name}", len(data.x)):
        yield ranking, suspicion, spent[f"{name} memloc"]
    images = data.x[:, None] if data.x.ndim == 3 else data.x.transpose(0, 3, 1, 2)
    classes = int(data.true.max()) + 1
    probabilities = rankings.out_of_sample(store, f"cut-{name}", images, classes)
    own = -probabilities[np.arange(len(data.x)), data.given]
    yield "memloc, out of sample", own, spent[f"{name} cross-validation"]
    for ranking, suspicion in rankings.cleanlab(data.given, probabilities, "same network"):
        yield ranking, suspicion, spent[f"{name} cross-validation"]
    kept, clock = place.out / f"logistic-{name}.npy", time.process_time()
    if not kept.exists():
        np.save(kept, rankings.logistic(data.x, data.given))
        place.spent({**spent, f"{name} logistic": time.process_time() - clock})
    for ranking, suspicion in rankings.cleanlab(data.given, np.load(kept), "logistic regression"):
        yield ranking, suspicion, place.spent()[f"{name} logistic"]


def measured(rows: pd.DataFrame, setting: Setting, draw: int) -> bool:
    """Whether there are rows of this draw, with as many images."""
    return bool(((rows["setting"] == setting.name) & (rows["images"] == setting.images) & (rows["draw"] == draw)).any())


def table(rows: pd.DataFrame) -> str:
    """Means over the draws, a row per ranking."""
    lines = [
        "| labels | images | draws | ranking | AUC | precision at n | at 100 | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (setting, images, ranking), of in rows.groupby(["setting", "images", "ranking"], sort=False):
        mean = of[["auc", "at_n", "at_100", "cpu"]].mean()
        numbers = f"{mean['auc']:.4f} | {mean['at_n']:.3f} | {mean['at_100']:.2f} | {mean['cpu']:.0f}"
        lines.append(f"| {setting} | {images:,} | {len(of)} | {ranking} | {numbers} |")
    return "\n".join(lines) + "\n"


def paired(rows: pd.DataFrame, ours: str) -> str:
    """One of memloc's rankings less cleanlab's best of a setting, precision at n, with Student's interval over the draws."""
    lines = [f"| labels | images | cleanlab's best | {ours} less it [95 %] |", "|---|---|---|---|"]
    for (setting, images), of in rows.groupby(["setting", "images"], sort=False):
        grid = of.pivot(index="draw", columns="ranking", values="at_n")
        theirs = [name for name in grid if str(name).startswith("cleanlab")]
        best = max(theirs, key=lambda name: float(np.mean(grid[name].to_numpy())))
        found = student_interval((grid[ours] - grid[best]).tolist())
        if found is not None:
            ends = "" if found.lo is None else f" [{found.lo:+.3f}, {found.hi:+.3f}]"
            lines.append(
                f"| {setting} | {images:,} | {best}: {np.mean(grid[best].to_numpy()):.3f} | {found.value:+.3f}{ends} |"
            )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--settings", default="digits,fashion,aggregate,human_1")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--images", type=int, default=10_000, help="of CIFAR-10")
    parser.add_argument("--rows", type=Path, help="a CSV file of rows; default: OUT/rankings.csv")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="has FashionMNIST/raw and cifar10-jpeg")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    place = Place(options.out.resolve(), options.data_dir)
    known = settings(options.images)
    file = options.rows or options.out / "rankings.csv"
    found = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["setting", "images", "draw", "ranking"])
    for name in options.settings.split(","):
        for draw in range(options.draws):
            if not measured(found, known[name], draw):
                found = pd.concat([found, pd.DataFrame(judged(place, known[name], draw))], ignore_index=True)
                found.to_csv(file, index=False, float_format="%.6g")
            print(f"{name}, draw {draw}: done", file=sys.stderr)
    print(table(found))
    for ours in (r for r in found["ranking"].unique() if r.startswith("memloc")):
        print(paired(found, ours))
    return 0


if __name__ == "__main__":
    sys.exit(main())
