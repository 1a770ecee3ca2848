"""The figures of getting over it: queued to claimed, a killed worker against stock RQ's, and 200 runs under fire."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self

from benchmarks.cli import BARE, QUIET_SECONDS, seconds
from benchmarks.report import Row, row
from orchestrator.requests import RunRequest
from orchestrator.runs import Outcome, State
from orchestrator.stack.redis_server import embedded_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.stack import Stack

CLAIM_MS: Final = 100.0
RESUME_SECONDS: Final = 10.0
RUNS: Final = 200
KILL_SECONDS: Final = 10.0
PARKED_RUNS: Final = 2.0
"""How many of 200 may have had the bad luck that their worker was killed three times within one step."""
STOCK_PATIENCE_SECONDS: Final = 1200.0
"""With its defaults RQ begins a killed worker's job again after some 14 minutes."""
_P95: Final = 0.95


def measure(stack: Stack, repo: Path, stock: StockRq, *, brief: bool) -> list[Row]:
    """Return the rows."""
    floor = [seconds(BARE, os.environ) for _ in range(11)]

    def told(what: str, samples: list[float], unit: str, target: float, at: float = 0.5) -> Row:
        return row(what, samples, floor, unit=unit, target=target, quiet=QUIET_SECONDS, at=at)

    claims = [claimed_after(stack, repo) for _ in range(3 if brief else 21)]
    resumes = [resumed_after(stack, repo) for _ in range(1 if brief else 20)]
    lost, parked = under_fire(stack, repo, runs=20 if brief else RUNS)
    return [
        told("queued to claimed", claims, "ms", CLAIM_MS),
        told("resume after kill -9 of the worker, p95", resumes, "s", RESUME_SECONDS, _P95),
        told("the same with stock RQ, at the least", [stock.resumed_after()], "s", STOCK_PATIENCE_SECONDS),
        told("runs lost of 200, a worker killed every 10 s", [float(lost)], "runs", 0.0),
        told("runs parked of those, and resumed", [float(parked)], "runs", PARKED_RUNS),
    ]


def claimed_after(stack: Stack, repo: Path) -> float:
    """Return the ms from a run's entry in the queue to its claim, by the journal, on a stack that has nothing to do."""
    run_id = _submitted(stack, repo, ["true"])
    _finished(stack, run_id)
    at = {event.body.type: event.at for event in stack.door.events(run_id)}
    return (at["claimed"] - at["dispatched"]).total_seconds() * 1000


def resumed_after(stack: Stack, repo: Path) -> float:
    """Return the seconds from a worker's kill to the next attempt's sandbox, at the step where the run was."""
    run_id = _submitted(stack, repo, ["echo one > one.txt", "sleep 2", "cat one.txt"])
    _wait(lambda: "sleep" in stack.door.show(run_id).view.doing)
    host_pids = {worker.pid for worker in stack.door.workers()}
    claim = next(event.body for event in stack.door.events(run_id) if event.body.type == "claimed")
    parent = _parent(int(claim.worker.rpartition(":")[2]))
    if parent not in host_pids:
        raise RuntimeError(f"{parent} is none of the workers {host_pids}")
    began = time.time()
    os.kill(parent, signal.SIGKILL)
    _finished(stack, run_id)
    ready = [event.at.timestamp() for event in stack.door.events(run_id) if event.body.type == "sandbox_ready"]
    if len(ready) != 2:  # noqa: PLR2004  # One before the kill, one after.
        raise RuntimeError(f"there were {len(ready)} sandboxes")
    return ready[1] - began


def under_fire(stack: Stack, repo: Path, *, runs: int) -> tuple[int, int]:
    """Queue runs, kill a worker every 10 s until all are over; return how many aren't whole, and how many were parked.

    What was parked, because its worker died three times within a step, is resumed as a person would.
    """
    request = RunRequest(task="mend it", repo=str(repo), model=f"scripted/{_script(repo, COMMANDS)}", accept="")
    spec = stack.door.resolve(request)
    ids = [stack.door.submit(spec).id for _ in range(runs)]
    ended = threading.Event()
    killer = threading.Thread(target=_kill_on, args=(stack, ended))
    killer.start()
    parked = 0
    try:
        for run_id in ids:
            _finished(stack, run_id, patience=3600)
            while stack.door.show(run_id).view.state is State.WAITING:
                parked += 1
                stack.door.resume(run_id)
                _finished(stack, run_id, patience=3600)
    finally:
        ended.set()
        killer.join()
    return sum(not _is_whole(stack, run_id) for run_id in ids), parked


COMMANDS: Final = ("echo 1 > a", "echo 2 >> a", "sleep 0.5; echo 3 >> a")


def _is_whole(stack: Stack, run_id: str) -> bool:
    """Whether a run succeeded with each step once and in order, and its result is as if nothing had happened."""
    steps = [event.body.step for event in stack.door.events(run_id) if event.body.type == "checkpointed"]
    succeeded = stack.door.show(run_id).view.outcome is Outcome.SUCCEEDED
    return succeeded and steps == [1, 2, 3, 4] and b"\n+1\n+2\n+3\n" in stack.door.diff(run_id)


def _kill_on(stack: Stack, ended: threading.Event) -> None:
    number = 0
    while not ended.wait(KILL_SECONDS):
        workers = stack.door.workers()
        if workers:
            os.kill(workers[number % len(workers)].pid, signal.SIGKILL)
        number += 1


def _submitted(stack: Stack, repo: Path, commands: list[str]) -> str:
    return stack.detached(_script(repo, commands), repo, "--accept", "")


def _script(repo: Path, commands: tuple[str, ...] | list[str]) -> Path:
    calls: list[dict[str, Any]] = [{"name": "bash", "arguments": {"command": command}} for command in commands]
    calls.append({"name": "submit", "arguments": {"summary": "done"}})
    path = repo.parent / f"script-{abs(hash(tuple(commands)))}.jsonl"
    path.write_text("".join(json.dumps({"calls": [call]}) + "\n" for call in calls))
    return path


def _finished(stack: Stack, run_id: str, *, patience: float = 60) -> None:
    _wait(lambda: stack.door.show(run_id).view.state in {State.DONE, State.WAITING}, patience)


def _parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123  # As short as it gets.
        return int(file.read().rpartition(")")[2].split()[1])


def _wait(true: Callable[[], bool], patience: float = 60) -> None:
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it didn't come true within {patience:.0f} s")
        time.sleep(0.02)


class StockRq:
    """RQ as it comes, with a Redis of its own: two workers, one job with retries, and the worker that has it is killed.

    It is begun first and looked at last, because it takes so long.
    """

    def __init__(self, folder: Path, *, brief: bool) -> None:
        self._folder = folder
        self._patience = 30.0 if brief else STOCK_PATIENCE_SECONDS
        self._processes: list[subprocess.Popen[bytes]] = []
        self._killed = 0.0

    def __enter__(self) -> Self:
        socket = self._folder / "stock.sock"
        argv = [str(embedded_program()), "--port", "0", "--unixsocket", str(socket), "--dir", str(self._folder)]
        self._processes.append(subprocess.Popen([*argv, "--save", ""], stdout=subprocess.DEVNULL))
        _wait(socket.exists)
        (self._folder / "stock_job.py").write_text(_JOB)
        url, environ = f"unix://{socket}", {**os.environ, "PYTHONPATH": str(self._folder)}
        queue = [sys.executable, "-c", _QUEUE, url, str(self._started)]
        subprocess.run(queue, check=True, env=environ)
        worker = [sys.executable, "-m", "rq.cli", "worker", "--url", url, "--quiet", "stock"]
        self._processes.append(subprocess.Popen(worker, env=environ, stderr=subprocess.DEVNULL))
        _wait(lambda: self._starts() == 1)
        self._processes[-1].kill()
        self._killed = time.time()
        self._processes.append(subprocess.Popen(worker, env=environ, stderr=subprocess.DEVNULL))
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        for line in self._lines():
            subprocess.run(["kill", "-9", line.split()[1]], check=False, stderr=subprocess.DEVNULL)  # The orphans.

    def resumed_after(self) -> float:
        """Return the seconds from the kill to the job's second start; the patience, where that ended before."""
        deadline = self._killed + self._patience
        while self._starts() < 2 and time.time() < deadline:  # noqa: PLR2004  # The second start.
            time.sleep(0.5)
        starts = [float(line.split()[0]) for line in self._lines()]
        return starts[1] - self._killed if len(starts) > 1 else self._patience

    @property
    def _started(self) -> Path:
        return self._folder / "stock.txt"

    def _lines(self) -> list[str]:
        return self._started.read_text().splitlines() if self._started.exists() else []

    def _starts(self) -> int:
        return len(self._lines())


_JOB: Final = """
import os, time
def job(path):
    with open(path, "a") as file:
        file.write(f"{time.time()} {os.getpid()}\\n")
    time.sleep(3600)
"""
_QUEUE: Final = """
import sys
from redis import Redis
from rq import Queue, Retry
queue = Queue("stock", connection=Redis.from_url(sys.argv[1]))
queue.enqueue("stock_job.job", sys.argv[2], job_timeout=-1, retry=Retry(max=3))
"""
