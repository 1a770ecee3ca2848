"""What the agent is shown and keeps: notes, what it did, rules, its past, and the places that errors name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from working import (
    SUBMIT,
    base,
    bash,
    box,
    lose,
    opened,
    results,
    script,
    start,
    work,
)

from orchestrator import events as e
from orchestrator.agent.ending import Kind
from orchestrator.agent.loop import Agent
from orchestrator.memory import seen
from orchestrator.memory.working import begin
from orchestrator.models import open_script
from orchestrator.stop import Stop

if TYPE_CHECKING:
    from redis import Redis
    from working import Opened

    from sandbox.open import Sandbox

__all__ = ["base", "box", "opened", "start"]
pytestmark = [pytest.mark.needs_redis, pytest.mark.needs_engine, pytest.mark.needs_root]


def test_notes_are_told_their_ids_and_wrong_ones_what_to_do(start: Any, box: Sandbox) -> None:
    journal = start()
    calls = [("note", {"kind": "fact", "text": "the port is 8431"}), ("note", {"kind": "idea", "text": "x"})]
    work(journal, box, script(calls, SUBMIT))
    noted, refused, _ = results(journal)
    assert (noted.ok, noted.content) == (True, "noted as f1")
    assert (refused.ok, "the kinds are constraint, task, decision" in refused.content) == (False, True)


def test_what_was_done_is_in_the_working_memory(start: Any, box: Sandbox) -> None:
    journal = start()
    check = bash("python3 -c 'import calc; assert calc.double(4) == 8'")
    edit = ("edit", {"path": "/workspace/calc.py", "old": " + 1\n", "new": "\n"})
    work(journal, box, script([check], [edit, check], [bash("sleep 77 &"), ("processes", {})], SUBMIT))
    memory, calls = begin("Mend double."), {}
    for event in journal.events:
        if isinstance(event.body, e.CallStarted):
            calls[event.body.call.id] = event.body.call
        elif isinstance(event.body, e.CallFinished):
            memory = seen.observed(memory, calls[event.body.result.call_id], event.body)
        elif isinstance(event.body, e.Checkpointed):
            memory = seen.committed(memory, event.body.files, event.body.step)
    [error, file, alive] = [note for note in memory.notes if not note.id.startswith("x")]
    assert error.text.endswith("→ exit code 1: AssertionError")
    assert (error.state, error.why) == ("fixed", "step 2, after changes to calc.py")
    assert (file.text, file.state, file.step) == ("calc.py", "M", 2)
    assert (alive.text.startswith("pid "), alive.text.endswith("sleep 77")) == (True, True)


def test_the_first_prompt_carries_the_repositorys_own_notes(start: Any, box: Sandbox) -> None:
    journal = start()
    work(journal, box, script(SUBMIT))
    [prompt] = [event.body for event in journal.events if isinstance(event.body, e.Prompted)]
    assert "Mend double." in prompt.text
    assert prompt.text.endswith("Use tabs.")
    assert "sealed container" in prompt.system


def test_the_whole_of_what_was_folded_is_one_call_away_and_no_part_of_the_result(start: Any, box: Sandbox) -> None:
    journal = start()
    commands = [
        bash("for n in $(seq 200); do echo item $n of the long list; done"),
        bash("sed -n 150p /workspace/.dreamdock/output/1; git status --short; ls .dreamdock/output"),
        bash("for n in $(seq 12); do echo item $n; done"),
    ]
    work(journal, box, script(commands, SUBMIT))
    folded, looked, short, _ = results(journal)
    listed = [
        "item 1 of the long list",
        "item 2 of the long list",
        "[197 lines like these]",
        "item 200 of the long list",
    ]
    assert folded.content.split("\n")[:4] == listed
    assert folded.content.endswith("[the whole output is in /workspace/.dreamdock/output/1]")
    assert looked.content == "item 150 of the long list\n1\n[exit code 0]"
    assert short.content.endswith("item 12\n[exit code 0]")
    assert not [body.files for event in journal.events if isinstance(body := event.body, e.Checkpointed) and body.files]


def test_rules_of_a_folder_stand_behind_the_call_that_came_to_it_and_come_again_after_a_crash(
    client: Redis, start: Any, opened: Opened
) -> None:
    text = script(
        [bash("mkdir -p src/net && echo 'Be brief.' > src/AGENTS.md && touch src/net/a.py src/b.py")],
        [("read", {"path": "src/net/a.py"}), ("grep", {"pattern": "x", "path": "src"})],
        [bash("cd src && ls")],
        SUBMIT,
    )
    journal = start()
    with opened() as box:
        first = Agent(open_script("scripted", text), box, journal, journal.view.spec, Stop())
        first._begin()
        first._step()
        for call in first._reply().calls:
            first._carry_out(call)  # The worker dies before the checkpoint.
    assert "Be brief." in results(journal)[1].content
    assert "Be brief." not in results(journal)[2].content
    second = lose(client, journal, 1)
    with opened(second.view.tree) as box:
        assert work(second, box, text).kind is Kind.SUBMITTED
    again, searched, listed = results(second)[3:6]
    assert again.content.endswith("```\nBe brief.\n```")
    assert "src/AGENTS.md" in again.content
    assert "Be brief." not in searched.content + listed.content
    read = [event.body for event in second.events if isinstance(event.body, e.RulesRead)]
    assert [(body.step, body.path) for body in read] == [(2, "src/AGENTS.md")] * 2


def test_the_past_is_searched_up_to_the_last_step_and_without_what_was_undone(start: Any, box: Sandbox) -> None:
    journal = start()
    ask = ("history", {"query": "heron-4711"})
    facts = [[bash("seq 300; echo the port is heron-4711; seq 300")], [ask, bash("echo heron-4711 again"), ask]]
    work(journal, box, script(*facts, [ask, ("history", {"step": 1})], SUBMIT))
    first, _, second, third, page = results(journal)[1:6]
    assert "> the port is heron-4711" in first.content
    assert "step 1, result of bash" in first.content
    assert second.content == first.content, "the step that is open isn't past"
    assert "again" in third.content
    assert "step 2, result of history" not in third.content
    assert page.content.startswith("[step 1, from character 0 of")
    journal.append(e.RewindRequested(step=1))
    work(journal, box, script(facts[0], [ask], SUBMIT))
    last = [result for result in results(journal) if result.name == "history"][-1]
    assert "the port is" in last.content
    assert "again" not in last.content


def test_a_failed_command_tells_its_places_with_the_source_and_journals_them(start: Any, box: Sandbox) -> None:
    journal = start()
    broken = bash("python3 -c 'import calc; calc.double(None)'")
    fine = bash("echo 'calc.py:1:1: error: only printed'")
    work(journal, box, script([broken, fine], SUBMIT))
    failed, printed, _ = results(journal)
    end, block = failed.content.split("\n[exit code 1]\n")
    assert "TypeError" in end
    assert block.startswith("Diagnostics: 1 error\n calc.py:2: TypeError: ")
    assert block.endswith("\n calc.py:2\n   1 def double(number):\n > 2     return number + number + 1")
    assert printed.content.endswith("[exit code 0]")
    finished = [event.body for event in journal.events if isinstance(event.body, e.CallFinished)]
    (one,) = finished[0].diagnostics
    assert (one.file, one.line, one.tool, [frame.file for frame in one.frames]) == ("calc.py", 2, "python", ["calc.py"])
    assert finished[1].diagnostics == ()


def test_the_places_of_an_output_that_is_cut_are_those_of_the_whole(start: Any, box: Sandbox) -> None:
    journal = start()
    noise = "seq -f 'step %g of the build is done' 60000"
    command = f"{noise}; echo 'calc.py:2:5: error: in the middle'; {noise}; exit 2"
    work(journal, box, script([bash(command)], SUBMIT))
    failed, _ = results(journal)
    assert "\n calc.py:2: in the middle\n" in failed.content
    assert len(failed.content) < 17_000
