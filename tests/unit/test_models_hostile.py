from __future__ import annotations

import gzip
import resource
import threading
import time
from typing import Any

import pytest
from fake_provider import Answer, FakeProvider, anthropic, chat, error, responses
from faked import CALL, FIRST, QUICK, Heard, answered, ask, fake, opened

from orchestrator.dialogue import Sent, ToolResult, Turn, Usage
from orchestrator.errors import ConfigError, DreamdockError, ModelError
from orchestrator.models.client import Patience
from orchestrator.models.fallback import FallbackModel
from orchestrator.models.port import OutOfTime
from orchestrator.stop import Stop, Stopped

__all__ = ["ask", "fake"]


def test_who_listens_hears_a_reply_as_it_comes(fake: FakeProvider) -> None:
    fake.answers = [chat("I look around.", reasoning="Where am I?", calls=[CALL])]
    heard, model = Heard(), opened(fake)
    reply = model.ask(FIRST, Stop(), heard)
    model.close()
    assert (heard.all("text"), heard.all("reasoning"), heard.all("call")) == (reply.text, reply.reasoning, "bash")
    assert len(heard.pieces) > 4, "in pieces, not at the end"


def test_who_listens_is_told_of_each_failure_before_the_next_request(fake: FakeProvider) -> None:
    fake.answers = [error(503, "overloaded"), chat("A beginning", cut=True), chat("Whole.")]
    heard, model = Heard(), opened(fake)
    assert model.ask(FIRST, Stop(), heard).text == heard.all("text") == "Whole."
    model.close()
    assert [failure.model for failure in heard.failures] == ["mimo/m"] * 2
    assert "overloaded" in heard.failures[0].cause
    assert 0 < heard.failures[0].wait_s < heard.failures[1].wait_s


def test_each_request_keeps_all_of_the_one_before_and_says_so(fake: FakeProvider) -> None:
    for name, answer in (
        ("mimo/m", chat),
        ("openai/gpt-6.1-sol", responses),
        ("anthropic/claude-sonnet-5-5", anthropic),
    ):
        call: dict[str, Any] = {"calls": [CALL]} if answer is chat else {"call": CALL}
        fake.asked, fake.answers = [], [answer("One.", **call), error(503, "again"), answer("Two.", **call)]
        fake.answers += [answer("Three.", **call)]
        model, request, sent = opened(fake, name), FIRST, []
        for _ in range(3):
            reply = model.ask(request, Stop())
            sent.append(reply.sent)
            results = tuple(ToolResult(call_id=call.id, name=call.name, content="a.py") for call in reply.calls)
            request = request.model_copy(update={"dialogue": (*request.dialogue, reply, Turn(results=results))})
        model.close()
        sizes = [len(asked.raw) for asked in fake.asked]
        assert sizes[1] == sizes[2], "what is asked again is the same request"
        assert sent == [
            Sent(size=sizes[0]),
            Sent(size=sizes[1], previous=sizes[0], kept=sizes[0]),
            Sent(size=sizes[3], previous=sizes[1], kept=sizes[1]),
        ], name


def test_a_changed_beginning_is_seen_on_the_wire(fake: FakeProvider) -> None:
    fake.answers = [chat("One."), chat("Two.")]
    model = opened(fake)
    model.ask(FIRST, Stop())
    sent = model.ask(FIRST.model_copy(update={"system": "12:04. You are tested."}), Stop()).sent
    model.close()
    assert sent is not None
    assert sent.kept < sent.previous / 2


def test_the_runs_id_is_the_cache_key_where_the_provider_takes_one(fake: FakeProvider) -> None:
    for name in ("kimi/kimi-k2.6", "mimo/m"):
        fake.answers = [chat("Hm.")]
        model = opened(fake, name)
        model.ask(FIRST, Stop())
        model.close()
    assert [asked.body.get("prompt_cache_key") for asked in fake.asked] == ["abc", None]


def test_a_reply_of_ten_megabytes_is_an_error_and_not_asked_for_again(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("0123456789abcdef" * 655_360, pieces_of=65_536), chat("No.")]
    with pytest.raises(ModelError, match="too large"):
        ask()
    assert len(fake.asked) == 1


def test_a_line_without_end_is_cut_off(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [Answer(chunks=(b'data: {"choices": "', *[b"x" * 1_000_000] * 80)), chat("No.")]
    with pytest.raises(ModelError, match="too large"):
        ask()


def test_a_reply_that_never_ends_is_asked_for_once_more_and_no_more(fake: FakeProvider) -> None:
    endless = Answer(chunks=(b": keep-alive\n\n",) * 1000, pause_s=0.05)
    fake.answers = [endless, endless, chat("No.")]
    heard, model = Heard(), opened(fake, patience=Patience(first_token_s=5, total_s=0.4, attempts=5, backoff_s=0.01))
    with pytest.raises(ModelError, match="doesn't end"):
        model.ask(FIRST, Stop(), heard)
    model.close()
    assert (len(fake.asked), len(heard.failures)) == (2, 1)


def test_the_runs_time_ends_a_request(fake: FakeProvider) -> None:
    fake.answers = [Answer(silent_s=20)]
    model, began = opened(fake), time.monotonic()
    with pytest.raises(OutOfTime):
        model.ask(FIRST, Stop(), within_s=0.3)
    assert time.monotonic() - began < 1
    model.close()


def test_tokens_are_found_wherever_the_provider_counts_them(fake: FakeProvider, ask: Any) -> None:
    counted = {"prompt_tokens": 1000, "completion_tokens": 5, "total_tokens": 1005, "cached_tokens": 900}
    expected = Usage(input_tokens=1000, output_tokens=5, cached_tokens=900)
    fake.answers = [chat("Hm.", usage=counted), chat("Hm.", usage=counted, usage_in_choice=True)]
    assert [ask(model="kimi/kimi-k2.6").usage for _ in range(2)] == [expected, expected]


def test_what_was_not_counted_has_no_known_cost(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("Hm.", usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})]
    assert ask().cost_usd is None


@pytest.mark.parametrize("answer", [error(401, "no"), error(402, "no credit"), error(503, "down"), error(400, "what?")])
def test_a_second_model_is_asked_once_the_first_cannot_answer_and_stays(fake: FakeProvider, answer: Answer) -> None:
    heard = Heard()
    with FakeProvider() as other:
        fake.answers = [answer] * QUICK.attempts
        other.answers = [anthropic("One.", call=CALL), anthropic("Two.")]
        model = FallbackModel(opened(fake), opened(other, "anthropic/claude-sonnet-5-5"))
        reply = model.ask(FIRST, Stop(), heard)
        assert (reply.text, reply.model) == ("One.", "anthropic/claude-sonnet-5-5")
        assert heard.failures[-1].instead == model.name == "anthropic/claude-sonnet-5-5"
        asked = len(fake.asked)
        assert model.ask(answered(reply), Stop(), heard).text == "Two."
        assert len(fake.asked) == asked
        model.close()


def test_where_both_fail_the_seconds_error_is_told(fake: FakeProvider) -> None:
    fake.answers = [error(402, "no credit"), error(401, "bad key")]
    heard, model = Heard(), FallbackModel(opened(fake), opened(fake, "glm/glm-5.3"))
    with pytest.raises(ConfigError, match="key for glm"):
        model.ask(FIRST, Stop(), heard)
    model.close()
    assert [failure.error for failure in heard.failures] == ["the account for mimo/m has no credit left"]


def test_a_stop_does_not_wake_the_second_model(fake: FakeProvider) -> None:
    fake.answers = [Answer(silent_s=20)]
    stop, model = Stop(), FallbackModel(opened(fake), opened(fake, "glm/glm-5.3"))
    timer = threading.Timer(0.3, stop.set, ("cancelled",))
    timer.start()
    with pytest.raises(Stopped):
        model.ask(FIRST, stop)
    timer.join()
    model.close()
    assert len(fake.asked) == 1


def test_a_dialogue_moves_between_families_with_what_each_wants_of_reasoning(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("One.", reasoning="Hm.", calls=[CALL])]
    request = answered(ask())
    fake.answers = [chat("Two."), responses("Two."), anthropic("Two.")]
    for name in ("deepseek/deepseek-v4-pro", "openai/gpt-6.1-sol", "anthropic/claude-sonnet-5-5"):
        assert ask(request, model=name).text == "Two."
    assert fake.asked[1].body["messages"][2]["reasoning_content"] == "Hm."
    assert fake.asked[2].body["input"][-1] == {"type": "function_call_output", "call_id": "c1", "output": "a.py"}
    assert fake.asked[3].body["messages"][-1]["content"][0]["tool_use_id"] == "c1"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirection_is_not_followed_with_the_key(fake: FakeProvider, ask: Any, status: int) -> None:
    with FakeProvider(chat("Thanks for the key.")) as other:
        fake.answers = [error(status, "moved", headers={"Location": f"{other.url}/v1/chat/completions"})]
        with pytest.raises(ConfigError, match="no model's endpoint"):
            ask()
        assert other.asked == []
    assert len(fake.asked) == 1


def test_counts_of_a_hostile_provider_are_brought_to_what_can_be(fake: FakeProvider, ask: Any) -> None:
    counted = {"prompt_tokens": 1000, "completion_tokens": 4, "total_tokens": 3, "cached_tokens": 10**9}
    fake.answers = [chat("Hm.", usage=counted)]
    reply = ask()
    assert reply.usage == Usage(input_tokens=1000, cached_tokens=1000, output_tokens=4)
    assert reply.cost_usd >= 0


@pytest.mark.filterwarnings("ignore:Failed to extract usage")
def test_counts_that_are_none_count_as_not_counted(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("Hm.", usage={"prompt_tokens": 1000, "completion_tokens": -4, "total_tokens": 3})]
    reply = ask()
    assert (reply.usage, reply.cost_usd) == (Usage(), None)


def test_what_is_packed_is_not_unpacked(fake: FakeProvider, ask: Any) -> None:
    bomb = gzip.compress(gzip.compress(b"0" * 50_000_000))
    fake.answers = [Answer(chunks=(bomb,), headers={"Content-Encoding": "gzip, gzip"})] * QUICK.attempts
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DreamdockError, match=r"cut or malformed|doesn't answer"):
        ask()
    fake.answers = [Answer(400, {"Content-Encoding": "gzip, gzip"}, (bomb,), "application/json")]
    with pytest.raises(ModelError, match="refused"):
        ask()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000, "KiB"


def test_calls_of_one_id_get_ids_of_their_own_and_their_own_results(fake: FakeProvider, ask: Any) -> None:
    calls = [("same", "bash", '{"command": "echo 1"}'), ("same", "bash", '{"command": "echo 2"}')]
    fake.answers = [chat("", calls=calls), chat("Done.")]
    reply = ask()
    first, second = (call.id for call in reply.calls)
    assert first != second
    results = (
        ToolResult(call_id=first, name="bash", content="1"),
        ToolResult(call_id=second, name="bash", content="2"),
    )
    ask(FIRST.model_copy(update={"dialogue": (*FIRST.dialogue, reply, Turn(results=results))}))
    sent = fake.asked[1].body["messages"]
    assert [call["id"] for call in sent[2]["tool_calls"]] == [first, second]
    assert [(message["tool_call_id"], message["content"]) for message in sent[3:]] == [(first, "1"), (second, "2")]


def test_a_flood_of_calls_is_an_error(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("", calls=[(f"c{number}", "bash", "{}") for number in range(600)]), chat("No.")]
    with pytest.raises(ModelError, match="too large"):
        ask()


@pytest.mark.parametrize("chunk", ["[1, 2, 3]", '{"choices": [{"delta": {"tool_calls": {"a": 1}}}]}', '"text"', "7"])
def test_a_stream_of_other_kinds_of_values_is_malformed_and_asked_for_again(
    fake: FakeProvider, ask: Any, chunk: str
) -> None:
    fake.answers = [Answer(chunks=(f"data: {chunk}\n\n".encode(),)), chat("Whole.")]
    assert ask().text == "Whole."
