"""The moments that a run has been at: each committed step, and each return to an earlier one.

Numbers only go up: a rewind is a step of its own, with a number of its own, and nothing is erased. What it goes back to
is one of the moments before. Undo and redo walk over them as in an editor.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator import events as e
from orchestrator.dialogue import ToolCall, Value
from orchestrator.errors import JournalError, NotFoundError, UsageError
from sandbox.spec import FileChange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.events import Event


class Moment(Value):
    """A state of a run that it can go back to.

    `step` is its number, `seq` that of the event which made it; `depth` counts the replies that led to it; `before` is
    the moment that it was reached from, `to` the one that a rewind went back to. Of one that is `lost` no checkpoint is
    left: its host is gone. `cost_usd` is what its reply and those of its sub-agents cost. The other fields are the
    checkpoint's.
    """

    step: int
    seq: int
    at: datetime
    kind: str
    depth: int
    commit: str
    tree: str
    shell: str = ""
    before: int | None = None
    to: int | None = None
    files: tuple[FileChange, ...] = ()
    patch: str = ""
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    cost_usd: float | None = 0.0
    lost: bool = False


class Timeline:
    """A fold of the journal: all moments, and which of them undo and redo lead to.

    `run` is the run's id, for hints. `dropped` is what came after the last undo, so that there is nothing to redo any
    more, as in an editor; else None. Raises JournalError for events that are no run's: without a beginning, or with
    numbers that don't go up.
    """

    def __init__(self, events: Iterable[Event], run: str = "RUN") -> None:
        self.run = run
        self.moments: dict[int, Moment] = {}
        self._past: list[int] = []
        self._future: list[int] = []
        self.dropped: Moment | None = None
        self._reply: e.Replied | None = None
        self._beside: float | None = 0.0  # What the sub-agents of the open step cost.
        self._last = -1
        for event in events:
            self._take(event)
        if not self.moments:
            raise self._unlike_a_run("it has no beginning")

    @property
    def begin(self) -> Moment:
        """Where the run began: its base, or the step that it was forked from."""
        return self.moments[self._past[0]]

    @property
    def now(self) -> Moment:
        """Where the run is."""
        return self.moments[self._past[-1]]

    @property
    def undo(self) -> int | None:
        """The moment that undo leads to, or None at the beginning."""
        return self._past[-2] if len(self._past) > 1 else None

    @property
    def redo(self) -> int | None:
        """The moment that redo leads to, or None where nothing was undone, or something came after."""
        return self._future[-1] if self._future else None

    def at(self, step: int) -> Moment:
        """Return the moment of that number. Raises NotFoundError."""
        if step not in self.moments:
            first, last = min(self.moments, default=0), max(self.moments, default=0)
            cause = f"it has been at {first} to {last}" if last else "no step of it is committed yet"
            raise NotFoundError(f"the run has no step {step}", cause=cause, hint=f"dreamdock steps {self.run}")
        return self.moments[step]

    def kept(self, step: int) -> Moment:
        """Return the moment of that number, to go back to. Raises NotFoundError, also for one that was lost."""
        moment = self.at(step)
        if moment.lost:
            cause = "its host was gone before the checkpoint remote had it"
            raise NotFoundError(f"step {step} was lost", cause=cause, hint=f"dreamdock steps {self.run}")
        return moment

    def line(self, moment: Moment) -> list[Moment]:
        """Return the steps that led to a moment from where the run began, in order; rewinds are followed back."""
        found = []
        step: int | None = moment.step
        while step is not None:
            here = self.moments[step]
            if here.kind == "step":
                found.append(here)
            step = here.before if here.to is None else here.to
        return found[::-1]

    def nothing_to(self, why: str) -> UsageError:
        """Return why there is nothing to undo or redo."""
        cause, dropped = "it is where it began" if why == "undo" else "nothing was undone", self.dropped
        if why == "redo" and dropped is not None:
            came = f"step {dropped.step}" if dropped.to is None else f"the {dropped.kind} to step {dropped.to}"
            cause = f"{came} came after the undo, as in an editor; `rewind` still leads to each step of before"
        return UsageError(f"there is nothing to {why}", cause=cause, hint=f"dreamdock steps {self.run}")

    def _take(self, event: Event) -> None:
        match event.body:
            case e.Checkpointed(step=step) | e.Rewound(step=step) if step <= self._last:
                raise self._unlike_a_run(f"event {event.seq} comes back to step {step}")
            case e.Checkpointed() if not self.moments:
                raise self._unlike_a_run("it has no beginning")
            case e.Rewound(to=to) if to not in self.moments:
                raise self._unlike_a_run(f"event {event.seq} goes back to step {to}, which it hasn't been at")
            case e.Submitted(spec=spec):
                self._begin(event, 0, spec.repo.commit, spec.repo.tree, "")
            case e.Forked() as body:
                self.moments.clear()
                self._past.clear()
                self._begin(event, body.step, body.commit, body.tree, body.shell)
            case e.Replied() as body:
                self._reply, self._beside = body, 0.0
            case e.Within() as body:
                self._beside = added(self._beside, *(reply.cost_usd for reply in e.paid(body)))
            case e.Checkpointed() as body:
                self._step(event, body)
            case e.Rewound() as body:
                self._rewind(event, body)
            case _:
                return

    def _begin(self, event: Event, step: int, commit: str, tree: str, shell: str) -> None:
        self.moments[step] = Moment(
            step=step, seq=event.seq, at=event.at, kind="begin", depth=0, commit=commit, tree=tree, shell=shell
        )
        self._past.append(step)
        self._last = step

    def _step(self, event: Event, body: e.Checkpointed) -> None:
        self._last = body.step
        said = self._reply.reply if self._reply and self._reply.step == body.step else None
        self.moments[body.step] = Moment(
            step=body.step,
            seq=event.seq,
            at=event.at,
            kind="step",
            depth=self.now.depth + 1,
            commit=body.commit,
            tree=body.tree,
            shell=body.shell,
            before=self.now.step,
            files=body.files,
            patch=body.patch,
            text=said.text if said else "",
            calls=said.calls if said else (),
            cost_usd=added(said.cost_usd, self._beside) if said else None,
        )
        self._go_on(body.step)

    def _rewind(self, event: Event, body: e.Rewound) -> None:
        before, to = self.now.step, self.moments[body.to]
        if body.why == "lost":
            self._lose(to)
        self._last = body.step
        update = {
            "step": body.step,
            "seq": event.seq,
            "at": event.at,
            "kind": body.why,
            "before": before,
            "to": to.step,
        }
        none = {"files": (), "patch": "", "text": body.message, "calls": (), "cost_usd": 0.0}
        self.moments[body.step] = to.model_copy(update=update | none)
        if body.why == "undo" and self.undo == body.to:
            self._future.append(self._past.pop())
            self.dropped = None
        elif body.why == "redo" and self.redo == body.to:
            self._past.append(self._future.pop())
        else:
            self._go_on(body.step)

    def _lose(self, to: Moment) -> None:
        """Take note that the steps which led here from `to` are gone, and whatever went back to one of them."""
        line = self.line(self.now)
        gone = {moment.commit for moment in line if moment.step > to.step}
        for step, moment in self.moments.items():
            if moment.commit in gone:
                self.moments[step] = moment.model_copy(update={"lost": True})
        self._past = [step for step in self._past if not self.moments[step].lost]

    def _go_on(self, step: int) -> None:
        """Move to a new moment: what was undone before it can't be redone any more."""
        self._past.append(step)
        if self._future:
            self.dropped = self.now
        self._future.clear()

    def _unlike_a_run(self, why: str) -> JournalError:
        return JournalError("the journal tells no run", cause=why, hint=f"dreamdock audit {self.run} --verify")


def added(*costs: float | None) -> float | None:
    """Return the sum; None once one of them is unknown."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None
