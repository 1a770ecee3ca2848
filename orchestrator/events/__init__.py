"""Everything that can happen to a run: the closed union that the journal holds.

An event is a body (what happened) in an envelope (where in the journal, when, by whom).
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from orchestrator.dialogue import Value
from orchestrator.events.children import (
    ChildFinished,
    ChildKind,
    ChildMerged,
    ChildStarted,
    Deed,
    Deeds,
    Within,
    innermost,
)
from orchestrator.events.life import (
    AttemptLost,
    Built,
    Claimed,
    Dispatched,
    Finished,
    Forked,
    Parked,
    PreemptRequested,
    SandboxReady,
    SetUp,
    Submitted,
)
from orchestrator.events.paying import Spent, paid, price_of, spent
from orchestrator.events.people import (
    Answered,
    Asked,
    CancelRequested,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    RewindRequested,
    Steered,
)
from orchestrator.events.proof import FinishStarted, Judged, Refused, Ruled, Weakened
from orchestrator.events.remembering import Recalled
from orchestrator.events.work import (
    CallFinished,
    CallStarted,
    Candidate,
    Checkpointed,
    Chosen,
    Condensed,
    Guarded,
    Landing,
    Level,
    Limit,
    Prompted,
    Proposed,
    Ran,
    Rebuilt,
    Replied,
    RequestFailed,
    Rewound,
    RulesRead,
    Tried,
)
from orchestrator.runs import Given

__all__ = [
    "FORMAT",
    "Answered",
    "Asked",
    "AttemptLost",
    "Body",
    "Built",
    "CallFinished",
    "CallStarted",
    "CancelRequested",
    "Candidate",
    "Checkpointed",
    "ChildFinished",
    "ChildKind",
    "ChildMerged",
    "ChildStarted",
    "Chosen",
    "Claimed",
    "Condensed",
    "Deed",
    "Dispatched",
    "Event",
    "FinishStarted",
    "Finished",
    "Forked",
    "Given",
    "Guarded",
    "Judged",
    "Landing",
    "Level",
    "Limit",
    "Parked",
    "PauseRequested",
    "PreemptRequested",
    "Prompted",
    "Proposed",
    "Ran",
    "Rebuilt",
    "Recalled",
    "Refused",
    "Replied",
    "RequestFailed",
    "ResumeRequested",
    "RetryRequested",
    "RewindRequested",
    "Rewound",
    "Ruled",
    "RulesRead",
    "SandboxReady",
    "SetUp",
    "Spent",
    "Steered",
    "Submitted",
    "Tried",
    "Weakened",
    "Within",
    "innermost",
    "paid",
    "price_of",
    "spent",
]

FORMAT: Final = 4
"""Number of this vocabulary. It goes up with what an older version can't read: such a run needs a worker that can."""

Body = Annotated[
    Submitted
    | Forked
    | Dispatched
    | Claimed
    | Built
    | SetUp
    | SandboxReady
    | RewindRequested
    | FinishStarted
    | Judged
    | Weakened
    | Ruled
    | CancelRequested
    | PauseRequested
    | PreemptRequested
    | Parked
    | ResumeRequested
    | Steered
    | RetryRequested
    | Asked
    | Answered
    | AttemptLost
    | Finished
    | Deeds,
    Field(discriminator="type"),
]


class Event(Value):
    """A body in its envelope. `seq` counts from 1; `who` names a person or process; `fence` is 0 for open appends."""

    seq: int
    at: AwareDatetime
    who: str
    fence: int = 0
    body: Body
