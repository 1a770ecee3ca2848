"""The budgets' figures: what children that ask at once spend beyond a limit, by the bill of who is asked.

A real run has eight sub-agents ask at once for replies as long as they may be, in dialogues that grow, until nothing
is left. The provider, a fake one, counts what it charges. Without an engine the same is done with threads at a ledger.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from benchmarks.long_runs import MODEL, Ground, family, ground
from benchmarks.report import Row
from orchestrator import attempt
from orchestrator import events as e
from orchestrator.agent import tools
from orchestrator.agent.budget import Budget, OverBudget
from orchestrator.agent.role import DELEGATE
from orchestrator.agent.talk import Talk
from orchestrator.dialogue import Request, Turn
from orchestrator.journal.connection import connect
from orchestrator.journal.stream import read
from orchestrator.journal.writer import create
from orchestrator.models import catalog
from orchestrator.models.client import ApiModel, Patience
from orchestrator.models.families import Price
from orchestrator.runs import RunSpec, new_run_id
from orchestrator.settings import RunLimits, Settings
from orchestrator.stop import Stop
from tests.fakes.billing_model import Biller, billing

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.models.port import Model

_CHILDREN: Final = 8
_LEAST_USED: Final = 50.0
"""Per cent of a limit that is spent before it's over: keeping to a limit by spending nothing is no art."""
_MOST_STEPS: Final = 500
_TASK: Final = "Look around."
LIMITS: Final = {
    "money": RunLimits(money_usd=0.6, seconds=600),
    "tokens": RunLimits(tokens=500_000, seconds=600),
}
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
        request = Request(system=talk.system, tools=tools.specs(talk.tools), dialogue=tuple(talk.dialogue))
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


def delegating(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Have sub-agents look around first; each of them, and the agent then, goes on and on."""
    said = len(body["messages"])
    offered = {tool["function"]["name"] for tool in body["tools"]}
    if DELEGATE in offered and all(message["role"] != "tool" for message in body["messages"]):
        tasks = [{"kind": "explore", "task": _TASK, "name": f"child{number}"} for number in range(_CHILDREN)]
        return DELEGATE, {"tasks": tasks}
    return "bash", {"command": f"seq {said} {said + 300}"}


def with_sub_agents(place: Ground, limits: RunLimits) -> tuple[Biller, list[e.Event]]:
    """Make a run that has eight sub-agents go on until nothing is left; return the bill, and the journal."""
    run_id, biller = new_run_id(), Biller(longest=3_000, act=delegating)
    with billing(biller), connect(place.redis_url) as client:
        priced = family(biller.url, 131_072)
        for model in priced["models"].values():
            model["price"] = [biller.prompt_usd, biller.prompt_usd, biller.reply_usd]
        families = {MODEL.partition("/")[0]: priced}
        settings = Settings(redis_url=place.redis_url, state_dir=place.state, families=families)
        spec = RunSpec(task=_TASK, repo=place.base, model=MODEL, image="", limits=limits)
        create(client, run_id, "bench", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
        attempt.carry(client, settings, run_id, 1, Stop())
        return biller, list(read(client, run_id))


def rows() -> list[Row]:
    """Return the rows: what was billed beyond the limit of money, and of tokens, and how much of each was used."""
    found = []
    with ground() as place:
        for what, limits in LIMITS.items():
            biller, events = with_sub_agents(place, limits)
            children = {event.body.child for event in events if isinstance(event.body, e.Within) and e.paid(event.body)}
            bill, limit = (biller.usd, limits.money_usd) if what == "money" else (biller.tokens, limits.tokens)
            over, used = max(bill - limit, 0), 100 * bill / limit
            unit = "USD" if what == "money" else "tokens"
            name = f"overspend with {len(children)} parallel children"
            found.append(_row(f"{name}, {what}", over, unit, 0, ok=over <= 0 and len(children) == _CHILDREN))
            found.append(_row(f"used of the {what}", used, "%", _LEAST_USED, ok=used >= _LEAST_USED))
    return found


def _row(name: str, value: float, unit: str, target: float, *, ok: bool) -> Row:
    return Row(name, round(value, 6), unit, value, value, 0.0, target, ok, noisy=False)
