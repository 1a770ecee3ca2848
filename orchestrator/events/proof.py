"""What decides whether a run's work is accepted."""

from __future__ import annotations

from typing import Literal

from orchestrator.dialogue import Value
from orchestrator.runs import Verdict, Weakness


class FinishStarted(Value):
    """The agent is done: acceptance begins. `origin` says where the command came from."""

    type: Literal["finish_started"] = "finish_started"
    command: str
    origin: str


class Judged(Value):
    """The acceptance command ran in a fresh sandbox."""

    type: Literal["judged"] = "judged"
    verdict: Verdict


class Weakened(Value):
    """What the run's changes may have weakened of what is to prove it: `found` is never empty."""

    type: Literal["weakened"] = "weakened"
    found: tuple[Weakness, ...]
