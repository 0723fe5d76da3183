"""A network of the user's own: the function that makes it, and which images it takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, PrivateAttr

from memloc import own_code
from memloc.config import Valid, last_name
from memloc.errors import UsageError
from memloc.models.traced.fields import TracedConfig
from memloc.own_code import OwnCode

if TYPE_CHECKING:
    from memloc.models.architectures.python.function import Function

PYTHON = "python:"
FORM = "python:FILE.py:FUNCTION"


def _form(value: str) -> str:
    file, _, function = value.removeprefix(PYTHON).rpartition(":")
    if not file or not function.isidentifier():
        raise ValueError(f"valid: {FORM} or python:PACKAGE.MODULE:FUNCTION, such as python:nets.py:make")
    if not own_code.is_path(file) and not all(part.isidentifier() for part in file.split(".")):
        raise ValueError(f"valid: {FORM}, a file that ends in .py, or the name of a module")
    return value


class Python(TracedConfig):
    """name: with its prefix, `python:/home/me/nets.py:make`."""

    FORM: ClassVar[str | None] = FORM

    name: Annotated[str, AfterValidator(_form)]
    code: Annotated[str, Field(pattern="^[0-9a-f]{64}$"), Valid("64 hexadecimal digits")] | None = None
    """The sha256 of the file that has the function; null: memloc fills it in. It stands for the file in the identity.
    [memloc]
    """
    _own: OwnCode | None = PrivateAttr(default=None)

    @classmethod
    def absolute(cls, name: str, folder: Path) -> str:
        file, _, function = name.removeprefix(PYTHON).rpartition(":")
        return f"{PYTHON}{own_code.absolute(file, folder)}:{function}"

    @classmethod
    def placeless(cls, name: str) -> str:
        file, _, function = name.removeprefix(PYTHON).rpartition(":")
        return f"{PYTHON}{last_name(file) if own_code.is_path(file) else file}:{function}"

    def completed(self) -> Self:
        return self if self.code is not None else self.with_code(own_code.read(self.file))

    @property
    def file(self) -> str:
        """The path or the module's name."""
        return self.name.removeprefix(PYTHON).rpartition(":")[0]

    @property
    def function(self) -> str:
        """The function's name."""
        return self.name.rpartition(":")[2]

    def with_source(self, file: str) -> Self:
        return self.with_code(own_code.read(file))

    def with_code(self, code: OwnCode) -> Self:
        """The same network with the file at hand.

        Raises:
            UsageError: it is another file than the network was made by.
        """
        if self.code not in (None, code.sha256):
            raise UsageError(f"{code.origin}: is not the file that made this network (sha256 {self.code})")
        made = self.model_copy(update={"code": code.sha256})
        made._own = code
        return made

    def origin(self) -> Function:
        """Where its network comes from.

        Raises:
            UsageError: the file is not at hand, because this configuration comes from a store. A store holds no code.
        """
        from memloc.models.architectures.python.function import Function

        if self._own is None:
            what_to_do = "name the file: trial.with_source('nets.py'); in a sweep, leave `code` out"
            raise UsageError(f"model {self.name}: a store holds no code; {what_to_do}")
        return Function(self._own, self.function, self.patterns(), self.sites)

    def identity(self) -> dict[str, str | None]:
        return {"model": f"{PYTHON}{self.function}"}

    def misfits(self, shape: tuple[int, int, int], classes: int) -> dict[str, str]:
        from memloc.models.traced.opened import opened
        from memloc.models.traced.program import GroupingError

        try:
            opened(self.origin(), shape, classes)
        except GroupingError as error:
            return {error.field or "model": str(error) if error.field else f"{self.name}: {error}"}
        except UsageError as error:
            return {"model": "; ".join(error.problems)}
        return {}


CONFIG = Python
