"""Networks and stages that memloc did not write, on the device `meta`: they may ask for values, and there are none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from memloc.config import TrainConfig
from memloc.errors import error_line
from memloc.models.traced.fields import TracedConfig
from memloc.stages.base import Stage
from memloc.stages.plugins import OURS


class NeedsValuesError(Exception):
    """A network or a stage from elsewhere cannot run by its shapes alone. The text says why."""


@contextmanager
def shapes_alone(config: TrainConfig, stage: Stage[Any] | None = None) -> Iterator[None]:
    """Runs the network of a training, and a stage, by shapes alone.

    Raises:
        NeedsValuesError: the network or the stage is from elsewhere, and has failed. A failure of memloc's own is a bug: it
            passes as it is.
    """
    try:
        yield
    except Exception as error:  # whoever asks for values may fail in any way without them
        own_network = not isinstance(config.architecture, TracedConfig)
        if own_network and (stage is None or type(stage).__module__.startswith(OURS)):
            raise
        raise NeedsValuesError(error_line(error)) from error
