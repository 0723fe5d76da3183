"""A network of timm: its name, and which images it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, PrivateAttr

from memloc.config import FieldError, Neutral, PathOrSweep, Valid
from memloc.errors import UsageError, nearest
from memloc.models.traced.fields import TracedConfig

if TYPE_CHECKING:
    from memloc.models.architectures.timm.model import TimmModel

TIMM = "timm:"


def _known(value: str) -> str:
    import timm  # takes a second, and only such networks need it

    name = value.removeprefix(TIMM)
    if timm.is_model(name) and "." not in name:
        return value
    if timm.is_model(name):
        raise ValueError(f"valid: timm:{name.partition('.')[0]}: what follows the point names weights, and none are loaded")
    raise ValueError(f"valid: timm:NAME, NAME a model of timm {timm.__version__}{nearest(name, timm.list_models())}")


def _made_for(name: str, shape: tuple[int, int, int]) -> str:
    """The size of images for which timm made a model, if it is another one."""
    import timm

    known = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    size = tuple(getattr(known, "input_size", shape))[1:]
    return "" if size == shape[1:] else f"; timm made it for images of {size[0]}×{size[1]}"


class Timm(TracedConfig):
    """name: with its prefix, `timm:resnet18`."""

    NOT_COMPILED: ClassVar[str | None] = "networks of timm run operation by operation"

    name: Annotated[str, AfterValidator(_known)]
    pretrained: Annotated[bool, Neutral(False)] = False
    """Does the training begin with pretrained weights? They are those of the file `weights`, else timm's own. [memloc]"""
    weights: Annotated[str, Field(min_length=1), Valid("a path"), PathOrSweep()] | None = None
    """A file with pretrained weights, safetensors or a state dict; null: timm's own, from its cache or the network. [memloc]
    """
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$"), Valid("64 hexadecimal digits")] | None = None
    """The sha256 of that file; null: memloc fills it in. It stands for the file in the identity. [memloc]"""
    _file: str | None = PrivateAttr(default=None)

    @classmethod
    def known(cls, name: str) -> str | None:
        import timm

        return f"{TIMM}{name}" if timm.is_model(name) and "." not in name else None

    def completed(self) -> Self:
        from memloc.models.architectures.timm.model import fetched
        from memloc.own_weights import hash_of

        if not self.pretrained and self.weights is not None:
            raise FieldError("weights", "used only with pretrained: true")
        if not self.pretrained or self.weights_sha256 is not None:
            return self
        try:
            file = self.weights or fetched(self.name.removeprefix(TIMM))
            made = self.model_copy(update={"weights_sha256": hash_of(file)})
        except UsageError as error:
            raise FieldError("weights" if self.weights else "pretrained", "; ".join(error.problems)) from None
        made._file = file
        return made

    def identity(self) -> dict[str, str | None]:
        return {"weights": None} if self.weights is not None else {}

    def files(self) -> dict[str, str]:
        return {self.weights_sha256: self._file} if self._file and self.weights_sha256 else {}

    def origin(self) -> TimmModel:
        """Where its network comes from; without its first weights, if this configuration comes from a store."""
        from memloc.models.architectures.timm.model import TimmModel

        weights = (self._file, self.weights_sha256) if self._file and self.weights_sha256 else None
        return TimmModel(self.name.removeprefix(TIMM), self.patterns(), self.sites, weights)

    def misfits(self, shape: tuple[int, int, int], classes: int) -> dict[str, str]:
        from memloc.models.traced.opened import check_first_weights, opened
        from memloc.models.traced.program import GroupingError

        try:
            opened(self.origin(), shape, classes)
            check_first_weights(self.origin(), shape, classes)
        except UsageError as error:
            return {"weights": "; ".join(error.problems)}
        except GroupingError as error:
            if error.field:
                return {error.field: str(error)}
            where = f"{self.name} with images of {shape[1]}×{shape[2]} pixels"
            return {"dataset": f"{where}: {error}{_made_for(self.name.removeprefix(TIMM), shape)}"}
        return {}


CONFIG = Timm
