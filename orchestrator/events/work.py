"""What happens while the agent is at work. Events of a step without its `Checkpointed` are void."""

from __future__ import annotations

from typing import Literal

from orchestrator.diagnostic import Diagnostic
from orchestrator.dialogue import FailedRequest, Part, Reply, ToolCall, ToolResult, Value
from orchestrator.notes import Window
from sandbox.spec import FileChange, Install


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
    """A complete reply: step N begins.

    `candidate` is its number among those of the step's `Proposed`, which says what it cost; 0: it wasn't one of them.
    """

    type: Literal["replied"] = "replied"
    step: int
    reply: Reply
    candidate: int = 0


class Candidate(Value):
    """One of several replies to the same request, as it was paid for: without its `raw` and reasoning.

    `reply` is None where none came; `failure` says why. `same_as` is the number of an earlier one that asks for the
    same calls, 0 for none: the two are tried once.
    """

    reply: Reply | None = None
    failure: str = ""
    same_as: int = 0


class Proposed(Value):
    """Several replies were asked for at once, since step N is a hard one; nothing of them has run yet.

    They count from 1. `seconds` is what it took until the last one was there.
    """

    type: Literal["proposed"] = "proposed"
    step: int
    candidates: tuple[Candidate, ...]
    seconds: float = 0.0


class Ran(Value):
    """A call of a candidate that was carried out in a fork; its name and arguments are in the candidate's reply."""

    call_id: str
    ok: bool = True
    exit_code: int | None = None
    timed_out: bool = False
    duration_s: float = 0.0


class Tried(Value):
    """What came of a candidate's calls in a fork of the last checkpoint, and of the check behind them.

    `exit_code` and `timed_out` are the check's, `errors` how many places in the code it names. `tests_failed` and
    `tests_passed` are None where it doesn't say. `failure` says why the candidate was lost. `seconds` are of all of it.
    """

    candidate: int
    ran: tuple[Ran, ...] = ()
    exit_code: int | None = None
    timed_out: bool = False
    errors: int = 0
    tests_failed: int | None = None
    tests_passed: int | None = None
    seconds: float = 0.0
    failure: str = ""

    @property
    def passed(self) -> bool:
        """Whether the check ended with exit code 0."""
        return self.exit_code == 0 and not self.timed_out and not self.failure


class Chosen(Value):
    """One of the step's candidates was taken, and why; 0 where every one was lost, and the model is asked as ever.

    `command` is the check that was run on each of `tried`; both are empty where there is no check.
    """

    type: Literal["chosen"] = "chosen"
    step: int
    candidate: int
    why: str
    command: str = ""
    tried: tuple[Tried, ...] = ()


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


Limit = Literal["steps", "tokens", "money", "time"]
"""What a run has a limit of: model replies, tokens, US dollars, seconds."""


class Landing(Value):
    """After `step` 80 % of a limit were used: the agent was told to finish what is begun.

    Of money and tokens so much counts as used as the next reply can take at most: it's `ahead`.
    """

    type: Literal["landing"] = "landing"
    step: int
    what: Limit
    used: float
    limit: float
    ahead: float = 0.0


class Rewound(Value):
    """Files, shell and dialogue are those of step `to` again: a step of its own, with the number `step`.

    `why` is `lost` where nobody asked: the host with the later steps is gone, and they weren't on the remote yet.
    `message` is what the model is told of it, `asked` the number of the request that this answers.
    """

    type: Literal["rewound"] = "rewound"
    step: int
    to: int
    why: Literal["rewind", "undo", "redo", "lost", "denied"]
    commit: str
    tree: str
    depth: int
    shell: str = ""
    message: str = ""
    asked: int = 0
