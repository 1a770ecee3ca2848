"""What a run's agent has in view, for people: its working memory, and its context by part and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from orchestrator.cli import layout
from orchestrator.cli.text import count, lines, money, plural, visible
from orchestrator.cli.wording import Line
from orchestrator.notes import NoteKind, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator import events as e
    from orchestrator.notes import Note, WorkingMemory
    from orchestrator.reading import Inside

_TITLES: Final = {
    NoteKind.CONSTRAINT: "constraints",
    NoteKind.TASK: "plan",
    NoteKind.DECISION: "decisions",
    NoteKind.FACT: "facts",
    NoteKind.FILE: "files",
    NoteKind.ERROR: "errors",
    NoteKind.RESOURCE: "resources",
    NoteKind.NEXT: "next",
}
_MARKS: Final[dict[str, tuple[str, str]]] = {
    TaskState.OPEN: ("○", ""),
    TaskState.IN_PROGRESS: ("●", "cyan"),
    TaskState.BLOCKED: ("!", "yellow"),
    TaskState.DONE: ("✓", "green"),
    TaskState.ABANDONED: ("-", "dim"),
}
_PARTS: Final = ("PART", "TOKENS", "SHARE")
_REBUILT: Final = ("STEP", "WHY", "BEFORE", "AFTER", "SUMMED UP TO", "WAITED", "LEFT THE WINDOW")


def memory(kept: WorkingMemory) -> Iterator[Line]:
    """Yield the working memory, section by section, each entry with its id and the step that it comes from."""
    yield from _block("goal", Text("\n".join(map(visible, lines(kept.goal)))))
    for said in kept.said:
        yield from _block(
            "said", Text.assemble((f"step {said.step}  ", "dim"), "\n".join(map(visible, lines(said.text))))
        )
    for kind, title in _TITLES.items():
        notes = [note for note in kept.notes if note.kind is kind]
        rows = _tree(notes) if kind is NoteKind.TASK else [_entry(note) for note in notes]
        yield from (Line("" if number else title, row, prose=True) for number, row in enumerate(rows))
    for number, rules in enumerate(kept.rules):
        size = plural(len(rules.text), "character")
        read = (f"  {size}, read in step {rules.step}", "dim")
        yield Line("" if number else "rules", Text.assemble(visible(rules.path), read))


def _block(label: str, text: Text) -> Iterator[Line]:
    yield from (Line("" if number else label, row, prose=True) for number, row in enumerate(text.split()))


def _tree(tasks: list[Note], under: str = "", depth: int = 0) -> list[Text]:
    known = {task.id for task in tasks}
    rows = []
    for task in tasks:
        if task.under == under or (not depth and task.under not in known):
            mark, style = _MARKS.get(task.state or TaskState.OPEN, ("?", ""))
            told = f"{task.state.replace('_', ' ')}  " if task.state not in {"", TaskState.OPEN} else ""
            rows.append(Text.assemble("  " * depth, (mark, style), " ", _entry(task, told)))
            rows += _tree(tasks, task.id, depth + 1)
    return rows


def _entry(note: Note, told: str = "") -> Text:
    state = f"{note.state}  " if note.kind is NoteKind.ERROR and note.state else told
    why = f": {visible(note.why)}" if note.why else ""
    by = "" if note.by == "agent" else " (seen)"
    where = (f"  {note.id}, step {note.changed or note.step}{by}", "dim")
    return Text.assemble((state, "dim"), visible(note.text), why, where)


def context(inside: Inside, limit: int) -> Iterator[Text]:
    """Yield what is in the window, by part and tokens, what each rebuild dropped, and how condensing went."""
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
    yield from _condensed(inside.condensed)


def _rebuilt(body: e.Rebuilt) -> list[Text]:
    first, last = body.dropped
    after = sum(part.tokens for part in body.parts)
    left = (f"steps {first} to {last}" if first != last else f"step {first}") if last else "nothing"
    cells = (
        *(str(body.step), body.why, count(body.before), count(after)),
        *(str(body.summed_up or "-"), f"{body.blocked_s * 1000:.0f} ms", left),
    )
    return [Text(cell) for cell in cells]


def _condensed(bodies: Iterable[e.Condensed]) -> Iterator[Text]:
    bodies = list(bodies)
    if not bodies:
        return
    kept = [body for body in bodies if body.summary]
    costs = [body.reply.cost_usd for body in bodies if body.reply is not None]
    known = [cost for cost in costs if cost is not None]
    yield Text()
    paid = money(sum(known) if len(known) == len(costs) else None)
    last = f", the last one up to step {kept[-1].step}" if kept else ""
    yield Text(f"condensed {plural(len(kept), 'time')}{last} · {paid}")
    failed = [body.failure for body in bodies if body.failure]
    if failed:
        yield Text.assemble(("! ", "yellow"), f"{plural(len(failed), 'time')} without one; last: {visible(failed[-1])}")


def fields(inside: Inside, limit: int) -> dict[str, Any]:
    """Return the context as JSON: tokens are estimates where no provider counted them."""
    now = inside.context
    return {
        "step": now.step,
        "tokens": now.tokens,
        "limit": limit or None,
        "parts": [part.model_dump() for part in now.parts],
        "window": now.window.model_dump(),
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
