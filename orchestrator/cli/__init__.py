"""The command line: it renders, and decides nothing. `main` is the console script."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; without `arguments`, those of the process."""
    gc.set_threshold(100_000)  # A command is over before rubbish counts: looking for it took a tenth of its time.
    from orchestrator.cli.process import run_command

    return run_command(sys.argv[1:] if arguments is None else arguments)
