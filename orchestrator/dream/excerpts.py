"""What steps of a run did, in few words and in the agent's own: what a model is shown that words an entry.

What a tool printed isn't in it, whoever wanted it to be read: it would come into the library as what the agent said.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.memory.plain import lines
from orchestrator.redaction import scrub

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from orchestrator.dream.patch import Cite
    from orchestrator.events import Event

LONGEST: Final = 600
"""Characters of a step."""
_MOST_STEPS: Final = 500
"""Of one run."""
_LONGEST_PART: Final = 4 * LONGEST
"""Characters that are looked at of anything, so that a reply of megabytes costs nothing."""


def excerpts(run: str, events: Iterable[Event], steps: Collection[int]) -> dict[Cite, str]:
    """Return what these steps of a run said and did, each in at most 600 characters, without what looks like a key."""
    wanted = frozenset(sorted(steps)[:_MOST_STEPS])
    told: dict[int, str] = {}
    for event in events:
        match event.body:
            case e.Replied(step=step) as replied if step in wanted:
                told[step] = "\n".join(_of(replied))  # The last one: a step that was done again is that.
            case e.CallFinished(step=step, exit_code=int() as code) if step in told:
                told[step] += f"\n[exit code {code}]"
            case _:
                continue
    return {(run, step): text for step, said in told.items() if (text := scrub(lines(said))[:LONGEST])}


def _of(replied: e.Replied) -> Iterator[str]:
    if replied.reply.text.strip():
        yield replied.reply.text[:_LONGEST_PART]
    for call in replied.reply.calls:
        arguments = {name: _short(value) for name, value in call.arguments.items()}
        yield f"{call.name} {json.dumps(arguments, ensure_ascii=False)}"[:_LONGEST_PART]


def _short(value: object) -> object:
    return value[:LONGEST] if isinstance(value, str) else value
