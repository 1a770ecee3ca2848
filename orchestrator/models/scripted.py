"""A model that follows a script: no key, no network, the same replies each time. It never pretends to be a model.

A script is JSON lines, one reply each: `{"text": "…", "calls": [{"name": "bash", "arguments": {"command": "…"}}]}`.
The reply is chosen by step, the number of replies in the dialogue, so that a resumed run goes on where it was.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field, ValidationError

from orchestrator.dialogue import Reply, ToolCall, Usage, Value
from orchestrator.errors import ConfigError, NotFoundError
from orchestrator.settings import reasons

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.dialogue import Request, Turn
    from orchestrator.stop import Stop

_BYTES_PER_TOKEN: Final = 4
_LARGEST_FILE: Final = 4 * 1024 * 1024
_ACCEPT: Final = "{accept}"
_FORM: Final = 'each line is {"text": "…", "calls": [{"name": "bash", "arguments": {"command": "…"}}]}'


class ScriptedCall(Value):
    """One call of a scripted reply."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class ScriptedReply(Value):
    """One line of a script."""

    text: str = ""
    calls: tuple[ScriptedCall, ...] = ()


def read_script(name: str) -> str:
    """Return the checked text of the file behind `scripted/PATH`, empty for the built-in one.

    Raises NotFoundError, or ConfigError with the number of the line that is wrong.
    """
    path = name.partition("/")[2]
    if not path:
        return ""
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no script {path}", hint="--model scripted/PATH.jsonl") from error
    except OSError as error:
        cause = f"{path}: {error.strerror}"
        raise ConfigError("the script can't be read", cause=cause, hint="--model scripted/PATH.jsonl") from error
    if len(data) > _LARGEST_FILE:
        cause = f"{path} is larger than {_LARGEST_FILE // 1024**2} MiB"
        raise ConfigError("the script can't be read", cause=cause, hint=_FORM)
    text = data.decode(errors="replace")
    parse_script(text, path)
    return text


def parse_script(text: str, name: str) -> tuple[ScriptedReply, ...]:
    """Return the replies of a script. Raises ConfigError with the number of the line that isn't one."""
    replies = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            replies.append(ScriptedReply.model_validate_json(line))
        except ValidationError as error:
            cause = f"line {number} of {name}: {reasons(error)}"
            raise ConfigError("the script can't be followed", cause=cause, hint=_FORM) from error
    if not replies:
        raise ConfigError("the script can't be followed", cause=f"{name} has no replies", hint=_FORM)
    return tuple(replies)


class ScriptedModel:
    """Answers from a script; without one, from the built-in script that looks around and changes nothing.

    `accept` is the command that the built-in script's placeholder stands for; without it that reply is left out.
    """

    def __init__(self, name: str, replies: tuple[ScriptedReply, ...] | None = None, *, accept: str = "") -> None:
        self.name = name
        self._replies = _built_in(accept) if replies is None else replies

    def ask(self, request: Request, stop: Stop) -> Reply:
        """Return the reply of this step; past the end of the script, a submit that says so."""
        stop.check()
        done = sum(isinstance(said, Reply) for said in request.dialogue)
        line = self._replies[done] if done < len(self._replies) else self._over()
        calls = tuple(
            ToolCall(id=f"call-{done + 1}-{number}", name=call.name, arguments=call.arguments)
            for number, call in enumerate(line.calls, start=1)
        )
        written = len(line.model_dump_json())
        usage = Usage(input_tokens=_size(request) // _BYTES_PER_TOKEN, output_tokens=written // _BYTES_PER_TOKEN)
        return Reply(text=line.text, calls=calls, usage=usage, cost_usd=0.0)

    def close(self) -> None:
        """Nothing is open."""

    def _over(self) -> ScriptedReply:
        summary = f"The script is over after {len(self._replies)} replies; it didn't submit itself."
        return ScriptedReply(text=summary, calls=(ScriptedCall(name="submit", arguments={"summary": summary}),))


def _built_in(accept: str) -> tuple[ScriptedReply, ...]:
    text = files("orchestrator.models").joinpath("look.jsonl").read_text(encoding="utf-8")
    replies = parse_script(text, "look.jsonl")
    if not accept:
        return tuple(reply for reply in replies if not any(_ACCEPT in call.arguments.values() for call in reply.calls))
    return tuple(reply.model_copy(update={"calls": tuple(_filled(reply.calls, accept))}) for reply in replies)


def _filled(calls: Iterable[ScriptedCall], accept: str) -> Iterable[ScriptedCall]:
    for call in calls:
        arguments = {key: accept if value == _ACCEPT else value for key, value in call.arguments.items()}
        yield call.model_copy(update={"arguments": arguments})


def _size(request: Request) -> int:
    """Return about how many bytes a provider would have been sent: an estimate, as the tokens made of it are."""
    tools = sum(len(tool.model_dump_json()) for tool in request.tools)
    return len(request.system.encode()) + tools + sum(_said(said) for said in request.dialogue)


def _said(said: Turn | Reply) -> int:
    if isinstance(said, Reply):
        return len(said.text.encode()) + sum(len(call.model_dump_json()) for call in said.calls)
    return len(said.text.encode()) + sum(len(result.content.encode()) for result in said.results)
