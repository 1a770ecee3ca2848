"""How a call ended: what the model sees of it, and what the journal keeps beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.diagnostic import Diagnostic


@dataclass(frozen=True)
class Outcome:
    """`ok` is false for a refused or failed tool, not for exit codes. Times in seconds, sizes in bytes.

    `cwd` is the shell's working directory after it, empty where no command ran in it.
    """

    content: str
    ok: bool = True
    exit_code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    duration_s: float = 0.0
    total_bytes: int = 0
    cwd: str = ""
    diagnostics: tuple[Diagnostic, ...] = ()


def failed(reason: str) -> Outcome:
    """Return a failed tool's outcome: the model reads why, and goes on."""
    return Outcome(f"error: {reason}", ok=False)
