"""Fetching from a true server: whole and verified files under their names, or none, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest

from memloc.data import load
from memloc.data.fetch import fetch
from memloc.errors import MemlocError, UsageError
from tests.data.small import ROOT, TRUE, archive, contents, downloads, send, serving, small, truth, write
from tests.run.programs import environment
from tests.waiting import LONG, wait_until

Lines = list[str]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    load.cache_clear()


class Screen:
    def __init__(self) -> None:
        self.lines: Lines = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    @contextmanager
    def bar(self, name: str) -> Iterator[Any]:
        yield False


def fetched(name: str, folder: Path, *mirrors: str) -> Lines:
    screen = Screen()
    fetch(small(name, mirrors), folder, screen)
    return screen.lines


def failure(name: str, folder: Path, *mirrors: str) -> str:
    with pytest.raises(MemlocError) as caught:
        fetched(name, folder, *mirrors)
    assert caught.value.exit_code == 1
    (problem,) = caught.value.problems
    assert "\n" not in problem
    return problem


def files(folder: Path) -> set[str]:
    """Everything below the folder but locks."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}


def named(name: str) -> set[str]:
    """The files that a fetch brings."""
    return {f.path + (".gz" if f.gz else "") for f in TRUE[name].files}


def closed_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}"


@pytest.mark.parametrize("name", TRUE)
def test_fetched_loaded_and_not_fetched_again(name: str, tmp_path: Path) -> None:
    with serving(name) as server:
        lines = fetched(name, tmp_path, server.url)
        assert lines[-1] == f"{name}: fetched to {tmp_path}"
        assert server.requests == [Path(d.path).name for d in TRUE[name].downloads()]
        assert files(tmp_path) == named(name)
        assert {(tmp_path / path).stat().st_mode & 0o777 for path in named(name)} == {0o644}
        assert (small(name).load(tmp_path).x_test == truth(name)[2]).all()
        asked = len(server.requests)
        assert fetched(name, tmp_path, server.url) == [f"{name}: already there, in {tmp_path}"]
        assert len(server.requests) == asked


def test_mirrors_in_turn(tmp_path: Path) -> None:
    packed = Path(TRUE["mnist"].downloads()[0].path).name
    with serving("mnist") as good, serving("mnist") as lacking:
        lacking.answers[packed] = lambda handler: handler.send_error(503)
        lines = fetched("mnist", tmp_path, closed_port(), lacking.url, good.url)
        assert good.requests == [packed]  # the others came from the one before
    assert [line for line in lines if packed in line and "downloading" in line][
        -1
    ] == f"mnist: downloading {good.url}/{packed}"
    assert files(tmp_path) == named("mnist")


@pytest.mark.parametrize("name", TRUE)
def test_no_network(name: str, tmp_path: Path) -> None:
    urls = closed_port(), closed_port()
    problem = failure(name, tmp_path, *urls)
    hosts = ", ".join(f"{url.removeprefix('http://')}: cannot be reached" for url in urls)
    assert problem.startswith(f"{name}: cannot be downloaded ({hosts}); put ")
    for download in TRUE[name].downloads():
        last = Path(download.path).name
        assert f"{urls[0]}/{last} or {urls[1]}/{last} as {tmp_path / download.path}" in problem
    assert ("then unpacks it" in problem) == (name == "cifar10")
    assert files(tmp_path) == set()


def cut(handler: Any, content: bytes) -> None:
    send(handler, content[: len(content) // 2], len(content))
    handler.close_connection = True


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("other", "sends something else (wrong checksum)"),
        ("short", "sends something else (wrong checksum)"),
        ("dies", "broke off half-way"),
        ("missing", "404 Not Found"),
    ],
)
def test_a_server_that_fails(name: str, damage: str, why: str, tmp_path: Path) -> None:
    content = next(iter(downloads(name).values()))
    with serving(name) as server:
        first = next(iter(server.answers))
        answers = {
            "other": content[:-1] + b"?",
            "short": content[:-1],
            "dies": lambda handler: cut(handler, content),
            "missing": lambda handler: handler.send_error(404),
        }
        server.answers[first] = answers[damage]
        assert f"({server.url.removeprefix('http://')}: {why}); put " in failure(name, tmp_path, server.url)
        assert files(tmp_path) == set()
        server.answers[first] = content
        fetched(name, tmp_path, server.url)
        assert files(tmp_path) == named(name)


def test_only_what_is_missing_or_damaged_is_fetched(tmp_path: Path) -> None:
    paths = list(contents("mnist"))
    write("mnist", tmp_path)
    (tmp_path / paths[0]).unlink()
    (tmp_path / paths[2]).write_bytes(b"damaged")
    with serving("mnist") as server:
        fetched("mnist", tmp_path, server.url)
        assert server.requests == [f"{Path(p).name}.gz" for p in (paths[0], paths[2])]
    assert files(tmp_path) == {f"{paths[0]}.gz", paths[1], f"{paths[2]}.gz", paths[3]}


def test_an_archive_at_hand_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(downloads("cifar10")[path.name])
    assert fetched("cifar10", tmp_path, closed_port())[0] == f"cifar10: unpacking {path.name}"
    assert files(tmp_path) == named("cifar10") | {path.name}
    (tmp_path / "cifar-10-batches-py/data_batch_3").unlink()
    path.write_bytes(b"damaged")
    assert "cannot be reached" in failure("cifar10", tmp_path, closed_port())
    assert path.read_bytes() == b"damaged"


def test_an_archive_without_a_file_or_with_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = {k: v for k, v in contents("cifar10").items() if not k.endswith("test_batch")}
    packed = {"cifar-10-python.tar.gz": archive({"../outside": b"x", "/tmp/outside": b"x", **lacking})}
    monkeypatch.setattr("tests.data.small.downloads", lambda name: packed)
    with serving("cifar10") as server:
        assert "lacks cifar-10-batches-py/test_batch" in failure("cifar10", tmp_path / "data", server.url)
    assert files(tmp_path) == {f"data/{path}" for path in lacking}  # each of them whole


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("cifar10", "cifar-10-batches-py/test_batch"),
        ("svhn", "test_32x32.mat"),
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte"),
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte.gz"),
    ],
)
def test_a_folder_where_a_file_belongs(name: str, taken: str, tmp_path: Path) -> None:
    (tmp_path / taken).mkdir(parents=True)
    with serving(name) as server, pytest.raises(UsageError) as caught:
        fetched(name, tmp_path, server.url)
    assert caught.value.problems == (f"{tmp_path / taken}: is a folder where a file of {name} belongs; move it away",)


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UsageError, match=r"--data-dir .*/file: cannot be written: "):
        fetched("svhn", tmp_path / "file", closed_port())
    (tmp_path / "MNIST").write_text("precious")
    with serving("mnist") as server, pytest.raises(UsageError, match="cannot be written"):
        fetched("mnist", tmp_path, server.url)
    assert files(tmp_path) == {"file", "MNIST"}


# --- processes --------------------------------------------------------------------------------------------------------


def command(name: str, *mirrors: str) -> list[str]:
    code = f"from tests.data.small import main; main({name!r}, *{mirrors!r})"
    return [sys.executable, "-c", code, "data", "fetch", name]


@contextmanager
def fetching(home: Path, name: str, url: str) -> Iterator[subprocess.Popen[str]]:
    environ = environment(home, no_proxy="*")
    program = command(name, url)
    with subprocess.Popen(
        program, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


class Slow:
    """Sends half, and the rest once it may go on."""

    def __init__(self, content: bytes) -> None:
        self.content, self.go_on, self.half_sent = content, threading.Event(), threading.Event()

    def __call__(self, handler: Any) -> None:
        half = len(self.content) // 2
        send(handler, self.content[:half], len(self.content))
        self.half_sent.set()
        self.go_on.wait(LONG)
        try:
            handler.wfile.write(self.content[half:])
        except OSError:  # nobody listens any more
            handler.close_connection = True


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_killed_half_way(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with serving(name) as server:
        first, content = next(iter(server.answers.items()))
        slow = server.answers[first] = Slow(content)
        with fetching(tmp_path, name, server.url) as child:
            assert slow.half_sent.wait(LONG)
            wait_until(lambda: any(p.stat().st_size for p in folder.rglob("tmp*")))
            child.send_signal(signal.SIGKILL)
            assert child.wait(LONG) == -signal.SIGKILL
        slow.go_on.set()
        assert files(folder) & named(name) == set()
        assert len(files(folder)) == 1  # the half, under no name that anybody would take for it
        server.answers[first] = content
        fetched(name, folder, server.url)
    assert files(folder) == named(name)
    assert (small(name).load(folder).x_train == truth(name)[0]).all()


def test_killed_between_two_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, renames = tmp_path / "data", []

    def dying(source: Path, target: Path) -> None:
        if len(renames) == 3:
            raise KeyboardInterrupt
        renames.append(target)
        os.rename(source, target)

    with serving("cifar10") as server:
        with monkeypatch.context() as patched:
            patched.setattr("memloc.data.fetch.os.replace", dying)
            with pytest.raises(KeyboardInterrupt):
                fetched("cifar10", folder, server.url)
        assert len(files(folder)) == 3
        assert all((folder / path).read_bytes() == contents("cifar10")[path] for path in files(folder))
        fetched("cifar10", folder, server.url)
    assert files(folder) == named("cifar10")


def test_two_at_once(tmp_path: Path) -> None:
    with serving("svhn") as server:
        first, content = next(iter(server.answers.items()))
        slow = server.answers[first] = Slow(content)
        with fetching(tmp_path, "svhn", server.url) as one:
            assert slow.half_sent.wait(LONG)
            with fetching(tmp_path, "svhn", server.url) as other:
                assert other.stdout is not None
                assert other.stdout.readline() == "svhn: another process fetches it; waiting\n"
                slow.go_on.set()
                out, err = other.communicate(timeout=LONG)
                assert (other.returncode, out, err) == (0, f"svhn: already there, in {tmp_path / 'data'}\n", "")
            out, err = one.communicate(timeout=LONG)
            assert (one.returncode, err) == (0, "")
            assert out.splitlines()[-1] == f"svhn: fetched to {tmp_path / 'data'}"
        assert server.requests == ["train_32x32.mat", "test_32x32.mat"]
    assert files(tmp_path / "data") == named("svhn")


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    with serving("svhn") as server:
        first, content = next(iter(server.answers.items()))
        slow = server.answers[first] = Slow(content)
        program = command("svhn", server.url)
        environ = environment(tmp_path, no_proxy="*", TERM="xterm", COLUMNS="100", NO_COLOR="1")
        child = pexpect.spawn(program[0], program[1:], cwd=str(ROOT), env=environ, encoding="utf-8", timeout=LONG)
        child.expect(r"train_32x32\.mat .*━.*/[0-9.]+ [kM]?B")
        slow.go_on.set()
        child.expect("svhn: fetched to")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
