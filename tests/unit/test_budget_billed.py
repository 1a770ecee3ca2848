"""Budgets against the bill: a real client asks a provider that counts what it charges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.budget_rows import go_on, opener, side_by_side
from orchestrator.agent.budget import Budget
from orchestrator.dialogue import Request, Turn, Usage
from orchestrator.errors import EndlessError, UnavailableError
from orchestrator.models import catalog, open_script
from orchestrator.models.fallback import FallbackModel
from orchestrator.models.families import Price
from orchestrator.models.port import SILENT
from orchestrator.models.prices import cost_usd, most_usd
from orchestrator.models.sent import kept
from orchestrator.stop import Stop
from tests.fakes.billing_model import Biller, billing

if TYPE_CHECKING:
    from orchestrator.dialogue import Reply
    from orchestrator.models.port import Listener

REQUEST = Request(system="s", tools=(), dialogue=(Turn(text="Go on."),))


@pytest.mark.parametrize(("money_usd", "tokens"), [(0.9, 10**9), (1000.0, 900_000)])
def test_eight_at_once_are_never_billed_more_than_the_limits(money_usd: float, tokens: int) -> None:
    with billing(Biller()) as biller:
        budget = Budget(money_usd, tokens)
        assert side_by_side(budget, opener(biller), shared=False) == []
        assert side_by_side(budget, opener(biller), shared=True) == [], "what they gave back"
        assert biller.usd <= money_usd
        assert biller.tokens <= tokens
        assert biller.usd > 0.9 * money_usd or biller.tokens > 0.9 * tokens


def test_eight_at_one_ledger_are_never_billed_more_than_it_has() -> None:
    with billing(Biller()) as biller:
        assert side_by_side(Budget(0.3, 10**9), opener(biller), shared=True) == []
        assert 0.2 < biller.usd <= 0.3
        assert biller.capped, "the last replies were asked to be shorter"


def test_a_reply_that_goes_on_where_it_was_to_end_is_cut_off_and_nobody_else_is_asked() -> None:
    with billing(Biller(ignores=True)) as biller, billing(Biller()) as other:
        first, second = opener(biller)(), opener(other)()
        both = FallbackModel(first, second)
        with pytest.raises(EndlessError) as told:
            both.ask(REQUEST, Stop(), most_tokens=2_000)
        assert "2,000 tokens" in told.value.cause
        assert other.requests == 0, "it would be paid for twice"
        assert first.ask(REQUEST, Stop(), most_tokens=6_000).usage.output_tokens == 6_000
        both.close()


def test_a_limit_of_a_reply_changes_nothing_of_what_a_request_keeps_of_the_one_before() -> None:
    with billing(Biller(longest=100)) as biller:
        model = opener(biller)()
        first = model.ask(REQUEST, Stop())
        longer = REQUEST.model_copy(update={"dialogue": (*REQUEST.dialogue, first, Turn(text="Go on."))})
        replies = [model.ask(longer, Stop(), most_tokens=most) for most in (2_000, 1_500)]
        assert [reply.sent is not None and reply.sent.kept == reply.sent.previous for reply in replies] == [True, True]
        assert biller.capped == [2_000, 1_500]
        model.close()
    before = b'{"max_tokens":32768,"messages":[{"a":1}],"model":"x"}'
    now = b'{"max_tokens":1500,"messages":[{"a":1},{"b":2}],"model":"x"}'
    assert kept(before, now) == len(before)
    assert kept(before.replace(b'"x"', b'"y"'), now) < len(before)


def test_an_agent_alone_spends_what_there_is_and_stops() -> None:
    with billing(Biller()) as biller:
        model = opener(biller)()
        go_on(Budget(0.2, 10**9), model)
        assert 0.15 < biller.usd <= 0.2
        model.close()


@given(st.integers(1, 10**6), st.integers(0, 10**5), st.floats(0, 1), st.floats(0, 1), st.floats(0, 50))
def test_the_dearest_way_is_dearer_than_any(
    prompt: int, reply: int, cached: float, written: float, dear: float
) -> None:
    for price in (None, Price(1.0, 0.1, 4.0), Price(1.0, dear, 4.0)):
        choice = catalog({}).choose("anthropic/claude-sonnet-5-5", price=price)
        read = int(prompt * cached)
        usage = Usage(
            input_tokens=prompt,
            output_tokens=reply,
            cached_tokens=read,
            cache_write_tokens=int((prompt - read) * written),
        )
        assert (cost_usd(choice, usage) or 0.0) <= most_usd(choice, prompt, reply) + 1e-9


def test_behind_two_models_the_dearer_one_counts_until_only_the_second_is_asked() -> None:
    class Away:
        """A model that is expensive, brief, and away."""

        name = "away"
        prompt_limit = 0
        reply_limit = 500

        def most_usd(self, prompt_tokens: int, reply_tokens: int) -> float:
            return float(prompt_tokens + reply_tokens)

        def ask(self, request: Request, stop: Stop, listener: Listener = SILENT, **how: Any) -> Reply:
            del request, stop, listener, how
            raise UnavailableError("it is away")

        def close(self) -> None:
            """Nothing is open."""

    second = open_script("scripted", "")
    both = FallbackModel(Away(), second)
    assert both.most_usd(10, 5) == 15.0
    assert both.reply_limit == max(500, second.reply_limit)
    both.ask(REQUEST, Stop())
    assert both.most_usd(10, 5) == 0.0
    assert both.reply_limit == second.reply_limit


def test_a_scripts_reply_ends_where_it_is_to_end() -> None:
    line = (
        '{"text": "long", "calls": [{"name": "bash", "arguments": {"command": "ls"}}], "usage": {"output_tokens": 900}}'
    )
    model = open_script("scripted", line)
    assert model.reply_limit == 900
    whole, cut = (model.ask(REQUEST, Stop(), most_tokens=most) for most in (900, 600))
    assert (len(whole.calls), whole.finish_reason) == (1, "stop")
    assert (cut.calls, cut.finish_reason, cut.usage.output_tokens) == ((), "length", 600)
