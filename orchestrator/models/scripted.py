"""A model that follows a script: no key, no network, the same replies each time. It never pretends to be a model.

A script is JSON lines, one reply each: `{"text": "…", "calls": [{"name": "bash", "arguments": {"command": "…"}}]}`,
written by hand or recorded as a cassette, see `orchestrator.models.cassette`. Where several replies are asked for at
once, those of `"candidates": [reply, …]` in that line are given in their order; without it all of them are the same.
A line with `"agent": NAME` is a reply of the sub-agent of that name, others are the run's own agent's.
A line with `"unless": TEXT` is left out where the first turn has that text: what the task says, or what is recalled
with it. So one script finds something out where it isn't known, and does without where it is.
The reply is chosen by step, the number of replies that there were, so that a resumed run goes on where it was; or, in a
cassette that says so, by what is asked. A script knows no window: its context is never built anew, unless its header
says how many tokens a prompt may have (`"prompt_limit": N`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.dialogue import Reply, ToolCall, Turn, Usage
from orchestrator.errors import ConfigError, ModelError, NotFoundError
from orchestrator.models.cassette import (
    FORM,
    LARGEST,
    Script,
    ScriptedCall,
    ScriptedReply,
    normal,
    parse_script,
    request_keys,
)
from orchestrator.models.port import SILENT
from orchestrator.tokens import estimate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.dialogue import Request
    from orchestrator.models.port import Listener
    from orchestrator.stop import Stop

_tokens: Final = lru_cache(maxsize=16_384)(estimate)  # Each request brings the whole dialogue again.
_ACCEPT: Final = "{accept}"
_LONGEST_EXCERPT: Final = 200
_SHORTEST: Final = 256
"""Tokens of the reply that a script ends with which didn't submit, at most."""


def read_script(name: str) -> str:
    """Return the checked text of the file behind `scripted/PATH`, empty for the built-in one.

    Raises NotFoundError, or ConfigError with the number of the line that is wrong.
    """
    path = name.partition("/")[2]
    if not path:
        return ""
    file = Path(path).expanduser()
    if file.exists() and not file.is_file():  # A pipe would be waited for.
        raise ConfigError("the script can't be read", cause=f"{path} is no regular file", hint=FORM)
    try:
        with file.open("rb") as script:
            data = script.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no script {path}", hint="--model scripted/PATH.jsonl") from error
    except OSError as error:
        cause = f"{path}: {error.strerror}"
        raise ConfigError("the script can't be read", cause=cause, hint="--model scripted/PATH.jsonl") from error
    if len(data) > LARGEST:
        cause = f"{path} is larger than {LARGEST // 1024**2} MiB"
        raise ConfigError("the script can't be read", cause=cause, hint=FORM)
    text = data.decode(errors="replace")
    parse_script(text, path)
    return text


class ScriptedModel:
    """Answers from a script; without one, from the built-in script that looks around and changes nothing.

    `accept` is the command that the built-in script's placeholder stands for; without it that reply is left out.
    `agent` names the sub-agent whose replies it gives.
    """

    def __init__(self, name: str, script: Script | None = None, *, accept: str = "", agent: str = "") -> None:
        self.name = name
        replies, self._header = _built_in(accept) if script is None else script
        self._replies = tuple(reply for reply in replies if reply.agent == agent)
        self.prompt_limit = self._header.prompt_limit
        self._recorded: defaultdict[str, list[ScriptedReply]] = defaultdict(list)
        self._played: Counter[str] = Counter()
        for reply in self._replies:
            self._recorded[reply.request].append(reply)

    @cached_property
    def reply_limit(self) -> int:
        """Tokens of the script's longest reply."""
        return max(_SHORTEST, *(_written(line) for line in self._replies)) if self._replies else _SHORTEST

    def most_usd(self, prompt_tokens: int, reply_tokens: int) -> float:
        """Return nothing: a script is free."""
        del prompt_tokens, reply_tokens
        return 0.0

    def ask(
        self,
        request: Request,
        stop: Stop,
        listener: Listener = SILENT,
        *,
        within_s: float | None = None,
        most_tokens: int = 0,
    ) -> Reply:
        """Return the reply of this step, or to this request; one that is too long is cut off as a provider's would be.

        Past the end of a script that is followed by step, it is a submit that says so. Raises ModelError where a
        cassette that is followed by request has no reply to this one.
        """
        del listener, within_s  # A script answers at once.
        stop.check()
        done = request.before + sum(isinstance(said, Reply) for said in request.dialogue)
        line = self._to(request) if self._header.match == "request" else self._at(done, _first_turn(request))
        line = line.asked(request.candidate)
        usage = line.usage or _estimate(request, line)
        if 0 < most_tokens < usage.output_tokens:
            line, usage = _cut_off(line), usage.model_copy(update={"output_tokens": most_tokens, "reasoning_tokens": 0})
        calls = tuple(
            ToolCall(
                id=call.id or f"call-{done + 1}-{number}",
                name=call.name,
                arguments=call.arguments,
                invalid=call.invalid,
            )
            for number, call in enumerate(line.calls, start=1)
        )
        return Reply(
            model=self.name,
            text=line.text,
            reasoning=line.reasoning,
            calls=calls,
            usage=usage,
            cost_usd=0.0,
            finish_reason=line.finish_reason,
        )

    def close(self) -> None:
        """Nothing is open."""

    def _at(self, step: int, first: str) -> ScriptedReply:
        replies = [reply for reply in self._replies if not reply.unless or reply.unless not in first]
        if step < len(replies):
            return replies[step]
        summary = f"The script is over after {len(replies)} replies; it didn't submit itself."
        return ScriptedReply(text=summary, calls=(ScriptedCall(name="submit", arguments={"summary": summary}),))

    def _to(self, request: Request) -> ScriptedReply:
        """Return the reply recorded to this request; of several one after the other, the last one from then on."""
        keys = list(request_keys(request))
        if keys[-1] not in self._recorded:
            raise self._differs(request, keys)
        recorded = self._recorded[keys[-1]]
        self._played[keys[-1]] += 1
        return recorded[min(self._played[keys[-1]], len(recorded)) - 1]

    def _differs(self, request: Request, keys: list[str]) -> ModelError:
        """Say where the dialogue leaves the recorded one: each request extends the one before, so the first tells."""
        step = next(number for number, key in enumerate(keys, start=1) if key not in self._recorded)
        where = f"step {step} differs from every recorded one"
        if step == 1:
            where += f", in the task, the prompt or the tools (recorded for {_cut(self._header.task)!r})"
        turn = _before(request, step)
        cause = f"{where}: it is asked for after {_cut(turn)!r}"
        hint = 'record the run anew, or write "match": "step" into the first line of the cassette'
        return ModelError("the cassette has no reply to this", cause=cause, hint=hint)


def _first_turn(request: Request) -> str:
    """Return what the work began with: the same in every request, also where the context was built anew."""
    first = next(iter(request.dialogue), None)
    return first.text if isinstance(first, Turn) else ""


def _before(request: Request, step: int) -> str:
    """Return what was said before a step's reply, as it is compared."""
    said: list[Turn | Reply] = []
    for item in request.dialogue:
        if isinstance(item, Reply):
            step -= 1
            if step == 0:
                break
            said = []
        else:
            said.append(item)
    turns = [turn for turn in said if isinstance(turn, Turn)]
    parts = [part for turn in turns for part in (*(result.content for result in turn.results), turn.text)]
    return normal("\n".join(filter(None, parts)))


def _cut(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST_EXCERPT else f"{words[:_LONGEST_EXCERPT]}…"


def _built_in(accept: str) -> Script:
    text = files("orchestrator.models").joinpath("look.jsonl").read_text(encoding="utf-8")
    replies = parse_script(text, "look.jsonl").replies
    if not accept:
        return Script(
            tuple(reply for reply in replies if not any(_ACCEPT in call.arguments.values() for call in reply.calls))
        )
    return Script(tuple(reply.model_copy(update={"calls": tuple(_filled(reply.calls, accept))}) for reply in replies))


def _filled(calls: Iterable[ScriptedCall], accept: str) -> Iterable[ScriptedCall]:
    for call in calls:
        arguments = {key: accept if value == _ACCEPT else value for key, value in call.arguments.items()}
        yield call.model_copy(update={"arguments": arguments})


def _estimate(request: Request, line: ScriptedReply) -> Usage:
    """Return the tokens of a reply for which nobody counted them."""
    asked = [request.system, *(tool.model_dump_json() for tool in request.tools)]
    for said in request.dialogue:
        asked.append(said.text)
        asked += (
            [call.model_dump_json() for call in said.calls]
            if isinstance(said, Reply)
            else [result.content for result in said.results]
        )
    return Usage(input_tokens=sum(map(_tokens, asked)), output_tokens=_written(line))


def _written(line: ScriptedReply) -> int:
    """Return the tokens of a reply, as they were recorded or as estimated."""
    return line.usage.output_tokens if line.usage else estimate(line.model_dump_json(include={"text", "calls"}))


def _cut_off(line: ScriptedReply) -> ScriptedReply:
    """Return what is left of a reply that had to end early: how it began, and no call."""
    return line.model_copy(update={"text": _cut(line.text), "reasoning": "", "calls": (), "finish_reason": "length"})
