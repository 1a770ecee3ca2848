"""Runs for a team, whose result tells whether a step was lost, or done twice."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.demo import bundled, make
from orchestrator.requests import RunRequest
from orchestrator.runs import Outcome, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from orchestrator.api import Door
    from orchestrator.runs import RunView

LONGEST_S: Final = 90.0


class Commit(NamedTuple):
    """A step that was committed: when, in seconds since the epoch, and as what."""

    at: float
    step: int
    id: str


class Work:
    """Runs of one repository, each of so many steps that take so long."""

    def __init__(self, door: Door, folder: Path, *, steps: int = 8, seconds: float = 0.5) -> None:
        self._door = door
        self.steps = steps
        folder.mkdir(parents=True, exist_ok=True)
        repo = make(bundled("ledger"), folder).request.repo
        script = folder / "script.jsonl"
        calls: list[dict[str, Any]] = [
            {"name": "bash", "arguments": {"command": command}} for command in _commands(steps, seconds)
        ]
        calls.append({"name": "submit", "arguments": {"summary": "done"}})
        script.write_text("".join(json.dumps({"calls": [call]}) + "\n" for call in calls))
        accept = f"test $(wc -l < chain.txt) -eq {steps}"
        request = RunRequest(task="count", repo=repo, model=f"scripted/{script}", accept=accept)
        self.spec = door.resolve(request)
        self._tree = ""

    def submit(self, count: int = 1) -> list[str]:
        """Queue runs, from the laptop, and return their ids."""
        return [self._door.submit(self.spec).id for _ in range(count)]

    def view(self, run_id: str) -> RunView:
        """Return how a run is."""
        return self._door.show(run_id).view

    def host_of(self, run_id: str) -> str:
        """Return the name of the host that claimed a run last; empty where none has."""
        return (self.hosts_of(run_id) or [""])[-1]

    def hosts_of(self, run_id: str) -> list[str]:
        """Return the names of the hosts that claimed a run, in order."""
        return [event.body.host for event in self._door.events(run_id) if event.body.type == "claimed"]

    def commits(self, run_id: str) -> list[Commit]:
        """Return when a run committed which steps, by Redis's clock, in order."""
        events = self._door.events(run_id)
        return [
            Commit(event.at.timestamp(), event.body.step, event.body.commit)
            for event in events
            if event.body.type == "checkpointed"
        ]

    def reach(self, run_id: str, step: int) -> None:
        """Wait until a run has committed a step, and isn't over."""
        until(lambda: self.view(run_id).step >= step)
        if self.view(run_id).state is State.DONE:
            raise RuntimeError(f"{run_id} was quicker: {self.told(run_id)}")

    def end(self, run_ids: Iterable[str], *, longest_s: float = LONGEST_S) -> None:
        """Wait until runs are over, or nobody carries them on."""
        for run_id in run_ids:
            until(lambda: self.is_over(run_id), longest_s=longest_s, told=lambda: self.told(run_id))  # noqa: B023  # Called at once.

    def faults(self, run_id: str) -> list[str]:
        """Return what isn't as if nothing had happened to a run; nothing where all is well.

        Steps that a lost host hadn't pushed yet are done again, and counted by `lost`.
        """
        view, kept = self.view(run_id), list[int]()
        for event in self._door.events(run_id):
            if event.body.type == "rewound":
                kept = [step for step in kept if step <= event.body.to]
            elif event.body.type == "checkpointed":
                kept.append(event.body.step)
        found = []
        if view.outcome is not Outcome.SUCCEEDED or not all(verdict.passed for verdict in view.verdicts):
            found.append(f"it ended as {self.told(run_id)}")
        if len(kept) != self.steps + 1 or kept != sorted(set(kept)):
            found.append(f"its steps are {kept}")
        if not (checked := self._door.audit(run_id).check).ok:
            found.append(f"its journal: {checked.why}")
        self._tree = self._tree or view.tree
        if view.tree != self._tree:
            found.append("its tree isn't the others'")
        return [f"{run_id}: {fault}" for fault in found]

    def lost(self, run_id: str) -> int:
        """Return how often a run went back because the remote lacked a step, or another attempt took it from a host."""
        bodies = [event.body for event in self._door.events(run_id)]
        return sum(body.type == "rewound" or (body.type == "attempt_lost" and body.to_blame) for body in bodies)

    def succeeded(self, run_id: str) -> bool:
        """Whether a run ended well."""
        return self.view(run_id).outcome is Outcome.SUCCEEDED

    def all_faults(self, run_ids: Iterable[str]) -> list[str]:
        """Return what isn't as if nothing had happened to any of several runs."""
        return [fault for run_id in run_ids for fault in self.faults(run_id)]

    def is_over(self, run_id: str) -> bool:
        """Whether a run is over, or nobody carries it on."""
        return self.view(run_id).state in {State.DONE, State.WAITING}

    def told(self, run_id: str) -> str:
        """Return what is known of a run, for a failure's message."""
        view = self.view(run_id)
        where = f"attempt {view.attempt}, step {view.step}, hosts {self.hosts_of(run_id)}"
        return f"{view.label} ({view.reason}), {where}, {view.doing}"


def until(true: Callable[[], Any], *, longest_s: float = LONGEST_S, told: Callable[[], str] = lambda: "") -> Any:
    """Wait until something is true, and return it. Raises TimeoutError."""
    deadline = time.monotonic() + longest_s
    while not (found := true()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"it didn't come true within {longest_s:.0f} s {told()}")
        time.sleep(0.02)
    return found


def _commands(steps: int, seconds: float) -> list[str]:
    """Return commands of which each builds on all before it: the files, and what the shell remembers."""
    chain = "/workspace/chain.txt"
    line = f'COUNT=$((COUNT + 1)); export COUNT; echo "$COUNT $PWD $(cat {chain} | sha256sum)" >> {chain}'
    here = "/workspace/d$COUNT"
    more = f"mkdir -p {here}; touch {here}/f; rm -rf /workspace/d$((COUNT - 2)); cd {here}"
    return [f"touch {chain}; sleep {seconds}; {line}; {more}"] * steps
