"""What became of the errors and warnings that a run's commands showed, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from orchestrator.cli.text import first_line, plural, visible
from orchestrator.cli.wording import Line
from orchestrator.diagnostic import Severity
from orchestrator.diagnostics.story import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.diagnostics.story import Moment, Story

_STYLES: Final = {State.FIXED: "green", State.BACK: "bold red"}


def lines(stories: Sequence[Story]) -> Iterator[Line]:
    """Yield each error and warning with its place as it was last seen, and below it in which steps it was what."""
    if not stories:
        yield Line("", Text("no command that was read named a place in the code", "dim"))
        return
    counted = [
        f"{plural(len(ours), word)}, {sum(story.open for story in ours)} still there"
        for word, severity in (("error", Severity.ERROR), ("warning", Severity.WARNING))
        if (ours := [story for story in stories if story.diagnostic.severity is severity])
    ]
    yield Line("", Text(" · ".join(counted)))
    for story in stories:
        one = story.diagnostic
        place = ":".join(filter(None, (visible(one.file), str(one.line) if one.line else "")))
        word = "" if one.severity is Severity.ERROR else str(one.severity)
        said = ": ".join(filter(None, (place, word, first_line(one.message))))
        yield Line("✗" if story.open else "✓", Text(said), prose=True)
        yield Line("", _moments(story.moments), prose=True)


def _moments(moments: Sequence[Moment]) -> Text:
    """Return what it was in which step; that it was still there is told once, for the last of such steps."""
    parts: list[Text] = []
    for moment, following in zip(moments, [*moments[1:], None], strict=True):
        if moment.state is State.STILL and following is not None and following.state is State.STILL:
            continue
        parts.append(Text(f"step {moment.step} {moment.state}", _STYLES.get(moment.state, "dim")))
    return Text(" · ", "dim").join(parts)


def fields(stories: Sequence[Story]) -> list[dict[str, Any]]:
    """Return the stories as JSON."""
    return [
        {
            **story.diagnostic.model_dump(mode="json"),
            "open": story.open,
            "commands": sorted(story.commands),
            "steps": [{"step": moment.step, "state": moment.state} for moment in story.moments],
        }
        for story in stories
    ]
