"""The budgets' figures: what children that ask at once spend beyond a limit, by the bill of who is asked.

Each child asks a real client for replies as long as they may be, in a dialogue that grows, from its share of one
ledger, until that pays for no more. The provider, a fake one, counts what it charges.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from benchmarks.report import Row
from orchestrator.agent import tools
from orchestrator.agent.budget import Budget, OverBudget
from orchestrator.agent.role import MAIN
from orchestrator.agent.talk import Talk
from orchestrator.dialogue import Request, Turn
from orchestrator.models import catalog
from orchestrator.models.client import ApiModel, Patience
from orchestrator.models.families import Price
from orchestrator.stop import Stop
from tests.fakes.billing_model import Biller, billing

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.models.port import Model

_CHILDREN: Final = 8
_LEAST_USED: Final = 75.0
"""Per cent of a limit that is spent before it's over: keeping to a limit by spending nothing is no art."""
_MOST_STEPS: Final = 500
_RESULT: Final = "line of output that the next request brings again\n" * 40


def opener(biller: Biller) -> Callable[[], Model]:
    """Return what opens a client of the provider that bills."""
    price = Price(biller.prompt_usd, biller.prompt_usd / 10, biller.reply_usd)
    choice = catalog({}).choose("openai-compatible/biller", base_url=biller.url, price=price)
    return lambda: ApiModel(choice, SecretStr("no-key"), Patience(attempts=1))


def go_on(budget: Budget, model: Model) -> None:
    """Work as an agent does, until the ledger pays for no further reply."""
    talk = Talk()
    talk.system = "You read a ledger, line by line."
    talk.say(Turn(text="Read the ledger."))
    for step in range(1, _MOST_STEPS):
        request = Request(system=talk.system, tools=tools.specs(MAIN.tools), dialogue=tuple(talk.dialogue))
        try:
            with budget.reserve(talk.most, model) as reserved:
                reply = model.ask(request, Stop(), most_tokens=reserved.most_tokens)
                reserved.settle(reply)
        except OverBudget:
            return
        talk.hear(reply)
        talk.commit(step, reply, ())
        talk.say(Turn(text=_RESULT))


def side_by_side(budget: Budget, open_model: Callable[[], Model], *, shared: bool) -> list[Exception]:
    """Have all children work at once, each from a share of its own or, `shared`, all from one; return what failed."""
    failures: list[Exception] = []

    def work(own: Budget) -> None:
        model = open_model()
        try:
            go_on(own, model)
        except Exception as error:  # noqa: BLE001  # Told by who waits for the threads.
            failures.append(error)
        finally:
            model.close()

    with ExitStack() as stack:
        shares = [budget if shared else stack.enter_context(budget.share(part)) for part in range(_CHILDREN, 0, -1)]
        threads = [threading.Thread(target=work, args=(share,)) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return failures


def rows() -> list[Row]:
    """Return the rows: what was billed beyond the limit of money, and of tokens, and how much of each was used."""
    found = []
    for what, money_usd, tokens in (("money", 0.9, 10**9), ("tokens", 1000.0, 900_000)):
        with billing(Biller()) as biller:
            budget = Budget(money_usd, tokens)
            failures = side_by_side(budget, opener(biller), shared=False)
            failures += side_by_side(budget, opener(biller), shared=True)  # What they gave back.
        if failures:
            raise failures[0]
        over = max(biller.usd - money_usd, 0.0) if what == "money" else max(biller.tokens - tokens, 0)
        used = biller.usd / money_usd if what == "money" else biller.tokens / tokens
        unit = "USD" if what == "money" else "tokens"
        found.append(_row(f"overspend with {_CHILDREN} parallel children, {what}", over, unit, 0, ok=over <= 0))
        found.append(_row(f"used of the {what}", 100 * used, "%", _LEAST_USED, ok=100 * used >= _LEAST_USED))
    return found


def _row(name: str, value: float, unit: str, target: float, *, ok: bool) -> Row:
    return Row(name, round(value, 6), unit, value, value, 0.0, target, ok, noisy=False)
