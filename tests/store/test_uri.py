"""How a store may be named: every character of a path or URI counts, or the name is refused with what to write."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import fs

import memloc
from memloc import commands
from memloc.errors import StoreError
from memloc.store import Files, Store, filesystem, uri
from tests.store.conftest import s3_uri

ENDPOINT = "endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1"


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("file:///a/run#1", "write file:///a/run%231"),
        ("file:///a?b", "write file:///a%3Fb"),
        ("file:///a/with space", "write file:///a/with%20space"),
        ("file:///a/ü", "write file:///a/%C3%BC"),
        ("file:///a/ü %20#", "write file:///a/%C3%BC%20%20%23"),
        ("file:///a/[1]", "write file:///a/%5B1%5D"),
        ("file:///a/back\\slash", "write file:///a/back%5Cslash"),
        ("file:///a/new\nline", "write file:///a/new%0Aline"),
        ("file:///a/100%", "write file:///a/100%25"),
        ("file:///a/%zz%23", "write file:///a/%25zz%23"),
        ("file:///a/%00", "NUL"),
        ("file:///a/%ff", "are not UTF-8; ü is %C3%BC"),
        ("file:///a%2Fb", "%2F is a / in a name, and no folder's name has one; write /"),
        ("file:///a%2fb", "write /"),
        ("file:///a/../b", ".. cannot be used in a URI; write the whole path"),
        ("file:///a/%2E%2E/b", ".. cannot be used in a URI"),
        ("file:///a/./b", ". cannot be used in a URI"),
        ("file:///C:/runs", "names a Windows drive, and memloc runs on Linux"),
        ("file:///c%3A/runs", "names a Windows drive"),
        ("file://localhost/a/b", "names the machine localhost, but file:// is for this machine; write file:///a/b"),
        ("file://folder/store", "names the machine folder, but file:// is for this machine; write file:///folder/store"),
        ("file:a/b", "is neither a path nor a URI; write file://… (or ./file:a/b for a folder)"),
        ("file:/a/b", "is neither a path nor a URI; write file:///a/b (or ./file:/a/b for a folder)"),
        ("s3:bucket/x", "is neither a path nor a URI; write s3://…"),
        ("file:///", "names no folder; write for example file:///memloc"),
        ("file:////", "names no folder; write for example file:///memloc"),
        (f"s3://bucket/x#2?{ENDPOINT}", f"write s3://bucket/x%232?{ENDPOINT}"),
        (f"s3://bucket/x?{ENDPOINT}#2", "a # begins a fragment"),
        (f"s3://bucket/a?b?{ENDPOINT}", "for a ? in a name write %3F (s3://bucket/a%3F…)"),
        (f"s3://bucket/x?{ENDPOINT}&scheme=https", "scheme is given twice"),
        (f"s3://bucket/x y?{ENDPOINT}", f"write s3://bucket/x%20y?{ENDPOINT}"),
        (f"s3:///folder?{ENDPOINT}", "names no bucket; write for example s3://bucket/memloc"),
        (f"s3://?{ENDPOINT}", "names no bucket; write for example s3://bucket/memloc"),
        (f"s3://bucket?{ENDPOINT}", "names no folder; write for example s3://bucket/memloc"),
        (f"s3://bucket//?{ENDPOINT}", "names no folder; write for example s3://bucket/memloc"),
        (f"s3://bucket/a//b?{ENDPOINT}", "has a folder without a name (//); write one /"),
        (f"s3://bucket/a/../b?{ENDPOINT}", ".. cannot be used in a URI"),
        ("s3://minio:9000/bucket/x", "write s3://BUCKET/FOLDER?endpoint_override=minio:9000"),
        ("s3://buc%20ket/x", "its name has letters, digits, points and hyphens only"),
        ("gs:///folder", "names no bucket; write for example gs://bucket/memloc"),
        ("gs://bucket/x#2", "write gs://bucket/x%232"),
        ("hdfs://host:1/x#2", "write hdfs://host:1/x%232"),
        ("hdfs://host:1/", "names no folder; write for example hdfs://host:1/memloc"),
        ("ftp://host/folder", "unknown scheme ftp://; valid: a path, file://, s3://, gs://, hdfs://"),
        ("S3://bucket/folder", "did you mean s3://?"),
        ("s3a://bucket/folder", "did you mean s3://?"),
        ("gcs://bucket/folder", "did you mean gs://?"),
        ("://", "unknown scheme ://"),
        ("C:\\runs", "is a Windows path, and memloc runs on Linux"),
        ("C:/runs", "write ./C:/runs for a folder of this name"),
        ("/", "is the root of the file system; name a folder in it"),
        ("~nobody-of-that-name/x", "write ./~nobody-of-that-name/x"),
        ("a\0b", "cannot have a NUL"),
        ("a\udcffb", "is not UTF-8"),
    ],
)
def test_refused_with_what_to_write(name: str, write: str) -> None:
    with pytest.raises(StoreError) as raised:
        filesystem.resolve(name)
    (problem,) = raised.value.problems
    assert problem.startswith("store ")
    assert write in problem


@pytest.mark.parametrize("name", ["file:///a/run#1", "file:///a/b c%", "file:///a/ü?#", "file:///a/%zz %C3%BC"])
def test_what_is_proposed_is_taken(name: str) -> None:
    with pytest.raises(StoreError) as raised:
        filesystem.resolve(name)
    proposed = str(raised.value).rpartition("write ")[2]
    _, _, root = filesystem.resolve(proposed)
    assert Path(root).as_uri() == proposed  # pathlib knows how a path is written as a URI


names = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200
)


@given(names)
@settings(suppress_health_check=[HealthCheck.filter_too_much], deadline=None, max_examples=40)
def test_a_path_names_exactly_its_folder(name: str) -> None:
    folder = f"/tmp/{name}"
    assert filesystem.resolve(folder)[2] == folder
    assert filesystem.resolve(Path(folder).as_uri())[2] == folder


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12), st.sampled_from(uri.SCHEMES))
@settings(deadline=None)
def test_no_accepted_uri_loses_anything(rest: str, scheme: str) -> None:
    """Whatever is accepted has one meaning: written again by the standard library it is the same URI."""
    name = f"{scheme}:///{rest}" if scheme == "file" else f"{scheme}://bucket/{rest}"
    try:
        uri.check(name, scheme)
    except StoreError:
        return
    path = name.partition("://")[2].partition("?")[0]
    assert "#" not in name
    assert all(part not in (".", "..") for part in path.split("/"))
    if scheme == "file":
        assert "?" not in name
        assert filesystem.resolve(name)[2].strip("/") == unquote(path).strip("/")


@pytest.mark.parametrize("folder", ["run#1", "a?b", "with space", "ü", "a%23b", "a%2Fb", "50%", "a://b", "s3:x", "[1]"])
def test_a_folder_of_any_name_is_a_store(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / folder), f"./{folder}", (tmp_path / folder.replace("://", ":/")).as_uri()):
        files = Files(name)
        files.put("a/b", name.encode())
        assert files.get("a/b") == name.encode()
        assert list(files.listing("a")) == ["a/b"]
    assert (tmp_path / folder / "a" / "b").is_file()


def test_stores_that_differ_in_a_character_are_two(tmp_path: Path) -> None:
    for name in ("run%231", "run%232", "run%3F1"):
        Files(f"file://{tmp_path}/{name}").put("x", name.encode())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run#1", "run#2", "run?1"]


def test_keys_of_an_object_store(s3_server: str) -> None:
    for name in ("run%231", "a%3Fb", "with%20space", "%C3%BC"):
        files = Files(s3_uri(s3_server, name))
        files.put("x", name.encode())
        assert files.get("x") == name.encode()
        assert files.listing("") == {"x": len(name)}


def test_every_door_refuses(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    name = f"file://{tmp_path}/run#1"
    with pytest.raises(StoreError, match="run%231"):
        memloc.open_store(name)
    monkeypatch.setenv("MEMLOC_STORE", name)
    monkeypatch.setenv("MEMLOC_DATA", str(tmp_path / "data"))
    with pytest.raises(StoreError, match="run%231"):
        memloc.open_store()
    for arguments in (["sweep", "demo", "--dry-run"], ["status"], ["store", "ls"], ["query", "SELECT 1"], ["claims"]):
        monkeypatch.setattr(sys, "argv", ["memloc", *arguments])
        with pytest.raises(SystemExit) as ended:
            commands.main()
        assert ended.value.code == 3
        assert "run%231" in capfd.readouterr().err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("store", "opened"),
    [
        ("gs://bucket/runs", "gs://bucket/runs?retry_limit_seconds="),
        ("gs://bucket/runs?anonymous=true", "gs://bucket/runs?anonymous=true&retry_limit_seconds="),
        ("gs://bucket/runs?retry_limit_seconds=3", "gs://bucket/runs?retry_limit_seconds=3"),
        ("hdfs://head:8020/runs", "hdfs://head:8020/runs"),
    ],
)
def test_only_gs_is_told_how_long_to_try(monkeypatch: pytest.MonkeyPatch, store: str, opened: str) -> None:
    asked: list[str] = []

    class FileSystem:
        @staticmethod
        def from_uri(uri: str) -> tuple[None, str]:
            asked.append(uri)
            return None, "runs"

    monkeypatch.setattr(filesystem.fs, "FileSystem", FileSystem)
    filesystem.resolve(store)
    assert asked[0].startswith(opened)
    assert ("retry" in asked[0]) == ("retry" in opened)


@pytest.mark.parametrize(
    ("name", "region", "located"),
    [
        ("s3://bucket/runs", "eu-west-1", "s3://bucket/runs?region=eu-west-1"),
        ("s3://bucket/runs?scheme=https", "eu-west-1", "s3://bucket/runs?scheme=https&region=eu-west-1"),
        ("s3://bucket/runs?region=us-east-2", "us-east-2", "s3://bucket/runs?region=us-east-2"),
        ("s3://bucket/runs?endpoint_override=localhost:9000", "", "s3://bucket/runs?endpoint_override=localhost:9000"),
    ],
)
def test_the_name_for_other_processes(name: str, region: str, located: str) -> None:
    """It has the bucket's region: whoever opens it does not ask the network, which may fail at that moment."""
    options = {"region": region} if region else {"endpoint_override": "localhost:9000"}
    assert filesystem.located(name, fs.S3FileSystem(anonymous=True, **options)) == located


def test_the_name_of_a_folder_for_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store("store").files.address == str(tmp_path / "store")
