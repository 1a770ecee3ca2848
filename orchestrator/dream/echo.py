"""What a run only says again: the library gave it to the run, so the run is no proof of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator import events as e
from orchestrator.dream.alike import Likeness, compare
from orchestrator.dream.draft import REASON
from orchestrator.dream.statement import Statement
from orchestrator.dream.taint import words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.dream.finding import Finding
    from orchestrator.events import Event


class Given:
    """What a run was given from the library, and when. What differs from it in a literal is news."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._given = [
            (step, _joined(body.text), {Statement.of(entry.title) for entry in body.entries})
            for step, body in _recalled(events)
        ]

    def has(self, found: Finding) -> bool:
        """Whether a finding was given to the run before it was noted, word for word or in other ones."""
        claim = found.text.partition(REASON)[0]
        said, words = Statement.of(claim), _joined(claim)
        return any(
            step <= found.steps[-1] and (words in text or any(compare(said, one) is Likeness.SAME for one in titles))
            for step, text, titles in self._given
        )


def _recalled(events: Sequence[Event]) -> Iterator[tuple[int, e.Recalled]]:
    """Yield what a run and its sub-agents were given, each with the step of the run itself."""
    done = 0
    for event in events:
        body, path = e.innermost(event.body)
        if isinstance(body, e.Recalled):
            yield (done + 1 if path else body.step), body
        elif isinstance(body, e.Checkpointed | e.Rewound) and not path:
            done = body.step


def _joined(text: str) -> str:
    return f" {' '.join(words_of(text))} "
