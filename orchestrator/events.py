"""Everything that can happen to a run: the closed union that the journal holds.

An event is a body (what happened) in an envelope (where in the journal, when, by whom).
Events of a step without its `Checkpointed` are void: the step was never committed.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from orchestrator.diagnostic import Diagnostic
from orchestrator.dialogue import FailedRequest, Part, Reply, ToolCall, ToolResult, Turn, Value
from orchestrator.notes import Summary, Window, WorkingMemory
from orchestrator.runs import Outcome, RunSpec, Verdict, Weakness
from orchestrator.settings import RunLimits
from sandbox.spec import FileChange, Install

FORMAT: Final = 2
"""Number of this vocabulary. It goes up with what an older version can't read: such a run needs a worker that can."""


class Submitted(Value):
    """A person queued the run."""

    type: Literal["submitted"] = "submitted"
    spec: RunSpec


class Forked(Value):
    """The run goes on from a step of another one: with its dialogue, and at its tree. `head` is the other's journal.

    `steps` are the numbers of the replies in `dialogue`, in order; `window`, `memory` and `summary` are as they were
    at that step.
    """

    type: Literal["forked"] = "forked"
    run: str
    step: int
    head: str
    commit: str
    tree: str
    shell: str = ""
    system: str = ""
    dialogue: tuple[Turn | Reply, ...] = ()
    steps: tuple[int, ...] = ()
    window: Window = Window()
    memory: WorkingMemory = WorkingMemory()
    summary: Summary = Summary()


class Dispatched(Value):
    """An attempt was put on the queue. `reason` says why for every attempt but the first."""

    type: Literal["dispatched"] = "dispatched"
    attempt: int
    reason: str = ""


class Claimed(Value):
    """A worker owns the run under a fencing token."""

    type: Literal["claimed"] = "claimed"
    attempt: int
    fence: int
    worker: str
    host: str


class SetUp(Value):
    """What the set-up commands made is there: `cached` from an earlier run, whose `seconds` and `log` these are.

    `installs` are the dependencies in it, `unlooked` names what of it wasn't looked through for them.
    `failed` says which command failed and how; then nothing is there, and the run ends.
    """

    type: Literal["set_up"] = "set_up"
    commands: tuple[str, ...]
    network: Literal["off", "on"]
    cached: bool = False
    seconds: float = 0.0
    log: str = ""
    failed: str = ""
    installs: tuple[Install, ...] = ()
    unlooked: tuple[str, ...] = ()


class Built(Value):
    """The image of the repository's own `dockerfile` is there: `cached` from an earlier run, or built now.

    `log` is the end of what the engine said; `failed` says why there is no image, and the run ends.
    """

    type: Literal["built"] = "built"
    dockerfile: str
    image: str
    cached: bool = False
    seconds: float = 0.0
    log: str = ""
    failed: str = ""


class SandboxReady(Value):
    """The sandbox stands, at the tree of the last committed step. `policy` is what it is sealed with."""

    type: Literal["sandbox_ready"] = "sandbox_ready"
    image: str
    image_id: str
    container: str
    tree: str
    policy: dict[str, str]


class Prompted(Value):
    """What the model is told: the frozen system text at the first step, and what the harness says later.

    `heard` is the number of the last `Steered` that is in `text`: up to there all are told, and never again.
    """

    type: Literal["prompted"] = "prompted"
    system: str = ""
    text: str = ""
    heard: int = 0


class RequestFailed(Value):
    """A request to the model failed; another follows, to the same model or to the fallback. Nothing of it is kept."""

    type: Literal["request_failed"] = "request_failed"
    step: int
    failure: FailedRequest


class Replied(Value):
    """A complete reply: step N begins."""

    type: Literal["replied"] = "replied"
    step: int
    reply: Reply


class CallStarted(Value):
    """A call is about to run."""

    type: Literal["call_started"] = "call_started"
    step: int
    call: ToolCall


class CallFinished(Value):
    """A call ended. The output that the model saw is in `result`; exit code and signal are those inside the sandbox.

    `diagnostics` are what the output of a command that failed says of places in the code, at most MOST_KEPT of them.
    """

    type: Literal["call_finished"] = "call_finished"
    step: int
    result: ToolResult
    exit_code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    duration_s: float = 0.0
    total_bytes: int = 0
    diagnostics: tuple[Diagnostic, ...] = ()


class Checkpointed(Value):
    """The step is committed. `patch` names the blob with the step's patch; empty where it is too large.

    `shell` names the store's object with the shell's state: working directory, variables and functions.
    `installs` are the dependencies that came and went, `unlooked` names what wasn't looked through for them.
    `pushed` is the last step that was on the checkpoint remote by then, `push_failed` why the last push wasn't taken.
    """

    type: Literal["checkpointed"] = "checkpointed"
    step: int
    commit: str
    tree: str
    files: tuple[FileChange, ...] = ()
    patch: str = ""
    inexact: tuple[str, ...] = ()
    shell: str = ""
    installs: tuple[Install, ...] = ()
    unlooked: tuple[str, ...] = ()
    pushed: int = 0
    push_failed: str = ""


class RulesRead(Value):
    """An AGENTS.md below the repository's root counts from here on: the agent came to a file that it is nearest to."""

    type: Literal["rules_read"] = "rules_read"
    step: int
    path: str
    text: str


class Condensed(Value):
    """The condenser asked the model for a summary of the run, up to and with `step`; or it failed, and says why.

    `reply` is what was paid for, without its `raw` and reasoning; None where none came. `summary` is empty where the
    reply can't be used. `tokens` are those of the context that was summed up, `seconds` what it took beside the work.
    """

    type: Literal["condensed"] = "condensed"
    step: int
    summary: str = ""
    failure: str = ""
    reply: Reply | None = None
    tokens: int = 0
    seconds: float = 0.0


class Rebuilt(Value):
    """The context was built anew before the reply of `step`: the frozen head, then `window`.

    `why`: it was `full`, or the model `refused` a request as too long. `parts` is what it has in it now, `before` the
    tokens that it had; `limit` the most that it may have for `model`. `dropped` are the first and last step that left
    the window by it, (0, 0) for none; `summed_up` is the last step that the summary in it covers, 0 without one.
    `blocked_s` is how long the work waited for it.
    """

    type: Literal["rebuilt"] = "rebuilt"
    step: int
    why: Literal["full", "refused"]
    window: Window
    parts: tuple[Part, ...] = ()
    before: int = 0
    limit: int = 0
    model: str = ""
    dropped: tuple[int, int] = (0, 0)
    summed_up: int = 0
    blocked_s: float = 0.0


Level = Literal["remind", "replan", "stop"]


class Guarded(Value):
    """After `step` the agent was found in a loop that goes on since the step `since`.

    `level` is what was done about it: the model was told, it was told to make a new plan, the work was stopped.
    """

    type: Literal["guarded"] = "guarded"
    step: int
    kind: str
    level: Level
    reason: str
    since: int


class RewindRequested(Value):
    """A person asked to go back to an earlier step; whoever carries the run does it before its next step."""

    type: Literal["rewind_requested"] = "rewind_requested"
    step: int
    why: Literal["rewind", "undo", "redo"] = "rewind"
    message: str = ""


class Rewound(Value):
    """Files, shell and dialogue are those of step `to` again: a step of its own, with the number `step`.

    `why` is `lost` where nobody asked: the host with the later steps is gone, and they weren't on the remote yet.
    `message` is what the model is told of it, `asked` the number of the request that this answers.
    """

    type: Literal["rewound"] = "rewound"
    step: int
    to: int
    why: Literal["rewind", "undo", "redo", "lost"]
    commit: str
    tree: str
    depth: int
    shell: str = ""
    message: str = ""
    asked: int = 0


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


class CancelRequested(Value):
    """A person asked to cancel."""

    type: Literal["cancel_requested"] = "cancel_requested"


class PauseRequested(Value):
    """A person asked to pause: at the end of the step, or `now`, which undoes a step that is under way."""

    type: Literal["pause_requested"] = "pause_requested"
    now: bool = False


class PreemptRequested(Value):
    """The attempt is to give its worker up at its next checkpoint; the run goes back into the queue and loses nothing.

    `why`: a run of high `priority` waits, the `budget` of its user or team is used up, its host is to `drain`.
    """

    type: Literal["preempt_requested"] = "preempt_requested"
    why: Literal["priority", "budget", "drain"]
    text: str = ""


class Parked(Value):
    """Nobody carries the run until somebody resumes it: it was paused, or its attempts kept dying."""

    type: Literal["parked"] = "parked"
    why: Literal["paused", "lost"]
    text: str


class ResumeRequested(Value):
    """A person asked to go on: what is parked is put in line, a pause that hasn't come yet is taken back."""

    type: Literal["resume_requested"] = "resume_requested"


class Steered(Value):
    """A person has something to say to the agent: it's told at its next step, once."""

    type: Literal["steered"] = "steered"
    text: str


class RetryRequested(Value):
    """A person takes a run up again that is over: it goes on from its last step, within `limits` where they changed."""

    type: Literal["retry_requested"] = "retry_requested"
    limits: RunLimits | None = None


class AttemptLost(Value):
    """An attempt ended without finishing the run: its worker died or lost its lease; `void_step` was undone."""

    type: Literal["attempt_lost"] = "attempt_lost"
    attempt: int
    reason: str
    void_step: int | None = None
    to_blame: bool = True


class Finished(Value):
    """The run is over. `patch` names the blob with the whole patch, base to final tree."""

    type: Literal["finished"] = "finished"
    outcome: Outcome
    reason: str = ""
    summary: str = ""
    tree: str = ""
    files: tuple[FileChange, ...] = ()
    patch: str = ""


Body = Annotated[
    Submitted
    | Forked
    | Dispatched
    | Claimed
    | Built
    | SetUp
    | SandboxReady
    | Prompted
    | RequestFailed
    | Replied
    | CallStarted
    | CallFinished
    | Checkpointed
    | RulesRead
    | Condensed
    | Rebuilt
    | Guarded
    | RewindRequested
    | Rewound
    | FinishStarted
    | Judged
    | Weakened
    | CancelRequested
    | PauseRequested
    | PreemptRequested
    | Parked
    | ResumeRequested
    | Steered
    | RetryRequested
    | AttemptLost
    | Finished,
    Field(discriminator="type"),
]


class Event(Value):
    """A body in its envelope. `seq` counts from 1; `who` names a person or process; `fence` is 0 for open appends."""

    seq: int
    at: AwareDatetime
    who: str
    fence: int = 0
    body: Body
