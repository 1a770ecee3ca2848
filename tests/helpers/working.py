"""An agent at work: a real sandbox on a small repository, a real journal, and scripted replies."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator import events as e
from orchestrator.agent.loop import Agent
from orchestrator.journal.lease import claim
from orchestrator.journal.writer import Writer, create
from orchestrator.models import open_script
from orchestrator.runs import RunSpec, new_run_id
from orchestrator.stop import Stop
from sandbox.images import base_image
from sandbox.open import Sandbox, open_sandbox
from sandbox.spec import Base, SandboxSpec
from sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from redis import Redis

    from orchestrator.agent.ending import Ending
    from orchestrator.dialogue import ToolResult

    Opened = Callable[..., AbstractContextManager[Sandbox]]

BUG = "def double(number):\n    return number + number + 1\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Base]:
    repo = tmp_path_factory.mktemp("repo")
    (repo / "calc.py").write_text(BUG)
    (repo / "crlf.txt").write_bytes(b"one\r\ntwo\r\n")
    (repo / "blob.bin").write_bytes(b"\0\1\2" * 100)
    (repo / "latin.txt").write_bytes(b"caf\xe9 one\n")
    (repo / "empty").touch()
    (repo / "AGENTS.md").write_text("Use tabs.\n")
    for argv in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "base"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *argv], cwd=repo, check=True)
    store = Store(tmp_path_factory.mktemp("store"))
    return store, store.import_commit(repo)


@pytest.fixture
def opened(base: tuple[Store, Base], tmp_path: Path) -> Opened:
    store, commit = base

    def opened(tree: str | None = None) -> AbstractContextManager[Sandbox]:
        spec = SandboxSpec(image=base_image(), labels={"test": "agent"})
        return open_sandbox(spec, store, commit, tmp_path / "workspaces", tree=tree)

    return opened


@pytest.fixture
def box(opened: Opened) -> Iterator[Sandbox]:
    with opened() as box:
        yield box


@pytest.fixture
def start(client: Redis, base: tuple[Store, Base]) -> Callable[..., Writer]:
    """Return a function that records and claims a run."""

    def start(**changes: Any) -> Writer:
        spec = RunSpec(task="Mend double.", repo=base[1], model="scripted", image="", **changes)
        run_id = new_run_id()
        create(client, run_id, "ann", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
        return attempt(client, run_id, 1)

    return start


def attempt(client: Redis, run_id: str, number: int) -> Writer:
    fence = claim(client, run_id, number, lease_seconds=0.2)
    assert isinstance(fence, int), fence
    journal = Writer(client, run_id, who=f"w{number}", fence=fence, lease_seconds=60)
    ready = e.SandboxReady(image="i", image_id="i", container="c", tree="t", policy={})
    journal.append(e.Claimed(attempt=number, fence=fence, worker="w", host="h"), ready)
    return journal


def script(*replies: list[tuple[str, dict[str, Any]]]) -> str:
    lines = ({"calls": [{"name": name, "arguments": arguments} for name, arguments in calls]} for calls in replies)
    return "\n".join(map(json.dumps, lines))


def bash(command: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return ("bash", {"command": command, **more})


def work(journal: Writer, box: Sandbox, text: str = "", *, stop: Stop | None = None) -> Ending:
    return Agent(open_script("scripted", text), box, journal, journal.view.spec, stop or Stop()).run()


def results(journal: Writer) -> list[ToolResult]:
    return [event.body.result for event in journal.events if isinstance(event.body, e.CallFinished)]


def kinds(journal: Writer) -> list[str]:
    return [event.body.type for event in journal.events[4:]]


SUBMIT = [("submit", {"summary": "done"})]


def lose(client: Redis, journal: Writer, number: int, *, to_blame: bool = True) -> Writer:
    """Let the attempt's lease run out, as after the death of its worker, and claim the run anew."""
    lost = e.AttemptLost(attempt=number, reason="killed", to_blame=to_blame)
    journal.append(lost, e.Dispatched(attempt=number + 1, reason="killed"), operation="requeue")
    return attempt(client, journal.view.id, number + 1)
