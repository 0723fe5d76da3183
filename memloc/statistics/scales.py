"""The scales on which trainings are compared and intervals are formed: as it is, log, logit, probit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri, xlogy

Function = Callable[[Any], Any]


@dataclass(frozen=True)
class Scale:
    """How a quantity is transformed before its interval is formed.

    name: for people. forward, inverse: of numbers or arrays; `forward` is infinite where log, logit and probit are. slope:
    the derivative of `forward`. lo, hi: what the quantity can be, in its own unit; its intervals are clipped there.
    pooled_on: the scale on which the variances of several cells are pooled (`pooled`); None: this one.
    """

    name: str
    forward: Function = field(repr=False)
    inverse: Function = field(repr=False)
    slope: Function = field(repr=False)
    lo: float = -np.inf
    hi: float = np.inf
    pooled_on: Scale | None = field(default=None, repr=False)

    def finite(self, *values: Any) -> bool:
        """Whether all these numbers or arrays lie inside the scale, not at an end of it."""
        return all(bool(np.isfinite(self.forward(np.asarray(value))).all()) for value in values)


def _as_it_is(x: Any) -> Any:
    return x


def _one(x: Any) -> Any:
    return np.ones_like(x)


def _log(x: Any) -> Any:
    return xlogy(1.0, x)  # -inf at 0, without the warning of np.log


def _log_slope(x: Any) -> Any:
    return 1 / x


def _logit_slope(x: Any) -> Any:
    return 1 / (x * (1 - x))


def _probit_slope(x: Any) -> Any:
    return np.sqrt(2 * np.pi) * np.exp(ndtri(x) ** 2 / 2)


REAL = Scale("as it is", _as_it_is, _as_it_is, _one)
LOG = Scale("log", _log, np.exp, _log_slope, 0.0)
LOGIT = Scale("logit", logit, expit, _logit_slope, 0.0, 1.0)
PROBIT = Scale("probit", ndtri, ndtr, _probit_slope, 0.0, 1.0)
SHARE = Scale("as it is", _as_it_is, _as_it_is, _one, 0.0, 1.0, LOGIT)  # accuracies and other shares of examples
COUNT = Scale("as it is", _as_it_is, _as_it_is, _one, 0.0)  # means of counts
CORRELATION = Scale("as it is", _as_it_is, _as_it_is, _one, -1.0, 1.0)
AREA = Scale("as it is", _as_it_is, _as_it_is, _one, 0.0, 1.0, PROBIT)  # AUCs
