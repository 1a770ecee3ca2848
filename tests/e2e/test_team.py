"""A run with sub-agents through the whole product: queued, worked on side by side, merged, proven, told, audited."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kit import MEND, SUBMIT
from teams import delegate, lines, write

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


def test_a_bug_is_found_by_one_and_mended_by_another(stack: Stack, repo: Path, tmp_path: Path) -> None:
    path = tmp_path / "team.jsonl"
    look = ("bash", {"command": "grep -n share ledger/split.py"})
    mend = [[MEND], [SUBMIT]]
    scout = [[look], [("submit", {"summary": "the remainder is lost in ledger/split.py"})]]
    both = delegate(scout="explore", mender="task", notes="task")
    path.write_text(lines([[both], [SUBMIT]], scout=scout, mender=mend, notes=[[write("NOTES", "x\n")], [SUBMIT]]))
    done = stack("run", "mend it", "--repo", str(repo), "--model", f"scripted/{path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "scout │ step 1/50: $ grep -n share ledger/split.py" in done.stdout
    assert "mender │ merged" in done.stdout
    run_id = stack.json("ps", "-a", "-n", "1")["runs"][0]["id"]
    children = stack.json("show", run_id)["run"]["children"]
    assert [(one["name"], one["outcome"], one["merged"]) for one in children] == [
        ("scout", "submitted", None),
        ("mender", "submitted", True),
        ("notes", "submitted", True),
    ]
    assert "mender (task, step 1) submitted, merged · 1 file" in stack("show", run_id).stdout
    diff = stack("diff", run_id).stdout
    assert ("ledger/split.py" in diff, "NOTES" in diff) == (True, True)
    audited = stack("audit", run_id, "--verify")
    assert audited.returncode == 0, audited.stdout
    assert "scout: $ grep -n share ledger/split.py" in audited.stdout
    assert "mender: edit ledger/split.py" in audited.stdout
    assert {reply["agent"] for reply in stack.json("cost", run_id)["replies"]} == {"", "scout", "mender", "notes"}
    tape = tmp_path / "tape.jsonl"
    assert stack("export", run_id, "-o", str(tape)).returncode == 0
    again = stack("run", "mend it", "--repo", str(repo), "--model", f"scripted/{tape}")
    assert again.returncode == 0, again.stdout + again.stderr
