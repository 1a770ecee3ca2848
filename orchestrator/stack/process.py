"""Run a system tool for its effect, tell its output as it comes, and keep the end of it for the error."""

from __future__ import annotations

import subprocess
from collections import deque
from typing import TYPE_CHECKING

from orchestrator.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_KEPT_LINES = 3


def run_told(argv: Sequence[str], detail: Callable[[str], None], *, failed: str, hint: str) -> None:
    """Run `argv` with no standard input, each line of its output going to `detail`.

    Raises UnavailableError (`failed`, the last lines of the output as its cause, `hint`).
    """
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    try:
        with subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                if line.strip():
                    last.append(line.strip())
                    detail(line.rstrip())
    except OSError as error:
        raise UnavailableError(failed, cause=str(error), hint=hint) from error
    if process.returncode:
        raise UnavailableError(failed, cause=" | ".join(last) or f"exit code {process.returncode}", hint=hint)
