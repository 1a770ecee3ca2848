"""What an event says was paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.events.work import Condensed, Proposed, Replied

if TYPE_CHECKING:
    from orchestrator.dialogue import Reply
    from orchestrator.events import Body


def paid(body: Body) -> tuple[Reply, ...]:
    """Return the replies that an event was paid with, each once: a candidate that is taken was paid with the others."""
    match body:
        case Proposed(candidates=candidates):
            return tuple(one.reply for one in candidates if one.reply is not None)
        case Replied(candidate=0, reply=reply):
            return (reply,)
        case Condensed(reply=reply) if reply is not None:
            return (reply,)
        case _:
            return ()
