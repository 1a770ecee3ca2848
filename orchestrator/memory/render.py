"""The working memory as the model reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.notes import WorkingMemory


def pinned(memory: WorkingMemory, budget_tokens: int) -> str:
    """Return the memory as Markdown."""
    del budget_tokens
    return "\n".join(f"- {note.id} {note.text}" for note in memory.notes)
