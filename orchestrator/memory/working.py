"""A run's working memory: what a fold of the journal puts into it."""

from __future__ import annotations

from orchestrator.notes import Rules, Said, WorkingMemory


def begin(goal: str) -> WorkingMemory:
    """Return the memory that a run begins with: `goal` is the task verbatim."""
    return WorkingMemory(goal=goal)


def said(memory: WorkingMemory, text: str, step: int) -> WorkingMemory:
    """Add what a person said after `step`, verbatim."""
    return memory.model_copy(update={"said": (*memory.said, Said(step=step, text=text))})


def rules(memory: WorkingMemory, path: str, text: str, step: int) -> WorkingMemory:
    """Add an AGENTS.md as it was read in `step`, in place of an earlier state of it."""
    others = tuple(one for one in memory.rules if one.path != path)
    return memory.model_copy(update={"rules": (*others, Rules(path=path, text=text, step=step))})
