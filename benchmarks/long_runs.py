"""A long run of a fake model: a real attempt in a process of its own, with a real sandbox, Redis and model server."""

from __future__ import annotations

import multiprocessing
import resource
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from benchmarks import sample
from benchmarks.cli import own_redis
from orchestrator import attempt
from orchestrator import events as e
from orchestrator import worker as _worker  # noqa: F401  # All that a worker has in memory is counted.
from orchestrator.journal.connection import connect
from orchestrator.journal.stream import follow, read
from orchestrator.journal.writer import create
from orchestrator.runs import RunSpec, new_run_id
from orchestrator.settings import RunLimits, Settings
from orchestrator.steering import Steering
from orchestrator.stop import Stop
from sandbox.store import Store
from tests.fakes.agent_script import LEDGER, TEXT, Script, facts
from tests.fakes.fake_agent_model import Mode, Plan, Record, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from redis import Redis

    from sandbox.spec import Base

MODEL: Final = "horizon/fake"
TASK: Final = (
    "Do the numbered steps, one at a time, until all of them are done. Each prints its number when it is done."
)
LINE_BYTES: Final = 100
_OUTPUT: Final = 8192
"""Tokens that the model may answer with."""
_MORE_STEPS: Final = 50
"""Replies above the script's steps that a run has, so that one which loses the thread ends."""


@dataclass(frozen=True)
class Course:
    """A run to be made: so many steps that print so many lines of 100 characters, in a window of so many tokens."""

    name: str
    steps: int
    lines: int
    window: int
    condense: Mode = "ok"
    knowing: bool = False
    """Whether there are facts to be kept in mind."""

    @property
    def script(self) -> Script:
        """What the model does."""
        known = facts(self.steps) if self.knowing else ()
        return Script(steps=self.steps, lines=self.lines, facts=known, every_line=len(sample.prose()))

    @property
    def plan(self) -> Plan:
        """What the model is."""
        return Plan(self.script, self.window, condense=self.condense, signs=signs())


class Spent(NamedTuple):
    """What the attempt's process took: seconds of CPU with its children, seconds in all, peak memory in MB."""

    cpu_s: float
    wall_s: float
    peak_mb: float


class Ran(NamedTuple):
    """A run that was made: what its model, its journal and its process say of it, and the ledger that it left."""

    course: Course
    record: Record
    events: tuple[e.Event, ...]
    spent: Spent
    ledger: tuple[str, ...]

    @property
    def not_done(self) -> int:
        """How many of its steps weren't done, or not once and in their order; all behind the first of those."""
        wanted = self.course.script.ledger().splitlines()
        kept = next((n for n, pair in enumerate(zip(wanted, self.ledger, strict=False)) if pair[0] != pair[1]), None)
        return len(wanted) - (min(len(wanted), len(self.ledger)) if kept is None else kept)

    @property
    def redone(self) -> int:
        """How many steps were done again, or would have been."""
        return max(len(self.record.lost), len(self.ledger) - len(set(self.ledger)))

    @property
    def rebuilt(self) -> list[e.Rebuilt]:
        """How its context was built anew."""
        return [event.body for event in self.events if isinstance(event.body, e.Rebuilt)]

    @property
    def ended(self) -> str:
        """How it ended."""
        last = self.events[-1].body
        return f"{last.outcome}: {last.reason}" if isinstance(last, e.Finished) else last.type


def signs() -> tuple[str, ...]:
    """Return what a request for a summary is recognised by: how the harness's own instruction begins."""
    prompt = resources.files("orchestrator.agent").joinpath("prompts/condense.md")
    return (prompt.read_text(encoding="utf-8").partition("$")[0].strip(),) if prompt.is_file() else ()


def task(script: Script) -> str:
    """Return what the person asks for, with what they say at once."""
    said = [f"- {fact.text}" for fact in script.facts if fact.kind == "said" and not fact.step]
    return "\n".join([TASK, *(["Keep in mind:"] if said else []), *said])


def repository(folder: Path) -> Path:
    """Make the repository that the steps work in."""
    repo = folder / "source"
    repo.mkdir()
    (repo / TEXT).write_text("".join(f"{line:<{LINE_BYTES - 1}}\n" for line in sample.prose()))
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@dreamdock.invalid")
    for arguments in (("init", "--quiet"), ("add", "-A"), (*identity, "commit", "--quiet", "-m", "base")):
        subprocess.run(["git", "-C", str(repo), *arguments], check=True)
    return repo


def family(url: str, window: int) -> dict[str, Any]:
    """Return the settings' family that the fake model is of."""
    models = {MODEL.partition("/")[2]: {"window": window, "output": _OUTPUT, "price": [0.0, 0.0, 0.0]}}
    return {"wire": "chat", "base_url": url, "models": models}


class Ground:
    """What runs are made on: a repository, a store and a Redis."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        """Take a folder for all that lasts while it is measured."""
        self.state = folder / "state"
        self.redis_url = redis_url
        self.repo = repository(folder)
        self.store = Store(self.state / "repos")
        self.base: Base = self.store.import_commit(self.repo)

    def run(self, course: Course) -> Ran:
        """Make a run, from its submission to its end."""
        script = course.script
        with served(course.plan) as service, connect(self.redis_url) as client:
            chosen = Settings(
                redis_url=self.redis_url,
                state_dir=self.state,
                families={MODEL.partition("/")[0]: family(service.url, course.window)},
            )
            run_id, limits = new_run_id(), RunLimits(steps=course.steps + _MORE_STEPS, seconds=3600)
            spec = RunSpec(task=task(script), repo=self.base, model=MODEL, image="", limits=limits)
            create(client, run_id, "bench", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
            with speaking(client, run_id, script):
                spent = _in_a_process(chosen, run_id)
            events = tuple(read(client, run_id))
            last = events[-1].body
            tree = last.tree if isinstance(last, e.Finished) else ""
            left = self.store.read_file(self.base.project, tree, LEDGER) if tree else None
            return Ran(course, service.record(), events, spent, tuple((left or b"").decode().splitlines()))


@contextmanager
def ground() -> Iterator[Ground]:
    """Have what runs are made on; nothing of it is left after the block."""
    with (
        tempfile.TemporaryDirectory(prefix="ddb-") as name,
        tempfile.TemporaryDirectory(prefix="ddr-") as redis,
        own_redis(Path(redis)) as url,
    ):
        yield Ground(Path(name), url)


@contextmanager
def speaking(client: Redis, run_id: str, script: Script) -> Iterator[None]:
    """Say what a person says on the way, each when its step is committed, while the block runs."""
    to_say = sorted((fact for fact in script.facts if fact.kind == "said" and fact.step), key=lambda fact: fact.step)
    ended = threading.Event()

    def speak() -> None:
        for event in follow(client, run_id):
            body = event.body if event is not None else None
            while to_say and isinstance(body, e.Checkpointed) and body.step >= to_say[0].step:
                Steering(client, "bench").steer(run_id, to_say.pop(0).text)
            if ended.is_set() or not to_say:
                return

    thread = threading.Thread(target=speak, name="person")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _in_a_process(chosen: Settings, run_id: str) -> Spent:
    """Carry the run's first attempt in a process of its own, as a worker does, and return what it took."""
    ours, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_carry, args=(its, chosen, run_id))
    process.start()
    its.close()
    try:
        spent: Spent = ours.recv()
    finally:
        process.join()
    return spent


def _carry(pipe: Connection, chosen: Settings, run_id: str) -> None:
    """Be the worker's process: what it imports before it takes a run isn't counted as the run's."""
    cpu, began = _cpu_s(), time.monotonic()
    with connect(chosen.redis_url or "") as client:
        attempt.carry(client, chosen, run_id, 1, Stop())
    pipe.send(Spent(_cpu_s() - cpu, time.monotonic() - began, _peak_mb()))


def _cpu_s() -> float:
    """Return the seconds of CPU that this process and its ended children took."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _peak_mb() -> float:
    """Return the most memory that this process had; what the one that forked it had, `getrusage` would count too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
