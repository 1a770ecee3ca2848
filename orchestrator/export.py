"""A run's journal as something that can be handed on. So far as a cassette, to be replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator import events as e
from orchestrator.agent.child import own_events
from orchestrator.agent.context import Projection
from orchestrator.agent.role import MAIN, of_child
from orchestrator.dialogue import Reply
from orchestrator.errors import NotFoundError
from orchestrator.models.cassette import Header, record
from orchestrator.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.agent.role import Role
    from orchestrator.dialogue import Request
    from orchestrator.events import Event
    from orchestrator.models.cassette import Match
    from orchestrator.runs import RunSpec


def cassette(events: Sequence[Event], match: Match, *, known: Iterable[str] = ()) -> str:
    """Return a run's replies as a cassette, found by `match`; `known` are secrets to take out, beside what looks so.

    It holds the reply of each committed step, and a last one whose step isn't committed: it was complete, and where a
    run broke off it is the one that matters. So it does for the sub-agents of these steps. What was undone, and replies
    that another took the place of, isn't in it.
    Nor is what the context was built anew from: a replay has room for the whole dialogue, and is asked with it.
    Raises NotFoundError where there is no reply yet, UsageError where there are too many.
    """
    agents = dict(_asked(events, MAIN))
    request = agents.pop("")
    if not any(isinstance(item, Reply) for item in request.dialogue):
        raise NotFoundError("the run has no replies yet", hint="dreamdock logs -f RUN")
    spec = _spec(events)
    about = Header(match=match, model=spec.model, task=spec.task, base=spec.repo.commit)
    return record(request, about, known=known, agents=agents)


def _asked(events: Sequence[Event], role: Role, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Request]]:
    """Yield an agent's name with the whole of its dialogue, and then those of its sub-agents."""
    context = Projection(role).follow(events)
    said = context.dialogue if context.open_reply is None else (*context.dialogue, context.open_reply)
    yield "/".join(path), context.request.model_copy(update={"dialogue": said, "before": 0})
    timeline = Timeline(events)
    steps = {moment.step for moment in timeline.line(timeline.now)} | {context.step + 1}
    begun = {
        body.child: (place, body.kind)
        for place, body in enumerate(event.body for event in events)
        if isinstance(body, e.ChildStarted) and body.step in steps
    }
    for child, (place, kind) in begun.items():
        yield from _asked(own_events(events, place, _spec(events)), of_child(kind), (*path, child))


def _spec(events: Iterable[Event]) -> RunSpec:
    return next(event.body.spec for event in events if isinstance(event.body, e.Submitted))
