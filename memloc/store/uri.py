"""The name of a store: the path of a folder, or a URI in which every character counts.

pyarrow silently drops the fragment of a URI, and also the query of a `file://` URI. `file:///a/run#1` and `file:///a/run#2`
would be one store. So URIs are checked here first. A URI that pyarrow would read differently from a person is refused, and
the message says what to write.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, unquote_to_bytes

from memloc.errors import SECRET_OPTION, StoreError, nearest

SCHEMES = ("file", "s3", "gs", "hdfs")
VALID = f"a path, {', '.join(f'{s}://' for s in SCHEMES)}"
_OTHER_NAMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "webhdfs": "hdfs"}

# What to do instead, by scheme.
CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS instead",
    "hdfs": "log in with kinit instead",
    "file": "a folder needs none",
}

_SCHEME = re.compile(r"([^/]*)://(.*)", re.DOTALL)
_ONE_SLASH = re.compile(rf"({'|'.join(SCHEMES)}):(.*)", re.DOTALL)
_DRIVE = re.compile(r"/?[A-Za-z]:[\\/]")
_URI_CHARACTER = re.compile(
    r"[A-Za-z0-9\-._~:/?@!$&'()*+,;=%]"
)  # RFC 3986, without # and without the brackets of an IPv6 host
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_KEPT = "/:?@!$&'()*+,;=%-._~"


def scheme_of(store: str) -> str | None:
    """The scheme of a URI, or None if the name is a path.

    Raises:
        StoreError: one line on what is wrong with the name, and what to write.
    """
    if not store.strip():
        raise StoreError(f"store: is empty; valid: {VALID}")
    match = _SCHEME.fullmatch(store)
    if match is None:
        return None
    scheme = match[1]
    if scheme not in SCHEMES:
        known = _OTHER_NAMES.get(scheme.lower(), scheme.lower())
        hint = f" (did you mean {known}://?)" if known in SCHEMES else nearest(scheme, SCHEMES)
        raise StoreError(f"store {store}: unknown scheme {scheme}://; valid: {VALID}{hint}")
    return scheme


def local_folder(path: str) -> Path:
    """The absolute path of a store that is named by a path. Any character but NUL may stand in it.

    Raises:
        StoreError: where the path looks like a URI or a Windows path, or can name no folder.
    """
    if match := _ONE_SLASH.match(path):
        scheme, rest = match[1], match[2]
        write = f"file:///{rest.lstrip('/')}" if scheme == "file" and rest.startswith("/") else f"{scheme}://…"
        raise StoreError(f"store {path}: is neither a path nor a URI; write {write} (or ./{path} for a folder)")
    if _DRIVE.match(path):
        raise StoreError(
            f"store {path}: is a Windows path, and memloc runs on Linux; write ./{path} for a folder of this name"
        )
    try:
        folder = Path(path).expanduser().absolute()
        os.fsencode(folder).decode()
    except UnicodeDecodeError:
        raise StoreError(f"store {path!a}: is not UTF-8; rename the folder") from None
    except RuntimeError as error:  # ~somebody
        raise StoreError(f"store {path}: cannot be opened: {error}; write ./{path} for a folder of this name") from None
    if "\0" in path:
        raise StoreError(f"store {path!r}: a folder's name cannot have a NUL")
    if folder == Path("/"):
        raise StoreError(f"store {path}: is the root of the file system; name a folder in it")
    return folder


def absolute(store: str) -> str:
    """The name of the same store from any working directory: a path becomes absolute, and a URI stays.

    Raises:
        StoreError: as `scheme_of` and `local_folder`.
    """
    return str(local_folder(store)) if scheme_of(store) is None else store


def check(uri: str, scheme: str) -> None:
    """Refuses a URI that pyarrow would read differently from what is written.

    Raises:
        StoreError: one line on the first thing that is wrong, and what to write.
    """
    rest = uri.removeprefix(f"{scheme}://")
    if _has_secret(scheme, rest):
        raise StoreError(f"store {scheme}://…@…: credentials in a URI end up in logs; {CREDENTIALS[scheme]}")
    for problem in chain(_character_problems(uri), _host_problems(scheme, rest), _path_problems(scheme, rest)):
        raise StoreError(f"store {uri}: {problem}")


def _has_secret(scheme: str, rest: str) -> bool:
    """Whether a URI has a password, a key or a token in it."""
    place, _, query = rest.partition("?")
    user, at, _ = place.rpartition("@")
    if scheme == "file":  # it has neither users nor options
        return "@" in place.partition("/")[0]
    if at and "/" not in user and (scheme == "s3" or ":" in unquote(user) or (scheme == "gs" and user != "anonymous")):
        return True
    if at and scheme != "hdfs" and ":" in user.partition("/")[0]:  # a password with a slash
        return True
    options = parse_qsl(query, keep_blank_values=True)
    return any(SECRET_OPTION.search(name) or "@" in value for name, value in options)


def _character_problems(uri: str) -> Iterator[str]:
    """Problems with characters that must be percent-encoded in a URI."""
    if "#" in uri:
        yield f"a # begins a fragment, and a store has none; for a # in a name write {_encoded(uri)}"
    if wrong := [c for c in uri if not _URI_CHARACTER.match(c)]:
        yield f"{wrong[0]!r} is not allowed in a URI; write {_encoded(uri)}"
    if any(match[1] is None for match in _ESCAPE.finditer(uri)):
        yield f"two hexadecimal digits must follow a %; for a % in a name write {_encoded(uri)}"
    if "%00" in uri:
        yield "a folder's name cannot have a NUL (%00)"
    try:
        unquote_to_bytes(uri).decode()
    except UnicodeDecodeError:
        yield "its percent-encoded bytes are not UTF-8; ü is %C3%BC"


def _encoded(uri: str) -> str:
    """The URI with everything percent-encoded that must be, and nothing twice."""
    uri = quote(_ESCAPE.sub(lambda match: match[0] if match[1] else "%25", uri), safe=_KEPT)
    return uri.replace("?", "%3F") if uri.startswith("file:") else uri


def _host_problems(scheme: str, rest: str) -> Iterator[str]:
    """Problems with the machine or the bucket."""
    host, _, path = rest.partition("?")[0].partition("/")
    example = f"write for example {scheme}://{'' if scheme == 'file' else 'bucket'}/memloc"
    if not rest.strip("/"):
        yield f"names no folder; {example}"
    elif scheme == "file" and host:
        absolute = path if host == "localhost" else f"{host}/{path}"
        yield f"names the machine {host}, but file:// is for this machine; write file:///{absolute}"
    elif scheme in ("s3", "gs"):
        name = host.rpartition("@")[2]
        if not name:
            yield f"names no bucket; {example}"
        if ":" in name:
            yield f"{name} is not a bucket; write {scheme}://BUCKET/FOLDER?endpoint_override={name}"
        if "%" in name:
            yield f"{name} is not a bucket: its name has letters, digits, points and hyphens only"


def _path_problems(scheme: str, rest: str) -> Iterator[str]:
    """Problems with the folder, and with the options behind it."""
    written, question, query = rest.partition("?")
    _, _, path = written.partition("/")
    if scheme == "file" and question:
        yield f"a file:// URI has no options; for a ? in a name write {_encoded(f'file://{rest}')}"
    if "?" in query:
        yield f"has a second ?; for a ? in a name write %3F ({scheme}://{written}%3F…), and & between options"
    twice = [name for name, count in Counter(n for n, _ in parse_qsl(query, keep_blank_values=True)).items() if count > 1]
    if twice:
        yield f"{twice[0]} is given twice"
    if re.search("%2f", path, re.IGNORECASE):
        yield "%2F is a / in a name, and no folder's name has one; write /"
    if scheme == "file" and _DRIVE.match(unquote_to_bytes(path).decode()):
        yield "names a Windows drive, and memloc runs on Linux; write file:///FOLDER"
    if not path.strip("/"):
        yield f"names no folder; write for example {scheme}://{written.rstrip('/')}/memloc"
    names = [unquote_to_bytes(name).decode() for name in path.strip("/").split("/")]
    if dots := [name for name in names if name in (".", "..")]:
        yield f"{dots[0]} cannot be used in a URI; write the whole path"
    if "" in names and scheme != "file":
        yield "has a folder without a name (//); write one /"
