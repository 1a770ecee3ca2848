"""How long a prompt may be: what a model says before it is asked, and what its provider says afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_provider import Answer, FakeProvider, anthropic, chat, error, responses
from faked import FIRST, KNOWN, Heard, ask, fake, opened
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dialogue import Reply, Turn
from orchestrator.errors import ConfigError, ModelError, TooLongError
from orchestrator.models import catalog, open_script
from orchestrator.models.fallback import FallbackModel
from orchestrator.models.families import LONGEST_REPLY, SMALLEST_WINDOW, ModelData
from orchestrator.stop import Stop

__all__ = ["ask", "fake"]

LAB = {"wire": "chat", "base_url": "http://127.0.0.1:8000/v1"}
tokens = st.one_of(st.just(0), st.integers(SMALLEST_WINDOW, 2_000_000))


@given(tokens, tokens, st.integers(0, 2_000_000))
def test_prompt_and_reply_together_never_exceed_the_window(window: int, context: int, output: int) -> None:
    room = ModelData(window=window, context=context, output=output).room
    both = min([size for size in (window, context) if size] or [131_072])
    assert room.prompt + room.reply == both
    assert 0 < room.reply <= both / 4
    assert room.reply <= min(output or LONGEST_REPLY, LONGEST_REPLY)


@pytest.mark.parametrize(
    ("data", "prompt", "reply"),
    [
        ({"window": 32_768, "output": 8192}, 24_576, 8192),
        ({"window": 16_384, "output": 8192}, 12_288, 4096),
        ({"window": 1_048_576, "output": 131_072}, 1_048_576 - 32_768, 32_768),
        ({"window": 1_048_576, "output": 131_072, "context": 65_536}, 49_152, 16_384),
        ({"window": 32_768, "context": 65_536}, 24_576, 8192),
        ({"context": 200_000, "output": 1024}, 198_976, 1024),
        ({}, 98_304, 32_768),
    ],
)
def test_the_room_for_a_prompt(data: dict[str, int], prompt: int, reply: int) -> None:
    assert ModelData(**data).room == (prompt, reply)


@pytest.mark.parametrize("field", ["window", "context"])
def test_too_small_a_window_or_context_is_refused(field: str) -> None:
    known = catalog({"lab": {**LAB, "models": {"m.1": {field: SMALLEST_WINDOW - 1}, "m.2": {field: SMALLEST_WINDOW}}}})
    with pytest.raises(ConfigError, match=rf"the {field} of lab/m\.1 is too small") as caught:
        known.choose("lab/m.1")
    assert "16383 tokens; an agent needs 16384" in caught.value.cause
    assert known.choose("lab/m.2").data.room.prompt == 12_288


@pytest.mark.parametrize(
    ("model", "answer", "field"),
    [
        ("mimo/mimo-v2.5", chat("Hm."), "max_completion_tokens"),
        ("glm/glm-4.7", chat("Hm."), "max_tokens"),
        ("openai/gpt-6-luna", responses("Hm."), "max_output_tokens"),
        ("anthropic/claude-sonnet-5-5", anthropic("Hm."), "max_tokens"),
    ],
)
def test_a_model_says_what_its_request_leaves_room_for(
    fake: FakeProvider, model: str, answer: Answer, field: str
) -> None:
    fake.answers = [answer]
    client = opened(fake, model)
    client.ask(FIRST, Stop())
    client.close()
    window = KNOWN.choose(model).data.window
    assert (fake.asked[0].body[field], client.prompt_limit) == (32_768, window - 32_768)


def told(words: str, status: int = 400, **more: Any) -> Answer:
    body = {"error": {"message": words, "type": "invalid_request_error", **more}}
    return Answer(status=status, chunks=(json.dumps(body).encode(),), content_type="application/json")


def in_stream(words: str) -> Answer:
    body = {"error": {"message": words, "type": "BadRequestError", "code": 400}}
    return Answer(chunks=(f"data: {json.dumps(body)}\n\n".encode(),))


def failed_in_responses(words: str) -> Answer:
    failure = {"code": "context_length_exceeded", "message": words}
    response = {"id": "r1", "object": "response", "created_at": 1, "model": "m", "output": [], "tools": []}
    response |= {"parallel_tool_calls": True, "tool_choice": "auto", "status": "failed", "error": failure}
    event = {"type": "response.failed", "sequence_number": 0, "response": response}
    return Answer(chunks=(f"event: response.failed\ndata: {json.dumps(event)}\n\n".encode(),))


def failed_in_messages(words: str) -> Answer:
    event = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    return Answer(chunks=(f"event: error\ndata: {json.dumps(event)}\n\n".encode(),))


OPENAI = (
    "This model's maximum context length is 32768 tokens. However, you requested 40011 tokens (7243 in the messages)."
)
PAGE = Answer(status=413, chunks=(b"<html>413 Request Entity Too Large</html>",), content_type="text/html")


@pytest.mark.parametrize(
    ("model", "answer", "limit"),
    [
        ("mimo/m", error(400, OPENAI, code="context_length_exceeded"), 32_768),
        ("mimo/m", told(OPENAI), 32_768),
        ("mimo/m", in_stream(OPENAI), 32_768),
        ("mimo/m", told("The input (40000 tokens) is longer than the model's context length (32768 tokens)."), 32_768),
        ("mimo/m", told("request (90000 tokens) exceeds the available context size (65536 tokens), try more"), 65_536),
        ("mimo/m", told("the request exceeds the available context size. try increasing it", n_ctx=8192), 8192),
        ("mimo/m", told("the request exceeds the available context size", 500, n_prompt_tokens=90_000), 0),
        ("kimi/m", told("Your request exceeded model token limit: 262144 (requested: 270001)"), 262_144),
        ("mimo/m", told("40000 tokens, too large for model with 32,768 maximum context length"), 32_768),
        ("mimo/m", told("This model's maximum prompt length is 131072 but it has 537812."), 131_072),
        ("mimo/m", told("The input token count (99) exceeds the maximum number of tokens allowed (104857)"), 104_857),
        ("mimo/m", told("Range of input length should be [1, 129024]"), 129_024),
        ("mimo/m", told("the input length exceeds the context length"), 0),
        ("glm/m", told("Prompt exceeds max length", code="1261"), 0),
        ("mimo/m", PAGE, 0),
        ("openai/m", error(400, "Your input exceeds the context window of this model."), 0),
        ("openai/m", told("Input exceeds the limit of 272,000 tokens", code="context_length_exceeded"), 272_000),
        ("anthropic/m", told("prompt is too long: 210000 tokens > 200000 maximum"), 200_000),
        ("anthropic/m", told("input length and `max_tokens` exceed context limit: 190000 + 21333 > 200000"), 200_000),
        ("anthropic/m", told("Request exceeds the maximum size", 413), 0),
        ("openai/m", failed_in_responses(OPENAI), 32_768),
        ("anthropic/m", failed_in_messages("prompt is too long: 210000 tokens > 200000 maximum"), 200_000),
    ],
)  # fmt: skip
def test_a_request_that_is_too_long_is_an_error_of_its_own(
    fake: FakeProvider, ask: Any, model: str, answer: Answer, limit: int
) -> None:
    fake.answers = [answer, answer]
    with pytest.raises(TooLongError, match="too long for") as caught:
        ask(model=model)
    assert (caught.value.limit, len(fake.asked)) == (limit, 1)
    assert "larger window" in caught.value.hint
    assert (f"window = {limit}" in caught.value.hint) == (0 < limit < 131_072)


@pytest.mark.parametrize(
    "words",
    [
        "maximum context length is " + "9" * 5000,
        "maximum context length is 12 tokens",
        "maximum context length is -1 tokens, 1e9, \uff14\uff10\uff19\uff16, 0x8000",
        "maximum context length is " + "1," * 4000,
        "maximum context length is 000,012 tokens",
        "prompt is too long: " + "tokens " * 3000,
        "maximum context length is 99999999999999999999 tokens",
    ],
)
def test_a_limit_that_can_be_none_is_none(fake: FakeProvider, ask: Any, words: str) -> None:
    for more in ({}, {"n_ctx": -4096}, {"n_ctx": True}, {"n_ctx": 10**30}, {"n_ctx": "8192"}, {"n_ctx": [8192]}):
        fake.answers = [told(words, **more)]
        with pytest.raises(TooLongError) as caught:
            ask()
        assert caught.value.limit == 0
        assert len(caught.value.cause) <= 300


def test_a_refusal_that_echoes_the_request_is_told_by_its_beginning(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [told(f"bad field; input was: {'x' * 1000} exceeds the available context size")]
    with pytest.raises(ModelError, match="refused the request"):
        ask()


def test_tokens_of_a_minute_are_no_length(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [error(429, "Too many input tokens are over the token limit of a minute: 30000"), chat("Go on.")]
    assert ask().text == "Go on."


def test_too_long_a_request_goes_to_the_agent_and_not_to_the_fallback(fake: FakeProvider) -> None:
    with FakeProvider(chat("I am the second.")) as other:
        first, second = opened(fake, "kimi/kimi-k2.6"), opened(other, "glm/glm-4.7")
        heard, model = Heard(), FallbackModel(first, second)
        fake.answers = [told(OPENAI), chat("I am the first."), *[error(400, "no")] * 2]
        with pytest.raises(TooLongError):
            model.ask(FIRST, Stop(), heard)
        assert (model.ask(FIRST, Stop(), heard).text, heard.failures, other.asked) == ("I am the first.", [], [])
        assert model.prompt_limit == first.prompt_limit == 262_144 - 32_768
        assert model.ask(FIRST, Stop(), heard).text == "I am the second."
        assert model.prompt_limit == second.prompt_limit == 204_800 - 32_768
        model.close()


SCRIPT = (
    '{"schema": "dreamdock.cassette/1", "prompt_limit": 24576}\n{"text": "one"}\n{"text": "two"}\n{"text": "three"}'
)


def test_a_script_knows_no_window_unless_its_header_says_one() -> None:
    assert open_script("scripted", "").prompt_limit == 0
    assert open_script("scripted", '{"text": "one"}').prompt_limit == 0
    assert open_script("scripted", SCRIPT).prompt_limit == 24_576


def test_a_script_counts_the_replies_that_left_the_window() -> None:
    model = open_script("scripted", SCRIPT)
    rebuilt = FIRST.model_copy(
        update={"dialogue": (*FIRST.dialogue, Reply(text="two"), Turn(text="Go on.")), "before": 1}
    )
    assert (model.ask(FIRST, Stop()).text, model.ask(rebuilt, Stop()).text) == ("one", "three")


def test_a_cassette_that_is_followed_by_request_has_no_window() -> None:
    header = '{"schema": "dreamdock.cassette/1", "match": "request", "prompt_limit": 24576}'
    with pytest.raises(ConfigError) as caught:
        open_script("scripted", f'{header}\n{{"text": "one", "request": "x"}}')
    assert 'prompt_limit goes with "match": "step"' in caught.value.cause
