"""What a run's agent has in view, for people: its working memory, and its context by part and tokens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from orchestrator.cli import layout
from orchestrator.cli.text import count, lines, money, plural, visible
from orchestrator.cli.wording import Line
from orchestrator.memory.render import sections

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator import events as e
    from orchestrator.notes import WorkingMemory
    from orchestrator.reading import Inside

_FROM: Final = re.compile(r"[a-z]\d+ \(step [^)]*\)")
"""The id of an entry, and where it comes from."""
_PARTS: Final = ("PART", "TOKENS", "SHARE")
_REBUILT: Final = ("STEP", "LEFT THE WINDOW", "SUMMED UP TO", "BEFORE", "AFTER", "WAITED", "WHY")
"""What is told first is there on a narrow terminal, too."""


def memory(kept: WorkingMemory) -> Iterator[Line]:
    """Yield the working memory, section by section, each entry with its id and the step that it comes from."""
    for section in sections(kept):
        rows = [row for text in section.rows for row in lines(text)]
        yield from (
            Line("" if number else section.title.lower(), _row(row), prose=True) for number, row in enumerate(rows)
        )


def _row(row: str) -> Text:
    text = Text(row)
    text.highlight_regex(_FROM, "dim")
    return text


def context(inside: Inside, limit: int) -> Iterator[Text]:
    """Yield what is in the window, by part and tokens, what each rebuild dropped, and how often it was summed up."""
    now = inside.context
    of = f" of {count(limit)}" if limit else ""
    yield Text(f"about {count(now.tokens)}{of} tokens in the window at step {now.step}")
    yield Text()
    rows = [[Text(word, "dim") for word in _PARTS]]
    whole = sum(part.tokens for part in now.parts) or 1
    for part in now.parts:
        share = f"{part.tokens * 100 / whole:.0f} %"
        rows.append([Text(visible(part.name)), Text(count(part.tokens)), Text(share, "dim")])
    yield from layout.table(rows, right=(1, 2))
    yield Text()
    if not inside.rebuilt:
        yield Text("the context was never built anew: all that was said is in it", "dim")
    else:
        rows = [[Text(word, "dim") for word in _REBUILT], *map(_rebuilt, inside.rebuilt)]
        yield from layout.table(rows, right=(0, 2, 3, 4, 5))
    yield from _condensed(inside.condensed, now.sight.summary.step)


def _rebuilt(body: e.Rebuilt) -> list[Text]:
    first, last = body.dropped
    after = sum(part.tokens for part in body.parts)
    left = (f"steps {first} to {last}" if first != last else f"step {first}") if last else "nothing"
    cells = (
        *(str(body.step), left, str(body.summed_up or "-"), count(body.before), count(after)),
        *(f"{body.blocked_s * 1000:.0f} ms", body.why),
    )
    return [Text(cell) for cell in cells]


def _condensed(bodies: Iterable[e.Condensed], latest: int) -> Iterator[Text]:
    """Yield how often it was summed up; `latest` is the step that the latest one goes up to, undone ones apart."""
    bodies = list(bodies)
    if not bodies:
        return
    kept = [body for body in bodies if body.summary]
    costs = [body.reply.cost_usd for body in bodies if body.reply is not None]
    known = [cost for cost in costs if cost is not None]
    yield Text()
    paid = money(sum(known) if len(known) == len(costs) else None)
    last = f", the latest one up to step {latest}" if latest else ""
    yield Text(f"condensed {plural(len(kept), 'time')}{last} · {paid}")


def failures(inside: Inside) -> Iterator[Text]:
    """Yield how often there was no summary, and why at last; nothing where there always was one."""
    if failed := [body.failure for body in inside.condensed if body.failure]:
        yield Text(f"no summary {plural(len(failed), 'time')}, at last because: {visible(failed[-1])}")


def fields(inside: Inside, limit: int) -> dict[str, Any]:
    """Return the context as JSON: tokens are estimates where no provider counted them."""
    now = inside.context
    return {
        "step": now.step,
        "tokens": now.tokens,
        "limit": limit or None,
        "parts": [part.model_dump() for part in now.parts],
        "window": now.sight.window.model_dump(),
        "rebuilt": [body.model_dump(mode="json", exclude={"type", "window"}) for body in inside.rebuilt],
        "condensed": [
            {
                **body.model_dump(mode="json", include={"step", "failure", "tokens", "seconds"}),
                "cost_usd": body.reply.cost_usd if body.reply else None,
                "summary": body.summary,
            }
            for body in inside.condensed
        ],
    }
