"""A network of timm: its name, and which images it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator

from memloc.errors import nearest
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

    @classmethod
    def known(cls, name: str) -> str | None:
        import timm

        return f"{TIMM}{name}" if timm.is_model(name) and "." not in name else None

    def origin(self) -> TimmModel:
        """Where its network comes from."""
        from memloc.models.architectures.timm.model import TimmModel

        return TimmModel(self.name.removeprefix(TIMM), self.patterns(), self.sites)

    def misfits(self, shape: tuple[int, int, int], classes: int) -> dict[str, str]:
        from memloc.models.traced.opened import opened
        from memloc.models.traced.program import GroupingError

        try:
            opened(self.origin(), shape, classes)
        except GroupingError as error:
            if error.field:
                return {error.field: str(error)}
            where = f"{self.name} with images of {shape[1]}×{shape[2]} pixels"
            return {"dataset": f"{where}: {error}{_made_for(self.name.removeprefix(TIMM), shape)}"}
        return {}


CONFIG = Timm
