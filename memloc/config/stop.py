"""`stop`: when a training ends early, because it will not memorize."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationError

from memloc.config.types import Config, Count, Share, Valid
from memloc.config.written import written

FORM = "{noisy_acc_below: 0.5, at_epoch: 20}"


class StopRule(Config):
    """A training ends after epoch `at_epoch` if its noisy accuracy there, in the training pass, is below this."""

    noisy_acc_below: Share
    at_epoch: Count

    @classmethod
    def of(cls, text: str) -> StopRule:
        """The rule that a text holds, as configurations have it."""
        return cls(**json.loads(text))

    def ends(self, row: Mapping[str, Any] | None) -> bool:
        """Does the training end after the epoch of this row of table `epochs`? None: the epoch repeats the one before."""
        if row is None or row["epoch"] != self.at_epoch or row["noisy_acc"] is None:
            return False
        return bool(row["noisy_acc"] < self.noisy_acc_below)

    def __str__(self) -> str:
        return f"noisy accuracy below {self.noisy_acc_below:g} at epoch {self.at_epoch}"


def _as_text(value: Any) -> Any:
    """A mapping as the text that configurations and tables hold: JSON, its keys in order."""
    if not isinstance(value, Mapping):
        return value
    try:
        rule = StopRule(**value)
    except (ValidationError, TypeError) as error:
        names = [str(detail["loc"][0]) for detail in error.errors()] if isinstance(error, ValidationError) else list(value)
        raise ValueError(f"valid: {FORM}, a number above 0 and at most 1, and an epoch; see {', '.join(names)}") from None
    return json.dumps(rule.model_dump(), sort_keys=True)


def _is_rule(value: str) -> str:
    try:
        StopRule.of(value)
    except (ValueError, TypeError):
        raise ValueError(f"valid: {FORM}") from None
    return value


StopText = Annotated[str, BeforeValidator(_as_text), AfterValidator(_is_rule), Valid(FORM)]


def misfit(text: str, epochs: int) -> str | None:
    """What is wrong with a rule for a training of so many epochs, or None."""
    rule = StopRule.of(text)
    if rule.at_epoch < epochs:
        return None
    valid = f"valid: at_epoch below {epochs}, or null"
    return f"{written(rule.model_dump())}: the training ends at epoch {epochs} anyway; {valid}"
