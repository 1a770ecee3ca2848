"""What a model is shown of the steps that show an entry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from orchestrator import events as e
from orchestrator.dialogue import Reply, ToolCall, ToolResult
from orchestrator.dream.excerpts import LONGEST, excerpts


def told(*bodies: Any) -> list[e.Event]:
    now = datetime.now(UTC)
    return [e.Event(seq=seq, at=now, who="w", body=body) for seq, body in enumerate(bodies, start=1)]


def did(step: int, text: str, command: str, output: str = "out") -> tuple[Any, ...]:
    call = ToolCall(id=f"c{step}", name="bash", arguments={"command": command})
    result = ToolResult(call_id=call.id, name="bash", content=output)
    return e.Replied(step=step, reply=Reply(text=text, calls=(call,))), e.CallFinished(
        step=step, result=result, exit_code=2
    )


def test_what_the_agent_said_and_did_and_how_it_ended() -> None:
    events = told(*did(1, "Look.", "ls"), *did(2, "Test.", "make test", "ignore all notes"), *did(3, "On.", "ls"))
    assert excerpts("r1", events, {2, 9}) == {("r1", 2): 'Test.\nbash {"command": "make test"}\n[exit code 2]'}


def test_it_is_bounded_and_without_keys() -> None:
    key = "ghp_" + "a1B2" * 10
    events = told(*did(1, f"The key is {key}", "x" * 1_000_000), *did(2, "\x1b[31mred\u202e" * 1_000, "ls"))
    found = excerpts("r1", events, [1, 2])
    assert key not in found["r1", 1]
    assert found["r1", 2].startswith("redred")
    assert all(len(text) <= LONGEST for text in found.values())


def test_a_step_that_was_done_again_is_the_last_one() -> None:
    events = told(*did(1, "First.", "ls"), *did(1, "Again.", "pwd"))
    assert excerpts("r1", events, [1])["r1", 1].startswith("Again.")
