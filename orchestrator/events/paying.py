"""Which replies were paid for: the one place that says so, for the view, the cost report, budgets and users' days."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestrator.events.children import Within
from orchestrator.events.proof import Ruled
from orchestrator.events.work import Condensed, Proposed, Replied

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.dialogue import Reply
    from orchestrator.events import Body, Event


class Spent(NamedTuple):
    """US dollars of replies of known price, and tokens of all, sent and received, those from a cache as well."""

    money_usd: float = 0.0
    tokens: int = 0

    def plus(self, other: Spent) -> Spent:
        """Return both together."""
        return Spent(self.money_usd + other.money_usd, self.tokens + other.tokens)


def paid(body: Body) -> tuple[Reply, ...]:
    """Return the replies that an event was paid with: of steps that are undone later, summaries, sub-agents, too.

    Each is there once: a candidate that is taken was paid with the others.
    """
    match body:
        case Proposed(candidates=candidates):
            return tuple(one.reply for one in candidates if one.reply is not None)
        case Replied(candidate=0, reply=reply):
            return (reply,)
        case Condensed(reply=reply) | Ruled(reply=reply) if reply is not None:
            return (reply,)
        case Within(body=inner):
            return paid(inner)
        case _:
            return ()


def price_of(*replies: Reply) -> Spent:
    """Return what replies took together."""
    tokens = sum(reply.usage.input_tokens + reply.usage.output_tokens for reply in replies)
    return Spent(sum(reply.cost_usd or 0.0 for reply in replies), tokens)


def spent(events: Iterable[Event]) -> Spent:
    """Return what all replies of a journal took."""
    return price_of(*(reply for event in events for reply in paid(event.body)))
