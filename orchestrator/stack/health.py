"""Whether a service of compose.yaml works: `python -m orchestrator.stack.health KIND`; exit code 0 or 1.

It does if a process of this container said in Redis within the last seconds that it's alive: a worker, dream or keeper.
"""

from __future__ import annotations

import sys

from orchestrator import settings
from orchestrator.errors import DreamdockError
from orchestrator.journal import presence
from orchestrator.journal.connection import connect, redis_url


def main() -> int:
    """Ask Redis; the argument is the kind of process."""
    kind, here = sys.argv[1], presence.pid_namespace()
    try:
        with connect(redis_url(settings.load())) as client:
            found = [one for one in presence.alive(client, kind) if one.namespace == here]
    except DreamdockError as error:
        sys.stderr.write(f"{error.message}: {error.cause}\n")
        return 1
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
