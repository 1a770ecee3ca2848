"""What an event says was paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.events.children import Within
from orchestrator.events.work import Condensed, Replied

if TYPE_CHECKING:
    from orchestrator.dialogue import Reply, Value


def paid(body: Value) -> tuple[Reply, ...]:
    """Return the replies that this event is the first one to tell of, each of them once in a journal."""
    match body:
        case Replied(reply=reply):
            return (reply,)
        case Condensed(reply=reply) if reply is not None:
            return (reply,)
        case Within(body=inner):
            return paid(inner)
        case _:
            return ()
