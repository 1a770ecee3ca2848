"""Ten real bugs of real projects, repaired from scripts: each error, guard and verdict is in the journal."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from replays import NAMES, expected, prepared

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


@pytest.mark.parametrize("name", NAMES)
def test_a_real_bug_is_repaired_and_its_journal_tells_how(stack: Stack, tmp_path: Path, name: str) -> None:
    told, image = expected(name)
    if image:
        assert stack("images", "build", image).returncode == 0
    request, script, *_ = prepared(name, tmp_path)
    arguments = ["--repo", request.repo, "--accept", str(request.accept), "--model", f"scripted/{script}"]
    done = stack("run", request.task, *arguments, *(["--image", image] if image else []))
    assert done.returncode == 0, done.stdout + done.stderr
    run_id = stack.json("ps", "-a", "-n", "1")["runs"][0]["id"]

    run = stack.json("show", run_id)["run"]
    assert run["label"] == "succeeded"
    assert [verdict["exit_code"] for verdict in run["verdicts"]] == [0] * told.verdicts
    assert run["verdicts"][-1]["base_tests"] is (told.verdicts > 1)
    assert [f"{one['kind']} · {one['path']}" for one in run["weakened"]] == list(told.weakened)
    notes = stack.json("show", run_id, "--memory")["memory"]["notes"]
    assert Counter(note["state"] for note in notes if note["kind"] == "task") == told.plan

    events = [json.loads(line)["event"]["body"] for line in stack("logs", run_id, "--json").stdout.splitlines()]
    assert [event["kind"] for event in events if event["type"] == "guarded"] == list(told.guards)
    shown = [one for event in events if event["type"] == "call_finished" for one in event["diagnostics"]]
    stories = stack.json("show", run_id, "--diagnostics")["diagnostics"]
    for error in told.errors:
        here = [one for one in shown if place(one) == error.at and error.says in one["message"]]
        assert here, (error, [(place(one), one["message"]) for one in shown])
        assert not error.by or any(error.by == place(frame) for one in here for frame in one["frames"])
        assert error.story in {
            ", ".join(moment["state"] for moment in story["steps"]) for story in stories if error.says in story["message"]
        }
    assert not [story for story in stories if story["open"]]

    assert f"+{told.fix}" in stack("diff", run_id).stdout.splitlines()
    audit = stack("audit", run_id, "--verify")
    assert audit.returncode == 0, audit.stdout + audit.stderr


def place(one: dict[str, Any]) -> str:
    return f"{one['file']}:{one['line']}"
