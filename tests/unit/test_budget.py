"""The ledger of a run: whatever threads reserve, settle, share out and give back, no limit is ever passed."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import events as e
from orchestrator.agent.budget import LEAST_REPLY, Budget, OverBudget, counted
from orchestrator.dialogue import Reply, Request, Turn, Usage
from orchestrator.models.port import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.models.port import Listener
    from orchestrator.stop import Stop

LITTLE: Final = 1e-9
"""US dollars: less than any price is exact to."""


class Priced:
    """A model with a price in dollars per token; it is never asked."""

    name = "priced"
    prompt_limit = 0

    def __init__(self, prompt: float, reply: float, limit: int = 8192) -> None:
        self.reply_limit = limit
        self._prices = (prompt, reply)

    def most_usd(self, prompt_tokens: int, reply_tokens: int) -> float:
        return prompt_tokens * self._prices[0] + reply_tokens * self._prices[1]

    def ask(self, request: Request, stop: Stop, listener: Listener = SILENT, **how: Any) -> Reply:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""

    def reply(self, prompt_tokens: int, reply_tokens: int) -> Reply:
        usage = Usage(input_tokens=prompt_tokens, output_tokens=reply_tokens)
        return Reply(usage=usage, cost_usd=self.most_usd(prompt_tokens, reply_tokens))


MODEL: Final = Priced(1e-6, 4e-6)


def test_what_a_reply_did_not_take_is_free_again() -> None:
    budget = Budget(1.0, 100_000)
    with budget.reserve(10_000, MODEL) as reserved:
        assert reserved.most_tokens == 0, "there's room for the longest reply: no cap is needed"
        assert budget.left == pytest.approx((1.0 - 0.01 - 8192 * 4e-6, 100_000 - 18_192))
        reserved.settle(MODEL.reply(9_000, 500))
    assert budget.spent == pytest.approx((0.011, 9_500))
    assert budget.left == pytest.approx((0.989, 90_500))


def test_near_the_limit_the_reply_is_asked_to_be_shorter_and_then_there_is_none() -> None:
    by_money, by_tokens = Budget(0.02, 10**9), Budget(10.0, 13_000)
    with by_money.reserve(10_000, MODEL) as reserved:
        assert reserved.most_tokens == 2_500, "what is left of two cents, once the prompt is paid"
    with by_tokens.reserve(10_000, MODEL) as reserved:
        assert reserved.most_tokens == 3_000
    for budget, prompt, kind in ((by_money, 16_000, "money"), (by_tokens, 12_000, "tokens")):
        with pytest.raises(OverBudget) as over:
            budget.reserve(prompt, MODEL)
        assert over.value.kind == kind
        assert budget.left == (budget.money_usd, budget.tokens), "what wasn't reserved is there"


def test_a_model_that_says_nothing_of_its_longest_reply_is_given_one_in_time() -> None:
    with Budget(10.0, 200_000).reserve(10_000, Priced(0, 0, limit=0)) as reserved:
        assert reserved.most_tokens == 131_072
    with Budget(10.0, 50_000).reserve(10_000, Priced(0, 0, limit=0)) as reserved:
        assert reserved.most_tokens == 40_000


def test_a_model_whose_replies_are_short_by_nature_needs_no_more_room() -> None:
    with Budget(1.0, 700).reserve(100, Priced(0, 0, limit=300)) as reserved:
        assert reserved.most_tokens == 0
    assert LEAST_REPLY > 300


def test_children_get_alike_of_what_remains_and_the_parent_keeps_as_much() -> None:
    budget = Budget(0.9, 900, spent=e.Spent(0.0, 0))
    with ExitStack() as stack:
        children = [stack.enter_context(budget.share(parts)) for parts in range(8, 0, -1)]
        assert [child.tokens for child in children] == [100] * 8
        assert [child.money_usd for child in children] == pytest.approx([0.1] * 8)
        assert budget.left == pytest.approx((0.1, 100))
    assert budget.left == pytest.approx((0.9, 900)), "what nobody spent is back"


def test_what_a_child_spends_its_parents_have_spent_and_a_closed_share_pays_for_nothing() -> None:
    budget = Budget(9.0, 900_000)
    with budget.share(2) as child:
        with child.share(1) as grandchild, grandchild.reserve(10_000, MODEL) as reserved:
            reserved.settle(MODEL.reply(10_000, 1_000))
        assert grandchild.spent == child.spent == budget.spent == pytest.approx((0.014, 11_000))
        assert budget.left == pytest.approx((6.0, 600_000)), "a child's share stays its own"
    assert budget.left == pytest.approx((9.0 - 0.014, 889_000))
    with pytest.raises(OverBudget):
        child.reserve(1, MODEL)


def test_what_is_still_asked_for_when_a_share_ends_stays_reserved() -> None:
    budget = Budget(9.0, 900_000)
    with budget.share(1) as child:
        reserved = child.reserve(10_000, MODEL)
    assert budget.left == pytest.approx((9.0 - 0.01 - 8192 * 4e-6, 900_000 - 18_192))
    with reserved:
        reserved.settle(MODEL.reply(10_000, 1_000))
    assert budget.left == pytest.approx((9.0 - 0.014, 889_000))


def test_a_day_that_has_less_left_shortens_the_reply_and_gets_it_back() -> None:
    class Day:
        """Grants two cents, whatever is asked for."""

        def __init__(self) -> None:
            self.held: list[tuple[float, float]] = []
            self.freed: list[str] = []

        def hold(self, most_usd: float, least_usd: float) -> tuple[str, float]:
            self.held.append((most_usd, least_usd))
            return "1", 0.02

        def free(self, name: str) -> None:
            self.freed.append(name)

    day = Day()
    with Budget(1.0, 10**9, day=day).reserve(10_000, MODEL) as reserved:
        assert reserved.most_tokens == 2_500
    assert day.held == [pytest.approx((0.01 + 8192 * 4e-6, 0.01 + 1024 * 4e-6))]
    assert day.freed == ["1"]
    with Budget(1.0, 10**9, day=day).reserve(10_000, Priced(0, 0)):
        assert len(day.held) == 1, "what costs nothing needs nobody's leave"


def test_what_nobody_has_counted_is_reserved_with_a_quarter_on_top() -> None:
    request = Request(system="", tools=(), dialogue=(Turn(text="word " * 1000),))
    longer = request.model_copy(update={"dialogue": (Turn(text="word " * 3000),)})
    assert 2_400 <= counted(longer) - counted(request) <= 3_000


class Crowd:
    """Threads that reserve, settle, fail, and share out as chance has it; it keeps every ledger that there was."""

    def __init__(self, budget: Budget, model: Priced) -> None:
        self.ledgers = [budget]
        self.failures: list[BaseException] = []
        self._model = model

    def let_loose(self, budget: Budget, seeds: Iterable[int], depth: int) -> None:
        """Work on one ledger from as many threads as there are seeds, and wait for them."""
        threads = [threading.Thread(target=self._guarded, args=(budget, seed, depth)) for seed in seeds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _guarded(self, budget: Budget, seed: int, depth: int) -> None:
        chance = Random(seed)  # noqa: S311  # No secret: a test's choice.
        try:
            for _ in range(chance.randint(1, 6)):
                self._act(budget, chance, depth)
        except BaseException as error:  # noqa: BLE001  # Told by the thread that waits.
            self.failures.append(error)

    def _act(self, budget: Budget, chance: Random, depth: int) -> None:
        if depth and chance.random() < 0.4:
            with budget.share(chance.randint(1, 3)) as child:
                self.ledgers.append(child)
                self.let_loose(child, [chance.randrange(2**32) for _ in range(2)], depth - 1)
            return
        prompt = chance.randint(1, 20_000)
        with suppress(OverBudget), budget.reserve(prompt, self._model) as reserved:
            if chance.random() < 0.8:  # Else it fails.
                most = reserved.most_tokens or self._model.reply_limit
                reserved.settle(self._model.reply(chance.randint(1, prompt), chance.randint(0, most)))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    money=st.floats(0.001, 0.2),
    tokens=st.integers(5_000, 400_000),
    limit=st.sampled_from([0, 512, 4096]),
)
def test_no_order_of_threads_passes_a_limit(seed: int, money: float, tokens: int, limit: int) -> None:
    budget, model = Budget(money, tokens), Priced(1e-6, 4e-6, limit=limit)
    crowd = Crowd(budget, model)
    crowd.let_loose(budget, range(seed, seed + 4), 2)
    assert not crowd.failures
    for ledger in crowd.ledgers:
        assert ledger.spent.money_usd <= ledger.money_usd + LITTLE
        assert ledger.spent.tokens <= ledger.tokens
    assert budget.left == pytest.approx((money - budget.spent.money_usd, tokens - budget.spent.tokens), abs=LITTLE)
