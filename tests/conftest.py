"""What the tests share: a real Redis of their own, and settings that point nowhere else."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis_server import RedisServer

from orchestrator import events as e
from orchestrator.dialogue import Reply, ToolCall, Usage
from orchestrator.journal.connection import connect
from orchestrator.journal.writer import create
from orchestrator.runs import RunSpec, new_run_id
from sandbox.spec import Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """Yield the address of a private Redis server, the one that DreamDock would embed."""
    folder = Path(tempfile.mkdtemp(prefix="ddr-"))
    with RedisServer(folder) as server:
        yield server.url
    shutil.rmtree(folder)


@pytest.fixture
def client(redis_server: str) -> Iterator[Redis]:
    """Yield a client of an empty Redis."""
    with connect(redis_server) as client:
        client.flushall()
        yield client


@pytest.fixture
def spec() -> RunSpec:
    """Return a small run's specification; its repository doesn't exist."""
    repo = Base(project="p" * 12, commit="c" * 40, tree="t" * 40, name="small", source="/nowhere")
    return RunSpec(task="mend it", repo=repo, model="scripted", image="none")


@pytest.fixture
def reply() -> Reply:
    """Return a reply with one call and a known price."""
    call = ToolCall(id="c1", name="bash", arguments={"command": "pytest -q\nmore"})
    return Reply(text="look", calls=(call,), usage=Usage(input_tokens=100, output_tokens=10), cost_usd=0.25)


@pytest.fixture
def run_id(client: Redis, spec: RunSpec) -> str:
    """Return the id of a queued run."""
    run_id = new_run_id()
    create(client, run_id, "ann", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
    return run_id
