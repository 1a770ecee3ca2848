"""Ten real bugs of real projects, repaired from scripts: every error, guard and verdict is in the journal."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from replays import NAMES, expected, prepared

from orchestrator.notes import NoteKind

if TYPE_CHECKING:
    from pathlib import Path

    from replays import Error

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


def place(one: dict[str, Any]) -> str:
    return f"{one['file']}:{one['line']}"


def assert_told(error: Error, shown: list[dict[str, Any]], stories: list[dict[str, Any]]) -> None:
    """Assert that a command's diagnostics have the error at its place, and that its story is as it was."""
    here = [one for one in shown if place(one) == error.at and error.says in one["message"]]
    assert here, f"{error} isn't in {[(place(one), one['message']) for one in shown]}"
    assert not error.by or error.by in {place(frame) for one in here for frame in one["frames"]}
    same = [story for story in stories if error.says in story["message"]]
    assert error.story in {", ".join(moment["state"] for moment in story["steps"]) for story in same}


@pytest.mark.parametrize("name", NAMES)
def test_a_real_bug_is_repaired_and_its_journal_tells_how(stack: Stack, tmp_path: Path, name: str) -> None:
    told, image = expected(name)
    if image:
        assert stack("images", "build", image).returncode == 0
    request, script, *_ = prepared(name, tmp_path)
    arguments = ["--repo", request.repo, "--accept", str(request.accept), "--model", f"scripted/{script}"]
    done = stack("run", request.task, *arguments, *(["--image", image] if image else []), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    run_id, events = lines[0]["run"], [line["event"]["body"] for line in lines if "event" in line]

    run = stack.json("show", run_id)["run"]
    assert run["label"] == "succeeded"
    assert [verdict["exit_code"] for verdict in run["verdicts"]] == [0] * told.verdicts
    assert run["verdicts"][-1]["base_tests"] is (told.verdicts > 1)
    assert [f"{one['kind']} · {one['path']}" for one in run["weakened"]] == list(told.weakened)
    notes = stack.door.inside(run_id).context.memory.notes
    assert Counter(note.state for note in notes if note.kind is NoteKind.TASK) == told.plan
    assert [event["kind"] for event in events if event["type"] == "guarded"] == list(told.guards)

    finished = [event for event in events if event["type"] == "call_finished"]
    calls = {event["call"]["id"]: event["call"]["name"] for event in events if event["type"] == "call_started"}
    not_taken = [
        event["result"]["call_id"] for event in finished if not event["result"]["ok"] and event["exit_code"] is None
    ]
    assert [calls[call_id] for call_id in not_taken] == list(told.not_taken)
    shown = [one for event in finished for one in event["diagnostics"]]
    stories = stack.json("show", run_id, "--diagnostics")["diagnostics"]
    failed = [event for event in events if event["type"] == "judged" and event["verdict"]["exit_code"]]
    assert len([event for event in events if event["type"] == "refused"]) == len(told.refused)
    assert all(at in {place(one) for event in failed for one in event["diagnostics"]} for at in told.refused)
    for error in told.errors:
        assert_told(error, shown, stories)
    assert not [story for story in stories if story["open"]]

    assert f"+{told.fix}" in stack.door.diff(run_id).decode().splitlines()
    audit = stack("audit", run_id, "--verify")
    assert audit.returncode == 0, audit.stdout + audit.stderr
