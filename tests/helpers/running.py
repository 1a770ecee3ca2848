"""Fixtures of whatever runs real runs: a repository with a bug, scripts, and patience. Conftests import them."""

from __future__ import annotations

import json
import subprocess
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
def own_repo(repo: Path, tmp_path: Path) -> Path:
    """Return such a repository as a project of its own: no other test's runs are its runs, nor its memory theirs."""
    return become_a_project(repo, tmp_path.name)


def become_a_project(repo: Path, name: str) -> Path:
    """Give a repository of one commit another one: another first commit is another project."""
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    root = ["git", "-C", str(repo), *identity, "commit", "--amend", "--quiet", "--message", name]
    subprocess.run(root, check=True)
    return repo


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
