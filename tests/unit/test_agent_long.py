"""Long work in a small window, with a real sandbox and a real journal: what is asked, built anew and taken back."""

from __future__ import annotations

import json
import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import pytest
from told import check_pairs, text_of
from working import attempt, base, bash, box, lose, opened, start

from orchestrator import events as e
from orchestrator.agent import window
from orchestrator.agent.around import Around
from orchestrator.agent.context import Projection
from orchestrator.agent.ending import Kind
from orchestrator.agent.fitting import MOST_REFUSED
from orchestrator.agent.loop import Agent
from orchestrator.dialogue import Reply, Request, ToolCall, Turn, Usage
from orchestrator.errors import TooLongError
from orchestrator.journal.writer import Writer, create
from orchestrator.models.port import SILENT, Listener
from orchestrator.runs import new_run_id
from orchestrator.settings import RunLimits
from orchestrator.steering import Steering
from orchestrator.stop import Stop
from orchestrator.tokens import estimate

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from working import Opened

    from sandbox.open import Sandbox

__all__ = ["base", "box", "opened", "start"]
pytestmark = [pytest.mark.needs_redis, pytest.mark.needs_engine, pytest.mark.needs_root]

PROMPT: Final = 12_288
"""Of a window of 16K."""
PRINTED: Final = 1_500
SUMMARY: Final = "## Done\nup to {step}\n\n## Under way\n-\n\n## Found out\n-\n\n## Open\n-"


class Killed(Exception):  # noqa: N818  # What a test ends an attempt with; it's no error of anything.
    """The worker is gone."""


class Plodder:
    """A model that runs one command a step, as many as it is told to, then submits; it prints a lot. Times don't count.

    `longest` are the tokens above which it refuses a request, `others` calls that it makes in certain steps. A `moody`
    one also refuses each request whose number that divides, as if it took 1,000 tokens.
    """

    name = "plodder"

    def __init__(
        self,
        steps: int,
        *,
        prompt_limit: int = PROMPT,
        longest: int = 10**9,
        moody: int = 0,
        others: dict[int, tuple[str, dict[str, Any]]] | None = None,
        meanwhile: Callable[[int], Any] = lambda _: None,
    ) -> None:
        self.prompt_limit = prompt_limit
        self.reply_limit = 0
        self.asked: list[Request] = []
        self.refused: list[Request] = []
        self._steps = steps
        self._longest = longest
        self._moody = moody
        self._others = others or {}
        self._meanwhile = meanwhile

    def most_usd(self, prompt_tokens: int, reply_tokens: int) -> float:
        del prompt_tokens, reply_tokens
        return 0.0

    def ask(self, request: Request, stop: Stop, listener: Listener = SILENT, **how: Any) -> Reply:
        del listener, how
        stop.check()
        size = estimate(text_of(request))
        if size > self._longest:
            self.refused.append(request)
            raise TooLongError("that is too long", cause=f"{size} tokens")
        if self._moody and (len(self.asked) + len(self.refused)) % self._moody == self._moody - 1:
            self.refused.append(request)
            raise TooLongError("that is too long", limit=1_000)
        self.asked.append(request)
        step = request.before + sum(isinstance(said, Reply) for said in request.dialogue) + 1
        self._meanwhile(step)
        if step > self._steps:
            return self._reply(step, "submit", {"summary": "done"})
        printed = f"echo {step} >> /workspace/done.txt; seq -f 'line %g of step {step}.' {PRINTED // 15}"
        return self._reply(step, *self._others.get(step, bash(printed)))

    def close(self) -> None:
        """Nothing is open."""

    def _reply(self, step: int, name: str, arguments: dict[str, Any]) -> Reply:
        return Reply(model=self.name, calls=(ToolCall(id=f"c{step}", name=name, arguments=arguments),))


class Summariser:
    """A model that sums up; it answers once it is let."""

    name = "plodder"
    prompt_limit = PROMPT
    reply_limit = 0

    def __init__(self, *, may: threading.Event | None = None, cost: float = 0.25) -> None:
        self.asked: list[Request] = []
        self._may = may
        self._cost = cost

    def most_usd(self, prompt_tokens: int, reply_tokens: int) -> float:
        del prompt_tokens, reply_tokens
        return 0.0

    def ask(self, request: Request, stop: Stop, listener: Listener = SILENT, **how: Any) -> Reply:
        del listener, how
        self.asked.append(request)
        if self._may is not None:
            self._may.wait(10)
        stop.check()
        step = request.before + sum(isinstance(said, Reply) for said in request.dialogue)
        usage = Usage(input_tokens=10, output_tokens=5)
        return Reply(model=self.name, text=SUMMARY.format(step=step), usage=usage, cost_usd=self._cost)

    def close(self) -> None:
        """Nothing is open."""


def work_on(journal: Writer, box: Sandbox, model: Plodder, **more: Any) -> Any:
    return Agent(model, box, journal, journal.view.spec, Stop(), **more).run()


def of(kind: type[Any], journal: Writer) -> list[Any]:
    return [event.body for event in journal.events if isinstance(event.body, kind)]


def test_sixty_steps_in_the_smallest_window_lose_nothing(client: Redis, start: Any, box: Sandbox) -> None:
    journal = start(limits=RunLimits(steps=100))
    ann = Steering(client, "ann")
    note = ("note", {"kind": "fact", "text": "the port is 8417"})
    search = ("history", {"query": "line 42 of step 3."})
    model = Plodder(
        60,
        others={2: note, 50: search},
        meanwhile=lambda step: ann.steer(journal.view.id, "name it otter") if step == 4 else None,
    )
    summariser = Summariser()
    assert work_on(journal, box, model, around=Around(opener=lambda _: summariser)).kind is Kind.SUBMITTED
    rebuilt = of(e.Rebuilt, journal)
    assert len(rebuilt) >= 3
    for request in model.asked:
        check_pairs(request)
        assert estimate(text_of(request)) < PROMPT
        assert (request.system, request.tools) == (model.asked[0].system, model.asked[0].tools)
    broken = [n for n, (a, b) in enumerate(pairwise(model.asked)) if b.dialogue[: len(a.dialogue)] != a.dialogue]
    assert len(broken) == len(rebuilt), "between rebuilds each request extends the one before"
    last = text_of(model.asked[-1])
    assert last.count("name it otter") == 1
    assert "the port is 8417" in last
    assert "line 42 of step 3." not in text_of(model.asked[45])
    assert "line 42 of step 3." in text_of(model.asked[50]), "what left the window is one search away"
    assert box.run("cat done.txt").output.split() == [str(n).encode() for n in range(1, 61) if n not in {2, 50}]
    assert max(body.blocked_s for body in rebuilt) < 0.1
    condensed = of(e.Condensed, journal)
    assert any(body.summary for body in condensed)
    assert journal.view.cost_usd is None, "the plodder's price isn't known"
    assert e.spent(journal.events).money_usd == 0.25 * len(condensed)
    assert len(summariser.asked) <= 4 + 3 * len(rebuilt)


def test_a_summary_is_used_by_the_rebuild_and_asked_with_the_same_prefix(start: Any, box: Sandbox) -> None:
    journal = start(limits=RunLimits(steps=100))
    model, summariser = Plodder(30), Summariser()
    work_on(journal, box, model, around=Around(opener=lambda _: summariser))
    used = [body for body in of(e.Rebuilt, journal) if body.summed_up]
    assert used
    assert f"up to {used[0].summed_up}" in used[0].window.text
    for request in summariser.asked:
        assert any(one.dialogue[:-1] == request.dialogue[:-1] for one in model.asked)


def test_a_run_that_dies_before_or_behind_a_rebuild_goes_on_with_the_same_window(
    client: Redis, start: Any, opened: Opened
) -> None:
    journal = start(limits=RunLimits(steps=100))
    with opened() as box:
        model = Plodder(30, meanwhile=lambda _: die_behind(e.Rebuilt, journal))
        with pytest.raises(Killed):
            work_on(journal, box, model, around=Around(opener=lambda _: Summariser()))
    asked, tree = model.asked[-1], journal.view.tree
    [rebuilt] = of(e.Rebuilt, journal)
    bodies = [event.body for event in journal.events]
    journal = lose(client, journal, 1)
    with opened(tree) as box:
        again = Plodder(30, meanwhile=lambda _: die())
        with pytest.raises(Killed):
            work_on(journal, box, again)
    assert again.asked[0].dialogue[:-1] == asked.dialogue[:-1]
    assert again.asked[0].before == asked.before
    assert of(e.Rebuilt, journal) == [rebuilt]

    other = new_run_id()  # The same, but that it died between the last summary and the rebuild.
    create(client, other, "ann", [bodies[0], e.Dispatched(attempt=1)])
    journal = attempt(client, other, 1)
    journal.append(*bodies[4 : bodies.index(rebuilt)])
    journal = lose(client, journal, 1)
    with opened(tree) as box:
        again = Plodder(30, meanwhile=lambda _: die())
        with pytest.raises(Killed):
            work_on(journal, box, again)
    [later] = of(e.Rebuilt, journal)
    assert later.summed_up == rebuilt.summed_up
    assert 0 <= later.window.first - rebuilt.window.first <= 1, "it was told of the restart, which takes some room"
    check_pairs(again.asked[0])


def test_going_back_across_a_rebuild_brings_back_what_was_in_view(client: Redis, start: Any, box: Sandbox) -> None:
    journal = start(limits=RunLimits(steps=100))
    ann = Writer(client, journal.view.id, who="ann")
    asked = e.RewindRequested(step=5, message="try it otherwise")

    def meanwhile(_step: int) -> None:
        if of(e.Rebuilt, journal) and not of(e.Rewound, journal):
            ann.append(asked)

    model = Plodder(40, meanwhile=meanwhile)
    assert work_on(journal, box, model, around=Around(opener=lambda _: Summariser())).kind is Kind.SUBMITTED
    [rewound] = of(e.Rewound, journal)
    [back] = [request for request in model.asked if request.dialogue[-1].text.endswith("try it otherwise")]
    assert back.before == 0
    assert back.dialogue[:-1] == model.asked[5].dialogue[:-1]
    last = text_of(model.asked[-1])
    assert last.count("try it otherwise") == 1
    later = [body for body in of(e.Rebuilt, journal) if body.step > rewound.step]
    assert later
    assert all(body.window.first > rewound.step for body in later[1:])


def test_a_request_that_is_refused_as_too_long_is_asked_again_with_less(start: Any, box: Sandbox) -> None:
    journal = start(limits=RunLimits(steps=100))
    model = Plodder(40, prompt_limit=100_000, longest=6_000)
    assert work_on(journal, box, model).kind is Kind.SUBMITTED
    assert len(model.refused) == 1, "what it takes is known from then on"
    first, *rest = of(e.Rebuilt, journal)
    assert (first.why, first.model) == ("refused", "plodder")
    assert first.limit <= first.before * 0.75
    assert {body.why for body in rest} == {"full"}
    [limit] = {body.limit for body in rest}
    assert first.limit <= limit <= first.before, "what it had taken before counts"


def test_a_model_that_refuses_now_and_then_what_it_takes_at_other_times_is_not_believed(
    start: Any, box: Sandbox
) -> None:
    journal = start(limits=RunLimits(steps=100))
    model = Plodder(40, moody=7)
    assert work_on(journal, box, model).kind is Kind.SUBMITTED
    assert len(model.refused) >= 5
    assert Projection().follow(journal.events).limits["plodder"] > PROMPT / 3, "it doesn't go down and down"


def test_a_model_that_refuses_whatever_it_is_asked_is_given_up(start: Any, opened: Opened) -> None:
    journal = start(limits=RunLimits(steps=100))
    model = Plodder(40, longest=10**9, meanwhile=lambda step: setattr(model, "_longest", 10) if step == 8 else None)
    with opened() as box, pytest.raises(TooLongError, match="too long"):
        work_on(journal, box, model)
    assert 1 < len(model.refused) <= MOST_REFUSED
    assert len({text_of(request) for request in model.refused}) == len(model.refused), "never the same again"
    assert journal.view.step == 8


def test_a_task_that_does_not_fit_is_refused_before_anything_is_asked(start: Any, box: Sandbox) -> None:
    journal = start()
    spec = journal.view.spec.model_copy(update={"task": "mend it " * 9_000})
    model = Plodder(2)
    with pytest.raises(TooLongError, match="doesn't fit the window of plodder") as caught:
        Agent(model, box, journal, spec, Stop()).run()
    assert not model.asked
    assert f"of {PROMPT:,}" in caught.value.cause


def test_results_of_many_calls_in_a_step_share_its_room(start: Any, box: Sandbox) -> None:
    journal = start()
    calls = [{"name": "bash", "arguments": {"command": "seq 100000"}} for _ in range(40)]

    class Many(Plodder):
        def _reply(self, step: int, name: str, arguments: dict[str, Any]) -> Reply:
            if name == "submit":
                return super()._reply(step, name, arguments)
            return Reply(calls=tuple(ToolCall(id=f"c{n}", **call) for n, call in enumerate(calls)))  # type: ignore[arg-type]  # A dict of strings and dicts.

    model = Many(1)
    assert work_on(journal, box, model).kind is Kind.SUBMITTED
    shown = of(e.CallFinished, journal)[:40]
    sizes = [len(body.result.content) for body in shown]
    assert sizes[0] > 1_000
    assert sizes[0] > sizes[3]
    assert sum(estimate(body.result.content) for body in shown) < PROMPT * 0.45, (
        "digits are what most tokens are made of"
    )
    assert "not run" in shown[-1].result.content
    assert not shown[-1].result.ok


def test_hundreds_of_calls_in_a_step_fit_with_what_is_told_of_those_that_are_not_run(start: Any, box: Sandbox) -> None:
    journal = start()
    calls = tuple(ToolCall(id=f"c{n}", name="bash", arguments={"command": "seq 500"}) for n in range(200))

    class Many(Plodder):
        def _reply(self, step: int, name: str, arguments: dict[str, Any]) -> Reply:
            return Reply(calls=calls) if step == 1 else super()._reply(step, name, arguments)

    assert work_on(journal, box, Many(3)).kind is Kind.SUBMITTED
    contents = [body.result.content for body in of(e.CallFinished, journal)[:200]]
    assert contents[-1] == "error: not run"
    assert sum("too many already" in content for content in contents) == 1
    step = next(number for number, event in enumerate(journal.events) if isinstance(event.body, e.Checkpointed))
    assert Projection().follow(journal.events[: step + 1]).tokens < PROMPT


def test_a_summariser_that_never_answers_costs_nothing(start: Any, box: Sandbox) -> None:
    journal = start(limits=RunLimits(steps=100))
    summariser = Summariser(may=threading.Event())
    model = Plodder(25)
    assert work_on(journal, box, model, around=Around(opener=lambda _: summariser)).kind is Kind.SUBMITTED
    assert of(e.Rebuilt, journal)
    assert not of(e.Condensed, journal)
    assert len(summariser.asked) == 1


def test_what_is_in_view_is_told_by_part(start: Any, box: Sandbox) -> None:
    journal = start(limits=RunLimits(steps=100))
    work_on(journal, box, Plodder(25, others={2: ("note", {"kind": "fact", "text": "the port is 8417"})}))
    context = Projection().follow(journal.events)
    names = [part.name for part in context.parts]
    assert names[:4] == ["system", "tools", "task", "memory"]
    assert names[-1].startswith("steps ")
    assert abs(sum(part.tokens for part in context.parts) - context.tokens) < 10
    assert window.needed(context.sight, context.memory) < context.tokens
    assert isinstance(context.request.dialogue[0], Turn)
    assert json.loads(of(e.Rebuilt, journal)[0].model_dump_json())["why"] == "full"


def die() -> None:
    raise Killed


def die_behind(kind: type[Any], journal: Writer) -> None:
    if of(kind, journal):
        die()
