"""Stepping in: what a person can do to a run that is under way, parked or over.

Each is an event with who and when. Whoever carries the run acts on it; where nobody does, it takes effect at once.
It is written in one append, so that a crash right after it loses nothing: the next attempt, or a keeper, finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic import ValidationError

from orchestrator import answering
from orchestrator import events as e
from orchestrator.errors import HeadMovedError, JournalError, UsageError
from orchestrator.journal.handover import paused
from orchestrator.journal.stream import damaged
from orchestrator.journal.writer import Writer
from orchestrator.limits import Use
from orchestrator.runs import LONGEST_TASK, Outcome, RunView, State
from orchestrator.settings import RunLimits, reasons

if TYPE_CHECKING:
    from redis import Redis

    from orchestrator.journal.writer import Operation

_CROWDED: Final = 100
"""Times that somebody else may write in between before it's given up."""

_MORE: Final[dict[e.Limit, int]] = {"steps": 50, "tokens": 1_000_000, "money": 5}
"""What a hint offers of a limit that is reached."""


class More(NamedTuple):
    """What a retried run gets: steps, tokens and US dollars on top of what it has used, seconds from its next start.

    None leaves a limit as it is.
    """

    steps: int | None = None
    money_usd: float | None = None
    seconds: int | None = None
    tokens: int | None = None


def taking_up(view: RunView, run: str = "") -> str:
    """Return the command that takes up a run that is over, by its id or as `run`: with what it can't go on without."""
    more = ""
    if view.outcome is Outcome.SUCCEEDED:
        more = ' -m "…"'
    else:
        spent = e.Spent(view.cost_usd or 0.0, view.usage.input_tokens + view.usage.output_tokens)
        used_up = (use.what for use in _uses(view, spent, view.limits) if use.reached or _at_its_end(view, use))
        more = next((f" --{what} {_MORE[what]}" for what in used_up), "")
    return f"dreamdock retry {run or view.id}{more}"


class Steering:
    """Steps in, in the name of a person."""

    def __init__(self, client: Redis, who: str) -> None:
        self._client = client
        self._who = who

    def cancel(self, run_id: str) -> RunView:
        """Ask for a run's end. One that nobody carries ends at once; else its worker ends it within 2 seconds.

        Raises UsageError for a run that is over.
        """
        journal = self._opened(run_id)
        for _ in range(_CROWDED):
            _refuse_over(journal.view)
            asked = () if journal.view.cancel_requested else (e.CancelRequested(),)
            end = e.Finished(outcome=Outcome.CANCELLED, reason="cancelled", tree=journal.view.tree)
            known = len(journal.events)
            if _appended(journal, *asked, end, operation="finish"):
                return journal.view
            if len(journal.events) == known and (not asked or _appended(journal, *asked)):
                return journal.view  # Somebody carries it, and will end it.
        raise _crowded(journal)

    def pause(self, run_id: str, *, now: bool = False) -> RunView:
        """Ask for a pause: the run waits, no worker is taken, and what it committed is kept.

        One that nobody carries waits at once, and on when a person's word has come, if it waits for that; else it does
        at the end of its step, or `now`, which undoes the step.
        Raises UsageError for a run that is over.
        """
        journal = self._opened(run_id)
        for _ in range(_CROWDED):
            _refuse_over(journal.view)
            state, asked = journal.view.state, e.PauseRequested(now=now)
            waits = state is State.WAITING and (journal.view.question is None or journal.view.pausing)
            if waits or (journal.view.pausing and not now):
                return journal.view
            known = len(journal.events)
            if state is State.QUEUED and _appended(journal, asked, paused(journal.view, self._who), operation="park"):
                return journal.view
            if len(journal.events) == known and _appended(journal, asked):
                return journal.view
        raise _crowded(journal)

    def resume(self, run_id: str) -> RunView:
        """Put a parked run in line again, or take back a pause that hasn't come yet.

        Raises UsageError for a run that is neither, and for one that waits for a person's word.
        """
        journal = self._opened(run_id)
        for _ in range(_CROWDED):
            view = journal.view
            if (awaited := answering.awaited(view)) and not view.pausing:
                raise awaited
            if view.state is State.WAITING and not awaited:
                again = e.Dispatched(attempt=view.attempt + 1, reason=f"resumed by {self._who}")
                if _appended(journal, e.ResumeRequested(), again, operation="resume"):
                    return journal.view
            elif not view.pausing:
                hint = taking_up(view) if view.state is State.DONE else f"dreamdock logs -f {run_id}"
                raise UsageError(f"run {run_id} isn't paused", cause=_stands(view), hint=hint)
            elif _appended(journal, e.ResumeRequested()):
                return journal.view
        raise _crowded(journal)

    def steer(self, run_id: str, text: str) -> RunView:
        """Have the agent told something at its next step; a parked run is told when it goes on.

        Raises UsageError for an empty or an endless text, and for a run that is over.
        """
        said, journal = _message(text), self._opened(run_id)
        for _ in range(_CROWDED):
            if journal.view.state is State.DONE:
                hint = f'dreamdock retry {run_id} -m "…"'
                raise UsageError(f"run {run_id} is over", cause=_stands(journal.view), hint=hint)
            if _appended(journal, said):
                return journal.view
        raise _crowded(journal)

    def retry(self, run_id: str, more: More, *, message: str = "") -> RunView:
        """Take a run up again that is over: it goes on from its last step, and is told how it had ended, and `message`.

        Raises UsageError for a run that isn't over, for one that succeeded without a message, and where the limit that
        it has reached stays as it is.
        """
        said, journal = (_message(message),) if message else (), self._opened(run_id)
        for _ in range(_CROWDED):
            view = journal.view
            if awaited := answering.awaited(view):
                raise awaited
            if view.state is not State.DONE:
                parked = view.state is State.WAITING
                hint = f"dreamdock {'resume' if parked else 'logs -f'} {run_id}"
                raise UsageError(f"run {run_id} isn't over", cause=_stands(view), hint=hint)
            if view.outcome is Outcome.SUCCEEDED and not said:
                hint = f'dreamdock retry {run_id} -m "…"'
                raise UsageError(f"run {run_id} succeeded", cause="nothing says what is left to do", hint=hint)
            asked = e.RetryRequested(limits=_extended(journal, more))
            again = e.Dispatched(attempt=view.attempt + 1, reason=f"retried by {self._who}")
            if _appended(journal, asked, *said, again, operation="reopen"):
                return journal.view
        raise _crowded(journal)

    def _opened(self, run_id: str) -> Writer:
        return Writer(self._client, run_id, who=self._who)


def _appended(journal: Writer, *bodies: e.Body, operation: Operation = "none") -> bool:
    """Append what was decided on what is known; false, with what is new taken in, where that has changed."""
    try:
        journal.append(*bodies, operation=operation, strict=True)
    except HeadMovedError:
        journal.refresh()
        return False
    return True


def _stands(view: RunView) -> str:
    """Return where a run is, as the cause of a refusal."""
    return f"its outcome is {view.label}" if view.outcome else f"it is {view.label}"


def _refuse_over(view: RunView) -> None:
    if view.state is State.DONE:
        raise UsageError(f"run {view.id} is over", cause=_stands(view), hint=f"dreamdock show {view.id}")


def _message(text: str) -> e.Steered:
    if not text.strip():
        raise UsageError("the message is empty", hint='dreamdock steer RUN "…"')
    if len(text) > LONGEST_TASK:
        raise UsageError("the message is too long", cause=f"it has more than {LONGEST_TASK} characters")
    return e.Steered(text=text)


def _extended(journal: Writer, more: More) -> RunLimits | None:
    """Return the limits of a retried run; None where they stay. Raises UsageError where it would end at once."""
    view, spent = journal.view, e.spent(journal.events)
    changes = {
        "steps": more.steps and view.depth + more.steps,
        "tokens": more.tokens and spent.tokens + more.tokens,
        "money_usd": more.money_usd and spent.money_usd + more.money_usd,
        "seconds": more.seconds,
    }
    changes = {name: value for name, value in changes.items() if value}
    try:
        limits = RunLimits.model_validate(view.limits.model_dump() | changes)
    except ValidationError as error:
        raise UsageError("the run can't get so much", cause=reasons(error)) from error
    used_up = next((use.what for use in _uses(view, spent, limits) if use.reached or _at_its_end(view, use)), "")
    if used_up:
        cause = f"it would end at once; --{used_up} N gives it N more"
        raise UsageError(f"the run's limit of {used_up} is reached", cause=cause, hint=taking_up(view))
    return limits if changes else None


def _uses(view: RunView, spent: e.Spent, limits: RunLimits) -> tuple[Use, ...]:
    """Return what would be used of its limits by a run that begins anew; its time does, too."""
    return (
        Use("steps", view.depth, limits.steps),
        Use("tokens", spent.tokens, limits.tokens),
        Use("money", spent.money_usd, limits.money_usd),
    )


def _at_its_end(view: RunView, use: Use) -> bool:
    """Whether the run has ended at this very limit: what is left of it pays for no reply."""
    return view.outcome is Outcome.LIMIT and view.reason.startswith(use.end)


def _crowded(journal: Writer) -> JournalError:
    run_id = journal.view.id
    if len(journal.events) > journal.found:
        return HeadMovedError(f"the journal of run {run_id} is too busy", hint="try again")
    cause = f"its record says something else than its {journal.found} events"
    return damaged(run_id, cause)
