"""What it costs that nothing is lost: `python -m benchmarks.durability [--json] [--brief]`.

On a stack of its own with default settings; the journals of `benchmarks.journals` lie in its Redis beside real runs.
The floor is a bare start of the same Python. With --brief each row is taken once or a few times, to see that it works.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks import audit_rows, journal_rows, recovery_rows
from benchmarks.report import present
from benchmarks.stack import own_stack
from orchestrator.demo import bundled, make
from orchestrator.journal.connection import connect, redis_url
from orchestrator.queue import pause_queue, resume_queue

WORKERS: Final = 2


def main() -> int:
    """Measure and print."""
    brief = "--brief" in sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="ddb-") as name, recovery_rows.StockRq(Path(name), brief=brief) as stock:
        repo = Path(make(bundled("ledger"), Path(name)).request.repo)
        with own_stack({"DREAMDOCK_WORKERS": str(WORKERS)}) as stack:
            with connect(redis_url(stack.settings)) as client:
                pause_queue(client, "bench")  # Or its workers would carry what is written there.
                rows = [*journal_rows.measure(stack, brief=brief), *audit_rows.measure(stack, brief=brief)]
                resume_queue(client)
            rows += recovery_rows.measure(stack, repo, stock, brief=brief)
    return present("durability", rows, as_json="--json" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
