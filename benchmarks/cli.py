"""How long the command takes to start: `python -m benchmarks.cli [--json]`.

Each sample stands beside a bare start of the same Python, taken in the same round.
`ps` lists 50 runs from a Redis of its own, in which nothing else happens.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.report import Row, present, row
from orchestrator import events as e
from orchestrator.journal.connection import connect, ping
from orchestrator.journal.writer import create
from orchestrator.runs import RunSpec, new_run_id
from orchestrator.stack.redis_server import embedded_program
from sandbox.spec import Base

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROUNDS: Final = 21
RUNS: Final = 50
BARE: Final = (sys.executable, "-I", "-S", "-c", "pass")
"""Without site-packages, whose start-up hooks are a matter of the installation."""
QUIET_SECONDS: Final = 0.008
"""A bare start on a quiet machine of the anchors' size."""
HELP_SECONDS: Final = 0.15
PS_SECONDS: Final = 0.6
_UP_SECONDS: Final = 10.0


def command() -> tuple[str, ...]:
    """Return the console script beside this Python, else the package itself."""
    script = Path(sys.executable).with_name("dreamdock")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "orchestrator.cli")


def seconds(argv: Sequence[str], environ: Mapping[str, str]) -> float:
    """Return the wall time of a process, which has to succeed."""
    began = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)
    return time.perf_counter() - began


@contextmanager
def own_redis(folder: Path) -> Iterator[str]:
    """Yield the address of a private Redis, empty."""
    socket = folder / "redis.sock"
    url = f"unix://{socket}"
    argv = [str(embedded_program()), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", ""]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + _UP_SECONDS
            while not ping(url) and time.monotonic() < deadline:
                time.sleep(0.02)
            yield url
        finally:
            server.terminate()


@contextmanager
def redis_with_runs(folder: Path) -> Iterator[str]:
    """Yield the address of a private Redis that holds queued runs."""
    with own_redis(folder) as url:
        with connect(url) as client:
            for number in range(RUNS):
                repo = Base(project="p" * 12, commit="c" * 40, tree="t" * 40, name="small", source="/nowhere")
                spec = RunSpec(task=f"mend part {number}", repo=repo, model="scripted", image="")
                create(client, new_run_id(), "bench", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
        yield url


def measure(environ: Mapping[str, str]) -> list[Row]:
    """Return the rows of one go: in each round a bare start, `--help` and `ps`."""
    commands = {"bare": BARE, "--help": (*command(), "--help"), "ps": (*command(), "ps")}
    for argv in commands.values():
        seconds(argv, environ)  # Byte code is written, files are in memory.
    samples: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, argv in commands.items():
            samples[name].append(seconds(argv, environ))
    floor = samples["bare"]
    return [
        row("dreamdock --help", samples["--help"], floor, unit="s", target=HELP_SECONDS, quiet=QUIET_SECONDS),
        row("dreamdock ps", samples["ps"], floor, unit="s", target=PS_SECONDS, quiet=QUIET_SECONDS),
    ]


def main() -> int:
    """Measure, once more where the machine was busy, and print."""
    with tempfile.TemporaryDirectory(prefix="ddb-") as folder, redis_with_runs(Path(folder)) as url:
        environ = {**os.environ, "DREAMDOCK_REDIS_URL": url}
        rows = measure(environ)
        if any(one.noisy for one in rows):
            rows = measure(environ)
    return present("cli", rows, as_json="--json" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
