"""What happens with sub-agents: each is an agent of its own, whose events lie in the run's journal, wrapped."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.dialogue import Value
from orchestrator.events.proof import Refused
from orchestrator.events.remembering import Recalled
from orchestrator.events.work import (
    CallFinished,
    CallStarted,
    Checkpointed,
    Chosen,
    Condensed,
    Guarded,
    Landing,
    Prompted,
    Proposed,
    Rebuilt,
    Replied,
    RequestFailed,
    Rewound,
    RulesRead,
)
from orchestrator.settings import RunLimits
from sandbox.spec import FileChange

ChildKind = Literal["explore", "task"]


class ChildStarted(Value):
    """A call of `step` gave a task to a sub-agent, which begins on a copy of `tree`; once more where it begins anew.

    `child` is its name, the only one of its agent's. `limits` are its own; `began_s` is how many seconds of its agent's
    time were used by then.
    """

    type: Literal["child_started"] = "child_started"
    step: int
    call: str
    child: str
    kind: ChildKind
    task: str
    tree: str
    limits: RunLimits
    began_s: float = 0.0


class Within(Value):
    """A sub-agent did something: the event as it would be in a journal of its own."""

    type: Literal["within"] = "within"
    child: str
    body: Deed


class ChildFinished(Value):
    """A sub-agent is at its end. `outcome` is why: as an agent's ending, or `error`; `reason` and `summary` go with it.

    `steps` is how many it committed; `tree` is where its work ended, `files` what differs there from where it began.
    `patch` names the blob with that, and `inexact` says what isn't in the tree.
    """

    type: Literal["child_finished"] = "child_finished"
    step: int
    child: str
    outcome: str
    reason: str = ""
    summary: str = ""
    steps: int = 0
    tree: str = ""
    files: tuple[FileChange, ...] = ()
    patch: str = ""
    inexact: tuple[str, ...] = ()


class ChildMerged(Value):
    """The work of a sub-agent came into its agent's workspace, whole; or nothing of it did.

    `conflicts` are the paths that stood in the way, `failure` says what else did.
    """

    type: Literal["child_merged"] = "child_merged"
    step: int
    child: str
    merged: bool
    conflicts: tuple[str, ...] = ()
    failure: str = ""


Deeds = (
    Prompted
    | Recalled
    | RequestFailed
    | Proposed
    | Chosen
    | Replied
    | CallStarted
    | CallFinished
    | Checkpointed
    | RulesRead
    | Condensed
    | Rebuilt
    | Guarded
    | Landing
    | Rewound
    | Refused
    | ChildStarted
    | Within
    | ChildFinished
    | ChildMerged
)
Deed = Annotated[Deeds, Field(discriminator="type")]
"""What an agent writes, whether it's the run's or a sub-agent."""

Within.model_rebuild()


def innermost(body: Value) -> tuple[Value, tuple[str, ...]]:
    """Return what happened, and to which agent: the names of sub-agents from the run's own down, none for itself."""
    path: tuple[str, ...] = ()
    while isinstance(body, Within):
        path, body = (*path, body.child), body.body
    return body, path
