"""The condenser: a real client asks a fake provider, and whatever comes of it is told within the work's own pace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest
from fake_provider import Answer, FakeProvider, chat, error
from kit import SECRET
from pydantic import SecretStr
from told import Told

from orchestrator.agent import condenser as c
from orchestrator.agent.budget import Budget
from orchestrator.dialogue import Reply, ToolCall
from orchestrator.errors import ConfigError
from orchestrator.models import catalog
from orchestrator.models.client import ApiModel, Patience
from orchestrator.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator import events as e
    from orchestrator.models.port import Model

QUICK: Final = Patience(first_token_s=0.3, total_s=0.6, attempts=2, backoff_s=0.01)
GOOD: Final = (
    "## Done\nThe ledger was read.\n\n## Under way\n-\n\n## Found out\nport 8080\n\n## Decided\n-\n\n## Open\n-"
)
NAME: Final = "openai-compatible/m"


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as fake:
        yield fake


@pytest.fixture
def opener(fake: FakeProvider) -> Callable[[str], Model]:
    chosen = catalog({}).choose(NAME, base_url=fake.url)
    return lambda name: ApiModel(chosen.model_copy(update={"model": name.partition("/")[2]}), SecretStr(SECRET), QUICK)


@pytest.fixture
def condenser(opener: Callable[[str], Model]) -> Iterator[c.Condenser]:
    made = c.Condenser(opener, Stop(), Budget(1.0, 10**9))
    yield made
    made.close()


def to_be(told: Told | None = None, *, longest: int = 1_000, name: str = NAME) -> c.Asked:
    told = told or Told()
    told.step("one")
    told.step("two")
    return c.asked(told.context, name, longest)


def came(condenser: c.Condenser, within_s: float = 5.0) -> e.Condensed:
    """Wait for what a condenser has, asking as the work does."""
    deadline = time.monotonic() + within_s
    while (done := condenser.take()) is None:
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.005)
    return done


def test_a_summary_is_asked_for_with_the_works_own_bytes(fake: FakeProvider, condenser: c.Condenser) -> None:
    told = Told()
    asked = to_be(told)
    fake.answers = [chat(GOOD, usage={"prompt_tokens": 300, "completion_tokens": 40, "total_tokens": 340})]
    condenser.begin(asked)
    assert condenser.busy
    done = came(condenser)
    assert not condenser.busy
    assert (done.step, done.summary, done.failure, done.tokens) == (2, GOOD, "", told.context.tokens)
    assert done.reply is not None
    assert (done.reply.usage.input_tokens, done.reply.raw, done.reply.text) == (300, "", "")
    [only] = fake.asked
    messages, main = only.body["messages"], told.context.request
    assert asked.request.dialogue[:-1] == main.dialogue[:-1]
    assert messages[-2]["content"] == "two", "the results of the last step are in it"
    assert "up to step 2" in messages[-1]["content"]
    assert "at most 600 words" in messages[-1]["content"]


def test_what_a_late_summary_told_goes_into_the_next_one() -> None:
    told = Told(6_000)
    while not told.rebuilt:
        step = told.step("It looks at the ledger. " * 60)
    told.condensed(step - 2, summary="## Done\nthe port is 8080")
    last = c.asked(told.context, NAME, 100).request.dialogue[-1]
    assert "the port is 8080" in last.text
    told.condensed(step, summary="## Done\nthe port is 8080")
    assert "8080" not in c.asked(told.context, NAME, 100).request.dialogue[-1].text


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([error(500, "out of order")] * 2, "out of order"),
        ([error(400, "no such thing")], "no such thing"),
        ([Answer(silent_s=9)] * 2, ""),
        ([Answer(chunks=chat(GOOD).chunks, pause_s=0.08)] * 2, "doesn't end"),
        ([chat(GOOD, cut=True)] * 2, ""),
        ([chat("lorem ipsum " * 50)], "0 of 5 headings"),
        ([chat("", calls=[("c1", "bash", '{"command": "ls"}')])], "called tools"),
        ([chat("")] * 2, ""),
    ],
    ids=["500", "400", "hangs", "endless", "cut", "nonsense", "calls", "empty"],
)
def test_what_goes_wrong_is_a_failure_that_is_told(
    fake: FakeProvider, condenser: c.Condenser, answers: list[Answer], why: str
) -> None:
    fake.answers = list(answers)
    condenser.begin(to_be())
    done = came(condenser)
    assert done.summary == ""
    assert done.failure
    assert why in done.failure
    assert SECRET not in done.model_dump_json()
    assert len(fake.asked) <= QUICK.attempts
    fake.answers = [chat(GOOD)]
    condenser.begin(to_be())
    assert came(condenser).summary == GOOD, "it lives on"


def test_a_model_that_cannot_be_opened_is_a_failure() -> None:
    def broken(_name: str) -> Model:
        raise ConfigError("no key for it", cause="KEY is not set")

    condenser = c.Condenser(broken, Stop(), Budget(1.0, 10**9))
    condenser.begin(to_be())
    assert came(condenser).failure == "no key for it: KEY is not set"
    condenser.close()


def test_it_asks_the_model_that_the_work_is_with(fake: FakeProvider, opener: Callable[[str], Model]) -> None:
    opened: list[str] = []

    def counted(name: str) -> Model:
        opened.append(name)
        return opener(name)

    condenser = c.Condenser(counted, Stop(), Budget(1.0, 10**9))
    for name in ("m", "m", "n"):
        fake.answers = [chat(GOOD)]
        condenser.begin(to_be(name=f"openai-compatible/{name}"))
        came(condenser)
    condenser.close()
    assert opened == [NAME, "openai-compatible/n"]
    assert [one.body["model"] for one in fake.asked] == ["m", "m", "n"]


def test_nobody_waits_for_one_that_hangs(fake: FakeProvider, opener: Callable[[str], Model]) -> None:
    fake.answers = [Answer(silent_s=30)]
    stop = Stop()
    condenser = c.Condenser(opener, stop, Budget(1.0, 10**9))
    began = time.monotonic()
    condenser.begin(to_be())
    assert condenser.take() is None
    assert time.monotonic() - began < 0.1
    while not fake.asked:
        time.sleep(0.005)
    began = time.monotonic()
    stop.set("cancelled")
    condenser.close()
    assert time.monotonic() - began < 0.5
    assert condenser.take() is None, "nothing new of what was cancelled"


def test_a_summary_of_what_was_undone_is_paid_for_and_not_read(fake: FakeProvider, condenser: c.Condenser) -> None:
    fake.answers = [chat(GOOD)]
    condenser.begin(to_be())
    condenser.void()
    done = came(condenser)
    assert (done.summary, done.failure) == ("", "")
    assert done.reply is not None


def test_a_summary_that_is_far_too_long_is_cut() -> None:
    summary, failure = c.checked(Reply(text=GOOD + "\nmore and more" * 2_000), 100)
    assert failure == ""
    assert summary.startswith("## Done")
    assert len(summary) < 1_000
    assert c.checked(Reply(text=GOOD.upper()), 100) == (GOOD.upper(), "")
    assert c.checked(Reply(calls=(ToolCall(id="c", name="bash"),)), 100)[0] == ""


def test_after_some_failures_there_is_one_try_for_each_new_window_until_one_succeeds() -> None:
    told = Told(6_000)
    for number in range(c.MOST_FAILURES):
        assert c.may_be_asked(told.context), number
        told.condensed(told.step("x"), failure="it hangs")
    assert not c.may_be_asked(told.context)
    while not told.rebuilt:
        step = told.step("It looks at the ledger. " * 60)
    assert c.may_be_asked(told.context)
    told.condensed(step, failure="it hangs")
    assert not c.may_be_asked(told.context)
    told.condensed(step, summary=GOOD)
    assert c.may_be_asked(told.context)
