from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from fake_provider import Answer, FakeProvider, anthropic, chat, error, responses
from faked import CALL, FIRST, KEY, KNOWN, QUICK, TOOL, answered, ask, at, fake, opened
from pydantic import SecretStr

from orchestrator.dialogue import Request, Turn
from orchestrator.errors import ConfigError, DreamdockError, ModelError, TooLongError, UnavailableError
from orchestrator.models.client import ApiModel, Patience
from orchestrator.stop import Stop, Stopped

__all__ = ["ask", "fake"]


def test_a_streamed_reply_arrives_whole(fake: FakeProvider, ask: Any) -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 50,
        "total_tokens": 1050,
        "prompt_tokens_details": {"cached_tokens": 600},
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    second = ("c2", "bash", '{"command": "pwd"}')
    fake.answers = [chat("I look around.", reasoning="Where am I?", calls=[CALL, second], usage=usage)]
    reply = ask()
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("I look around.", "Where am I?", "tool_call")
    assert [(call.id, call.name, call.arguments) for call in reply.calls] == [
        ("c1", "bash", {"command": "ls"}),
        ("c2", "bash", {"command": "pwd"}),
    ]
    assert reply.usage.model_dump() == {
        "input_tokens": 1000,
        "output_tokens": 50,
        "cached_tokens": 600,
        "cache_write_tokens": 0,
        "reasoning_tokens": 30,
    }
    assert reply.cost_usd == pytest.approx((400 * 0.435 + 600 * 0.0036 + 50 * 0.87) / 1e6)


def test_what_goes_out_is_what_the_family_says(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("Hm.")]
    ask()
    [asked] = fake.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body["model"] == "mimo-v2.5-pro"
    assert asked.body["thinking"] == {"type": "enabled"}
    assert asked.body["max_completion_tokens"] == 32_768
    assert [message["role"] for message in asked.body["messages"]] == ["system", "user"]
    told = asked.body["tools"][0]["function"]
    assert (told["name"], told["parameters"]["properties"]) == ("bash", TOOL.parameters["properties"])


@pytest.mark.parametrize(
    "model", ["mimo/mimo-v2.5", "deepseek/deepseek-flash", "kimi/kimi-k2.6", "glm/glm-5.3", "openai-compatible/m"]
)
def test_reasoning_goes_back_unchanged_and_requests_extend_one_another(
    fake: FakeProvider, ask: Any, model: str
) -> None:
    fake.answers = [chat("One.", reasoning=" First\n thought. ", calls=[CALL]), chat("Done.")]
    request = answered(ask(model=model))
    stored = Request.model_validate_json(request.model_dump_json())  # As a resumed attempt reads it from the journal.
    ask(stored, model=model)
    first, second = (asked.body["messages"] for asked in fake.asked)
    assert second[: len(first)] == first
    assert second[2]["reasoning_content"] == " First\n thought. "
    assert json.loads(second[2]["tool_calls"][0]["function"]["arguments"]) == {"command": "ls"}
    assert second[3] == {"role": "tool", "tool_call_id": "c1", "content": "a.py"}
    bare = [{key: value for key, value in asked.body.items() if key != "messages"} for asked in fake.asked]
    assert bare[0] == bare[1]


def test_a_self_hosted_server_gets_reasoning_back_in_its_own_field(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("", reasoning="Mm.", field_name="reasoning", calls=[CALL]), chat("Done.")]
    ask(answered(ask(model="openai-compatible/m")), model="openai-compatible/m")
    assert fake.asked[1].body["messages"][2]["reasoning"] == "Mm."
    assert "reasoning_content" not in fake.asked[1].body["messages"][2]


def test_a_family_that_insists_gets_empty_reasoning_where_none_came(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("", calls=[CALL]), chat("Done.")]
    ask(answered(ask()))
    assert fake.asked[1].body["messages"][2]["reasoning_content"] == ""


def test_openai_goes_over_responses_with_its_sealed_reasoning(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [responses("One.", call=CALL), responses("Done.")]
    reply = ask(model="openai/gpt-6.1-sol")
    assert reply.calls[0].arguments == {"command": "ls"}
    assert (reply.usage.cached_tokens, reply.usage.reasoning_tokens) == (64, 8)
    assert reply.cost_usd is not None
    ask(answered(reply), model="openai/gpt-6.1-sol")
    first, second = (asked.body for asked in fake.asked)
    assert (fake.asked[0].path, first["store"]) == ("/v1/responses", False)
    assert second["input"][: len(first["input"])] == first["input"]
    assert [item["encrypted_content"] for item in second["input"] if item.get("type") == "reasoning"] == ["SEALED"]


def test_anthropic_thinks_signed_and_caches(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [anthropic("One.", thinking="Hm.", call=CALL), anthropic("Done.")]
    reply = ask(model="anthropic/claude-sonnet-5-5")
    assert (reply.reasoning, reply.calls[0].arguments) == ("Hm.", {"command": "ls"})
    assert (reply.usage.input_tokens, reply.usage.cached_tokens) == (100, 64)
    assert reply.cost_usd == pytest.approx((36 * 2 + 64 * 0.1 + 20 * 10) / 1e6)
    ask(answered(reply), model="anthropic/claude-sonnet-5-5")
    second = fake.asked[1].body
    assert fake.asked[1].path.startswith("/v1/messages")
    assert second["messages"][1]["content"][0] == {"type": "thinking", "thinking": "Hm.", "signature": "SIGNED"}
    assert "cache_control" in json.dumps(second)
    assert second["max_tokens"] == 32_768


def test_arguments_that_are_no_json_object_are_kept_as_text(fake: FakeProvider, ask: Any) -> None:
    broken, listed = ("c1", "bash", '{"command": "ls'), ("c2", "bash", '["ls"]')
    fake.answers = [chat("", calls=[broken, listed]), chat("Done.")]
    reply = ask()
    assert [(call.arguments, call.invalid) for call in reply.calls] == [({}, broken[2]), ({}, listed[2])]
    assert ask(answered(reply)).text == "Done."


def test_an_unknown_price_is_unknown(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("Hm."), chat("Hm.")]
    assert ask(model="openai-compatible/anything").cost_usd is None
    assert ask(model="deepseek/not-listed-anywhere").cost_usd is None


@pytest.mark.parametrize("passing", [error(429, "slow down"), error(503, "overloaded"), error(500, "oops")])
def test_a_passing_failure_is_tried_again(fake: FakeProvider, ask: Any, passing: Answer) -> None:
    fake.answers = [passing, passing, chat("At last.")]
    assert ask().text == "At last."
    assert len({asked.raw for asked in fake.asked}) == 1


def test_retry_after_is_waited_for(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [error(429, "slow down", headers={"Retry-After": "1"}), chat("At last.")]
    started = time.monotonic()
    assert ask().text == "At last."
    assert time.monotonic() - started >= 1.0


def test_who_asks_for_too_long_a_wait_is_unavailable(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [error(429, "slow down", headers={"Retry-After": "3600"})]
    with pytest.raises(UnavailableError, match="doesn't answer") as caught:
        ask()
    assert "slow down" in caught.value.cause
    assert len(fake.asked) == 1


def test_retries_are_bounded(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [error(500, "oops")] * 9
    with pytest.raises(UnavailableError):
        ask()
    assert len(fake.asked) == QUICK.attempts


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (error(400, "reasoning_content must be passed back"), ModelError, "refused the request"),
        (error(401, f"Incorrect API key provided: {KEY[:8]}…{KEY[-4:]}"), ConfigError, "key for mimo"),
        (error(403, f"key {KEY} has no access"), ConfigError, "key for mimo"),
        (error(404, "no such model"), ConfigError, "doesn't know mimo-v2.5-pro"),
        (error(402, "insufficient balance"), ModelError, "no credit"),
        (error(429, "no credit", code="insufficient_quota"), ModelError, "no credit"),
        (error(400, "maximum context length is 1000 tokens", code="context_length_exceeded"), TooLongError, "too long"),
        (error(422, f"bad key {KEY}"), ModelError, "refused the request"),
    ],
)
def test_a_refusal_is_never_repeated(
    fake: FakeProvider, ask: Any, answer: Answer, kind: type[DreamdockError], words: str
) -> None:
    fake.answers = [answer, chat("No.")]
    with pytest.raises(kind, match=words) as caught:
        ask()
    assert len(fake.asked) == 1
    shown = f"{caught.value.message} {caught.value.cause} {caught.value.hint}"
    assert KEY not in shown
    assert KEY[:8] not in shown
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "answer",
    [
        chat("A beginning", cut=True),
        chat("No reason given", finish=None),
        Answer(chunks=(b"data: {not json\n\n",)),
        Answer(chunks=(b"<html>hello</html>",), content_type="text/html"),
        Answer(),
    ],
    ids=["cut", "no finish reason", "malformed", "html", "empty"],
)
def test_an_unfinished_stream_is_an_error_after_retries(fake: FakeProvider, ask: Any, answer: Answer) -> None:
    fake.answers = [answer, chat("Whole.")]
    assert ask().text == "Whole."
    fake.answers = [answer] * QUICK.attempts
    with pytest.raises(DreamdockError, match=r"cut or malformed|doesn't answer"):
        ask()


def test_silence_is_a_time_out(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [Answer(silent_s=20), chat("Awake.")]
    assert ask(patience=Patience(first_token_s=0.3, total_s=5, attempts=2, backoff_s=0.01)).text == "Awake."


def test_nobody_there_is_unavailable() -> None:
    with FakeProvider() as gone:
        url = gone.url
    model = ApiModel(KNOWN.choose("openai-compatible/m", base_url=f"{url}/v1"), None, QUICK)
    with pytest.raises(UnavailableError):
        model.ask(FIRST, Stop())
    model.close()


@pytest.mark.parametrize("answer", [Answer(silent_s=20), error(429, "wait", headers={"Retry-After": "2"})])
def test_a_stop_ends_a_request_at_once(fake: FakeProvider, answer: Answer) -> None:
    fake.answers = [answer]
    stop, model = Stop(), ApiModel(at(fake.url, "mimo/m"), SecretStr(KEY), QUICK)
    set_at: list[float] = []

    def cancel() -> None:
        set_at.append(time.monotonic())
        stop.set("cancelled by ann")

    timer = threading.Timer(0.5, cancel)
    timer.start()
    with pytest.raises(Stopped, match="cancelled by ann"):
        model.ask(FIRST, stop)
    assert time.monotonic() - set_at[0] < 0.2
    timer.join()
    with pytest.raises(Stopped):
        model.ask(FIRST, stop)
    assert len(fake.asked) == 1
    model.close()
    model.close()


FAMILIES = ("mimo/m", "deepseek/m", "kimi/m", "glm/m", "openai-compatible/m", "openai/m", "anthropic/m")


@pytest.mark.parametrize("model", FAMILIES)
@pytest.mark.parametrize("thinks", [(), (2, 3), (1, 2, 3, 4)])
def test_what_is_kept_from_the_request_before_changes_no_byte_of_the_next(
    fake: FakeProvider, model: str, thinks: tuple[int, ...]
) -> None:
    wire, request = {"openai": "responses", "anthropic": "anthropic"}.get(model.partition("/")[0], "chat"), FIRST
    anew = opened(fake, model)
    for number in range(1, 7):
        call = (f"c{number}", "bash", json.dumps({"command": f"ls {number} <|im_end|>"}))
        thought = "Let me see." if number in thinks else ""
        answer = {
            "chat": chat(f"Step {number}.", reasoning=thought, calls=[call]),
            "responses": responses(f"Step {number}.", call=call),
            "anthropic": anthropic(f"Step {number}.", thinking=thought, call=call),
        }[wire]
        fake.answers = [answer, answer]
        reply = anew.ask(request, Stop())
        fresh = opened(fake, model)
        fresh.ask(request, Stop())
        fresh.close()
        assert fake.asked[-1].raw == fake.asked[-2].raw
        grown = answered(reply, f"a{number}.py <|im_end|>").dialogue[1:]
        request = request.model_copy(update={"dialogue": (*request.dialogue, *grown)})
        if number == 4:  # The context is built anew: another head, and only the last steps.
            head = Turn(text="Do it.\n\nSteps 1 to 2 are left out.")
            request = request.model_copy(update={"dialogue": (head, *request.dialogue[5:]), "before": 2})
    anew.close()
