"""A patch on a terminal: coloured as `git diff` does, harmless, and never more than a person reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from orchestrator.cli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator


def coloured(patch: bytes, *, limit: int | None = None) -> Iterator[Text]:
    """Yield a patch's lines; behind `limit` one that says how many are left out."""
    rows = patch.decode(errors="backslashreplace").split("\n")
    if rows and not rows[-1]:
        rows.pop()
    in_hunk = False
    for row in rows[:limit]:
        if row.startswith("diff --git "):
            in_hunk = False
        elif row.startswith("@@ "):
            in_hunk = True
        yield Text(visible(row).expandtabs(8), _style(row, in_hunk=in_hunk))
    if limit is not None and len(rows) > limit:
        yield Text(f"… {len(rows) - limit} more lines", "dim")


def _style(row: str, *, in_hunk: bool) -> str:
    if not in_hunk:
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan", "\\": "dim"}.get(row[:1], "")
