"""Small data sets in the true formats, with pins of their own, and a server that gives them; also for child processes."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from memloc import commands, data
from memloc.data import NamedDataset
from memloc.data.cifar10 import CIFAR10
from memloc.data.idx import FASHION_MNIST, MNIST
from memloc.data.named import Download
from memloc.data.svhn import SVHN

TRUE = {d.name: d for d in (CIFAR10, MNIST, FASHION_MNIST, SVHN)}
SIZES = {"cifar10": (20, 6), "mnist": (23, 11), "fashion_mnist": (12, 10), "svhn": (13, 11)}
ROOT = Path(__file__).parents[2]
Arrays = tuple[Any, Any, Any, Any]


def truth(name: str) -> Arrays:
    """x_train, y_train, x_test, y_test: what must be loaded."""
    rng = np.random.default_rng(list(TRUE).index(name))
    n_train, n_test = SIZES[name]
    x, y = rng.integers(0, 256, (n_train + n_test, *TRUE[name].shape), dtype=np.uint8), np.arange(n_train + n_test) % 10
    return x[:n_train], y[:n_train], x[n_train:], y[n_train:]


# --- the formats, written by hand -------------------------------------------------------------------------------------


def python2_pickle(x: Any, labels: Sequence[int], module: bytes = b"numpy.core.multiarray") -> bytes:
    """A batch as Python 2 and numpy 1 pickled it: protocol 2, byte strings. x: uint8 n×3072."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    dtype = (
        b"cnumpy\ndtype\n"
        + text(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text(b"|")
        + b"NNN"
        + 2 * b"J\xff\xff\xff\xff"
        + b"K\x00tb"
    )
    empty = b"c" + module + b"\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    shape = b"M" + struct.pack("<H", x.shape[0]) + b"M" + struct.pack("<H", x.shape[1]) + b"\x86"
    array = empty + b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", x.size) + x.tobytes() + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([y]) for y in labels) + b"e"
    label = text(b"batch_label") + text(b"training batch 1 of 5")
    return b"\x80\x02}(" + label + text(b"labels") + numbers + text(b"data") + array + b"u."


def idx(array: Any) -> bytes:
    """An IDX file of unsigned bytes: 0, 0, 8, dimensions; sizes, big-endian; values."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def mat(x: Any, y: Any) -> bytes:
    """A MATLAB 5 file: X is H×W×C×N, y N×1 with 10 for the digit 0; without the date in its head."""
    file = io.BytesIO()
    variables = {"X": x.transpose(2, 3, 1, 0), "y": np.where(y == 0, 10, y).astype(np.uint8)[:, None]}
    savemat(file, variables, do_compression=True)
    return b"MATLAB 5.0 MAT-file".ljust(116) + file.getvalue()[116:]


def contents(name: str) -> dict[str, bytes]:
    """{path: content} of the data set's files, uncompressed."""
    x_train, y_train, x_test, y_test = truth(name)
    if name == "cifar10":
        parts = [(x_train[4 * i : 4 * i + 4], y_train[4 * i : 4 * i + 4]) for i in range(5)] + [(x_test, y_test)]
        made = [python2_pickle(x.reshape(len(x), -1), y) for x, y in parts] + [b"the names of the classes"]
    elif name == "svhn":
        made = [mat(x_train, y_train), mat(x_test, y_test)]
    else:
        made = [idx(x_train[:, 0]), idx(y_train), idx(x_test[:, 0]), idx(y_test)]
    return dict(zip((f.path for f in TRUE[name].files), made, strict=True))


def downloads(name: str) -> dict[str, bytes]:
    """{path: content} of what is downloaded."""
    files = contents(name)
    if name == "cifar10":
        return {"cifar-10-python.tar.gz": archive({**files, "cifar-10-batches-py/readme.html": b"<html>"})}
    return files if name == "svhn" else {f"{path}.gz": gzip.compress(content, mtime=0) for path, content in files.items()}


def archive(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for path, content in members.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(file.getvalue(), mtime=0)


# --- as data sets of the program --------------------------------------------------------------------------------------


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def small(name: str, mirrors: Sequence[str] = (), files: dict[str, bytes] | None = None) -> NamedDataset:
    """The data set with the pins of its small files (or of these), at `MIRROR/file name`."""
    true, files, packed = TRUE[name], files or contents(name), downloads(name)
    md5s = {path: md5(content) for path, content in files.items()}
    # Torchvision's own addresses and checksums are not needed: a child process with a small data set does without it.
    archived = [(path, tuple(files) if path.endswith(".tar.gz") else (path.removesuffix(".gz"),)) for path in packed]
    given = tuple(
        Download(path, md5(packed[path]), tuple(f"{mirror}/{Path(path).name}" for mirror in mirrors), inside)
        for path, inside in archived
    )
    return dataclasses.replace(
        true,
        n_train=SIZES[name][0],
        n_test=SIZES[name][1],
        md5s=lambda: md5s,
        downloads=lambda: given,
    )


def write(name: str, folder: Path, files: dict[str, bytes] | None = None) -> None:
    for path, content in (files or contents(name)).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def main(name: str, *mirrors: str) -> None:
    """The program with the small data set instead of the true one: what a child process runs."""
    data.SOURCES[name] = small(name, mirrors)
    commands.main()


# --- where they are downloaded from -----------------------------------------------------------------------------------

Answer = bytes | Callable[[Any], None]


class Server:
    """Answers by file name; what is not there is 404. requests: the file names asked for, in order."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self.answers, self.requests = answers, list[str]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.strip("/")
                outer.requests.append(name)
                answer = outer.answers.get(name)
                if answer is None:
                    self.send_error(404)
                elif callable(answer):
                    answer(self)
                else:
                    send(self, answer, len(answer))

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


def send(handler: Any, content: bytes, length: int) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()
    handler.wfile.write(content)
    handler.wfile.flush()


@contextmanager
def serving(name: str, **changed: Answer) -> Iterator[Server]:
    """A server of the small data set's downloads."""
    server = Server({Path(path).name: content for path, content in downloads(name).items()})
    server.answers.update({k.replace("__", "."): v for k, v in changed.items()})
    thread = threading.Thread(target=server.http.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()
