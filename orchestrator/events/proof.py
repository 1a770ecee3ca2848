"""What decides whether a run's work is accepted."""

from __future__ import annotations

from typing import Literal

from orchestrator.diagnostic import Diagnostic
from orchestrator.dialogue import Reply, Value
from orchestrator.runs import Ruling, Verdict, Weakness


class FinishStarted(Value):
    """The agent is done: acceptance begins. `origin` says where the command came from."""

    type: Literal["finish_started"] = "finish_started"
    command: str
    origin: str


class Judged(Value):
    """The acceptance command ran in a fresh sandbox.

    `diagnostics` are what the output of one that failed says of places in the code, at most MOST_KEPT of them.
    """

    type: Literal["judged"] = "judged"
    verdict: Verdict
    diagnostics: tuple[Diagnostic, ...] = ()


class Weakened(Value):
    """What the run's changes may have weakened of what is to prove it: `found` is never empty."""

    type: Literal["weakened"] = "weakened"
    found: tuple[Weakness, ...]


class Ruled(Value):
    """A judge was asked once to rule on what `step` submitted, or ruled on the same before: then it is `kept`.

    `evidence` is the digest of what it was asked with. `reply` is what was paid for, without its `raw` and reasoning.
    """

    type: Literal["ruled"] = "ruled"
    step: int
    evidence: str
    ruling: Ruling
    kept: bool = False
    reply: Reply | None = None
    seconds: float = 0.0


class Refused(Value):
    """What was submitted with `step` isn't accepted: the model is told why, and goes on.

    `again` says that nothing had changed since it was refused before, and so nothing was run anew.
    """

    type: Literal["refused"] = "refused"
    step: int
    why: str
    again: bool = False
