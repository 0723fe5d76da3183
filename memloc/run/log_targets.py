"""Where a sweep is logged besides the store: `--log-to KIND:WHERE`. A log is for looking at; the store is the record."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from memloc.errors import UsageError, nearest, without_secrets

# {kind: (what WHERE is, the package that writes it, the extra of memloc that brings the package)}
KINDS = {
    "tensorboard": ("DIR", "tensorboardX", "tensorboard"),
    "mlflow": ("URI", "mlflow", "mlflow"),
    "wandb": ("PROJECT", "wandb", "wandb"),
}


@dataclass(frozen=True)
class LogTarget:
    """One log. where: a folder, the URI of a tracking server, or a project."""

    kind: str
    where: str

    @property
    def text(self) -> str:
        """KIND:WHERE, with the password of the server."""
        return f"{self.kind}:{self.where}"

    def __str__(self) -> str:
        return without_secrets(f"--log-to {self.text}")


@dataclass(frozen=True)
class Logs:
    """All logs of a launch, and the name of its sweep. failed: a line for each that has failed, when the run has ended."""

    sweep: str = ""
    targets: tuple[LogTarget, ...] = ()
    failed: list[str] = field(default_factory=list)


def log_target(text: str, here: bool = True) -> LogTarget:
    """The log that `KIND:WHERE` names. here: whether it is written from this machine.

    Raises:
        UsageError: there is no such kind, nothing is named, or the package that writes it is missing.
    """
    kind, _, where = text.partition(":")
    if kind not in KINDS:
        valid = ", ".join(f"{name}:{what}" for name, (what, *_) in KINDS.items())
        raise UsageError(f"--log-to {text}: valid: {valid}{nearest(kind, KINDS)}")
    what, package, extra = KINDS[kind]
    if not where.strip():
        raise UsageError(f"--log-to {text}: valid: {kind}:{what}")
    if here and find_spec(package) is None:
        raise UsageError(f"--log-to {text}: needs {package}; type: pip install 'memloc[{extra}]'")
    if not here or kind != "tensorboard":
        return LogTarget(kind, where)
    try:
        return LogTarget(kind, str(Path(where).expanduser().absolute()))
    except RuntimeError as error:  # ~somebody
        raise UsageError(f"--log-to {text}: {error} Write {kind}:./{where} for a folder of this name") from None
