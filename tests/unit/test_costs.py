from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from orchestrator import events as e
from orchestrator.costs import costs
from orchestrator.dialogue import Reply, Sent, Usage
from orchestrator.models import catalog

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = Usage(input_tokens=300_000, cached_tokens=100_000, output_tokens=1000)
KNOWN = catalog({"free": {"wire": "chat", "base_url": "http://127.0.0.1:1", "models": {"m": {"price": [0, 0, 0]}}}})


def events(*replies: Reply) -> list[e.Event]:
    return journalled([e.Replied(step=number, reply=reply) for number, reply in enumerate(replies, start=1)])


def journalled(bodies: Sequence[e.Body]) -> list[e.Event]:
    return [e.Event(seq=n, at=datetime.now(UTC), who="w", body=body) for n, body in enumerate(bodies, start=1)]


def test_each_reply_is_told_with_who_gave_it_and_what_it_took() -> None:
    sent = Sent(size=100, previous=50, kept=50)
    first, second = Reply(model="mimo/m", usage=USAGE, cost_usd=0.5, sent=sent), Reply(usage=USAGE, cost_usd=0.25)
    told = costs("glm/glm-5.3", events(first, second), KNOWN)
    assert [(reply.step, reply.model, reply.sent) for reply in told.replies] == [
        (1, "mimo/m", sent),
        (2, "glm/glm-5.3", None),
    ]
    assert (told.cost_usd, told.usage) == (0.75, USAGE + USAGE)


def test_a_summary_is_a_row_of_its_own_and_a_failed_one_none() -> None:
    paid = Reply(model="mimo/m", text="## Goal", usage=USAGE, cost_usd=0.5)
    bodies = (
        e.Replied(step=1, reply=Reply(usage=USAGE, cost_usd=0.25)),
        e.Condensed(step=1, summary="## Goal", reply=paid),
        e.Condensed(step=1, failure="it doesn't answer"),
        e.Condensed(step=1, failure="it has no headings", reply=paid),
    )
    told = costs("glm/glm-5.3", journalled(bodies), KNOWN)
    assert [(reply.step, reply.kind, reply.model, reply.cost_usd) for reply in told.replies] == [
        (1, "step", "glm/glm-5.3", 0.25),
        (1, "condense", "mimo/m", 0.5),
        (1, "condense", "mimo/m", 0.5),
    ]
    assert (told.cost_usd, told.usage) == (1.25, USAGE + USAGE + USAGE)
    assert {other.model: other.cost_usd for other in told.elsewhere}["openai/gpt-6.1-sol"] > 0


def test_one_unknown_cost_makes_the_whole_unknown() -> None:
    assert costs("x", events(Reply(cost_usd=1.0), Reply(cost_usd=None)), KNOWN).cost_usd is None


def test_the_other_families_are_compared_at_the_same_usage_cheapest_first() -> None:
    told = costs("mimo/mimo-v2.5", events(Reply(model="anthropic/claude-sonnet-5-5", usage=USAGE, cost_usd=1.0)), KNOWN)
    others = {other.model: other.cost_usd for other in told.elsewhere}
    assert "anthropic/claude-sonnet-5-5" not in others
    assert others["free/m"] == 0
    assert list(others.values()) == sorted(others.values())
    assert others["glm/glm-5.3"] == pytest.approx((200_000 * 1.4 + 100_000 * 0.26 + 1000 * 4.4) / 1e6)


def test_a_price_that_rises_with_the_request_is_taken_reply_by_reply() -> None:
    short = Usage(input_tokens=200_000, output_tokens=10)
    one = {other.model: other.cost_usd for other in costs("x", events(Reply(usage=short)), KNOWN).elsewhere}
    two = {other.model: other.cost_usd for other in costs("x", events(*[Reply(usage=short)] * 2), KNOWN).elsewhere}
    assert two["openai/gpt-6.1-sol"] == pytest.approx(2 * one["openai/gpt-6.1-sol"])


def test_a_run_without_a_reply_cost_nothing_and_compares_with_nothing() -> None:
    told = costs("x", [], KNOWN)
    assert (told.cost_usd, told.elsewhere) == (0, ())
