"""A run's journal as something that can be handed on. So far as a cassette, to be replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator import events as e
from orchestrator.agent.context import Projection
from orchestrator.dialogue import Reply
from orchestrator.errors import NotFoundError
from orchestrator.models.cassette import Header, record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.events import Event
    from orchestrator.models.cassette import Match


def cassette(events: Sequence[Event], match: Match, *, known: Iterable[str] = ()) -> str:
    """Return a run's replies as a cassette, found by `match`; `known` are secrets to take out, beside what looks so.

    It holds the reply of each committed step, and a last one whose step isn't committed: it was complete, and where a
    run broke off it is the one that matters. What was undone, and replies that another took the place of, isn't in it.
    Nor is what the context was built anew from: a replay has room for the whole dialogue, and is asked with it.
    Raises NotFoundError where there is no reply yet, UsageError where there are too many.
    """
    context = Projection().follow(events)
    said = context.dialogue if context.open_reply is None else (*context.dialogue, context.open_reply)
    if not any(isinstance(item, Reply) for item in said):
        raise NotFoundError("the run has no replies yet", hint="dreamdock logs -f RUN")
    spec = next(event.body.spec for event in events if isinstance(event.body, e.Submitted))
    about = Header(match=match, model=spec.model, task=spec.task, base=spec.repo.commit)
    return record(context.request.model_copy(update={"dialogue": said, "before": 0}), about, known=known)
