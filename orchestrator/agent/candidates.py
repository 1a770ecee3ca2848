"""Best of N: several replies to one request for a hard step, tried side by side in forks, and judged by results.

The best one becomes the step's reply, and its calls run in the real sandbox as ever: a step is still one reply with its
calls and a checkpoint. Whatever goes wrong with a candidate loses that candidate and nothing else.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from orchestrator import events as e
from orchestrator.agent.choosing import by_agreement, by_results, hard, same_as
from orchestrator.agent.seat import Hearing, Point, Seat
from orchestrator.agent.trying import try_out
from orchestrator.errors import DreamdockError
from orchestrator.models.port import OutOfTime
from orchestrator.redaction import mapped
from orchestrator.stop import LOST, Stopped
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.agent.around import Around
    from orchestrator.agent.context import Context
    from orchestrator.dialogue import Reply, Request
    from orchestrator.journal.writer import Writer
    from orchestrator.runs import RunSpec
    from orchestrator.stop import Stop
    from sandbox.open import Sandbox

_T = TypeVar("_T")
_LEAST: Final = 2
"""Fewer candidates are none: the step is an ordinary one."""
_PATIENCE_S: Final = 60.0
_TIMES: Final = 3
"""Once a candidate is done, the others have so many times as long as it took, and a minute."""
_ENDING_S: Final = 5.0
"""How long what was given up may take to end; then it's left to itself."""
_LONGEST: Final = 65_536
"""Characters that the journal keeps of each text and argument of a candidate."""
_TOO_LONG: Final = "it took much longer than the others"
_OVER: Final = "the work is over"
_MOST_THREADS: Final = 32
"""Two for each candidate, and as many for those that were given up and aren't over yet."""


class _Round(NamedTuple):
    """What several replies are asked for at once: a step, until a time of the monotonic clock."""

    step: int
    model: str
    seats: Sequence[Seat]
    forks: Sequence[Future[Sandbox]]
    until: float


class Candidates:
    """Proposes for an attempt. Models and forks are opened when they are first needed, and kept until `close`."""

    def __init__(self, around: Around, journal: Writer, spec: RunSpec, stop: Stop) -> None:
        """Take what opens models and forks; without them nothing is ever proposed."""
        self._around = around
        self._journal = journal
        self._spec = spec
        self._stop = stop
        self._seats: list[Seat] = []
        self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="candidate")  # None is started yet.

    def best(self, context: Context, model: str, within_s: float) -> tuple[e.Body, ...]:
        """Return what begins the step with the best of several replies; nothing where it is to be asked for as ever.

        `model` is the one to be asked, `within_s` the time that the run has left. Raises Stopped; what the journal
        raises goes through.
        """
        if not hard(context) or (number := self._affordable()) < _LEAST:
            return ()
        step, check, seats = context.step + 1, self._spec.accept, self._seated(number)
        forks = self._forks(seats) if check is not None else []
        now = _Round(step, model, seats, forks, time.monotonic() + within_s)
        replies, candidates = self._asked(now, context.request)
        firsts = [place for place, one in enumerate(candidates, start=1) if one.reply is not None and not one.same_as]
        tried: list[e.Tried] = []
        if check is not None and len(firsts) >= _LEAST:
            tried = self._tried(now, {place: replies[place - 1] for place in firsts}, check.command)
            choice = by_results(tried)
        else:
            choice = by_agreement(candidates)
        chosen = e.Chosen(
            step=step,
            candidate=choice.candidate,
            why=choice.why,
            command=check.command if check is not None and tried else "",
            tried=tuple(tried),
        )
        reply = replies[choice.candidate - 1] if choice.candidate else None
        if reply is None:
            self._journal.append(chosen)
            return ()
        return chosen, e.Replied(step=step, reply=reply, candidate=choice.candidate)

    def close(self) -> None:
        """End what is under way, and leave no fork and no thread behind."""
        for seat in self._seats:
            seat.give_up(_OVER)
            self._threads.submit(seat.close)
        self._seats = []
        self._threads.shutdown()

    def _affordable(self) -> int:
        """Return how many candidates may be asked for."""
        if self._around.models is None or self._around.fork is None:
            return 0
        return self._journal.view.limits.candidates

    def _seated(self, number: int) -> list[Seat]:
        if self._around.models is None or self._around.fork is None:
            return []
        while len(self._seats) < number:
            self._seats.append(Seat(self._around.models, self._around.fork, self._stop))
        return self._seats[:number]

    def _forks(self, seats: Sequence[Seat]) -> list[Future[Sandbox]]:
        """Have each fork be as the work is now, while the model is asked."""
        view = self._journal.view
        point = Point(view.checkpoint, view.tree, view.shell)
        return [self._threads.submit(seat.at, point) for seat in seats]

    def _asked(self, now: _Round, request: Request) -> tuple[list[Reply | None], tuple[e.Candidate, ...]]:
        """Ask for all replies at once, and journal what was paid for, whatever comes of it."""
        began, hearing = time.monotonic(), Hearing(self._journal, now.step)
        requests = [request.model_copy(update={"candidate": place}) for place in range(1, len(now.seats) + 1)]
        asked = [
            self._threads.submit(seat.ask, now.model, one, hearing, now.until - began)
            for seat, one in zip(now.seats, requests, strict=True)
        ]
        self._gather(asked, now.seats)
        failures = [_failure(one) for one in asked]
        replies = [None if failure else one.result() for one, failure in zip(asked, failures, strict=True)]
        candidates = tuple(
            e.Candidate(reply=reply and kept(reply), failure=failure, same_as=same)
            for reply, failure, same in zip(replies, failures, same_as(replies), strict=True)
        )
        if self._stop.reason != LOST and (any(replies) or not self._stop.is_set):
            self._journal.append(e.Proposed(step=now.step, candidates=candidates, seconds=time.monotonic() - began))
        self._stop.check()
        return replies, candidates

    def _tried(self, now: _Round, replies: Mapping[int, Reply | None], command: str) -> list[e.Tried]:
        """Carry candidates out side by side, each in its fork, and run the check there."""
        within_s = max(min(self._spec.sandbox.command_seconds, now.until - time.monotonic()), 1.0)

        def try_one(place: int, reply: Reply | None) -> e.Tried:
            box = now.forks[place - 1].result()
            calls = reply.calls if reply is not None else ()
            return try_out(box, place, calls, command, stop=self._stop, within_s=within_s)

        trying = [self._threads.submit(try_one, place, reply) for place, reply in replies.items()]
        self._gather(trying, [now.seats[place - 1] for place in replies])
        self._stop.check()
        return [
            e.Tried(candidate=place, failure=failure) if (failure := _failure(one)) else one.result()
            for place, one in zip(replies, trying, strict=True)
        ]

    def _gather(self, futures: Sequence[Future[_T]], seats: Sequence[Seat]) -> None:
        """Wait for all, but not much longer than for the first that came; who isn't there then is given up."""
        began, until = time.monotonic(), None
        left = set(futures)
        while left and (until is None or time.monotonic() < until):
            done, left = wait(left, until and max(until - time.monotonic(), 0.0), FIRST_COMPLETED)
            if until is None and any(one.exception() is None for one in done):
                until = time.monotonic() + _TIMES * (time.monotonic() - began) + _PATIENCE_S
        for future, seat in zip(futures, seats, strict=True):
            if future in left:
                seat.give_up(_TOO_LONG)
                self._seats.remove(seat)
                future.add_done_callback(partial(_closed, seat))
        wait(left, _ENDING_S)


def kept(reply: Reply) -> Reply:
    """Return a reply as the journal keeps that of a candidate: what it cost, said and asked for, at some length."""

    def cut(text: str) -> str:
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}[… cut]"

    calls = tuple(
        call.model_copy(update={"arguments": mapped(call.arguments, cut), "invalid": cut(call.invalid)})
        for call in reply.calls
    )
    return reply.model_copy(update={"raw": "", "reasoning": "", "text": cut(reply.text), "calls": calls})


def _closed(seat: Seat, _: object) -> None:
    seat.close()


def _failure(future: Future[Any]) -> str:
    """Return why nothing came; empty where it did."""
    if not future.done():
        return _TOO_LONG
    match future.exception():
        case None:
            return ""
        case OutOfTime():
            return "the run's time is up"
        case DreamdockError() | SandboxError() as error:
            return ": ".join(filter(None, (error.message, error.cause)))
        case Stopped() as stopped:
            return stopped.reason
        case error:
            return f"{type(error).__name__}: {error}"
