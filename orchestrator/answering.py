"""What a person's word does to a run that waits for it: answer, approve, deny; and what the deadline does without one.

The answer and what follows from it are one append, on what was known when it was decided: of two answers one counts,
and the other is told so. It doesn't matter which keeper finds that a deadline has passed, nor how late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.errors import HeadMovedError, UsageError
from orchestrator.journal.handover import paused
from orchestrator.journal.writer import Writer
from orchestrator.runs import LONGEST_TASK, State
from orchestrator.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from orchestrator.runs import Question, RunView

_WORDS: Final = '"…"'
APPROVED: Final = "approved"
DENIED: Final = "denied"
_SHOWN: Final = 200
"""Characters of a question, or an answer, in an error."""
_CROWDED: Final = 100
"""Times that somebody else may write in between before it's given up."""


class Answering:
    """Answers in the name of a person."""

    def __init__(self, client: Redis, who: str) -> None:
        self._client = client
        self._who = who

    def answer(self, run_id: str, text: str) -> RunView:
        """Answer a run's question, with a text or the number of an option.

        Raises UsageError where none is open, for an empty or an endless text, and for an option that there isn't.
        """
        journal = self._opened(run_id)

        def body(asked: Question) -> e.Answered:
            if asked.kind != "question":
                raise UsageError(f"run {run_id} waits for an approval", cause=_of(asked), hint=_commands(run_id, asked))
            return e.Answered(id=asked.id, answer=_chosen(run_id, asked, text), by="person")

        return _settled(journal, body, self._who)

    def approve(self, run_id: str, asked_id: str = "") -> RunView:
        """Approve what a run waits with: it goes on, and that step isn't asked for again.

        Raises UsageError where no approval is open, or another one than `asked_id`.
        """
        return self._decide(run_id, APPROVED, asked_id)

    def deny(self, run_id: str, why: str = "") -> RunView:
        """Deny it: the step is undone, and the model told `why`; one that spent too much ends with its work.

        Raises UsageError as `approve`, and for an endless text.
        """
        return self._decide(run_id, DENIED, why=why)

    def _decide(self, run_id: str, word: str, asked_id: str = "", why: str = "") -> RunView:
        def body(asked: Question) -> e.Answered:
            if asked.kind != "approval":
                cause = "it asks, and a yes or a no is no answer"
                raise UsageError(f"run {run_id} waits for an answer", cause=cause, hint=_commands(run_id, asked))
            if asked_id not in {"", asked.id}:
                cause = f"it waits for {asked.id}: {_of(asked)}"
                raise UsageError(f"{asked_id} isn't open", cause=cause, hint=_commands(run_id, asked))
            return e.Answered(id=asked.id, answer=word, by="person", why=_bounded(why))

        return _settled(self._opened(run_id), body, self._who)

    def _opened(self, run_id: str) -> Writer:
        return Writer(self._client, run_id, who=self._who)


def expire(client: Redis, run_id: str) -> bool:
    """Answer in the place of whoever didn't: a question by its default, an approval by no.

    Returns false where nothing is open, or its deadline is still to come. Raises JournalError, NotFoundError.
    """
    journal = Writer(client, run_id, who="keeper")
    while (asked := journal.view.question) is not None and asked.deadline <= journal.now:
        answer = e.Answered(id=asked.id, answer=asked.default, by="deadline")
        try:
            _append(journal, asked, answer, "nobody answered in time")
        except HeadMovedError:
            known = len(journal.events)
            journal.refresh()
            if len(journal.events) == known:
                raise
        else:
            return True
    return False


def awaited(view: RunView) -> UsageError | None:
    """Return why a run isn't simply resumed: it waits for a person's word, and which; None where it doesn't."""
    if view.question is None:
        return None
    for_what = "an answer" if view.question.kind == "question" else "an approval"
    return UsageError(
        f"run {view.id} waits for {for_what}", cause=_of(view.question), hint=_commands(view.id, view.question)
    )


def dropped(journal: Writer, request: e.RewindRequested, reason: str) -> e.Event:
    """Append a request to go back for a run that waits for a person: it isn't asked any more, and goes on from there.

    Raises HeadMovedError where somebody else wrote meanwhile.
    """
    view = journal.view
    if view.pausing:
        return journal.append(request, paused(view), operation="park", strict=True)[0]
    again = e.Dispatched(attempt=view.attempt + 1, reason=reason)
    return journal.append(request, again, operation="resume", strict=True)[0]


def _settled(journal: Writer, body: Callable[[Question], e.Answered], who: str) -> RunView:
    """Append the answer to what is open now, and only to that: what is asked next may be something else."""
    first = journal.view.question
    for _ in range(_CROWDED):
        asked = journal.view.question
        if asked is None or first is None or asked.id != first.id:
            raise _nothing_open(journal)
        answer = body(asked)
        try:
            _append(journal, asked, answer, f"{answer.answer if asked.kind == 'approval' else 'answered'} by {who}")
        except HeadMovedError:
            journal.refresh()
        else:
            return journal.view
    raise HeadMovedError(f"the journal of run {journal.view.id} is too busy", hint="try again")


def _append(journal: Writer, asked: Question, answer: e.Answered, reason: str) -> None:
    """Append an answer with what follows from it. Raises HeadMovedError where somebody else wrote meanwhile."""
    view, bodies = journal.view, list[e.Body]([answer])
    if asked.kind == "approval" and answer.answer == DENIED and asked.rules != ("spending",):
        bodies.append(_undone(journal, asked, answer))
    if view.pausing:
        journal.append(*bodies, paused(view), operation="park", strict=True)
        return
    again = e.Dispatched(attempt=view.attempt + 1, reason=reason)
    journal.append(*bodies, again, operation="resume", strict=True)


def _undone(journal: Writer, asked: Question, answer: e.Answered) -> e.RewindRequested:
    """Return the request to go back to before the step that was denied."""
    before = Timeline(journal.events, journal.view.id).at(asked.step).before or 0
    said = "Nobody approved it in time." if answer.by == "deadline" else answer.why and f"The person says: {answer.why}"
    message = "\n".join(filter(None, ("It needed an approval because", asked.text, said)))
    return e.RewindRequested(step=before, why=DENIED, message=message)


def _chosen(run_id: str, asked: Question, text: str) -> str:
    """Return a text as it is, and an option for its number. Raises UsageError."""
    said = _bounded(text.strip())
    if not said:
        raise UsageError("the answer is empty", hint=_commands(run_id, asked))
    if not asked.options or not (said.isascii() and said.isdigit()):
        return said
    if not 1 <= int(said[:9]) <= len(asked.options):
        cause = f"there are {len(asked.options)}"
        raise UsageError(f"there is no option {said[:9]}", cause=cause, hint=_commands(run_id, asked))
    return asked.options[int(said) - 1]


def _bounded(text: str) -> str:
    if len(text) > LONGEST_TASK:
        raise UsageError("the answer is too long", cause=f"it has more than {LONGEST_TASK} characters")
    return text


def _nothing_open(journal: Writer) -> UsageError:
    view = journal.view
    last = next((event for event in reversed(journal.events) if isinstance(event.body, e.Answered)), None)
    cause = f"its outcome is {view.label}" if view.outcome else f"it is {view.label}"
    if last is not None and isinstance(last.body, e.Answered):
        by = last.who if last.body.by == "person" else "its deadline"
        cause += f"; {last.body.id} had its answer from {by}: {_short(last.body.answer)}"
    hint = f"dreamdock {'show' if view.state is State.DONE else 'logs -f'} {view.id}"
    return UsageError(f"run {view.id} waits for nobody's answer", cause=cause, hint=hint)


def _of(asked: Question) -> str:
    return f"{asked.id}: {_short(asked.text)}"


def _short(text: str) -> str:
    words = " ".join(text[: 2 * _SHOWN].split())
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}…"


def _commands(run_id: str, asked: Question) -> str:
    if asked.kind == "question":
        return f"dreamdock answer {run_id} {'1' if asked.options else _WORDS}"
    return f'dreamdock approve {run_id} {asked.id}, or dreamdock deny {run_id} "why"'
