"""What an event says was paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.events.work import Condensed, Proposed, Replied

if TYPE_CHECKING:
    from orchestrator.dialogue import Reply, Value


def paid(body: Value) -> tuple[Reply, ...]:
    """Return the replies that this event is the first one to tell of, each of them once in a journal."""
    match body:
        case Replied(candidate=0, reply=reply):
            return (reply,)
        case Condensed(reply=reply) if reply is not None:
            return (reply,)
        case Proposed(candidates=candidates):
            return tuple(one.reply for one in candidates if one.reply is not None)
        case _:
            return ()
