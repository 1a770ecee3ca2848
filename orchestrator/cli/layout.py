"""Columns: a label and its text, or a table whose last column takes what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.cells import cell_len
from rich.text import Span, Text

from orchestrator.cli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.cli.screen import Screen
    from orchestrator.cli.wording import Line

LABEL: Final = 14
_LABELS: Final = {"step": "bold", "outcome": "bold", "✓": "green", "✗": "bold red"}
_GAP: Final = 2
_NARROWEST: Final = 20


def put(screen: Screen, told: Iterable[Line]) -> None:
    """Print labelled lines; on a terminal prose is broken under its own column."""
    for line in told:
        label = Text(line.label.ljust(LABEL), _LABELS.get(line.label.split(" ")[0], "dim"))
        if line.prose:
            beside(screen, label, line.text, limit=line.limit)
        else:
            screen.line(Text.assemble(label, line.text))  # Added, the text would take the label's style.


def beside(screen: Screen, gutter: Text, text: Text, *, limit: int | None = None) -> None:
    """Print prose beside a gutter; on a terminal it's broken between words under its own column, into `limit` lines."""
    rows = list(text.wrap(screen.answer, max(screen.width - gutter.cell_len, _NARROWEST))) if screen.tty else [text]
    if limit is not None and len(rows) > limit:
        rows = rows[:limit]
        rows[-1].rstrip()
        rows[-1].append(" …")
    for number, row in enumerate(rows or [Text()]):
        screen.line(Text.assemble(gutter if number == 0 else " " * gutter.cell_len, row))


def facts(screen: Screen, values: Mapping[str, Any]) -> None:
    """Print names and values in two columns; on a terminal values are broken under their own column."""
    width = max((cell_len(name) for name in values), default=0) + _GAP
    for name, value in values.items():
        beside(screen, Text(name.ljust(width), "dim"), Text(visible(str(value))))


def table(rows: Sequence[Sequence[Text]], *, right: Sequence[int] = ()) -> list[Text]:
    """Return rows as aligned lines. `right` are the columns whose figures stand at the right."""
    if not rows:
        return []
    widths = [max(cell_len(cell.plain) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        parts, spans, at = list[str](), list[Span](), 0  # At once: appending takes many times as long.
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            plain, last = cell.plain, number == len(widths) - 1
            pad = " " * (width - cell_len(plain))
            before, behind = (pad, "") if number in right else ("", pad)
            start, text = at + len(before), before + plain + ("" if last else behind + " " * _GAP)
            if cell.style:
                spans.append(Span(start, start + len(plain), cell.style))
            spans += [span.move(start) for span in cell.spans]
            parts.append(text)
            at += len(text)
        lines.append(Text("".join(parts), spans=spans))
    return lines
