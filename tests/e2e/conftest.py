"""A whole stack of its own: supervisor, Redis, workers and keeper as real processes, in folders of the test session."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kit import SECRET, Stack

from orchestrator import api, settings
from orchestrator.demo import bundled, make
from orchestrator.stack.report import PlainReporter
from orchestrator.stack.up import ensure_up, take_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Yield a running stack with one worker; nothing of it is left afterwards."""
    root = Path(tempfile.mkdtemp(prefix="dde-"))
    own = {
        "DREAMDOCK_STATE_DIR": str(root / "state"),
        "DREAMDOCK_RUNTIME_DIR": str(root / "run"),
        "DREAMDOCK_WORKERS": "1",
        "XDG_CONFIG_HOME": str(root / "config"),
        "MIMO_API_KEY": SECRET,
    }
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DREAMDOCK_")}
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(kept | own)
    try:
        loaded = settings.load()
        ensure_up(loaded, PlainReporter())
        door = api.connect(loaded)
        yield Stack(loaded, kept | own, door)
        door.close()
        take_down(loaded)
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(root) in line]
    shutil.rmtree(root)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Return a fresh repository with a bug: our own demo project."""
    return Path(make(bundled("ledger"), tmp_path).request.repo)


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a script: each argument is a bash command, or a call as (name, arguments)."""

    def write(*calls: str | tuple[str, dict[str, Any]]) -> Path:
        named = [("bash", {"command": call}) if isinstance(call, str) else call for call in calls]
        lines = [{"text": "next", "calls": [{"name": name, "arguments": given}]} for name, given in named]
        path = tmp_path / "script.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Return a function that waits until something is true, for at most 40 seconds, and returns it."""

    def wait(true: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 40
        while not (found := true()):
            assert time.monotonic() < deadline, "it didn't come true within 40 s"
            time.sleep(0.05)
        return found

    return wait
