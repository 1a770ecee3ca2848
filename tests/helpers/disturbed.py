"""A run on a stack of its own that something is done to in its middle, and what has to be true of it afterwards."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import docker
import requests

from benchmarks.stack import own_stack
from orchestrator.demo import bundled, make
from orchestrator.errors import RedisAwayError
from orchestrator.journal import keys
from orchestrator.journal.connection import connect, hurried, redis_url
from orchestrator.journal.stream import Entry, entries
from orchestrator.requests import RunRequest
from orchestrator.runs import FENCE_LABEL, Outcome, State
from orchestrator.stack.status import Status
from sandbox.engine import DEFAULT_ADDRESS
from sandbox.policy import LABEL, RUN_LABEL, SANDBOX
from sandbox.slot import told
from sandbox.spec import WORKSPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random
    from typing import Any

    from benchmarks.stack import Stack
    from orchestrator.runs import RunView

STEPS: Final = 30
SLOW_S: Final = 0.3
LEASE_S: Final = 2.0
LONGEST_S: Final = 120.0
_EVERY_S: Final = 0.1


def commands() -> list[str]:
    """Return the run's commands. Each builds on all before it: one that is lost, or done twice, shows in the tree.

    A line of the chain hashes the file as it was, and tells what the shell remembers: a variable and its directory.
    """
    chain, found = f"{WORKSPACE}/chain.txt", []
    for number in range(1, STEPS + 1):
        line = f'COUNT=$((COUNT + 1)); export COUNT; echo "{number} $COUNT $PWD $(cat {chain} | sha256sum)" >> {chain}'
        more = f"mkdir -p {WORKSPACE}/d{number}; echo {number} > {WORKSPACE}/d{number}/f"
        if number % 3 == 0:  # Half a step is to be seen.
            more += f"; sleep {SLOW_S}; mv {WORKSPACE}/d{number}/f {WORKSPACE}/d{number}/g"
        if number % 5 == 0:
            more += f"; rm -r {WORKSPACE}/d{number - 3}"
        if number % 10 == 4:
            more += f"; mv {WORKSPACE}/ledger {WORKSPACE}/moved; cd {WORKSPACE}/moved"
        if number % 10 == 8:
            more += f"; cd {WORKSPACE}/tests; mv {WORKSPACE}/moved {WORKSPACE}/ledger"
        found.append(f"touch {chain}; {line}; {more}")
    return found


ACCEPT: Final = f"test $(wc -l < chain.txt) -eq {STEPS}"


class Held(NamedTuple):
    """A container of the run, as the engine told of it at one moment."""

    id: str
    run_id: str
    state: str
    fence: str


class Disturbed:
    """The run, the stack that it runs on, and a witness that looks at its journal and its containers all the time."""

    def __init__(self, stack: Stack, folder: Path, random: Random) -> None:
        self.stack = stack
        self.random = random
        address = stack.environ.get("DOCKER_HOST", DEFAULT_ADDRESS)
        self.engine = docker.DockerClient(address, version="auto", timeout=60)
        self._redis = hurried(connect(redis_url(stack.settings)), 2.0)
        self._seen: list[Entry] = []
        self._most_at_work = 0
        self._looks = 0
        self._ended = threading.Event()
        prepared = make(bundled("ledger"), folder)
        script = folder / "script.jsonl"
        calls = [{"name": "bash", "arguments": {"command": command}} for command in commands()]
        calls.append({"name": "submit", "arguments": {"summary": "done"}})
        script.write_text("".join(json.dumps({"calls": [call]}) + "\n" for call in calls))
        self._request = RunRequest(task="count", repo=prepared.request.repo, model=f"scripted/{script}", accept=ACCEPT)
        self.run_id = ""
        self.final: RunView
        """How it ended; there once it was checked."""
        self._witness = threading.Thread(target=self._look_on, name="witness", daemon=True)

    def begin(self) -> None:
        """Submit it, and watch it from now on."""
        self.run_id = self.stack.door.submit(self.stack.door.resolve(self._request)).id
        self._witness.start()

    def reach_a_step(self) -> None:
        """Wait for a step and a moment in it, both at random."""
        step = self.random.randint(1, STEPS - 4)
        self.until(lambda: self.view.step >= step)
        time.sleep(self.random.uniform(0, SLOW_S))
        assert self.view.state is not State.DONE, "it was quicker"

    @property
    def view(self) -> RunView:
        return self.stack.door.show(self.run_id).view

    def horse(self) -> int:
        """Return the pid of the work-horse that carries the last attempt."""
        claims = [event.body for event in self.stack.door.events(self.run_id) if event.body.type == "claimed"]
        return int(claims[-1].worker.rpartition(":")[2])

    def worker(self) -> int:
        """Return the pid of the worker that forked it."""
        return parent(self.horse())

    def child(self, name: str) -> int:
        """Return the pid of one of the supervisor's children; 0 while it doesn't run."""
        found = Status.read(self.stack.settings.runtime_dir)
        return found.children[name].pid if found is not None and name in found.children else 0

    def supervisor(self) -> int:
        """Return the pid of the supervisor."""
        found = Status.read(self.stack.settings.runtime_dir)
        assert found is not None
        return found.supervisor.pid

    def containers(self) -> list[Held]:
        """Return the run's containers, whatever state they are in."""
        return [held for held in self._held() if held.run_id == self.run_id]

    def unpaused(self) -> list[str]:
        """Return those of the run's containers that work."""
        return [held.id for held in self.containers() if held.state == "running"]

    def until(self, true: Callable[[], Any], *, longest_s: float = LONGEST_S) -> Any:
        """Wait until something is true, also while Redis is away, and return it."""
        deadline = time.monotonic() + longest_s
        while True:
            with suppress(RedisAwayError):
                if found := true():
                    return found
            assert time.monotonic() < deadline, f"it didn't come true within {longest_s:.0f} s: {self.told()}"
            time.sleep(0.02)

    def told(self) -> str:
        """Return what is known of the run, for a failure's message."""
        with suppress(RedisAwayError):
            view = self.view
            return f"{view.label} ({view.reason}), attempt {view.attempt}, step {view.step}, {view.doing}"
        return "Redis is away"

    def is_over(self) -> bool:
        """Whether it has ended, or nobody carries it on."""
        return self.view.state in {State.DONE, State.WAITING}

    def ends(self) -> None:
        """Wait for its end, and then until nothing is left of it beside the journal and the checkpoints."""
        self.until(self.is_over)
        self.until(lambda: not self._left(), longest_s=30)
        self._ended.set()
        self._witness.join(30)

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        self.engine.close()
        self._redis.close()

    def check(self, tree: str | None) -> None:
        """Look whether all is as if nothing had happened; `tree` is what an undisturbed run ends with, if known."""
        self.final = view = self.view
        events = list(self.stack.door.events(self.run_id))
        assert (view.outcome, view.step) == (Outcome.SUCCEEDED, STEPS + 1), self.told()
        assert [verdict.passed for verdict in view.verdicts] == [True]
        every = list(range(1, STEPS + 2))
        assert [event.body.step for event in events if event.body.type == "checkpointed"] == every
        assert [event.body.step for event in events if event.body.type == "replied"] == every, "paid for once"
        stored = list(entries(self._redis, self.run_id))
        assert stored[: len(self._seen)] == self._seen, "what could be read once is still there"
        assert self.stack.door.audit(self.run_id).check.ok
        assert view.tree == tree or tree is None
        assert self._looks > 0
        assert self._most_at_work <= 1, "two attempts of the run worked at once"

    def _look_on(self) -> None:
        while not self._ended.wait(_EVERY_S):
            with suppress(RedisAwayError):
                self._seen += entries(self._redis, self.run_id, after=len(self._seen))
            with suppress(docker.errors.DockerException, requests.RequestException):
                at_work = {held.fence or held.id for held in self.containers() if held.state == "running"}
                self._most_at_work = max(self._most_at_work, len(at_work))
                self._looks += 1

    def _held(self) -> Iterator[Held]:
        labels = [f"{LABEL}={SANDBOX}", f"dreamdock.stack={self.stack.settings.stack_id}"]
        for item in self.engine.api.containers(all=True, filters={"label": labels}):
            source = next((mount["Source"] for mount in item["Mounts"] if mount["Destination"] == WORKSPACE), "/")
            whose = told(Path(source).parent) | item["Labels"]
            yield Held(item["Id"], whose.get(RUN_LABEL, ""), item["State"], whose.get(FENCE_LABEL, ""))

    def _left(self) -> list[str]:
        """Return what is left of the run although it's over."""
        rooms = self.stack.settings.state_dir / "workspaces" / "open"
        left = [held.id for held in self.containers()]
        left += [room.name for room in rooms.iterdir() if told(room).get(RUN_LABEL) == self.run_id]
        left += [key for key in (keys.LIVE, keys.PENDING, keys.LINES, keys.HELD, keys.BUSY) if self._redis.exists(key)]
        left += [str(key) for key in self._redis.scan_iter(f"{keys.RQ_QUEUE}*")]
        return left


def parent(pid: int) -> int:
    """Return a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def processes(sign: str) -> list[int]:
    """Return the processes in whose environment or command line a text is."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and any(sign.encode() in (folder / name).read_bytes() for name in _TELLING):
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


_TELLING: Final = ("environ", "cmdline")


@contextmanager
def on_own_stack(folder: Path, random: Random, environ: dict[str, str], tree: str | None) -> Iterator[Disturbed]:
    """Have a stack of its own, and a run that the block begins; after it the run ends well, and nothing is left.

    `tree` is what an undisturbed run ends with, if known.
    """
    chosen = {"DREAMDOCK_LEASE_SECONDS": str(LEASE_S), "DREAMDOCK_WARM": str(random.randint(0, 1)), **environ}
    with own_stack(chosen) as stack, closing(Disturbed(stack, folder, random)) as run:
        yield run
        run.ends()
        run.check(tree)
    assert not processes(str(stack.settings.state_dir)), "processes are left"
