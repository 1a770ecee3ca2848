"""What was said in a run, taken apart: each text with the step that it's from, and the pieces that are searched."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from orchestrator.dialogue import Reply, Turn
from orchestrator.memory.working import NOTE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.dialogue import ToolCall

CHUNK_LINES: Final = 20
CHUNK_CHARACTERS: Final = 1500
_OVERLAP: Final = 100
"""Characters that two pieces of one long line have in common, so that no word is lost between them."""
_WHAT: Final = 80


class Kind(StrEnum):
    """What a text was."""

    SAID = "said"  # To the model, beside results: the task, what people said, notes of the harness.
    REPLY = "reply"
    CALL = "call"
    RESULT = "result"
    NOTE = "note"  # What the agent wrote down.


@dataclass(frozen=True, slots=True)
class Entry:
    """One text of a step. `what` is the tool and what it was used on, where there is one."""

    step: int
    kind: Kind
    what: str
    text: str

    @property
    def title(self) -> str:
        """What it is, in one line."""
        where = "before the first step" if self.step == 0 else f"step {self.step}"
        return f"{where}, {self.kind}" + (f" of {self.what}" if self.what else "")


def entries(step: int, said: Turn | Reply, calls: Mapping[str, ToolCall]) -> Iterator[Entry]:
    """Yield what was said, in order. `calls` are those that a turn's results may belong to, by id."""
    if isinstance(said, Reply):
        if said.text:
            yield Entry(step, Kind.REPLY, "", storable(said.text))
        for call in said.calls:
            kind = Kind.NOTE if call.name == NOTE else Kind.CALL
            yield Entry(step, kind, what(call), storable(call.invalid or written(call.arguments)))
        return
    for result in said.results:
        of = what(calls[result.call_id]) if result.call_id in calls else storable(result.name)
        yield Entry(step, Kind.RESULT, of, storable(result.content))
    if said.text:
        yield Entry(step, Kind.SAID, "", storable(said.text))


def what(call: ToolCall) -> str:
    """Return a call's tool and the one argument that says what it was used on, in one line."""
    arguments = call.arguments
    on = next((str(arguments[name]) for name in ("path", "command", "pattern", "kind") if arguments.get(name)), "")
    line = " ".join(f"{call.name} {on}".split())
    return storable(line if len(line) <= _WHAT else f"{line[:_WHAT]}…")


def written(arguments: Mapping[str, Any]) -> str:
    """Return a call's arguments with their texts as they are, line by line, and not as JSON."""
    return "\n".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in arguments.items()
    )


def storable(text: str) -> str:
    """Return text that a database takes: no half characters, no NUL, nor the two that mark a hit."""
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    return text.replace("\0", " ").replace("\1", " ").replace("\2", " ")


def chunks(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each piece of a text begins and ends: whole lines, unless one is longer than a piece may be."""
    start = end = lines = 0
    while end < len(text):
        stop = text.find("\n", end) + 1 or len(text)
        if end > start and (lines == CHUNK_LINES or stop - start > CHUNK_CHARACTERS):
            yield start, end
            start, lines = end, 0
        while stop - start > CHUNK_CHARACTERS:
            yield start, start + CHUNK_CHARACTERS
            start += CHUNK_CHARACTERS - _OVERLAP
        end, lines = stop, lines + 1
    if end > start:
        yield start, end
