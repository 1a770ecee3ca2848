"""The fake agent model: what it does comes from what it is shown, and it sees when that isn't enough."""

from __future__ import annotations

import json
from typing import Any

from agent_script import Mind, Script, Seen, facts, look, rendered

SCRIPT = Script(steps=100, lines=2, facts=facts(100))
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("bash", "note", "history")]


def request(*messages: dict[str, Any]) -> dict[str, Any]:
    task = {"role": "user", "content": "Do the steps."}
    return {"messages": [{"role": "system", "content": "You work."}, task, *messages], "tools": TOOLS}


def result(text: str, call: str = "c") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": text}


def test_it_goes_on_behind_the_last_step_that_a_result_says_is_done() -> None:
    mind = Mind(SCRIPT)
    body = request({"role": "assistant", "content": "step 9 is done"}, result("x\nstep 3 is done"))
    said = mind.go_on(look(body), json.dumps(body).encode())
    assert said.calls[0].arguments["command"].startswith("n=4;")
    assert "step 4 is done" not in said.calls[0].arguments["command"], "only its output says so"
    assert mind.lost == []


def test_a_step_that_it_would_do_again_is_noticed() -> None:
    mind = Mind(SCRIPT)
    for seen in (1, 2, 1):
        body = request(result(f"step {seen} is done"))
        mind.go_on(look(body), b"")
    assert mind.lost == [2]


def test_a_fact_that_is_not_in_view_is_searched_for_once() -> None:
    mind = Mind(SCRIPT)
    told = [fact for fact in SCRIPT.facts if fact.kind != "printed"]
    view = "\n".join(fact.text for fact in told)
    body = request(result(f"{view}\nstep 29 is done"))
    mind.go_on(look(body), json.dumps(body).encode())
    assert {fact.kind for _, fact in mind.missing} == {"printed"}
    body = request(result("step 30 is done"))
    [_, search] = mind.go_on(look(body), b"").calls
    wanted = mind.missing[0][1]
    assert (search.name, search.arguments) == ("history", {"query": wanted.topic})
    mind.go_on(look(request(result("step 31 is done"), result(f"found: {wanted.text}", search.id))), b"")
    assert (mind.searched, mind.not_found) == (1, [])


def test_a_summary_has_the_headings_asked_for_and_lacks_some_of_the_facts() -> None:
    mind = Mind(SCRIPT)
    seen = "".join(fact.text for fact in SCRIPT.facts).encode()
    text = mind.sum_up("Sum up.\n\n## Done\nWhat is.\n## Open\nWhat isn't.", Seen(40, frozenset(), {}), seen)
    assert [line for line in text.splitlines() if line.startswith("#")] == ["## Done", "## Open"]
    kept = [fact for fact in SCRIPT.facts if fact.value in text]
    assert len(SCRIPT.facts) * 0.4 < len(kept) < len(SCRIPT.facts)
    assert "step 40 is done" in text


def test_a_request_that_extends_another_is_rendered_as_its_extension() -> None:
    first, second = request(), request({"role": "assistant", "content": "Now.", "tool_calls": []}, result("é"))
    assert rendered(second)[0].startswith(rendered(first)[0])
    assert rendered(second)[1] == len(rendered(first)[0]), "what its last reply answered"
