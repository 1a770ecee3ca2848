"""States and outcomes on a terminal: a glyph, a word, a colour, and for outcomes an exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from rich.text import Text

from orchestrator.cli import waits
from orchestrator.cli.text import visible
from orchestrator.runs import Outcome, RunView, State

if TYPE_CHECKING:
    from orchestrator.standing import Waiting


class Look(NamedTuple):
    """How a word is marked. The glyph carries what the colour says."""

    glyph: str
    style: str


LOOKS: Final[dict[State | Outcome, Look]] = {
    State.QUEUED: Look("○", "dim"),
    State.STARTING: Look("◔", "cyan"),
    State.RUNNING: Look("●", "cyan"),
    State.WAITING: Look("‖", "yellow"),
    State.FINISHING: Look("◕", "cyan"),
    State.DONE: Look("✓", ""),
    Outcome.SUCCEEDED: Look("✓", "green"),
    Outcome.FAILED: Look("✗", "red"),
    Outcome.CANCELLED: Look("⊘", "dim"),
    Outcome.TIMED_OUT: Look("◷", "yellow"),
    Outcome.LIMIT: Look("■", "yellow"),
    Outcome.ERROR: Look("!", "red"),
}
EXIT_CODES: Final[dict[Outcome, int]] = {
    Outcome.SUCCEEDED: 0,
    Outcome.FAILED: 1,
    Outcome.CANCELLED: 1,
    Outcome.ERROR: 1,
    Outcome.LIMIT: 7,
    Outcome.TIMED_OUT: 124,
}


def why(outcome: Outcome, reason: str) -> str:
    """Return why a run ended so, harmless; nothing where the outcome says it all."""
    return "" if reason == outcome else visible(reason)


def mark(value: State | Outcome, words: str) -> Text:
    """Return the glyph of a state or outcome and these words, in its colour."""
    look = LOOKS[value]
    return Text(f"{look.glyph} {words}", style=look.style)


def state(view: RunView, waiting: Waiting | None = None) -> Text:
    """Return a run's state or outcome; what waits says for what: `queued (3rd)`, `waiting (approval)`."""
    if view.outcome is not None:
        return mark(view.outcome, view.label)
    if view.cancel_requested:
        return mark(view.state, f"{view.state} (cancelling)")
    if view.pausing and view.state is not State.WAITING:  # Else it waits already, for whatever comes first.
        return mark(view.state, f"{view.state} (pausing)")
    for_what = waits.word(waiting) if waiting is not None else visible(view.reason)
    told = view.state in {State.QUEUED, State.WAITING} and for_what
    return mark(view.state, f"{view.state} ({for_what})" if told else view.state)
