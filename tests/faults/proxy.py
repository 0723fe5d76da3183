"""A proxy in front of a real S3 server. It passes requests on, and fails in the ways in which networks and servers fail."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

HANG_SECONDS = 60.0  # longer than any client waits for an answer
SLOW_SECONDS = 2.0  # for a whole answer
# Headers that belong to one connection, or that the handler writes itself.
_OWN = {"connection", "transfer-encoding", "date", "server", "keep-alive"}


class Proxy:
    """Listens on a port of `host` and passes requests on to `upstream` (HOST:PORT).

    kinds: the faults that a request may meet. rate: the probability of a fault, by a keyed generator. done: how many of each
    kind were injected. gone: while true, every connection is reset, as if no server were there.
    """

    def __init__(
        self, upstream: str, kinds: Sequence[str] = (), rate: float = 0.0, seed: int = 0, host: str = "127.0.0.1"
    ) -> None:
        assert set(kinds) <= set(FAULTS), kinds
        self.upstream, self.kinds, self.rate = upstream, list(kinds), rate
        self.done: Counter[str] = Counter()
        self.gone = False
        self.denied: dict[str, int] = {}  # {path: how often it is still denied after it was written}
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._server = _Server(self, host)
        self.address = f"{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault(self, method: str, path: str) -> str:
        """The fault that this request meets; "" for none."""
        with self._lock:
            if self.gone:
                return self._count("reset", "gone")
            if method in ("GET", "HEAD") and self.denied.get(path, 0) > 0:
                self.denied[path] -= 1
                return self._count("denied")
            if not self.kinds or self._random.random() >= self.rate:
                return ""
            kind = self._random.choice(self.kinds)
            if kind == "denied":  # when the file is asked for
                if method == "PUT":
                    self.denied[path] = 2
                return ""
            if kind == "cut_upload" and method != "PUT":
                return ""
            return self._count(kind)

    def _count(self, kind: str, as_kind: str = "") -> str:
        self.done[as_kind or kind] += 1
        return kind


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, proxy: Proxy, host: str) -> None:
        self.proxy = proxy
        super().__init__((host, 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client has closed its connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def handle_request(self) -> None:
        proxy = self.server.proxy
        fault = proxy.fault(self.command, self.path.partition("?")[0])
        if fault == "cut_upload":
            self.rfile.read(1)  # of a body in chunks nobody knows the length
            return self.reset()
        self.body = b"".join(self._raw())
        return FAULTS[fault](self) if fault else self.answer(*self.ask())

    def _raw(self) -> Iterator[bytes]:
        """The body as it comes, chunked or not."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            yield self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return
        while line := self.rfile.readline():
            size = int(line.partition(b";")[0], 16)
            yield line
            if not size:
                break
            yield self.rfile.read(size + 2)
        while line := self.rfile.readline():  # the trailers, to the empty line
            yield line
            if line == b"\r\n":
                break

    def ask(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """The answer of the real server: status, headers, body."""
        connection = http.client.HTTPConnection(self.server.proxy.upstream, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(self.body)
            found = connection.getresponse()
            body = found.read()
            kept = [(name, value) for name, value in found.getheaders() if name.lower() not in _OWN]
            return found.status, kept, body
        finally:
            connection.close()

    def answer(
        self, status: int, headers: Sequence[tuple[str, str]], body: bytes, sent: Callable[[bytes], None] | None = None
    ) -> None:
        """Sends an answer. sent: how its body is sent, by default at once."""
        self.send_response_only(status)
        names = set()
        for name, value in headers:
            names.add(name.lower())
            self.send_header(name, value)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            (sent or self.wfile.write)(body)

    def reset(self) -> None:
        """Ends the connection with a reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


for _method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler.handle_request)


def _error(status: int, code: str) -> Callable[[_Handler], None]:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
    return lambda handler: handler.answer(status, [("Content-Type", "application/xml")], body)


def _hang(handler: _Handler) -> None:
    time.sleep(HANG_SECONDS)
    handler.reset()


def _slow(handler: _Handler) -> None:
    """The answer comes drop by drop."""

    def drops(body: bytes) -> None:
        size = max(1, len(body) // 10)
        for begin in range(0, len(body), size):
            handler.wfile.write(body[begin : begin + size])
            time.sleep(SLOW_SECONDS / 11)

    handler.answer(*handler.ask(), drops)


def _cut_answer(handler: _Handler) -> None:
    """Half of the answer, though all of it was announced. What was asked for has been done."""
    status, headers, body = handler.ask()
    if not body or handler.command == "HEAD":
        return handler.reset()
    handler.answer(status, headers, body, lambda whole: (handler.wfile.write(whole[: len(whole) // 2]), None)[1])
    return handler.reset()


# What a request may meet. `denied`: a file that was just written is denied twice. `cut_upload`: its body is not taken.
FAULTS: dict[str, Callable[[_Handler], None]] = {
    "reset": _Handler.reset,
    "500": _error(500, "InternalError"),
    "503": _error(503, "SlowDown"),
    "hang": _hang,
    "slow": _slow,
    "cut_answer": _cut_answer,
    "cut_upload": _Handler.reset,
    "denied": _error(404, "NoSuchKey"),
}
