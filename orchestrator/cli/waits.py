"""Why a run waits in the queue, in a word for tables and in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.cli.text import ordinal, visible

if TYPE_CHECKING:
    from orchestrator.standing import Waiting

_WORDS: Final = {
    "paused": "paused",
    "draining": "drained",
    "budget": "budget",
    "user_runs": "limit",
    "team_runs": "limit",
    "repo_runs": "limit",
    "nobody": "nobody",
    "no_workers": "no worker",
}
_SENTENCES: Final = {
    "paused": "the queue was paused by {about}: dreamdock queue resume",
    "draining": "the queue is drained, as {about} asked: dreamdock queue resume",
    "budget": "the budget of {about} is used up until 00:00 UTC",
    "user_runs": "{about} has as many runs under way as may be",
    "team_runs": "team {about} has as many runs under way as may be",
    "repo_runs": "{about} has as many runs under way as may be",
    "nobody": "no worker has {about}",
    "no_workers": "no worker lives: dreamdock up, or dreamdock worker on a host",
}


def word(waiting: Waiting) -> str:
    """Return what a run waits for in a word or two: its place, where it only waits for a worker."""
    return _WORDS.get(waiting.why) or ordinal(waiting.place)


def sentence(waiting: Waiting | None) -> str:
    """Return why a run waits, harmless; nothing for one that only waits for a worker, or doesn't wait."""
    return _SENTENCES.get(waiting.why, "").format(about=visible(waiting.about)) if waiting else ""
