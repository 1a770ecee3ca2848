"""What `show --memory` and `show --context` say, of values and of a real journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator import events as e
from orchestrator.agent.context import Projection
from orchestrator.api import Door
from orchestrator.cli import inside, layout
from orchestrator.dialogue import Part, Reply, ToolCall, ToolResult, Usage
from orchestrator.errors import JournalError, UsageError
from orchestrator.journal.writer import Writer, create
from orchestrator.notes import Note, NoteKind, Rules, Said, Window, WorkingMemory
from orchestrator.reading import Inside
from orchestrator.runs import RunSpec, new_run_id
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

HOSTILE = "\x1b[2J\u202e"


def noted(step: int, **arguments: str) -> list[e.Body]:
    call = ToolCall(id=f"c{step}", name="note", arguments=arguments)
    return [
        e.Replied(step=step, reply=Reply(calls=(call,), usage=Usage(input_tokens=900, output_tokens=20))),
        e.CallStarted(step=step, call=call),
        e.CallFinished(step=step, result=ToolResult(call_id=call.id, name="note", content="noted")),
        e.Checkpointed(step=step, commit="c", tree="t"),
    ]


def begun(spec: RunSpec) -> list[e.Body]:
    bodies: list[e.Body] = [
        e.Submitted(spec=spec),
        e.Dispatched(attempt=1),
        e.Claimed(attempt=1, fence=0, worker="w", host="h"),
        e.SandboxReady(image="i", image_id="i", container="c", tree="t", policy={}),
        e.Prompted(system="You work.", text=spec.task),
        *noted(1, kind="task", text="find the bug", state="in_progress"),
        *noted(2, kind="task", text=f"read calc.py {HOSTILE}", under="t1"),
        *noted(3, kind="decision", text="mend double itself", why="its callers are right"),
        e.Steered(text="never touch\nthe callers"),
        e.Prompted(text="A person says: never touch the callers", heard=22),
        *noted(4, kind="fact", text="the token is 4711"),
    ]
    return bodies


def test_the_memory_is_told_by_section_with_ids_and_steps(client: Redis, spec: RunSpec, tmp_path: Path) -> None:
    run_id = new_run_id()
    first, second, *rest = begun(spec)
    create(client, run_id, "ann", [first, second])
    Writer(client, run_id, who="w").append(*rest)
    door = Door(client, Settings(state_dir=tmp_path))
    seen = door.inside(run_id)
    told = [f"{line.label}|{line.text.plain}" for line in inside.memory(seen.context.memory)]
    assert told[0] == f"goal|{spec.task}"
    assert "people|after step 3: never touch" in told
    assert "|the callers" in told
    assert any(row.startswith("plan|[~] t1 (step 1) find the bug") for row in told)
    assert any(row.startswith("|  [ ] t2 (step 2") and "read calc.py" in row for row in told)
    assert any("mend double itself; why: its callers are right" in row for row in told)
    assert any(row.startswith("facts|f1 (step 4) the token is 4711") for row in told)
    assert not any(sign in row for row in told for sign in "\x1b\u202e")
    assert (seen.rebuilt, seen.condensed, door.prompt_limit(run_id, {})) == ([], [], 0)


def test_events_that_do_not_fit_together_are_damage(client: Redis, spec: RunSpec, tmp_path: Path) -> None:
    run_id = new_run_id()
    first, second, *rest = begun(spec)
    create(client, run_id, "ann", [first, second])
    Writer(client, run_id, who="w").append(*rest[:4], *(body for body in rest[4:7] if body.type == "checkpointed"))
    with pytest.raises(JournalError, match="isn't as it was written"):
        Door(client, Settings(state_dir=tmp_path)).inside(run_id)


def test_the_context_is_told_by_part_and_what_each_rebuild_dropped(spec: RunSpec) -> None:
    events = [e.Event(seq=n, at="2026-11-03T04:05:06Z", who="w", body=body) for n, body in enumerate(begun(spec), 1)]  # type: ignore[arg-type]  # pydantic reads the time.
    context = Projection().follow(events)
    whole = Inside(context, [], [])
    told = [row.plain for row in inside.context(whole, 24_576)]
    assert told[0].startswith("about ")
    assert told[0].endswith("of 24.6k tokens in the window at step 4")
    assert [row.split()[0] for row in told[3:5]] == ["system", "tools"]
    assert "the context was never built anew: all that was said is in it" in told

    given = e.Recalled(step=0, query="q", why="start", entries=(), text="known " * 400)
    told_of = [
        events[0],
        *(events[0].model_copy(update={"body": body}) for body in (given, e.Prompted(text=given.text))),
    ]
    names = [(part.name, part.tokens) for part in Projection().follow(told_of).parts]
    assert [name for name, _ in names] == ["system", "tools", "task", "recalled"]
    assert names[3][1] > 300 > names[2][1] >= 0

    parts = (Part(name="task", tokens=2_000), Part(name=HOSTILE, tokens=9_000))
    full = e.Rebuilt(step=41, why="full", window=Window(), parts=parts, before=24_600, dropped=(1, 30), summed_up=36)
    paid = Reply(text="## Done", cost_usd=0.25)
    condensed = [
        e.Condensed(step=36, summary="## Done", reply=paid),
        e.Condensed(step=44, failure=f"HTTP 500 {HOSTILE}"),
    ]
    events += [e.Event(seq=99, at="2026-11-03T04:05:06Z", who="w", body=condensed[0])]  # type: ignore[arg-type]  # As above.
    summed_up = Projection().follow(events)
    told = [row.plain for row in inside.context(Inside(summed_up, [full], condensed), 0)]
    assert told[0].endswith("tokens in the window at step 4")
    row = next(row for row in told if row.split()[:1] == ["41"])
    assert row.split() == ["41", "steps", "1", "to", "30", "36", "24.6k", "11.0k", "0", "ms", "full"]
    assert "condensed 1 time, the latest one up to step 36 · $0.2500" in told
    told += [row.plain for row in inside.failures(Inside(summed_up, [full], condensed))]
    assert told[-1].startswith("no summary 1 time, at last because: HTTP 500")
    assert not any(sign in row for row in told for sign in "\x1b\u202e")
    undone = [row.plain for row in inside.context(Inside(context, [full], condensed), 0)]
    assert "condensed 1 time · $0.2500" in undone, "what a rewind took away isn't the latest"
    fields = inside.fields(Inside(context, [full], condensed), 0)
    assert fields["rebuilt"][0]["dropped"] == [1, 30]
    assert fields["condensed"][1] == {
        "step": 44,
        "failure": f"HTTP 500 {HOSTILE}",
        "tokens": 0,
        "seconds": 0.0,
        "cost_usd": None,
        "summary": "",
    }


def test_each_label_leaves_a_gap_before_its_text() -> None:
    notes = tuple(
        Note(id=f"n{number}", kind=kind, text="x", step=1, state="open") for number, kind in enumerate(NoteKind)
    )
    commands = (Note(id="x1", kind=NoteKind.FACT, text="make", step=1, by="harness"),)
    rules, said = (Rules(path="web/AGENTS.md", text="Use tabs.", step=1),), (Said(step=1, text="hurry"),)
    kept = WorkingMemory(goal="mend it", said=said, rules=rules, notes=notes + commands)
    labels = [line.label for line in inside.memory(kept) if line.label]
    assert len(labels) == len(NoteKind) + len(("goal", "people", "rules", "last commands"))
    assert max(map(len, labels)) < layout.LABEL


def test_the_limit_is_the_one_that_a_server_taught(client: Redis, spec: RunSpec, tmp_path: Path) -> None:
    own = spec.model_copy(update={"model": "openai-compatible/m", "base_url": "http://127.0.0.1:1/v1"})
    create(client, run_id := new_run_id(), "ann", [e.Submitted(spec=own)])
    door = Door(client, Settings(state_dir=tmp_path))
    assert door.prompt_limit(run_id, {}) == 98_304
    assert door.prompt_limit(run_id, {"openai-compatible/m": 15_000, "another": 9_000}) == 15_000


def test_a_message_that_its_model_could_not_keep_in_view_is_refused(
    client: Redis, spec: RunSpec, tmp_path: Path
) -> None:
    small = {"small": {"wire": "chat", "base_url": "http://127.0.0.1:9/v1", "models": {"m": {"window": 16_384}}}}
    door, run_id = Door(client, Settings(state_dir=tmp_path, families=small)), new_run_id()
    create(
        client, run_id, "ann", [e.Submitted(spec=spec.model_copy(update={"model": "small/m"})), e.Dispatched(attempt=1)]
    )
    said = "leave the parser alone. "
    assert door.prompt_limit(run_id, {}) == 12_288
    for say in (door.steer, lambda run, text: door.rewind(run, 0, message=text)):
        with pytest.raises(UsageError, match="the message is too long") as refused:
            say(run_id, said * 2_000)
        assert "the run's model takes 12,288" in refused.value.cause
    assert door.steer(run_id, said * 100).steered
    assert [event.body.type for event in door.events(run_id)] == ["submitted", "dispatched", "steered"]
