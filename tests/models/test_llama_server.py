"""Our client against a real llama.cpp server, whose model says what it was told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import llama
import pytest
from asking import answered, first
from kit import SECRET
from tiny_model import said, write_model

from orchestrator.errors import ConfigError, TooLongError, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from asking import Asker

    from orchestrator.dialogue import Request

MODEL = "openai-compatible/tiny"
LOOK = said("I look around.", reasoning="Where am I?", calls=[("bash", {"command": "ls -la"})])
BOTH = said(calls=[("bash", {"command": "cat ä.py"}), ("read", {"path": 'say "b"\n.py'})])
DONE = said("Done, and nothing is left to do.")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write_model(path, [LOOK, BOTH, DONE])
    return path


def bare(task: str) -> Request:
    return first(task).model_copy(update={"tools": ()})


def test_a_reply_is_streamed_with_its_reasoning_apart(model: Path, tmp_path: Path, ask: Asker) -> None:
    with llama.serve(model, context=4096, log=tmp_path / "log") as server:
        reply = ask(MODEL, server.base_url, first("look around"))
        asked, counted = server.asked(least=1), server.counted()
    assert (reply.text.strip(), reply.reasoning.strip()) == ("I look around.", "Where am I?")
    assert [(call.name, call.arguments) for call in reply.calls] == [("bash", {"command": "ls -la"})]
    assert reply.finish_reason == "tool_call"
    assert len(ask.heard.all("text")) > 1
    assert ("".join(ask.heard.all("text")), "".join(ask.heard.all("reasoning"))) == (reply.text, reply.reasoning)
    assert asked == [reply.usage.input_tokens]
    assert reply.usage.input_tokens == counted["prompt_tokens_total"]
    assert reply.usage.output_tokens == counted["tokens_predicted_total"]


def test_a_dialogue_goes_on_over_calls_and_the_prompt_is_cached(model: Path, tmp_path: Path, ask: Asker) -> None:
    request, replies = first("look around"), []
    with llama.serve(model, context=4096, log=tmp_path / "log") as server:
        for _ in range(3):
            replies.append(ask(MODEL, server.base_url, request))
            request = answered(request, replies[-1])
        asked, counted = server.asked(least=3), server.counted()
    assert [(call.name, call.arguments) for call in replies[1].calls] == [
        ("bash", {"command": "cat ä.py"}),
        ("read", {"path": 'say "b"\n.py'}),
    ]
    assert len({call.id for reply in replies for call in reply.calls}) == 3
    assert (replies[2].text, replies[2].calls, replies[2].finish_reason) == (DONE, (), "stop")
    usages = [reply.usage for reply in replies]
    begins = [0, *(usage.input_tokens - 1 for usage in usages[:-1])]  # All but the token that a reply begins with.
    assert [usage.cached_tokens for usage in usages] == begins
    assert asked == [usage.input_tokens for usage in usages]
    assert sum(usage.input_tokens - usage.cached_tokens for usage in usages) == counted["prompt_tokens_total"]
    assert sum(usage.output_tokens for usage in usages) == counted["tokens_predicted_total"]


def test_our_tools_become_a_grammar(model: Path, tmp_path: Path, ask: Asker) -> None:
    with llama.serve(model, context=4096, log=tmp_path / "log") as server:
        assert ask(MODEL, server.base_url, first("look around")).calls
        said_with_tools = server.has_said(begun := "Grammar triggered on regex: '<tool_call>")
        ask(MODEL, server.base_url, bare("look around"))
        said_without = server.says().removeprefix(said_with_tools)
    assert begun in said_with_tools
    assert "Grammar" not in said_without


def test_a_dialogue_that_outgrew_the_window_is_refused_once(model: Path, tmp_path: Path, ask: Asker) -> None:
    with llama.serve(model, context=1024, log=tmp_path / "log") as server:
        with pytest.raises(TooLongError, match="too long") as caught:
            ask(MODEL, server.base_url, first("so much to say " * 200))
        [sent] = server.asked(least=1)
        assert ask(MODEL, server.base_url, first("look around")).calls
    assert f"request ({sent} tokens) exceeds the available context size (1024 tokens)" in caught.value.cause
    assert "larger window" in caught.value.hint
    assert ask.heard.failures == []


def test_a_reply_that_the_window_cuts_off_says_so(model: Path, tmp_path: Path, ask: Asker) -> None:
    with llama.serve(model, context=256, log=tmp_path / "log") as server:
        ask(MODEL, server.base_url, bare("x"))
        room = 256 - server.asked(least=1)[0]
        reply = ask(MODEL, server.base_url, bare("x" * (room - 3)))
    assert (reply.finish_reason, reply.calls) == ("length", ())
    assert LOOK.startswith(f"<think>\n{reply.reasoning}")


def test_a_server_that_went_away_is_unavailable(model: Path, tmp_path: Path, ask: Asker) -> None:
    with llama.serve(model, context=4096, log=tmp_path / "log") as server:
        assert ask(MODEL, server.base_url, first("look around")).calls
    with pytest.raises(UnavailableError):
        ask(MODEL, server.base_url, first("look around"))


def test_a_key_that_the_server_does_not_know_is_refused(model: Path, tmp_path: Path, ask: Asker) -> None:
    with llama.serve(model, context=4096, log=tmp_path / "log", key="another") as server:
        with pytest.raises(ConfigError, match="is refused") as caught:
            ask(MODEL, server.base_url, first("look around"))
        assert server.asked() == []
    assert SECRET not in f"{caught.value.message} {caught.value.cause} {caught.value.hint}"
    assert ask.heard.failures == []
