"""The agent: it asks, carries out, commits, until something says that it's over.

All that it knows is in the journal: what it keeps from step to step is a fold of it, so that another attempt, on
another worker, goes on where this one stopped.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from orchestrator import events as e
from orchestrator.agent import asking, parking, tools, wording
from orchestrator.agent.around import Around
from orchestrator.agent.budget import Budget, OverBudget
from orchestrator.agent.candidates import Candidates
from orchestrator.agent.condenser import Condenser
from orchestrator.agent.context import Context, Projection
from orchestrator.agent.ending import Ending, Kind
from orchestrator.agent.fitting import Fitting
from orchestrator.agent.guards.judge import SILENT, judge
from orchestrator.agent.hearing import Hearing
from orchestrator.agent.listing import Listing
from orchestrator.agent.outcome import failed
from orchestrator.agent.refusing import refused
from orchestrator.agent.remembering import Remembering, words
from orchestrator.agent.role import MAIN
from orchestrator.agent.rules import Rules, behind, reached, repo_notes
from orchestrator.agent.team import Team
from orchestrator.approvals import Approvals
from orchestrator.dialogue import Reply, ToolResult
from orchestrator.errors import TooLongError
from orchestrator.limits import Use
from orchestrator.memory.history import History
from orchestrator.models.port import OutOfTime
from orchestrator.pushing import NoCopies
from orchestrator.stop import ASKED, PAUSED, PREEMPTED, Stopped
from orchestrator.timeline import Timeline
from sandbox.errors import ChannelLost

if TYPE_CHECKING:
    from orchestrator.agent.journal import Journal
    from orchestrator.agent.outcome import Outcome
    from orchestrator.agent.role import Role
    from orchestrator.dialogue import ToolCall, Turn
    from orchestrator.models.port import Model
    from orchestrator.runs import RunSpec
    from orchestrator.stop import Stop
    from sandbox.open import Sandbox

MOST_LOST: Final = 2
"""A call during which this many attempts were lost isn't run again: it probably ends its worker."""
_NOT_RUN: Final = "not run"
"""What is told of hundreds of calls must fit, too: only the first is told why."""


class Agent:
    """One attempt's agent: it works on a run until it's over, and may be begun anew at any committed step.

    Or one of its sub-agents, which is named `name`.
    """

    def __init__(
        self,
        model: Model,
        sandbox: Sandbox,
        journal: Journal,
        spec: RunSpec,
        stop: Stop,
        *,
        around: Around | None = None,
        role: Role = MAIN,
        name: str = "",
    ) -> None:
        """Take the parts, and what the attempt has for them."""
        self._model = model
        self._sandbox = sandbox
        self._journal = journal
        self._spec = spec
        self._approvals = Approvals(questions=0) if name else spec.approvals
        self._stop = stop
        self._around = around or Around()
        self._copies = self._around.copies
        self._role = role
        self._projection = Projection(role)
        self._budget = self._around.budget or Budget.of(journal)
        self._over: OverBudget | None = None
        parts = (model, sandbox, journal, spec, stop)
        self._team = Team(self._sub_agent, *parts, around=self._around, budget=self._budget, name=name)
        opener = self._around.opener
        condenser = Condenser(opener, stop, self._budget) if opener is not None else None
        self._fitting = Fitting(model, journal, self._context, condenser)
        self._candidates = Candidates(self._around, journal, spec, stop, self._budget)
        self._history = History()
        self._known: tuple[Turn | Reply, ...] = ()
        self._rules = Rules(sandbox)
        self._listing = Listing(sandbox)
        self._is_main = not name
        self._remembering = Remembering(self._around.library, journal, spec)
        self._restarted = False
        self._crowded = False

    def run(self) -> Ending:
        """Work until the task is submitted, given up or a limit is reached.

        Raises Stopped when the stop is set; what the model, the sandbox or the journal raise goes through.
        """
        try:
            self._wait_for_people()  # Whoever committed the step may have been killed before it was parked.
            self._begin()
            self._heed()
            while (ending := self._proven(self._ending())) is None:
                try:
                    self._step()
                except OutOfTime:
                    pass  # Nothing is begun yet, and the ending says so.
                except OverBudget as over:
                    self._over = over  # As above.
                self._heed()
        except ChannelLost:
            self._stop.check()
            raise
        finally:
            self._fitting.close()
            self._candidates.close()
        return ending

    def _begin(self) -> None:
        """Say what the task is; in a later attempt, what was lost on the way, or what the run had ended with."""
        context = self._context()
        if not context.system:
            notes = repo_notes(self._sandbox, self._fitting.longest(context))
            system = wording.system(self._role, self._around.notes)
            text = wording.task(self._role, self._spec, notes)
            # A sub-agent looks things up itself: its task is a part of what this one was given the whole of.
            given = self._remembering.begin(self._fitting.beside(system, text)) if self._is_main else ()
            self._journal.append(*given, e.Prompted(system=system, text="\n\n".join([text, *words(given)])))
        elif context.open_reply is not None:
            self._restarted = True
        elif context.retried:
            told = {"step": str(context.step), "ended": context.retried}
            self._journal.append(e.Prompted(text=wording.fill("retried", **told)))
        elif context.step and (context.summary is None or context.messages):
            note = "forked" if context.forked else "restarted"
            parts = (wording.fill(note, step=str(context.step)), context.asking.unanswered)
            self._journal.append(e.Prompted(text="\n\n".join(filter(None, parts))))

    def _ending(self) -> Ending | None:
        """Return why it's over, or None. All of it is read from the journal."""
        context = self._context()
        if context.summary is not None and not context.messages and self._over is None:
            return Ending(Kind.SUBMITTED, summary=context.summary)
        if context.guarded and (last := context.guarded[-1]).level == "stop" and not context.messages:
            return Ending(Kind.GAVE_UP if last.kind == SILENT else Kind.LOOPED, reason=last.reason)
        if context.asking.ended:
            return Ending(Kind.DENIED, reason=context.asking.ended)
        uses = self._uses()
        if (used_up := next((use for use in uses if use.reached), None)) is not None:
            return Ending(Kind(used_up.what), reason=used_up.end)
        if self._over is not None:
            use = next(use for use in uses if use.what == self._over.kind)
            reason = f"{use.end}: {use.words} are used, and the rest doesn't pay for a reply"
            return Ending(Kind(use.what), reason=reason)
        return None

    def _uses(self) -> tuple[Use, ...]:
        """Return what is used of the limits: of those that this agent has, which may be a share of the run's."""
        view, budget = self._journal.view, self._budget
        return (
            Use("steps", self._context().depth, view.limits.steps),
            Use("tokens", budget.spent.tokens, budget.tokens),
            Use("money", budget.spent.money_usd, budget.money_usd),
            Use("time", view.spent_s(self._journal.now), view.limits.seconds),
        )

    def _proven(self, ending: Ending | None) -> Ending | None:
        """Return the ending once it stands; a submission that the court refuses is none, but for the last one."""
        court = self._around.court
        while ending is not None and ending.kind is Kind.SUBMITTED and court is not None:
            try:
                found = court.refuses(self._context())
            except OverBudget as over:  # Nothing is left for a judge, and what nobody ruled on isn't proven.
                self._over = over
                return self._ending()
            self._journal.refresh()  # Proving takes its time: people may have spoken meanwhile.
            if found is None:
                break
            context, most = self._context(), self._journal.view.limits.submits
            if context.refusals + 1 >= most and not context.messages:
                return Ending(Kind.REFUSED, summary=ending.summary, reason=found.why)
            room = {"count": context.refusals + 1, "most": most, "longest": self._fitting.longest(context)}
            told = refused(found, self._journal, self._sandbox, **room)
            self._journal.append(found, e.Prompted(text=told))
            self._heed()
            ending = self._ending()
        return ending

    def _heed(self) -> None:
        """Do what is called for between steps: go back, ask people, end a loop, pause, give the worker up.

        Raises Stopped for asking and the last two.

        Who is done keeps the worker: proving it takes less than beginning anew elsewhere.
        """
        self._journal.refresh()
        self._fitting.settle()
        self._go_back()
        self._wait_for_people()
        self._guard()
        self._land()
        if self._journal.view.pausing:
            raise Stopped(PAUSED)
        if self._journal.view.preempting and self._ending() is None:
            raise Stopped(PREEMPTED)

    def _go_back(self) -> None:
        """Go back to where a person asked to: files, shell and dialogue together, as a step of its own."""
        while (asked := (context := self._context()).rewind) is not None:
            self._stop.check()
            to = Timeline(self._journal.events).at(asked.step)
            self._sandbox.rewind(to.commit, shell=to.shell)
            self._rules, self._listing = Rules(self._sandbox), Listing(self._sandbox)  # Other files, other rules.
            text = wording.fill("denied" if asked.why == asking.DENIED else "rewound", step=str(to.step))
            self._journal.append(
                e.Rewound(
                    step=context.step + 1,
                    to=to.step,
                    why=asked.why,
                    commit=to.commit,
                    tree=to.tree,
                    depth=to.depth,
                    shell=to.shell,
                    message="\n\n".join(filter(None, (text, asked.message))),
                    asked=context.rewind_at,
                )
            )
            self._copies.committed(context.step + 1)
            self._fitting.went_back()
            self._restarted = False

    def _wait_for_people(self) -> None:
        """Raise Stopped where a person is to be asked first: for an approval, or the agent's own question."""
        found = parking.due(self._context(), self._approvals, self._journal.now)
        if found is None:
            return
        ending = self._ending()
        if found.kind == "approval" or ending is None or ending.kind is Kind.SUBMITTED:
            raise Stopped(ASKED)

    def _guard(self) -> None:
        """Judge the last steps: the model is told of a loop, and to plan anew if it goes on; then the work ends."""
        context = self._context()
        if context.open_reply is not None or context.messages or context.summary is not None:
            return
        found = judge(context.done, context.guarded)
        if found is not None:
            told = () if found.level == "stop" else (e.Prompted(text=wording.guarded(found)),)
            self._journal.append(found, *told)

    def _land(self) -> None:
        """Tell the model, once, that a limit is near, so that it ends with something finished."""
        context = self._context()
        if context.open_reply is not None or context.summary is not None or not context.system:
            return
        ahead = self._budget.least(context.most_tokens, self._model)
        kept = {"money": ahead.money_usd, "tokens": ahead.tokens}
        uses = [use._replace(ahead=kept.get(use.what, 0.0)) for use in self._uses() if not use.reached]
        near = [use for use in uses if use.near and use.what not in context.landed]
        if near:
            told = [e.Landing(step=context.step, **use._asdict()) for use in near]
            text = wording.fill("landing", used=" and ".join(use.words for use in near))
            self._journal.append(*told, e.Prompted(text=text))

    def _step(self) -> None:
        """One reply with all its calls, in order, and the checkpoint that commits it."""
        reply = self._reply()
        self._crowded = False
        for call in reply.calls:
            self._stop.check()
            self._carry_out(call)
        self._commit()

    def _reply(self) -> Reply:
        """Return the reply that an earlier attempt left behind, else ask for one. As journalled, in both cases."""
        self._stop.check()
        self._tell()
        if self._context().open_reply is None:
            self._ask()
        return self._context().open_reply or Reply()

    def _ask(self) -> None:
        """Ask the model, with less where it takes no more, once the dearest reply is paid for; journal what it says."""
        while True:
            self._fitting.prepare()
            context, within_s = self._context(), max(self._seconds_left(), 0.0)
            if self._candidates.begun(context, self._model, within_s):
                return
            hearing = Hearing(self._journal, context.step + 1)
            try:
                with self._budget.reserve(context.most_tokens, self._model) as reserved:
                    how: dict[str, Any] = {"within_s": within_s, "most_tokens": reserved.most_tokens}
                    reply = self._model.ask(context.request, self._stop, hearing, **how)
                    reserved.settle(reply)
                    self._journal.append(e.Replied(step=context.step + 1, reply=reply))
            except TooLongError as error:
                self._fitting.refused(error)
            else:
                return

    def _tell(self) -> None:
        """Tell the model what people said since its last reply."""
        context = self._context()
        if context.messages and context.open_reply is None:
            text = wording.fill("steered", text="\n\n".join(context.messages))
            self._journal.append(e.Prompted(text=text, heard=context.said_at))

    def _carry_out(self, call: ToolCall) -> None:
        context = self._context()
        step = context.step + 1
        self._journal.append(e.CallStarted(step=step, call=call))
        longest = self._fitting.longest(context)
        if context.lost[call.id] >= MOST_LOST:
            outcome = failed(wording.fill("lost_twice"))
        elif not longest:
            outcome = failed(_NOT_RUN if self._crowded else wording.fill("crowded"))
            self._crowded = True
        else:
            longest_s = min(self._spec.sandbox.command_seconds, max(self._seconds_left(), 1.0))
            delegate = partial(self._team.delegate, context, call.id)
            about: dict[str, Any] = {"names": context.sight.tools, "delegate": delegate, "listing": self._listing}
            about |= {"asking": context.asking, "approvals": self._approvals}
            about["recall"] = partial(self._remembering.look_up, context)
            hands = tools.Hands(self._sandbox, longest_s, longest, context.noted, self._past(context), **about)
            outcome = tools.carry_out(hands, call)
        note = wording.fill("restarted", step=str(context.step)) + "\n\n" if self._restarted else ""
        self._restarted = False  # Once is enough: there may be hundreds of calls.
        content = note + outcome.content + self._rules_of(call, outcome, longest)
        result = ToolResult(call_id=call.id, name=call.name, content=content, ok=outcome.ok)
        self._journal.append(
            e.CallFinished(
                step=step,
                result=result,
                exit_code=outcome.exit_code,
                signal=outcome.signal,
                timed_out=outcome.timed_out,
                duration_s=outcome.duration_s,
                total_bytes=outcome.total_bytes,
                diagnostics=outcome.diagnostics,
            )
        )

    def _rules_of(self, call: ToolCall, outcome: Outcome, longest: int) -> str:
        """Journal the rules of folders that the work came to with this call, and return how they are told."""
        context = self._context()
        read = self._rules.nearest(reached(call, outcome), {one.path for one in context.noted.rules}, longest)
        for path, text in read:
            self._journal.append(e.RulesRead(step=context.step + 1, path=path, text=text))
        return "".join(behind(path, text) for path, text in read)

    def _past(self, context: Context) -> History:
        """Return what was said up to the last committed step, to be searched; what was undone isn't in it."""
        known, said, sight = self._known, context.dialogue, context.sight
        if said[: len(known)] != known:
            self._history, known = History(), ()
        for place in range(len(known), len(said)):
            number = bisect_right(sight.places, place)
            self._history.add(sight.steps[number - 1] if number else 0, said[place])
        self._known = said
        return self._history

    def _commit(self) -> None:
        """Take the checkpoint and commit the step with it: from here on it's never lost."""
        checkpoint = self._sandbox.checkpoint(note=self._journal.head)
        step, pushed = self._context().step + 1, self._copies.pushed
        self._journal.append(
            e.Checkpointed(
                step=step,
                commit=checkpoint.commit,
                tree=checkpoint.tree,
                files=checkpoint.changes,
                patch=self._journal.blob(checkpoint.patch),
                inexact=tuple(f"{left.path}: {left.reason}" for left in checkpoint.inexact),
                shell=checkpoint.shell,
                installs=checkpoint.installs,
                unlooked=checkpoint.unlooked,
                pushed=pushed.step,
                push_failed=pushed.failed,
            )
        )
        self._copies.committed(step)
        self._listing.committed(checkpoint.changes)
        self._restarted = False

    def _sub_agent(self, *parts: Any, budget: Budget, role: Role, name: str) -> Ending:
        """Have an agent like this one work on something of its own.

        Nobody waits for copies of its steps, proves what it submits, or is asked about it: this agent's step is judged.
        """
        around = replace(self._around, copies=NoCopies(), budget=budget, court=None)
        return Agent(*parts, around=around, role=role, name=name).run()

    def _context(self) -> Context:
        return self._projection.follow(self._journal.events)

    def _seconds_left(self) -> float:
        view = self._journal.view
        return view.limits.seconds - view.spent_s(self._journal.now)
