"""An object store behind a proxy that fails."""

from __future__ import annotations

import time
from collections.abc import Callable

from memloc.store import Files, layout
from tests.faults.case import Case
from tests.faults.proxy import Proxy

PROXY = ["reset", "500", "503", "cut_answer", "cut_upload", "denied", "slow"]


def proxied(kinds: list[str], rate: float) -> Callable[[Case], None]:
    """Every request may fail."""

    def run(case: Case) -> None:
        with Behind(case, kinds, rate), case.launched():
            pass

    return run


def gone(seconds: float) -> Callable[[Case], None]:
    """No server for a while, once a trial is at work."""

    def run(case: Case) -> None:
        files = Files(case.direct)
        with Behind(case, [], 0.0) as proxy, case.launched() as process:
            assert case.wait(process, lambda: files.listing(layout.LEASES)), "it has ended before"
            case.rest(process, case.draws.uniform(1, 6))
            proxy.gone = True
            time.sleep(seconds)
            proxy.gone = False
            case.faults[f"S3 server gone for {seconds:.0f} s"] += 1
            proxy.done.clear()

    return run


def server_of(uri: str) -> str:
    """HOST:PORT of the server of a store."""
    return uri.split("endpoint_override=")[1].split("&")[0]


class Behind:
    """Meanwhile the sweep reaches its store through a proxy."""

    def __init__(self, case: Case, kinds: list[str], rate: float) -> None:
        self.case, self.before = case, case.uri
        server = server_of(case.uri)
        self.proxy = Proxy(server, kinds, rate, seed=case.draws.randrange(1 << 30))
        case.uri = case.uri.replace(server, self.proxy.address)

    def __enter__(self) -> Proxy:
        return self.proxy.__enter__()

    def __exit__(self, *error: object) -> None:
        for kind, n in self.proxy.done.items():
            self.case.faults[f"S3 {kind}"] += n
        self.proxy.__exit__(None, None, None)
        self.case.uri = self.before
