"""What people are told of sub-agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from orchestrator.cli.text import first_line, plural, visible
from orchestrator.cli.wording import Line, changes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator import events as e
    from orchestrator.runs import Child

_PATHS: Final = 5
"""Conflicts that are named."""


def begun(body: e.ChildStarted) -> Text:
    """Return what a sub-agent is to do."""
    return Text.assemble((f"{body.kind}: ", "bold"), first_line(body.task))


def returned(body: e.ChildFinished) -> Iterator[Text]:
    """Yield how a sub-agent ended, and what it changed."""
    reason = f": {visible(body.reason)}" if body.reason else ""
    glyph = ("✓ ", "green") if body.outcome == "submitted" else ("! ", "yellow")
    yield Text.assemble(glyph, f"{body.outcome.replace('_', ' ')}{reason} · {plural(body.steps, 'step')}")
    yield from changes(body.files)


def merged(body: e.ChildMerged) -> Text:
    """Return what became of a sub-agent's changes."""
    if body.merged:
        return Text("merged")
    paths = ", ".join(map(visible, body.conflicts[:_PATHS])) + ", …" * (len(body.conflicts) > _PATHS)
    why = f"conflicts in {paths}" if paths else visible(body.failure)
    return Text.assemble(("! ", "yellow"), f"not merged: {why}")


def sub_agents(children: Sequence[Child]) -> list[Line]:
    """Return a run's sub-agents, a line each."""
    return [Line("" if place else "sub-agents", _named(child)) for place, child in enumerate(children)]


def _named(child: Child) -> Text:
    """Return a sub-agent in one line: what it's called, what it's there for, and what became of it."""
    became = child.outcome.replace("_", " ") or "at work"
    if child.merged is not None:
        became += ", merged" if child.merged else ", not merged"
    files = f" · {plural(child.files, 'file')}" if child.files else ""
    return Text.assemble(
        (visible(child.name), "bold"), f" ({child.kind}, step {child.step}) {became}{files}: ", first_line(child.task)
    )
