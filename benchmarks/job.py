"""The main job's figures: `python -m benchmarks.job [--json]`.

Real runs on a stack of its own; the model is the scripted one, or the tests' fake provider over HTTP. The floor is a
bare start of the same Python, taken before each sample.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.cli import BARE, QUIET_SECONDS, seconds
from benchmarks.report import Row, present, row
from benchmarks.stack import Stack, own_stack
from orchestrator.demo import bundled, make
from orchestrator.runs import State
from tests.fakes.fake_provider import FakeProvider, chat

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS: Final = 5
ROOT: Final = Path(__file__).resolve().parent.parent
CANCEL_SECONDS: Final = 2.0
DEMO_SECONDS: Final = 30.0
FIRST_REQUEST_BYTES: Final = 16 * 1024
TASK: Final = "Mend the tests that fail, without changing them. ".ljust(200, ".")


def cancelled_after(stack: Stack, repo: Path, folder: Path) -> float:
    """Return the seconds from `dreamdock cancel` being typed to a cancelled run without a container."""
    call: dict[str, Any] = {"name": "bash", "arguments": {"command": "sleep 300"}}
    script = folder / "sleep.jsonl"
    script.write_text(json.dumps({"calls": [call]}) + "\n")
    run_id = stack.detached(script, repo)
    _wait(lambda: "sleep" in stack.door.show(run_id).view.doing)
    began = time.perf_counter()
    stack("cancel", run_id)
    _wait(lambda: stack.door.show(run_id).view.state is State.DONE and not stack.containers(run_id))
    return time.perf_counter() - began


def demo(stack: Stack) -> float:
    """Return the seconds of `make demo`."""
    return seconds(("make", "--directory", str(ROOT), "demo"), stack.environ)


def first_request(stack: Stack, folder: Path) -> float:
    """Return the bytes of a run's first request: an empty repository, no AGENTS.md, a task of 200 characters."""
    repo = folder / "empty"
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@dreamdock.invalid")
    subprocess.run(["git", "init", "--quiet", str(repo)], check=True)
    subprocess.run(["git", "-C", str(repo), *identity, "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
    answer = chat("", calls=[("c1", "submit", json.dumps({"summary": "done"}))])
    with FakeProvider(answer) as fake:
        flags = ("--model", "openai-compatible/fake", "--base-url", f"{fake.url}/v1", "--price", "0")
        stack("run", TASK, "--repo", str(repo), *flags)
        return float(len(fake.asked[0].raw))


def main() -> int:
    """Measure and print."""
    floor: list[float] = []

    def sampled(measure: Callable[[], float], rounds: int) -> list[float]:
        samples = []
        for _ in range(rounds):
            floor.append(seconds(BARE, os.environ))
            samples.append(measure())
        return samples

    with own_stack({}) as stack, tempfile.TemporaryDirectory(prefix="ddb-") as name:
        folder = Path(name)
        repo = Path(make(bundled("ledger"), folder).request.repo)
        cancels = sampled(lambda: cancelled_after(stack, repo, folder), ROUNDS)
        demo(stack)  # The first time fetches.
        demos = sampled(lambda: demo(stack), ROUNDS)
        request = sampled(lambda: first_request(stack, folder), 1)

    def told(what: str, samples: list[float], unit: str, target: float) -> Row:
        return row(what, samples, floor, unit=unit, target=target, quiet=QUIET_SECONDS)

    rows = [
        told("cancel to container gone", cancels, "s", CANCEL_SECONDS),
        told("make demo, not the first", demos, "s", DEMO_SECONDS),
        told("first request", request, "bytes", FIRST_REQUEST_BYTES),
    ]
    return present("job", rows, as_json="--json" in sys.argv[1:])


def _wait(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("it didn't come true within 60 s")
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
