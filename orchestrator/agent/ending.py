"""What ended an agent's work."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What ended the work."""

    SUBMITTED = "submitted"  # The model says that the task is done, or can't be; where there is a court, it's accepted.
    REFUSED = "refused"  # What the model submits isn't accepted, as often as it may be.
    GAVE_UP = "gave_up"  # The model calls no tool any more, reminded or not.
    LOOPED = "looped"  # The model goes in circles, whatever it's told.
    STEPS = "steps"
    TOKENS = "tokens"
    MONEY = "money"
    TIME = "time"
    DENIED = "denied"  # A person said no, or nobody yes, to what it can't do without.


@dataclass(frozen=True)
class Ending:
    """Why the agent stopped working. `summary` is the model's own, `reason` ours."""

    kind: Kind
    summary: str = ""
    reason: str = ""
