"""What happens to a run as a whole: queued, given to attempts, set up, parked, over."""

from __future__ import annotations

from typing import Literal

from orchestrator.dialogue import Reply, Turn, Value
from orchestrator.notes import Summary, Window, WorkingMemory
from orchestrator.runs import Outcome, RunSpec
from sandbox.spec import FileChange, Install


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


class PreemptRequested(Value):
    """The attempt is to give its worker up at its next checkpoint; the run goes back into the queue and loses nothing.

    `why`: a run of high `priority` waits, the `budget` of its user or team is used up, its host is to `drain`.
    """

    type: Literal["preempt_requested"] = "preempt_requested"
    why: Literal["priority", "budget", "drain"]
    text: str = ""


class Parked(Value):
    """Nobody carries the run until somebody resumes it: it was paused, or its attempts kept dying.

    Or it waits for a person's word, with a question or for an approval: `Asked` says what, and until when.
    """

    type: Literal["parked"] = "parked"
    why: Literal["paused", "lost", "question", "approval"]
    text: str


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
