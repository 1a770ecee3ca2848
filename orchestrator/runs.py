"""What a run is: its specification, its states and the view that people see of it."""

from __future__ import annotations

import re
import secrets
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from orchestrator.approvals import Approvals
from orchestrator.dialogue import Usage, Value
from orchestrator.settings import Command, Commands, Labels, RunLimits
from sandbox.spec import Base, Limits

if TYPE_CHECKING:
    from datetime import datetime

LONGEST_TASK: Final = 100_000
"""Characters."""
RUN_ID: Final = re.compile(r"^[0-9a-z]{12}\Z")
ATTEMPT_ID: Final = re.compile(r"^([0-9a-z]{12})-a([1-9][0-9]{0,5})\Z")
DREAM_ID: Final = re.compile(r"^dream-([0-9a-f]{12})-(0|[1-9][0-9]{0,12})\Z")
"""A dream's job: the project, and the number of the period that it's for."""
STACK_LABEL: Final = "dreamdock.stack"
FENCE_LABEL: Final = "dreamdock.fence"
"""Labels of a run's containers, beside the sandbox's own RUN_LABEL."""
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"


def new_run_id() -> str:
    """Return a new run id: 12 characters of Crockford's base 32, lower case, at random."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))


def attempt_id(run_id: str, number: int) -> str:
    """Return the id of a run's attempt, which is also the id of its RQ job."""
    return f"{run_id}-a{number}"


class State(StrEnum):
    """Where a run is. How it ended is its `Outcome`."""

    QUEUED = "queued"  # Recorded; no attempt owns it.
    STARTING = "starting"  # An attempt owns it and prepares the sandbox.
    RUNNING = "running"  # The agent is at work.
    WAITING = "waiting"  # Parked; `reason` says for what.
    FINISHING = "finishing"  # Acceptance and delivery.
    DONE = "done"  # Over; the outcome says how.


class Outcome(StrEnum):
    """How a finished run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # What was submitted isn't accepted, or the agent gave up.
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"  # The wall-time limit.
    LIMIT = "limit"  # Steps, money, or a model that goes in circles; the work is kept.
    ERROR = "error"  # Our side or the model's endpoint; the work is kept.


TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.QUEUED: frozenset({State.STARTING, State.WAITING, State.DONE}),
    State.STARTING: frozenset({State.RUNNING, State.FINISHING, State.QUEUED, State.WAITING, State.DONE}),
    State.RUNNING: frozenset({State.FINISHING, State.QUEUED, State.WAITING, State.DONE}),
    State.WAITING: frozenset({State.QUEUED, State.DONE}),
    State.FINISHING: frozenset({State.RUNNING, State.DONE, State.QUEUED, State.WAITING}),  # Running: it goes on.
    State.DONE: frozenset({State.QUEUED}),  # Reopened by a rewind or a retry.
}


class Acceptance(Value):
    """The command that decides whether a run succeeded. `origin`: flag, spec file, dreamdock.toml or guess."""

    command: Command
    origin: str


Dollars = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
"""US dollars per million tokens."""


class Priority(StrEnum):
    """What comes first in the queue; only what is `high` also makes a lower one give its worker up."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class Requires(Value):
    """What a worker must have to take the run; empty and 0 mean anything.

    `keys` names the model families whose key it must have, `image` is one that its engine has. `store` is the id of the
    only store that has the run's base and checkpoints, or `remote` where a checkpoint remote has them.
    """

    memory_mb: int = Field(0, ge=0)
    cpus: float = Field(0, ge=0, allow_inf_nan=False)
    gpus: int = Field(0, ge=0)
    labels: Labels = ()
    keys: tuple[str, ...] = ()
    image: str = ""
    store: str = ""


class RunSpec(Value):
    """What was asked for, resolved: nothing in it changes after the submission.

    `script` is the text of a scripted model's file; `left_out` names uncommitted paths that the run doesn't see.
    `submodules` are empty directories to the run, `lfs_pointers` small text files in place of the content; the first
    hundred are named.
    `setup` are the commands that run before, on the base commit, in a container of their own.
    `build` is the path of a Dockerfile in the base commit, where the image is built from one.
    `price` was given with the run, for a model without a known one: US dollars per million tokens of input, cached
    input and output. `unpriced` says that the run goes on without a price, and so without its money limit.
    `judge` is the model that rules on what no command can check, empty for none; `judge_always`: on all the rest, too.
    `recall_tokens` is how much of long-term memory it's given at once, 0 for none.
    """

    task: str = Field(min_length=1, max_length=LONGEST_TASK)
    repo: Base
    model: str
    accept: Acceptance | None = None
    limits: RunLimits = RunLimits()
    image: str
    sandbox: Limits = Limits()
    base_url: str = ""
    price: tuple[Dollars, Dollars, Dollars] | None = None
    unpriced: bool = False
    fallback: str = ""
    script: str = ""
    left_out: tuple[str, ...] = ()
    submodules: tuple[str, ...] = ()
    lfs_pointers: tuple[str, ...] = ()
    setup: Commands = ()
    build: str = ""
    judge: str = ""
    judge_always: bool = False
    approvals: Approvals = Approvals()
    recall_tokens: int = Field(0, ge=0, le=50_000)
    priority: Priority = Priority.NORMAL
    requires: Requires = Requires()


class Verdict(Value):
    """What the acceptance command said. `base_tests`: the second run, with the base's test files put back.

    It ran `runs` times on that tree, and passed `passes` times of them; what most of them said counts, and is told
    here. `flake` is the end of the output of one that failed although most passed.
    """

    command: str
    exit_code: int | None
    timed_out: bool
    output: str
    duration_s: float
    tree: str
    base_tests: bool = False
    runs: int = 1
    passes: int = 0
    flake: str = ""

    @property
    def passed(self) -> bool:
        """Whether the command ended with exit code 0."""
        return self.exit_code == 0 and not self.timed_out

    @property
    def flaky(self) -> str:
        """How often it passed, in words, where it didn't always say the same of the same tree; else empty."""
        return f"flaky: passed {self.passes} of {self.runs}" if 0 < self.passes < self.runs else ""


class Ruling(Value):
    """What a judge ruled on the evidence; `none` where it couldn't, and `why` then says why not."""

    judge: str
    verdict: Literal["pass", "fail", "none"]
    unmet: tuple[str, ...] = ()
    why: str = ""


class Weakening(StrEnum):
    """What can be done to what proves a run."""

    DELETED = "test file deleted"
    REMOVED = "test removed"
    CASE = "test case removed"
    SKIPPED = "test left out"
    LOST = "assertion removed"
    WEAKER = "assertion weakened"
    EXPECTED = "expected value replaced"
    EXIT = "exit code faked"
    ACCEPTANCE = "acceptance changed"
    CONFIGURED = "test configuration changed"
    UNREAD = "not looked through"
    NOTHING = "nothing changed"


class Weakness(Value):
    """A place where a run's changes may have weakened what proves it: named, not judged.

    `line` counts in the file as it is now, or as it was where the line is gone; 0 is the whole file. `text` is there.
    """

    kind: Weakening
    path: str
    line: int
    text: str

    @property
    def place(self) -> str:
        """Where it is; empty where it's about the whole tree."""
        where = "" if self.path == "." else self.path
        return f"{where}:{self.line}" if self.line else where

    @property
    def words(self) -> str:
        """All of it in a line."""
        return ": ".join(filter(None, (self.kind, self.place, self.text)))


class Child(Value):
    """A sub-agent of a run, as `show` names it. `outcome` is empty while it works.

    `merged` says whether what it changed is in the workspace; None where there was nothing to merge.
    """

    name: str
    kind: str
    step: int
    task: str
    outcome: str = ""
    files: int = 0
    merged: bool | None = None


Rule = Literal["installs", "deletions", "paths", "spending"]
"""What of the settings' `approvals` a step came under."""


class Question(Value):
    """What a run waits for a person with, after `step`: the agent's own question, or an approval by the `rules`.

    `deadline` is by Redis's clock: then `default` is the answer. `options` are the agent's, an approval has none.
    `allows_usd` is up to how much an approval of spending reaches.
    """

    id: str
    kind: Literal["question", "approval"]
    step: int
    text: str
    options: tuple[str, ...] = ()
    default: str
    deadline: AwareDatetime
    rules: tuple[Rule, ...] = ()
    allows_usd: float = 0.0


class Given(Value):
    """An entry of the library that a run was given: its id and title, and the scope that it holds in."""

    id: str
    title: str
    scope: str
    scope_id: str


class RunView(Value):
    """A run as folded from its journal: what `ps` and `show` print.

    `step` is the number of the last step, `depth` how many replies led to where the run is: a rewind makes them differ.
    `cost_usd` is None once a reply of unknown price is in it. Times are UTC.
    `pausing` is who asked for a pause that hasn't come yet; `parked_at` is when the run was parked, while it is, and
    `parked_s` for how long it was before. `steered` and `heard` are the numbers of the last message to the agent, and
    of the last one that it was told. `extended` are the limits, where a retry changed them.
    `rewinding` is the return to an earlier step that hasn't come yet, in words, and `rewind_at` the number of the last
    request for one. `fork_of` is the run that this one was forked from, if any, at its step `fork_step`.
    `question` is what it waits for a person with, while it does.
    `host` is where it's carried, empty while nobody does. `preempting` is why the attempt is to give its worker up at
    the next checkpoint. `refusals` counts the submissions that weren't accepted. `pushed` is the last step that was
    known to be on the checkpoint remote when the last one was committed, `push_failed` why it isn't a later one.
    `children` are its sub-agents, `recalled` the entries of the library that it was given, those of undone steps too.
    """

    id: str
    spec: RunSpec
    who: str
    created_at: AwareDatetime
    state: State = State.QUEUED
    outcome: Outcome | None = None
    reason: str = ""
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    attempt: int = 0
    step: int = 0
    depth: int = 0
    usage: Usage = Usage()
    cost_usd: float | None = 0.0
    doing: str = ""
    tree: str = ""
    checkpoint: str = ""
    shell: str = ""
    cancel_requested: bool = False
    pausing: str = ""
    parked_at: AwareDatetime | None = None
    parked_s: float = 0.0
    steered: int = 0
    heard: int = 0
    extended: RunLimits | None = None
    rewinding: str = ""
    rewind_at: int = 0
    fork_of: str = ""
    fork_step: int = 0
    question: Question | None = None
    host: str = ""
    preempting: str = ""
    pushed: int = 0
    push_failed: str = ""
    refusals: int = 0
    verdicts: tuple[Verdict, ...] = ()
    weakened: tuple[Weakness, ...] = ()
    children: tuple[Child, ...] = ()
    recalled: tuple[Given, ...] = ()
    ruling: Ruling | None = None
    summary: str = ""

    @property
    def limits(self) -> RunLimits:
        """What ends the run: as asked for, or as a retry extended it."""
        return self.extended or self.spec.limits

    @property
    def unheard(self) -> bool:
        """Whether somebody said something that the agent wasn't told yet."""
        return self.steered > self.heard

    def spent_s(self, now: datetime) -> float:
        """Return the seconds since the run was first claimed, without those that it was parked for."""
        until = self.ended_at or self.parked_at or now
        return max((until - (self.started_at or until)).total_seconds() - self.parked_s, 0.0)

    @property
    def label(self) -> str:
        """The state, or the outcome with its proof, in words."""
        if self.outcome is None:
            return self.state
        if self.outcome is not Outcome.SUCCEEDED or self.verdicts:
            return self.outcome
        return f"{self.outcome} ({'judged' if self.ruling else 'unproven'})"
