"""What a team on three hosts can rely on: `python -m benchmarks.hosts [--json] [--brief]`.

Hosts, network, Redis and git server are real, on this machine and of its own: see `benchmarks.lan`. It takes root, and
some ten minutes; with --brief each row is taken once or a few times, to see that it works. The floor is a bare start of
the same Python, where no other is said.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import host_rows, queue_rows, remote_rows, share_rows
from benchmarks.cli import BARE, QUIET_SECONDS, seconds
from benchmarks.lan.team import team
from benchmarks.report import Row, present, row

if TYPE_CHECKING:
    from collections.abc import Sequence

WORKERS: Final = 2


def main() -> int:
    """Measure and print."""
    brief = "--brief" in sys.argv[1:]
    floor = [seconds(BARE, os.environ) for _ in range(11)]

    def told(what: str, samples: Sequence[float], unit: str, target: float, at: float = 0.5) -> Row:
        return row(what, samples, floor, unit=unit, target=target, quiet=QUIET_SECONDS, at=at)

    queue = json.dumps({"users": {name: {"weight": weight} for name, weight in share_rows.WEIGHTS.items()}})
    with tempfile.TemporaryDirectory(prefix="ddb-") as name, team(workers=WORKERS, DREAMDOCK_QUEUE=queue) as three:
        folder = Path(name)
        rows = queue_rows.measure(folder, told, brief=brief)
        rows += share_rows.measure(three, folder / "shares", told, brief=brief)
        rows += host_rows.measure(three, folder / "hosts", told, brief=brief)
        rows += remote_rows.measure(three, folder / "remote", told, brief=brief)
    return present("hosts", rows, as_json="--json" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
