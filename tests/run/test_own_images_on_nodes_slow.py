"""Images of one's own on a node that cannot see them: the driver reads them once, and a node has them once in its memory."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memloc.analysis.reading import read_table
from memloc.store import Store
from tests.data.pictures import encoded, pixels, write
from tests.run.clusters import Cluster, started_cluster
from tests.run.programs import assert_same, command, environment, memloc
from tests.waiting import LONG

NAMESPACES = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not NAMESPACES, reason="no namespaces of mounts")]

SOURCES = {
    "folder": "folder:theirs/photos",
    "npz": "npz:theirs/mine.npz",
    "parquet": "parquet:theirs/mine.parquet",
    "csv": "csv:theirs/mine.csv",
    "registered": "shapes",
}
SWEEP = """
about: Images of my own.
plugins: [shapes.py, where.py]
defaults: {dataset: "SOURCE", model: resnet9, width: 0.0625, noise: 0.1, epochs: 2, batch_size: 16}
blocks:
  all: {axes: {seed: [0, 1]}, stages: {rewind: {epochs: [0]}, evaluate: {}}}
"""
SHAPES = """
import os
import memloc

class Shapes:
    def __init__(self, folder):
        self.samples = [(os.path.join(folder, "photos", c, f), k) for k, c in enumerate(("cat", "dog"))
                        for f in sorted(os.listdir(os.path.join(folder, "photos", c)))]
    def __len__(self):
        return len(self.samples)
    def __getitem__(self, i):
        from PIL import Image
        path, label = self.samples[i]
        return Image.open(path), label

memloc.register_dataset("shapes", Shapes(os.environ["THEIRS"]))
"""
# Each part waits until the other one runs, so they are in two processes at once. It says where the pixels of the data lie:
# in which file that processes share, at which place, and whether it may write there.
WHERE = """
import os
import time
from memloc.run.ray import workers
from memloc.stages.base import Stage
from memloc.stages.columns import INT, TEXT, of_analysis

class Where(Stage):
    name, version = "where", 1
    tables = {"places": of_analysis(("part", INT), ("pid", INT), ("place", TEXT), ("writable", INT))}

    def parts(self, config, train, size):
        return [{"k": 0}, {"k": 1}]

    def run(self, config, inputs, part):
        open(os.path.join(os.environ["MEET"], str(part["k"])), "w").close()
        until = time.monotonic() + 300
        while len(os.listdir(os.environ["MEET"])) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        (raw,) = workers._raws.values()
        start = raw.x_train.ctypes.data
        for line in open("/proc/self/maps"):
            span, _, offset, _, inode = line.split()[:5]
            low, high = (int(end, 16) for end in span.split("-"))
            if low <= start < high:
                place = f"{inode}:{int(offset, 16) + start - low}"
        columns = {"part": part["k"], "pid": os.getpid(), "place": place, "writable": int(raw.x_train.flags.writeable)}
        return {"places": {name: [value] for name, value in columns.items()}}

STAGE = Where()
"""
# Python imports it at its start: it notes which files in a folder are opened.
COUNTING = """
import os, sys

def note(event, arguments):
    if event == "open" and str(arguments[0]).startswith(os.environ["THEIRS"] + "/"):
        done = os.open(os.environ["OPENED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(done, (str(arguments[0]) + "\\n").encode())
        os.close(done)

sys.addaudithook(note)
"""


@dataclass(frozen=True)
class Home:
    """folder: has the images, in `theirs`, and the sweeps. cluster: its only node that computes has nothing in `theirs`."""

    folder: Path
    cluster: Cluster
    variables: dict[str, str]

    def opened(self) -> Counter[str]:
        """How often each file was opened since the last call, by any process."""
        file = self.folder / "opened"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return Counter(os.path.relpath(line, self.folder / "theirs") for line in lines)

    def on_cluster(self, name: str, text: str) -> Store:
        """The store of a sweep that was run on the cluster, by a new interpreter, which counts what it opens."""
        sweep, store = self.folder / f"{name}.yaml", self.folder / f"{name}-ray"
        sweep.write_text(text)
        arguments = command("sweep", str(sweep), "--address", self.cluster.address, "--store", str(store))
        environ = environment(self.folder, **self.variables)
        done = subprocess.run(arguments, env=environ, capture_output=True, text=True, timeout=LONG, check=False)
        assert done.returncode == 0, done.stderr
        return Store(str(store))


def made(folder: Path) -> None:
    """The same forty images in every form."""
    rows = []
    for k, kind in enumerate(("cat", "dog")):
        for i in range(20):
            image = pixels(100 * k + i, 16, 16) // 2 + np.uint8(100 * k)
            write(folder / "photos" / kind / f"{i:02}.png", encoded(image))
            rows.append((image, k, f"photos/{kind}/{i:02}.png"))
    images, labels, files = zip(*rows, strict=True)
    np.savez(folder / "mine.npz", x_train=np.stack(images), y_train=np.array(labels))
    contents = [{"bytes": encoded(image), "path": file} for image, file in zip(images, files, strict=True)]
    pq.write_table(pa.table({"image": contents, "label": list(labels)}), folder / "mine.parquet")
    table = "".join(f"{file},{label}\n" for file, label in zip(files, labels, strict=True))
    (folder / "mine.csv").write_text("path,label\n" + table)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("own")
    theirs = folder / "theirs"
    made(theirs)
    for name, text in (("shapes.py", SHAPES), ("where.py", WHERE), ("python/sitecustomize.py", COUNTING)):
        write(folder / name, text.encode())
    (folder / "meet").mkdir()
    paths = os.pathsep.join([str(folder / "python"), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {
        "PYTHONPATH": paths, "THEIRS": str(theirs), "OPENED": str(folder / "opened"), "MEET": str(folder / "meet"),
    }  # fmt: skip
    within = ["env", *(f"{n}={v}" for n, v in variables.items()), "unshare", "-m", "sh", "-c"]
    within += [f'mount -t tmpfs none {theirs} && exec "$@"', "sh"]
    with started_cluster(folder, [["--num-cpus=0"], ["--num-cpus=2"]], within) as cluster:
        yield Home(folder, cluster, {**variables, **cluster.secret})


@pytest.mark.parametrize("source", SOURCES)
def test_a_node_that_cannot_see_them_computes_the_same(home: Home, source: str) -> None:
    text = SWEEP.replace("SOURCE", SOURCES[source])
    store, inline = home.on_cluster(source, text), home.folder / f"{source}-inline"
    assert read_table(store, "evaluation").num_rows == 2
    arguments = (str(home.folder / f"{source}.yaml"), "--executor", "inline", "--store", str(inline))
    plain = memloc(home.folder, "sweep", *arguments, THEIRS=home.variables["THEIRS"])
    assert plain.code == 0, plain.err
    assert_same(inline, store.uri)


def test_each_image_is_read_once_for_all_trainings_and_processes(home: Home) -> None:
    """The plan, two trainings and their parts need the pixels. A data set that is registered lists its folder besides."""
    home.opened()
    home.on_cluster("counted", SWEEP.replace("SOURCE", SOURCES["folder"]).replace("plugins: [shapes.py, where.py]\n", ""))
    assert home.opened() == Counter(f"photos/{kind}/{i:02}.png" for kind in ("cat", "dog") for i in range(20))


def test_processes_of_a_node_have_the_pixels_once(home: Home) -> None:
    """Both processes see them in one file of shared memory, at one place, and neither may change them."""
    for file in (home.folder / "meet").iterdir():
        file.unlink()
    text = SWEEP.replace("SOURCE", SOURCES["folder"]).replace("[0, 1]", "[0]").replace("[shapes.py, ", "[")
    rows = read_table(
        home.on_cluster("where", text.replace("{rewind: {epochs: [0]}, evaluate: {}}", "{where: {}}")), "places"
    ).to_pylist()
    assert len({row["pid"] for row in rows}) == 2
    assert len({row["place"] for row in rows}) == 1
    assert not rows[0]["place"].startswith("0:"), "memory of a process alone has no file"
    assert {row["writable"] for row in rows} == {0}
