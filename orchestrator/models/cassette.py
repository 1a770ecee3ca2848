"""Cassettes: a run's replies in a file, to be played again by the scripted model. A cassette is a recorded script.

It is JSON lines: a header, then one line per reply. A script written by hand is the same without a header.
`match` says how a reply is found: by step, the number of replies that there were; or by the key of the request, over
the whole dialogue. So one that is found by request has no `prompt_limit`: its context is never built anew.
Nothing that looks like a credential gets into one, see `orchestrator.redaction`.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestrator.dialogue import Reply, ToolCall, Usage, Value
from orchestrator.errors import ConfigError, UsageError
from orchestrator.redaction import find, mapped, scrub
from orchestrator.settings import reasons

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchestrator.dialogue import Request, ToolResult

Match = Literal["step", "request"]
SCHEMA: Final = "dreamdock.cassette/1"
LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a file: a run's record carries all of it."""
FORM: Final = 'each line is {"text": "…", "calls": [{"name": "bash", "arguments": {"command": "…"}}]}'
_KEPT: Final = {"text", "reasoning", "calls", "usage", "finish_reason"}
_NONE: Final[Mapping[str, Request]] = {}
_RECORD: Final = "dreamdock export RUN -o FILE records a run anew"


class Header(Value):
    """The first line of a cassette: how its replies are found, and which run they are from.

    `prompt_limit` is what the model that plays it says of itself, see `orchestrator.models.port.Model`.
    """

    schema_: Literal["dreamdock.cassette/1"] = Field(SCHEMA, alias="schema")
    match: Match = "step"
    model: str = ""
    task: str = ""
    base: str = ""
    prompt_limit: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.match == "request" and self.prompt_limit:
            raise ValueError('prompt_limit goes with "match": "step": replies are found by the whole dialogue')
        return self


class ScriptedCall(Value):
    """One call of a scripted reply. Without an id it gets one by its place; `invalid` as in ToolCall."""

    id: str = ""
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    invalid: str = ""


class ScriptedReply(Value):
    """One line of a script. Whatever a person wouldn't write by hand may be left out.

    `agent` names the sub-agent that it belongs to, empty for the run's own; one of a sub-agent's is NAME/NAME.
    `step` counts from 1, and `request` is the key of what was asked; both are 0 and empty where nothing was recorded.
    `candidates` are given in their order, and from the first one again, where several replies are asked for at once.
    `unless` leaves the line out where the first turn has that text: the task, and what is known of it already.
    """

    agent: str = ""
    unless: str = ""
    text: str = ""
    reasoning: str = ""
    calls: tuple[ScriptedCall, ...] = ()
    usage: Usage | None = None
    finish_reason: str = "stop"
    step: int = Field(0, ge=0)
    request: str = ""
    candidates: tuple[ScriptedReply, ...] = ()

    def asked(self, candidate: int) -> ScriptedReply:
        """Return the reply of this number among several, or the only one for 0."""
        return self.candidates[(candidate - 1) % len(self.candidates)] if candidate and self.candidates else self


class Script(NamedTuple):
    """What a scripted model plays."""

    replies: tuple[ScriptedReply, ...]
    header: Header = Header()


class _Marked(BaseModel):
    """Any JSON object, as far as it says what it is."""

    model_config = ConfigDict(extra="ignore")

    schema_: Any = Field(alias="schema")


def parse_script(text: str, name: str) -> Script:
    """Return the script. Raises ConfigError with the number of the line that is wrong."""
    header, replies = Header(), list[ScriptedReply]()
    numbered = ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
    for place, (number, line) in enumerate(numbered):
        try:
            if place == 0 and (schema := _schema(line)) is not None:
                if schema != SCHEMA:
                    raise _broken(
                        f"line {number} of {name} says {str(schema)[:60]!r}; this version plays {SCHEMA}", _RECORD
                    )
                header = Header.model_validate_json(line)
            else:
                replies.append(reply := ScriptedReply.model_validate_json(line))
                _check(reply, sum(one.agent == reply.agent for one in replies), header.match)
        except ValidationError as error:
            raise _broken(f"line {number} of {name}: {reasons(error)}") from error
        except ValueError as error:
            raise _broken(f"line {number} of {name}: {error}", _RECORD) from error
    if all(reply.agent for reply in replies):
        raise _broken(f"{name} has no replies" + " of the run's own agent" * bool(replies))
    return Script(tuple(replies), header)


def record(request: Request, about: Header, *, known: Iterable[str] = (), agents: Mapping[str, Request] = _NONE) -> str:
    """Return a run's dialogue as a cassette: each reply with the key of the request that it answers.

    `agents` are the dialogues of its sub-agents, by their names. `known` are secrets of which the form says nothing.
    They and whatever looks like a credential is replaced, wherever it stands in the dialogue, before the keys are
    computed: what is played again is the replaced text.
    Raises UsageError for a cassette that would be too large to play.
    """
    everyone = {"": request, **agents}
    left_out = {"dialogue": {"__all__": {"raw"}}}
    asked = {name: one.model_dump(mode="json", exclude=left_out) for name, one in everyone.items()}
    found = (secret for text in _strings([*asked.values(), about.task]) for secret in find(text))
    secrets = sorted({*known, *found}, key=len, reverse=True)

    def clean(text: str) -> str:
        return scrub(text, secrets)

    header = about.model_copy(update={"task": clean(about.task)})
    lines = [header.model_dump(mode="json", by_alias=True, exclude={"prompt_limit"})]
    for name, dumped in asked.items():
        said = type(request).model_validate(mapped(dumped, clean))
        replies = [reply for reply in said.dialogue if isinstance(reply, Reply)]
        whose = {"agent": name} if name else {}
        for step, (reply, key) in enumerate(zip(replies, request_keys(said), strict=False), start=1):
            kept = reply.model_dump(mode="json", include=_KEPT)
            lines.append({**whose, **kept, "step": step, "request": key})
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    if len(text) > LARGEST:
        cause = f"it would have {len(text) / 1024**2:.1f} MiB, and a script may have {LARGEST // 1024**2}"
        raise UsageError("the run is too long for a cassette", cause=cause, hint="dreamdock logs RUN --json")
    return text


def request_keys(request: Request) -> Iterator[str]:
    """Yield the keys of every request of a dialogue: the ones that its replies answered, then its own.

    A key is the SHA-256 (hex) over what a request says, as far as that is the same in each run: the system text, each
    tool's name and schema, and the dialogue in order: texts, calls with their arguments, results with their outcome.
    Not in it: call ids, reasoning, usage, a provider's own message.
    What looks like a credential counts as `[redacted]`, and `normal` says what else is masked.
    """
    key = hashlib.sha256()

    def add(*parts: object) -> None:
        key.update(f"{json.dumps(parts, sort_keys=True)}\n".encode())

    add("system", _digest(request.system))
    for tool in request.tools:
        add("tool", tool.name, tool.parameters)
    for said in request.dialogue:
        if isinstance(said, Reply):
            yield key.hexdigest()
            add("reply", _digest(said.text), *(_call(call) for call in said.calls))
        else:
            add("turn", _digest(said.text), *(_result(result) for result in said.results))
    yield key.hexdigest()


def normal(text: str) -> str:
    """Mask what differs from run to run, and what looks like a credential.

    Masked are: dates with times (ISO 8601, `git log`'s, `ls -l`'s), times of day; durations with their unit (`0.06s`,
    `1.2 s`, `3ms`, `1m2.3s`); paths below /tmp and /var/tmp; addresses (`0x…`); UUIDs; object names and container ids
    (7 to 64 hexadecimal digits, one of them a figure); run ids; `pid 123` and bash's `[1] 123`; blanks at line ends.
    """
    text = scrub(text)
    for pattern, mask in _masks():
        text = pattern.sub(mask, text)
    return text


@cache
def _masks() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return what is masked, in this order, and by what; compiled when it is first needed."""
    name = r"[A-Z][a-z]{2}"  # Of a day or a month.
    clock = r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?"
    table = (
        (r"[ \t\r]+$", ""),
        (rf"\b\d{{4}}-\d\d-\d\d[T ]{clock} ?(?:Z|[+-]\d\d:?\d\d)?", "<time>"),
        (
            rf"\b(?:{name} )?{name} [ \d]?\d (?:{clock}| \d{{4}}\b)(?: [A-Z]{{3,4}})?(?: \d{{4}})?(?: [+-]\d{{4}})?",
            "<time>",
        ),
        (r"\b\d{1,2}:\d\d:\d\d(?:[.,]\d+)?", "<time>"),
        (r"(?<![\w.])(?:\d+h ?)?(?:\d+m ?)?\d+(?:\.\d+)? ?(?:ns|[uµ]s|ms|s|secs?|seconds?)\b", "<duration>"),
        (r"(?<![\w.])(?:/var)?/tmp/[^\s\"'`:,;()<>\[\]]+", "<temporary>"),
        (r"\b0x[0-9a-fA-F]+\b", "<address>"),
        (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>"),
        (r"\b(?=[a-f]*\d)[0-9a-f]{7,64}\b", "<id>"),
        (r"\b(?=[a-z]*\d)(?=\d*[a-z])[0-9a-hjkmnp-tv-z]{12}\b", "<id>"),
        (r"\b(pid\W{1,3})\d+", r"\1<pid>"),
        (r"^(\[\d+\] )\d+$", r"\1<pid>"),
    )
    return tuple((re.compile(pattern, re.MULTILINE), mask) for pattern, mask in table)


@lru_cache(maxsize=4096)  # A player asks for the whole dialogue at each step; its texts are the same objects.
def _digest(text: str) -> str:
    return hashlib.sha256(normal(text).encode(errors="replace")).hexdigest()


def _call(call: ToolCall) -> list[object]:
    return [call.name, mapped(call.arguments, _digest), _digest(call.invalid)]


def _result(result: ToolResult) -> list[object]:
    return [result.name, result.ok, _digest(result.content)]


def _schema(line: str) -> object:
    """Return what a header says that it is, or None where the line is no header."""
    try:
        return _Marked.model_validate_json(line).schema_
    except ValidationError:
        return None


def _check(reply: ScriptedReply, place: int, match: Match) -> None:
    """Refuse, with ValueError, a recorded reply that would not be found, or at another step: lines are missing."""
    if match == "request" and not reply.request:
        raise ValueError("request: a reply that is found by its request needs one")
    if reply.unless and (match == "request" or reply.step):
        raise ValueError("unless: it goes with replies that are found by step, and have no number of their own")
    if match == "step" and reply.step not in {0, place}:
        raise ValueError(f"step: {reply.step} stands where step {place} belongs")


def _broken(cause: str, hint: str = FORM) -> ConfigError:
    return ConfigError("the script can't be followed", cause=cause, hint=hint)


def _strings(value: Any) -> list[str]:
    """Return every string in JSON data."""
    found = []

    def keep(text: str) -> str:
        found.append(text)
        return text

    mapped(value, keep)
    return found
