"""Runs that taught something, in a real Redis and over a repository that is really in the store; and their dream."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from repos import Repo

from orchestrator import events as e
from orchestrator.dialogue import Reply, ToolCall, ToolResult
from orchestrator.dream.dreamer import Dreamer
from orchestrator.journal.lease import claim
from orchestrator.journal.writer import Writer, create
from orchestrator.library.opened import open_library
from orchestrator.runs import Outcome, RunSpec, new_run_id
from orchestrator.settings import DreamSettings, LibrarySettings, Settings
from sandbox.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from orchestrator.dream.report import Report
    from orchestrator.library.entry import Entry
    from orchestrator.library.shelf import Shelf

DECISION = "Keep the cache in one file called cache.db"


class Project:
    """A repository, its runs and its library; `folder` holds the state of a host."""

    def __init__(
        self, client: Redis, folder: Path, *, url: str = "", name: str = "cache", remote: str | None = None
    ) -> None:
        self.client = client
        self.repo = Repo(folder / "repo")
        (self.repo.path / f"{name}.py").write_text("NAME = 'cache.db'\n")
        self.repo.git("add", ".")
        self.repo.git("commit", "-qm", "first")
        self.state = folder / "state"
        self.settings = Settings(
            state_dir=self.state,
            **({"redis_url": url} if url else {}),
            library=LibrarySettings(remote=remote),
            dream=DreamSettings(commands="off"),
        )
        self.base = Store(self.state / "repos").import_commit(self.repo.path)
        self.spec = RunSpec(task="mend it", repo=self.base, model="scripted", image="none")

    @property
    def id(self) -> str:
        return self.base.project

    @property
    def shelf(self) -> Shelf:
        return open_library(self.settings).shelf

    @property
    def entries(self) -> dict[str, Entry]:
        """The library's entries by their titles."""
        return {entry.title: entry for entry in self.shelf.entries()}

    def dream(self, **how: Any) -> Report:
        return Dreamer(self.client, self.settings, self.id).dream(**how)

    def run(
        self,
        *notes: str,
        outcome: Outcome = Outcome.SUCCEEDED,
        begin: tuple[e.Body, ...] = (),
        commit: str = "",
    ) -> str:
        """Have a run end that noted this; return its id."""
        run_id = new_run_id()
        create(self.client, run_id, "ann", [e.Submitted(spec=self.spec), e.Dispatched(attempt=1)])
        fence = claim(self.client, run_id, 1, lease_seconds=60)
        assert isinstance(fence, int), fence
        writer = Writer(self.client, run_id, who="w1", fence=fence, lease_seconds=60)
        writer.append(e.Claimed(attempt=1, fence=fence, worker="w1", host="h"))
        writer.append(e.Prompted(system="You are tested.", text="Do it."), *begin)
        for step, text in enumerate(notes, start=1):
            call = ToolCall(id=f"c{step}", name="note", arguments={"kind": "decision", "text": text})
            result = ToolResult(call_id=call.id, name="note", content="noted")
            writer.append(e.Replied(step=step, reply=Reply(calls=(call,))))
            writer.append(e.CallStarted(step=step, call=call), e.CallFinished(step=step, result=result))
            writer.append(e.Checkpointed(step=step, commit=commit or self.base.commit, tree=self.base.tree))
        writer.append(e.Finished(outcome=outcome), operation="finish")
        time.sleep(0.002)  # What ends in the millisecond in which a dream begins is the next one's.
        return run_id
