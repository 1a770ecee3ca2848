"""Bring the stack up with root's rights: what `dreamdock up` runs through sudo. Settings come from the environment.

Talk goes to stderr; an error goes to stdout as JSON, for the process that asked.
"""

from __future__ import annotations

import json
import sys

from orchestrator import settings
from orchestrator.errors import DreamdockError
from orchestrator.stack.report import PlainReporter
from orchestrator.stack.up import SUPERVISOR, ensure_up
from sandbox.errors import SandboxError


def main() -> int:
    """Start what is missing; the arguments are the supervisor's command."""
    try:
        ensure_up(settings.load(), PlainReporter(), supervisor=sys.argv[1:] or SUPERVISOR)
    except (DreamdockError, SandboxError) as error:
        sys.stdout.write(json.dumps({"message": error.message, "cause": error.cause, "hint": error.hint}) + "\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
