"""Fixtures of whatever runs real runs: a repository with a bug, scripts, and patience. Conftests import them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.demo import bundled, make

if TYPE_CHECKING:
    from collections.abc import Callable


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
