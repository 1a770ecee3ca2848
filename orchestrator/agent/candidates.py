"""Best of N: several replies to one request for a hard step, tried side by side in forks, and judged by results.

The best one becomes the step's reply, and its calls run in the real sandbox as ever: a step is still one reply with its
calls and a checkpoint. Whatever goes wrong with a candidate loses that candidate and nothing else.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.agent.asker import Asker
from orchestrator.agent.budget import OverBudget
from orchestrator.agent.choosing import by_agreement, by_results, hard, same_as
from orchestrator.agent.hearing import Failures
from orchestrator.agent.lanes import Lane, Lanes, Point, lanes_for
from orchestrator.agent.together import TOO_LONG, failure, gather
from orchestrator.agent.trying import try_out
from orchestrator.dialogue import ToolCall
from orchestrator.redaction import mapped
from orchestrator.stop import LOST, Stopped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from orchestrator.agent.around import Around, Fork
    from orchestrator.agent.budget import Budget, Reservation
    from orchestrator.agent.context import Context
    from orchestrator.agent.journal import Journal
    from orchestrator.dialogue import Reply
    from orchestrator.models.port import Model
    from orchestrator.runs import RunSpec
    from orchestrator.stop import Stop

_LEAST: Final = 2
"""Fewer candidates are none: the step is an ordinary one."""
_MOST_THREADS: Final = 32
"""One for each candidate and each lane, and as many for those that were given up and aren't over yet."""
_LONGEST: Final = 262_144
"""Characters that the journal keeps of a candidate's text and arguments together: one event has them all."""
_OVER: Final = "the work is over"


class Candidates:
    """Proposes for an attempt. Models and forks are opened when they are first needed, and kept until `close`."""

    def __init__(self, around: Around, journal: Journal, spec: RunSpec, stop: Stop, budget: Budget) -> None:
        """Take what opens models and forks, without which nothing is ever proposed, and what replies are paid from."""
        self._around = around
        self._journal = journal
        self._spec = spec
        self._stop = stop
        self._budget = budget
        self._askers: list[Asker] = []
        self._lanes: list[Lane] = []
        self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="candidate")  # None is started yet.

    def begun(self, context: Context, model: Model, within_s: float) -> bool:
        """Begin the step with the best of several replies; false where it is to be asked for as ever.

        `model` is the one to be asked, `within_s` the time that the run has left. Raises Stopped; what the journal
        raises goes through.
        """
        if not hard(context) or self._around.models is None or self._around.fork is None:
            return False
        until, check, lanes = time.monotonic() + within_s, self._spec.accept, None
        with ExitStack() as held:
            reserved = self._reserved(context, model, held)
            if len(reserved) < _LEAST:
                return False
            if check is not None:
                lanes = self._prepared(self._around.fork, lanes_for(len(reserved)))
            replies = self._asked(context, model.name, reserved, within_s)
        numbered = enumerate(zip(replies, same_as(replies), strict=True), start=1)
        different = {place: reply for place, (reply, same) in numbered if reply is not None and not same}
        tried: list[e.Tried] = []
        if check is not None and lanes is not None and len(different) >= _LEAST:
            tried = self._tried(different, lanes, check.command, until)
            choice = by_results(tried)
        else:
            choice = by_agreement(replies)
        chosen = e.Chosen(
            step=context.step + 1,
            candidate=choice.candidate,
            why=choice.why,
            command=check.command if check is not None and tried else "",
            tried=tuple(tried),
        )
        reply = different.get(choice.candidate)
        if reply is None:
            self._journal.append(chosen)
            return False
        self._journal.append(chosen, e.Replied(step=context.step + 1, reply=reply, candidate=choice.candidate))
        return True

    def close(self) -> None:
        """End what is under way, and leave no fork and no thread behind."""
        while self._askers:
            self._give_up(self._askers.pop(), _OVER)
        while self._lanes:
            self._give_up(self._lanes.pop(), _OVER)
        self._threads.shutdown()

    def _reserved(self, context: Context, model: Model, held: ExitStack) -> list[Reservation]:
        """Put aside the dearest that each candidate can cost; of those that don't fit none is asked for.

        One whose reply would have to be shorter than the first one's doesn't fit.
        """
        found: list[Reservation] = []
        while len(found) < self._journal.view.limits.candidates:
            try:
                reservation = self._budget.reserve(context.most_tokens, model)
            except (OverBudget, Stopped):  # One alone may still be paid for, and else it says so itself.
                self._stop.check()
                break
            held.enter_context(reservation)
            if found and reservation.most_tokens != found[0].most_tokens:
                break
            found.append(reservation)
        return found

    def _prepared(self, fork: Fork, number: int) -> Lanes:
        """Have forks be as the work is now; they get there while the model is asked."""
        point = Point.of(self._journal.events)
        while len(self._lanes) < number:
            self._lanes.append(Lane(fork, self._stop))
        for lane in self._lanes[:number]:
            self._threads.submit(lane.prepare, point)  # What it raises, it raises again when it's taken.
        return Lanes(self._lanes[:number], point)

    def _asked(
        self, context: Context, model: str, reserved: Sequence[Reservation], within_s: float
    ) -> list[Reply | None]:
        """Ask for all replies at once, and journal what was paid for, whatever comes of it."""
        number = len(reserved)
        while self._around.models is not None and len(self._askers) < number:
            self._askers.append(Asker(self._around.models, self._stop))
        askers, began, hearing = self._askers[:number], time.monotonic(), Failures(self._journal, context.step + 1)
        requests = [context.request.model_copy(update={"candidate": place}) for place in range(1, number + 1)]
        asked: list[Future[Reply]] = [
            self._threads.submit(asker.ask, model, request, hearing, within_s, one.most_tokens)
            for asker, request, one in zip(askers, requests, reserved, strict=True)
        ]

        def give_up(place: int) -> None:
            self._askers.remove(askers[place])
            self._give_up(askers[place], TOO_LONG)

        gather(asked, give_up)
        lost = [failure(one) for one in asked]
        replies = [None if why else one.result() for one, why in zip(asked, lost, strict=True)]
        for reservation, reply in zip(reserved, replies, strict=True):
            if reply is not None:
                reservation.settle(reply)
        candidates = tuple(
            e.Candidate(reply=reply and kept(reply), failure=why, same_as=same)
            for reply, why, same in zip(replies, lost, same_as(replies), strict=True)
        )
        if self._stop.reason != LOST and (any(replies) or not self._stop.is_set):
            took = time.monotonic() - began
            self._journal.append(e.Proposed(step=context.step + 1, candidates=candidates, seconds=took))
        self._stop.check()
        return replies

    def _tried(self, replies: Mapping[int, Reply], lanes: Lanes, command: str, until: float) -> list[e.Tried]:
        """Carry candidates out side by side, each in a fork of the same checkpoint, and run the check there."""
        within_s = max(min(self._spec.sandbox.command_seconds, until - time.monotonic()), 1.0)

        def try_one(place: int, reply: Reply) -> e.Tried:
            with lanes.taken() as box:
                return try_out(box, place, reply.calls, command, stop=self._stop, within_s=within_s)

        def give_up(_: int) -> None:
            while self._lanes:
                self._give_up(self._lanes.pop(), TOO_LONG)

        trying = [self._threads.submit(try_one, place, reply) for place, reply in replies.items()]
        gather(trying, give_up)
        self._stop.check()
        return [
            e.Tried(candidate=place, failure=why) if (why := failure(one)) else one.result()
            for place, one in zip(replies, trying, strict=True)
        ]

    def _give_up(self, one: Asker | Lane, why: str) -> None:
        """End what is under way, and close it as soon as it has ended, which isn't waited for."""
        one.give_up(why)
        self._threads.submit(one.close)


def kept(reply: Reply) -> Reply:
    """Return a reply as the journal keeps that of a candidate: what it cost, said and asked for, at some length."""
    left = _LONGEST

    def cut(text: str) -> str:
        nonlocal left
        short = text if len(text) <= left else f"{text[:left]}[… cut]"
        left -= min(len(text), left)
        return short

    calls = [
        ToolCall(id=cut(call.id), name=cut(call.name), arguments=mapped(call.arguments, cut), invalid=cut(call.invalid))
        for call in reply.calls
    ]
    return reply.model_copy(update={"raw": "", "reasoning": "", "text": cut(reply.text), "calls": tuple(calls)})
