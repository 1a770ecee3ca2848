"""What `show --diagnostics` says of a journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator import events as e
from orchestrator.api import Door
from orchestrator.cli import stories as told
from orchestrator.diagnosed import stories
from orchestrator.diagnostic import LARGEST_READ, MOST_KEPT, Diagnostic, Severity
from orchestrator.diagnostics.story import State
from orchestrator.dialogue import ToolCall, ToolResult
from orchestrator.journal.writer import Writer, create
from orchestrator.runs import RunSpec, new_run_id
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

HOSTILE = "\x1b[2J\u202e"


def error(line: int = 3, message: str = "bad", **more: object) -> Diagnostic:
    return Diagnostic(file="a.c", line=line, message=message, **more)  # type: ignore[arg-type]  # Fields by name.


def ran(step: int, *found: Diagnostic, command: str = "make", **ended: object) -> list[e.Body]:
    call = ToolCall(id=f"c{step}", name="bash", arguments={"command": command})
    result = ToolResult(call_id=call.id, name="bash", content="")
    how = {"exit_code": 2 if found else 0, **ended}
    return [
        e.CallStarted(step=step, call=call),
        e.CallFinished(step=step, result=result, diagnostics=found, **how),  # type: ignore[arg-type]  # As above.
    ]


def committed(step: int) -> e.Body:
    return e.Checkpointed(step=step, commit="c", tree="t")


def journal(*bodies: e.Body) -> list[e.Event]:
    return [e.Event(seq=n, at="2026-11-03T04:05:06Z", who="w", body=body) for n, body in enumerate(bodies, 1)]  # type: ignore[arg-type]  # pydantic reads the time.


def test_each_error_is_told_with_its_steps() -> None:
    events = journal(
        *(*ran(1, error(3), error(9, "worse")), committed(1), *ran(2, error(4)), committed(2)),
        *(*ran(3, error(5)), committed(3), *ran(4), committed(4), *ran(5, error(6)), committed(5)),
    )
    found = stories(events)
    assert [(line.label, line.text.plain) for line in told.lines(found)] == [
        ("", "2 errors, 1 still there"),
        ("✗", "a.c:6: bad"),
        ("", "step 1 new · step 3 still there · step 4 fixed · step 5 back again"),
        ("✓", "a.c:9: worse"),
        ("", "step 1 new · step 2 fixed"),
    ]
    first, _ = told.fields(found)
    assert (first["open"], first["commands"], first["steps"][0]) == (True, ["make"], {"step": 1, "state": "new"})


def test_steps_that_were_never_committed_say_nothing() -> None:
    claimed = e.Claimed(attempt=2, fence=1, worker="w", host="h")
    lost = [*ran(1, error(3, "lost")), claimed]
    assert stories(journal(*lost, *ran(1), committed(1))) == ()
    assert [line.text.plain for line in told.lines(())] == ["no command that was read named a place in the code"]


def warning(line: int = 3) -> Diagnostic:
    return error(line, "unused", severity=Severity.WARNING)


def test_a_warning_comes_stays_and_is_fixed() -> None:
    events = journal(
        *(*ran(1, warning(), exit_code=0), committed(1), *ran(2, warning(4), error(), exit_code=2), committed(2)),
        *(*ran(3, warning(5), exit_code=0), committed(3), *ran(4), committed(4)),
    )
    assert [(line.label, line.text.plain) for line in told.lines(stories(events))] == [
        ("", "1 error, 0 still there · 1 warning, 0 still there"),
        ("✓", "a.c:5: warning: unused"),
        ("", "step 1 new · step 3 still there · step 4 fixed"),
        ("✓", "a.c:3: bad"),
        ("", "step 2 new · step 3 fixed"),
    ]


def test_a_command_whose_warnings_are_not_read_when_it_ends_well_fixes_none() -> None:
    events = journal(*ran(1, warning(), error(), command="./check"), *ran(2, command="./check"), committed(2))
    assert [story.open for story in stories(events)] == [True, False]
    long = journal(*ran(1, warning()), *ran(2, total_bytes=LARGEST_READ + 1), committed(2))
    assert stories(long)[0].open


def test_the_end_of_an_output_fixes_nothing_that_it_may_have_left_out() -> None:
    command = "make 2>&1 | tail -3"
    shown = ran(1, error(), error(9, "worse"), command=command, exit_code=0)
    other = ran(2, error(9, "worse"), command=command, exit_code=0)
    assert [story.open for story in stories(journal(*shown, *other, committed(2)))] == [True, True]
    assert not any(story.open for story in stories(journal(*shown, *other, *ran(3, command=command), committed(3))))


def test_a_command_that_was_ended_or_said_too_much_fixes_nothing() -> None:
    many = [error(n, f"kind {chr(97 + n % 26)}{chr(97 + n // 26)}") for n in range(MOST_KEPT)]
    killed = ran(2, exit_code=None, signal=9)
    late = ran(3, exit_code=None, signal=15, timed_out=True)
    found = stories(journal(*ran(1, error()), *killed, *late, *ran(4, *many), committed(4)))
    assert found[0].open


def test_what_a_tool_printed_cannot_write_to_the_terminal() -> None:
    found = stories(journal(*ran(1, Diagnostic(file=HOSTILE, line=3, message=HOSTILE)), committed(1)))
    assert not any(sign in line.text.plain for line in told.lines(found) for sign in "\x1b\u202e")


def test_the_door_tells_the_stories_of_a_run(client: Redis, spec: RunSpec, tmp_path: Path) -> None:
    run_id = new_run_id()
    create(client, run_id, "ann", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
    Writer(client, run_id, who="w").append(
        e.Claimed(attempt=1, fence=0, worker="w", host="h"), *ran(1, error()), committed(1), *ran(2), committed(2)
    )
    (story,) = Door(client, Settings(state_dir=tmp_path)).stories(run_id)
    assert [(moment.step, moment.state) for moment in story.moments] == [(1, State.NEW), (2, State.FIXED)]
