"""The journal's figures: a commit, a long run folded and restored, memory, and `ps` over 10,000 runs."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.cli import BARE, QUIET_SECONDS, command, seconds
from benchmarks.journals import Steps, begun
from benchmarks.report import Row, row
from orchestrator import events as e
from orchestrator.agent.context import Projection
from orchestrator.journal import archive
from orchestrator.journal.connection import connect, redis_url
from orchestrator.journal.signing import Signer
from orchestrator.journal.writer import Writer, create
from orchestrator.runs import Outcome, RunSpec, new_run_id
from sandbox.images import base_image
from sandbox.open import open_sandbox
from sandbox.spec import Base, SandboxSpec
from sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

    from benchmarks.stack import Stack

COMMIT_MS: Final = 2.0
LIVE_KB: Final = 400.0
ARCHIVED_KB: Final = 100.0
RESTORE_SECONDS: Final = 1.0
PS_SECONDS: Final = 0.6
STEPS: Final = 200
LONG: Final = 1000
RUNS: Final = 10_000
_ROUNDS: Final = 11
_KB: Final = 1024


def measure(stack: Stack, *, brief: bool) -> list[Row]:
    """Return the rows. They leave nothing in the stack's Redis but finished runs; its queue is paused meanwhile."""
    floor = [seconds(BARE, os.environ) for _ in range(_ROUNDS)]

    def told(what: str, samples: list[float], unit: str, target: float) -> Row:
        return row(what, samples, floor, unit=unit, target=target, quiet=QUIET_SECONDS)

    with connect(redis_url(stack.settings)) as client:
        commits, live, archived = commit_and_memory(client, Signer.load(stack.settings.state_dir))
        restores = fold_and_restore(client, rounds=2 if brief else _ROUNDS, steps=100 if brief else LONG)
        listing = listed(client, stack.environ, rounds=3 if brief else _ROUNDS, runs=500 if brief else RUNS)
        client.delete(*client.keys("dd:run*"), "dd:live", "dd:pending", "dd:finished", "dd:archived")
    return [
        told("commit of a 4 KB step", commits, "ms", COMMIT_MS),
        told("memory of a run of 200 steps, live", [live], "KB", LIVE_KB),
        told("memory of a run of 200 steps, archived", [archived], "KB", ARCHIVED_KB),
        told("fold and restore of 1,000 steps", restores, "s", RESTORE_SECONDS),
        told("ps over 10,000 runs", listing, "s", PS_SECONDS),
    ]


def commit_and_memory(client: Redis, signer: Signer) -> tuple[list[float], float, float]:
    """Return the ms of each commit of a run of 200 steps: all events of the step in one append, and the run's KB."""
    writer, steps, times = begun(client, signer=signer), Steps(), []
    for number in range(1, STEPS + 1):
        bodies, patch = steps.step(number)
        began = time.perf_counter()
        _append(writer, bodies, patch)
        times.append((time.perf_counter() - began) * 1000)
    live = memory(client, writer.view.id)
    writer.append(e.Finished(outcome=Outcome.SUCCEEDED), operation="finish")
    archive.archive(client, writer.view.id)
    return times, live, memory(client, writer.view.id)


def memory(client: Redis, run_id: str) -> float:
    """Return the KB that Redis takes for a run."""
    return sum(int(client.memory_usage(key, samples=0) or 0) for key in client.keys(f"dd:run:{run_id}*")) / _KB


def fold_and_restore(client: Redis, *, rounds: int, steps: int) -> list[float]:
    """Return the seconds from a journal to a sandbox at its last step and the next request's dialogue."""
    with tempfile.TemporaryDirectory(prefix="ddb-") as name:
        store, spec = Store(Path(name) / "repos"), SandboxSpec(image=base_image())
        base, root, make = _base(Path(name) / "source", store), Path(name) / "workspaces", Steps()
        writer = begun(client, base)
        with open_sandbox(spec, store, base, root) as box:
            for number in range(1, steps + 1):
                box.write(f"src/file{number % 300}.py", f"changed = {number}\n".encode() * 20)
                done = box.checkpoint(note=writer.head)
                bodies, patch = make.step(number)
                commit = e.Checkpointed(step=number, commit=done.commit, tree=done.tree, shell=done.shell)
                _append(writer, [*bodies[:-1], commit], patch)
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            again = Writer(client, writer.view.id, who="bench")
            dialogue = Projection().follow(again.events).request.dialogue
            with open_sandbox(spec, store, base, root, tree=again.view.tree, shell=again.view.shell) as box:
                times.append(time.perf_counter() - began)
                found = box.run("ls src | wc -l").output.split()
            if len(dialogue) < steps or found != [str(min(steps, 300)).encode()]:
                raise RuntimeError(f"it isn't what was written: {len(dialogue)} turns, {found!r} files")
        writer.append(e.Finished(outcome=Outcome.SUCCEEDED), operation="finish")
        return times


def listed(client: Redis, environ: Mapping[str, str], *, rounds: int, runs: int) -> list[float]:
    """Return the seconds of `ps -a`, where there are 10,000 runs; one in ten isn't over, and parked."""
    base = Base(project="p" * 12, commit="c" * 40, tree="t" * 40, name="small", source="/nowhere")
    for number in range(runs):
        run_id, spec = new_run_id(), RunSpec(task=f"mend part {number}", repo=base, model="scripted", image="")
        create(client, run_id, "bench", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
        if number % 10:
            Writer(client, run_id, who="bench").append(e.Finished(outcome=Outcome.SUCCEEDED), operation="finish")
        else:
            Writer(client, run_id, who="bench").append(e.Parked(why="paused", text="paused by u"), operation="park")
    argv = (*command(), "ps", "-a")
    seconds(argv, environ)  # Byte code is written, files are in memory.
    return [seconds(argv, environ) for _ in range(rounds)]


def _append(writer: Writer, bodies: list[e.Body], patch: bytes) -> None:
    *others, last = bodies
    if isinstance(last, e.Checkpointed):
        last = last.model_copy(update={"patch": writer.blob(patch)})
    writer.append(*others, last)


def _base(source: Path, store: Store) -> Base:
    source.mkdir()
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@dreamdock.invalid")
    for arguments in (("init", "--quiet"), (*identity, "commit", "--quiet", "--allow-empty", "-m", "base")):
        subprocess.run(["git", "-C", str(source), *arguments], check=True)
    return store.import_commit(source)
