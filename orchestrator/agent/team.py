"""Sub-agents: they work side by side, each on a copy of the workspace, and what they did comes back.

All that is known of them is in the journal of the agent above. So an attempt that was lost costs a sub-agent no more
than its own open step, and one that was done isn't asked again; what a rewind undoes, it undoes of theirs, too.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypedDict

from orchestrator import events as e
from orchestrator.agent.arguments import MOST_AT_ONCE
from orchestrator.agent.child import ChildJournal
from orchestrator.agent.delegating import Result, told
from orchestrator.agent.ending import Kind
from orchestrator.agent.outcome import Outcome, failed
from orchestrator.agent.role import of_child
from orchestrator.errors import DreamdockError, JournalError, RedisAwayError
from orchestrator.stop import Below
from orchestrator.timeline import Timeline
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.agent.arguments import Delegate, Given
    from orchestrator.agent.around import Around, Fork, Models
    from orchestrator.agent.budget import Budget
    from orchestrator.agent.context import Context
    from orchestrator.agent.ending import Ending
    from orchestrator.agent.journal import Journal
    from orchestrator.agent.role import Role
    from orchestrator.models.port import Model
    from orchestrator.runs import RunSpec
    from orchestrator.settings import RunLimits
    from orchestrator.stop import Stop
    from sandbox.open import Sandbox

_MOST_STEPS: Final = 50
"""Steps of one sub-agent: what takes more is a task to be cut up."""
_TIME: Final = 0.5
"""How much of the time that is left the sub-agents of a call may take: the rest is for what is made of it."""
_LEAST_USD: Final = 1e-6
_BROKEN_OFF: Final = "the work of another sub-agent can't go on"


class Working(Protocol):
    """Has an agent work until it's at its end; see `Agent.run`."""

    def __call__(
        self,
        model: Model,
        box: Sandbox,
        journal: Journal,
        spec: RunSpec,
        stop: Stop,
        /,
        *,
        budget: Budget,
        role: Role,
        name: str,
    ) -> Ending:
        """Return why it ended."""


class _Who(TypedDict):
    """What tells a sub-agent from the agent above it."""

    budget: Budget
    role: Role
    name: str


class Ways(NamedTuple):
    """How sub-agents come to sandboxes and models of their own."""

    fork: Fork
    models: Models


@dataclass(frozen=True)
class _Member:
    """A sub-agent of a call, and what of the journal is its own; `finished` is there once it's done."""

    started: e.ChildStarted
    journal: ChildJournal
    finished: e.ChildFinished | None

    @property
    def checkpoints(self) -> list[e.Checkpointed]:
        """Its committed steps."""
        return [event.body for event in self.journal.events if isinstance(event.body, e.Checkpointed)]


class Team:
    """The sub-agents of one agent."""

    def __init__(  # noqa: PLR0917  # An agent's own parts.
        self,
        work: Working,
        model: Model,
        sandbox: Sandbox,
        journal: Journal,
        spec: RunSpec,
        stop: Stop,
        *,
        around: Around,
        budget: Budget,
        name: str,
    ) -> None:
        """Take what has an agent work, and the parts of the agent above."""
        self._work = work
        self._model = model
        self._sandbox = sandbox
        self._journal = journal
        self._spec = spec
        self._stop = stop
        self._has = around.has
        self._ways = Ways(around.fork, around.models) if around.fork and around.models else None
        self._budget = budget
        self._name = name

    def delegate(self, context: Context, call: str, arguments: Delegate, longest: int) -> Outcome:
        """Carry out a call of the open step, and return what came of it, in about `longest` characters.

        Raises Stopped, and what the journal or the agent's own sandbox raises.
        """
        if self._ways is None:
            return failed("there are no sub-agents here; do it yourself")
        asked, left = len(arguments.tasks), self._left(context.step + 1, call)
        if asked > left:
            limit = self._journal.view.limits.children
            return failed(f"{asked} sub-agents are more than the {left} that are left of {limit}; do it yourself")
        members = self._begin(context, call, arguments.tasks, left)
        finished = self._finish(members, self._ways)
        return Outcome(
            told([self._taken(one.started, end) for one, end in zip(members, finished, strict=True)], longest)
        )

    def _left(self, step: int, call: str) -> int:
        """Return how many there may be yet. Those of undone steps count; a call that runs again counts once."""
        begun = {
            (body.step, body.call, body.child): 1 + body.limits.children * (body.limits.depth > 0)
            for body in (event.body for event in self._journal.events)
            if isinstance(body, e.ChildStarted) and (body.step, body.call) != (step, call)
        }
        return max(self._journal.view.limits.children - sum(begun.values()), 0)

    def _begin(self, context: Context, call: str, tasks: Sequence[Given], left: int) -> list[_Member]:
        """Return the sub-agents of a call; those that aren't under way from an earlier attempt begin now."""
        tree, step = self._sandbox.snapshot(), context.step + 1
        spent_s = self._journal.view.spent_s(self._journal.now)
        wanted = [
            e.ChildStarted(
                step=step,
                call=call,
                child=name,
                kind=one.kind,
                task=one.task,
                tree=tree,
                limits=self._limits(context, one, len(tasks), left),
                began_s=spent_s,
            )
            for name, one in self._named(tasks, step)
        ]
        self._journal.append(*(one for one in wanted if self._known(one) is None))
        return [member for member in map(self._known, wanted) if member is not None]

    def _limits(self, context: Context, given: Given, tasks: int, left: int) -> RunLimits:
        """Return the limits of each of so many sub-agents; of money and tokens it's as much as stays here."""
        left_here = self._budget.left
        above, role = self._journal.view.limits, of_child(given.kind)
        depth = max(above.depth - 1, 0) if role.delegates else 0
        seconds = above.seconds - self._journal.view.spent_s(self._journal.now)
        share = {
            "steps": max(min(above.steps - context.depth, _MOST_STEPS), 1),
            "money_usd": max(left_here.money_usd / (tasks + 1), _LEAST_USD),
            "tokens": max(left_here.tokens // (tasks + 1), 1),
            "seconds": max(int(seconds * _TIME), 1),
            "children": (left - tasks) // tasks if depth else 0,
            "depth": depth,
            "candidates": 1,
        }
        return above.model_copy(update=share)

    def _named(self, tasks: Sequence[Given], step: int) -> Iterator[tuple[str, Given]]:
        """Yield each task with the name of its sub-agent: another than those that led to here, undone ones aside."""
        timeline = Timeline(self._journal.events)
        line = {moment.step for moment in timeline.line(timeline.now)} - {step}
        begun = (event.body for event in self._journal.events)
        taken = {body.child for body in begun if isinstance(body, e.ChildStarted) and body.step in line}
        for one in tasks:
            names = (one.name if number == 1 else f"{one.name}-{number}" for number in count(1))
            name = next(name for name in names if name not in taken)
            taken.add(name)
            yield name, one

    def _known(self, wanted: e.ChildStarted) -> _Member | None:
        """Return a sub-agent that is under way, or done; None where it has to begin, or to begin anew.

        It goes on where the workspace is as it was, and where its last checkpoint is still there.
        """
        events = self._journal.events
        for place in range(len(events) - 1, -1, -1):
            body = events[place].body
            if isinstance(body, e.ChildStarted) and body.child == wanted.child:
                break
        else:
            return None
        if (body.step, body.call, body.kind, body.task, body.tree) != (
            *(wanted.step, wanted.call, wanted.kind, wanted.task),
            wanted.tree,
        ):
            return None
        ends = (event.body for event in events[place:])
        finished = next((end for end in ends if isinstance(end, e.ChildFinished) and end.child == body.child), None)
        member = _Member(body, ChildJournal(self._journal, place, self._spec), finished)
        steps = member.checkpoints
        needed = finished is None or body.kind == "task"
        return None if steps and needed and not self._has(steps[-1].commit) else member

    def _finish(self, members: Sequence[_Member], ways: Ways) -> list[e.ChildFinished]:
        """Have all of them at their end; what isn't an end of one of them ends all, and is raised."""
        done = {one.started.child: one.finished for one in members if one.finished is not None}
        left = [one for one in members if one.finished is None]
        with ExitStack() as shares, Below(self._stop) as stop, ThreadPoolExecutor(MOST_AT_ONCE, "sub-agent") as pool:
            budgets = [shares.enter_context(self._budget.share(parts)) for parts in range(len(left), 0, -1)]
            under_way = {
                pool.submit(self._carry, one, ways, stop, budget): one
                for one, budget in zip(left, budgets, strict=True)
            }
            try:
                for future in as_completed(under_way):
                    end = self._ended(under_way[future], *future.result())
                    self._journal.append(end)
                    done[end.child] = end
            except BaseException:
                stop.set(_BROKEN_OFF)
                raise
        return [done[one.started.child] for one in members]

    def _carry(self, member: _Member, ways: Ways, stop: Stop, budget: Budget) -> tuple[str, str, str]:
        """Have one of them work, in a thread of its own; return how it ended, why, and its summary."""
        started, steps, ending = member.started, member.checkpoints, None
        at = (steps[-1].tree, steps[-1].shell) if steps else (started.tree, "")
        role, name = of_child(started.kind), f"{self._name}/{started.child}".lstrip("/")
        journal = member.journal
        who: _Who = {"budget": budget, "role": role, "name": name}
        try:
            model = ways.models(self._model.name, agent=name)
            try:
                with ways.fork(*at) as box:
                    forget = stop.on_set(box.kill)
                    try:
                        ending = self._work(model, box, journal, journal.spec, stop, **who)
                    finally:
                        forget()
            finally:
                model.close()
        except (JournalError, RedisAwayError):
            raise
        except (DreamdockError, SandboxError) as error:
            stop.check()
            if ending is None:
                return "error", error.words, ""
        return ending.kind, ending.reason, ending.summary

    def _ended(self, member: _Member, outcome: str, reason: str, summary: str) -> e.ChildFinished:
        """Return the event of an end. What an explorer changed isn't told: nobody gets it."""
        started, steps = member.started, member.checkpoints
        tree = steps[-1].tree if steps and started.kind == "task" else started.tree
        patch, files = self._sandbox.diff(started.tree, tree)
        return e.ChildFinished(
            step=started.step,
            child=started.child,
            outcome=outcome,
            reason=reason,
            summary=summary,
            steps=len(steps),
            tree=tree,
            files=files,
            patch=self._journal.blob(patch),
            inexact=steps[-1].inexact if tree != started.tree else (),
        )

    def _taken(self, started: e.ChildStarted, finished: e.ChildFinished) -> Result:
        """Merge what one of them changed, where it says that it's done; else it's only offered."""
        if finished.tree == started.tree:
            return Result(started, finished)
        merged = None
        if finished.outcome == Kind.SUBMITTED:
            found = self._sandbox.merge(started.tree, finished.tree)
            told = {"conflicts": found.conflicts, "failure": found.failure}
            merged = e.ChildMerged(step=started.step, child=started.child, merged=found.merged, **told)
            self._journal.append(merged)
        patch = b"" if merged is not None and merged.merged else self._sandbox.diff(started.tree, finished.tree)[0]
        return Result(started, finished, merged, patch)
