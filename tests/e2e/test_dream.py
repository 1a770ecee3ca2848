"""What two real runs learned becomes the library's, in one commit that can be looked at and taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kit import MEND, SUBMIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]
DECISION = "Cents are split by the largest remainder"


def test_two_runs_a_dream_and_back(stack: Stack, own_repo: Path, script: Callable[..., Path]) -> None:
    note = ("note", {"kind": "decision", "text": DECISION, "why": "nobody may lose a cent"})
    path = script(note, MEND, "python3 -m unittest -q", SUBMIT)
    for _ in range(2):
        done = stack("run", "mend it", "--repo", str(own_repo), "--model", f"scripted/{path}")
        assert done.returncode == 0, done.stdout + done.stderr
    dry = stack.json("dream", "--dry-run", cwd=own_repo)
    assert (dry["runs"], dry["commit"]) == (2, None)
    done = stack("dream", cwd=own_repo)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 runs ended: " in done.stdout
    assert "next: dreamdock dream show" in done.stderr
    [dream] = stack.json("dream", "log", cwd=own_repo)["dreams"]
    assert (dream["runs"], dream["reverted"]) == (2, None)
    shown = stack.json("dream", "show", dream["name"], cwd=own_repo)
    entries = {page["after"]["title"]: page["after"] for page in shown["pages"] if page["after"]}
    assert len({one["run"] for one in entries[DECISION]["evidence"]}) == 2
    passes = next(one for one in entries.values() if one["command"] == "python3 -m unittest -q")
    assert passes["status"] in {"active", "stale"}, "it was tried in a sealed container, at the repository's head"
    again = stack("dream", cwd=own_repo)
    assert again.stdout.startswith("· 0 runs ended since"), again.stdout + again.stderr
    back = stack("dream", "revert", cwd=own_repo)
    assert back.returncode == 0, back.stdout + back.stderr
    assert stack.json("dream", "log", cwd=own_repo)["dreams"][0]["reverted"]
    assert not stack.json("memory", "list", "--scope", "repo", cwd=own_repo)["entries"]
