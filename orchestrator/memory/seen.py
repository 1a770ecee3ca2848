"""What the harness puts into the working memory itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.dialogue import ToolCall
    from orchestrator.events import CallFinished
    from orchestrator.notes import WorkingMemory
    from sandbox.spec import FileChange


def observed(memory: WorkingMemory, call: ToolCall, ended: CallFinished) -> WorkingMemory:
    """Take a call that ended."""
    del call, ended
    return memory


def committed(memory: WorkingMemory, files: Sequence[FileChange], step: int) -> WorkingMemory:
    """Take the files that a committed step changed."""
    del files, step
    return memory


def renewed(memory: WorkingMemory) -> WorkingMemory:
    """Return the memory for a new sandbox, or one that was rewound: nothing runs in it any more."""
    return memory
