"""Our client against somebody else's idea of the providers' APIs, over real HTTP."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from asking import QUICK, answered, first
from kit import SECRET

from orchestrator.dialogue import Request
from orchestrator.errors import ConfigError, DreamdockError, ModelError, TooLongError, UnavailableError
from orchestrator.models.client import Patience
from orchestrator.stop import Stop, Stopped

if TYPE_CHECKING:
    from aimock import Aimock
    from asking import Asker

# One of each wire, and below the chat families whose bodies differ. The second is the path of their address.
WIRES = [("mimo/mimo-v2.5-pro", "/v1"), ("openai/gpt-6.1-sol", "/v1"), ("anthropic/claude-sonnet-5-5", "")]
CHATS = [("deepseek/deepseek-v4-pro", "/v1"), ("kimi/kimi-k2.6", "/v1"), ("glm/glm-5.3", "/v1")]
OWN = ("openai-compatible/any", "/v1")

each_wire = pytest.mark.parametrize(("model", "path"), WIRES, ids=["chat", "responses", "anthropic"])


@pytest.mark.parametrize(("model", "path"), [*WIRES, *CHATS, OWN])
def test_a_reply_is_heard_as_it_comes_and_arrives_whole(providers: Aimock, ask: Asker, model: str, path: str) -> None:
    reply = ask(model, providers.url + path, first("look around"))
    assert reply.text == "I look around before I touch anything."
    assert reply.reasoning == "Where am I?\n It's a small repository."
    assert [(call.id, call.name, call.arguments) for call in reply.calls] == [
        ("call_1", "bash", {"command": "ls -la"}),
        ("call_2", "read", {"path": "README.md"}),
    ]
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (1000, 50)
    assert len(ask.heard.all("text")) > 3
    assert "".join(ask.heard.all("text")) == reply.text
    assert "".join(ask.heard.all("reasoning")) == reply.reasoning
    assert ask.heard.all("call") == ["bash", "read"]


@pytest.mark.parametrize(("model", "path"), [WIRES[0], *CHATS, OWN])
def test_reasoning_goes_back_unchanged_in_its_field(providers: Aimock, ask: Asker, model: str, path: str) -> None:
    task = first("look around")
    reply = ask(model, providers.url + path, task)
    stored = Request.model_validate_json(answered(task, reply).model_dump_json())  # As a resumed attempt reads it.
    assert ask(model, providers.url + path, stored).text == "Done."
    [sent] = [said for said in providers.asked()[1]["body"]["messages"] if said["role"] == "assistant"]
    assert sent["reasoning_content"] == reply.reasoning


@pytest.mark.parametrize(("model", "path"), [*WIRES, *CHATS, OWN])
def test_the_second_request_extends_the_first(providers: Aimock, ask: Asker, model: str, path: str) -> None:
    task = first("look around")
    reply = ask(model, providers.url + path, task)
    assert ask(model, providers.url + path, answered(task, reply)).text == "Done."
    before, after = (asked["body"] for asked in providers.asked())
    assert after["messages"][: len(before["messages"])] == before["messages"]
    assert after["tools"] == before["tools"]
    assert [message["content"] for message in after["messages"] if message["role"] == "tool"] == ["a.py", "a.py"]


def test_a_routers_comments_are_passed_over_and_its_counts_are_taken(providers: Aimock, ask: Asker) -> None:
    reply = ask("openai-compatible/some/model", f"{providers.url}/api/v1", first("look around"))
    assert reply.reasoning == "Where am I?\n It's a small repository."
    assert (reply.usage.cached_tokens, reply.usage.reasoning_tokens) == (600, 30)


@pytest.mark.parametrize(
    ("task", "kind", "words"),
    [
        ("refuse", ModelError, "refused the request"),
        ("too long", TooLongError, "too long"),
        ("no such key", ConfigError, "is refused"),
    ],
)
@each_wire
def test_a_refusal_is_not_repeated(
    providers: Aimock, ask: Asker, model: str, path: str, task: str, kind: type[DreamdockError], words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        ask(model, providers.url + path, first(task))
    assert len(providers.asked()) == 1
    assert SECRET not in f"{caught.value.message} {caught.value.cause} {caught.value.hint}"


@each_wire
def test_a_rate_limit_is_waited_out(providers: Aimock, ask: Asker, model: str, path: str) -> None:
    began = time.monotonic()
    assert ask(model, providers.url + path, first("limit once")).text == "At last."
    assert time.monotonic() - began >= 1.0
    assert [asked["response"]["status"] for asked in providers.asked()] == [429, 200]
    assert [failure.wait_s for failure in ask.heard.failures] == [1.0]


@each_wire
def test_a_limit_for_an_hour_is_not(providers: Aimock, ask: Asker, model: str, path: str) -> None:
    with pytest.raises(UnavailableError, match="doesn't answer") as caught:
        ask(model, providers.url + path, first("limit for an hour"))
    assert "slow down" in caught.value.cause
    assert len(providers.asked()) == 1


@pytest.mark.parametrize("trouble", ["fail", "malformed", "hang up", "cut"])
@each_wire
def test_what_may_pass_is_asked_again_and_not_for_ever(
    providers: Aimock, ask: Asker, model: str, path: str, trouble: str
) -> None:
    assert ask(model, providers.url + path, first(f"{trouble} once")).text == "At last."
    once, again = (asked["body"] for asked in providers.asked())
    assert once == again
    assert len(ask.heard.failures) == 1
    with pytest.raises(DreamdockError, match=r"cut or malformed|doesn't answer"):
        ask(model, providers.url + path, first(f"{trouble} always"))
    assert len(providers.asked()) == 2 + QUICK.attempts


@each_wire
def test_silence_ends_but_a_slow_stream_does_not(providers: Aimock, ask: Asker, model: str, path: str) -> None:
    impatient = Patience(first_token_s=0.5, total_s=10, attempts=3, backoff_s=0.01)
    assert ask(model, providers.url + path, first("silent once"), patience=impatient).text == "At last."
    began = time.monotonic()
    assert ask(model, providers.url + path, first("slow"), patience=impatient).text == "Slow, but it gets there."
    assert time.monotonic() - began > 2 * impatient.first_token_s


@each_wire
def test_a_reply_that_does_not_end_is_ended(providers: Aimock, ask: Asker, model: str, path: str) -> None:
    patience = Patience(first_token_s=0.5, total_s=0.5, attempts=5, backoff_s=0.01)
    with pytest.raises(ModelError, match="doesn't end"):
        ask(model, providers.url + path, first("endless"), patience=patience)
    assert len(providers.asked()) < patience.attempts


@each_wire
def test_a_stop_ends_a_reply_that_is_coming(providers: Aimock, ask: Asker, model: str, path: str) -> None:
    stop, at = Stop(), []

    def end() -> None:
        ask.heard.begun.wait(10)
        at.append(time.monotonic())
        stop.set("cancelled by ann")

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(Stopped, match="cancelled by ann"):
        ask(model, providers.url + path, first("endless"), stop=stop)
    assert time.monotonic() - at[0] < 0.2
    thread.join()
    assert "And so on".startswith("".join(ask.heard.all("text")))
