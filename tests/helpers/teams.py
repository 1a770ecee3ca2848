"""An agent with sub-agents: real sandboxes side by side on one store, a real journal, and a script with their lines."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator import events as e
from orchestrator.agent.around import Around
from orchestrator.agent.loop import Agent
from orchestrator.models import open_script
from orchestrator.stop import Stop
from sandbox.images import base_image
from sandbox.open import Sandbox, open_sandbox
from sandbox.spec import SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.agent.ending import Ending
    from orchestrator.dialogue import ToolResult
    from orchestrator.journal.writer import Writer
    from orchestrator.library.lookup import Lookup
    from orchestrator.models.port import Model
    from sandbox.spec import Base
    from sandbox.store import Store

Calls = list[tuple[str, dict[str, Any]]]


class Seat:
    """A worker's place: its store and its sandboxes; `forks` are the trees that were opened for sub-agents."""

    def __init__(self, store: Store, base: Base, root: Path, run_id: str) -> None:
        self.store = store
        self.base = base
        self.root = root
        self.run_id = run_id
        self.forks: list[str] = []
        self.lost = False  # As on another host, where nothing of the run's steps is.
        self.stop = Stop()
        self.library: Lookup | None = None

    @contextmanager
    def box(self, tree: str = "", shell: str = "") -> Iterator[Sandbox]:
        spec = SandboxSpec(image=base_image(), labels={"test": "team"})
        at = {"tree": tree or self.base.tree, "shell": shell, "run_id": self.run_id}
        with open_sandbox(spec, self.store, self.base, self.root, **at) as box:
            forget = self.stop.on_set(box.kill)
            try:
                yield box
            finally:
                forget()

    @contextmanager
    def fork(self, tree: str, shell: str = "", /) -> Iterator[Sandbox]:
        self.forks.append(tree)
        with self.box(tree, shell) as box:
            yield box

    def work(self, journal: Writer, text: str) -> Ending:
        """Have the run's agent work by a script, from where the journal is."""

        def models(name: str, /, *, agent: str = "") -> Model:
            return open_script(name, text, agent=agent)

        around = Around(models=models, fork=self.fork, has=self.has, library=self.library)
        with self.box(journal.view.tree, journal.view.shell) as box:
            model, spec = open_script("scripted", text), journal.view.spec
            return Agent(model, box, journal, spec, self.stop, around=around).run()

    def has(self, commit: str) -> bool:
        return not self.lost and bool(self.store.leads_to(self.base.project, self.run_id, [commit]))

    def read(self, journal: Writer, path: str) -> bytes | None:
        return self.store.read_file(self.base.project, journal.view.tree, path)


def lines(main: list[Calls], /, **agents: list[Calls]) -> str:
    """Return a script: the replies of the run's own agent, and of sub-agents by their names."""
    told = [("", calls) for calls in main]
    told += [(name, calls) for name, replies in agents.items() for calls in replies]
    return "\n".join(
        json.dumps({"agent": agent, "calls": [{"name": name, "arguments": given} for name, given in calls]})
        for agent, calls in told
    )


def delegate(**kinds: str) -> tuple[str, dict[str, Any]]:
    """Return a call that gives each name a task of that kind."""
    tasks = [{"kind": kind, "task": f"See to {name}.", "name": name} for name, kind in kinds.items()]
    return ("delegate", {"tasks": tasks})


def write(path: str, content: str) -> tuple[str, dict[str, Any]]:
    return ("write", {"path": path, "content": content})


def results(journal: Writer, name: str = "delegate") -> list[ToolResult]:
    """Return the results of the run's own calls of that tool."""
    ended = [event.body.result for event in journal.events if isinstance(event.body, e.CallFinished)]
    return [result for result in ended if result.name == name]


def of(journal: Writer, child: str) -> list[e.Deed]:
    """Return what a sub-agent of the run wrote."""
    return [
        event.body.body for event in journal.events if isinstance(event.body, e.Within) and event.body.child == child
    ]
