"""The diagnostics of a failed command: read from its whole output, and shown with the source around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.agent.shown import clean, is_binary
from orchestrator.diagnostic import MOST_KEPT, Diagnostic, Severity
from orchestrator.diagnostics.paths import Files
from orchestrator.diagnostics.reading import read
from orchestrator.diagnostics.told import BUDGET, told
from sandbox.errors import WorkspaceError
from sandbox.spec import WORKSPACE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.open import Sandbox
    from sandbox.spec import CommandResult

_LARGEST_OUTPUT: Final = 4 * 1024 * 1024
_LARGEST_SOURCE: Final = 1024 * 1024
_SHARE: Final = 8
"""One part in so many of what a result may have is for its diagnostics."""
_FRAMES: Final = 5
"""Frames that are kept of one diagnostic: the last ones that are the repository's."""


def diagnosed(sandbox: Sandbox, result: CommandResult) -> tuple[Diagnostic, ...]:
    """Return what a command that failed says of places in the code; nothing for one that didn't fail."""
    if result.exit_code == 0:
        return ()
    output = result.output
    if result.whole:
        # Where that file is gone, or too large, its head and tail must do.
        output = _read(sandbox, result.whole, _LARGEST_OUTPUT) or output
    cwd = result.cwd.removeprefix(WORKSPACE) if result.cwd.startswith(f"{WORKSPACE}/") else ""
    return read(clean(output), files=Files(root=WORKSPACE, cwd=cwd))


def block(sandbox: Sandbox, found: Sequence[Diagnostic], longest: int) -> str:
    """Return how they are shown to the model, in a small part of `longest` characters; empty for none."""

    def source(path: str) -> str | None:
        data = _read(sandbox, path, _LARGEST_SOURCE)
        return clean(data) if data and not is_binary(data) else None

    return told(found, source=source, budget=min(BUDGET, longest // _SHARE))


def kept(found: Sequence[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Return what the journal keeps of them: errors before warnings, no notes, and of each a few frames."""
    first = sorted(
        (one for one in found if one.severity is not Severity.NOTE), key=lambda one: one.severity is not Severity.ERROR
    )
    return tuple(
        one.model_copy(update={"frames": tuple(frame for frame in one.frames if frame.ours)[-_FRAMES:]})
        for one in first[:MOST_KEPT]
    )


def _read(sandbox: Sandbox, path: str, limit: int) -> bytes:
    """Return a file inside; nothing where it can't be read."""
    try:
        return sandbox.read(path, limit=limit)
    except (WorkspaceError, ValueError):
        return b""
