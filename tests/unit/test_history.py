"""The run's own past: found by one search, and paged through."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.agent.arguments import History as Arguments
from orchestrator.agent.recalling import recall
from orchestrator.dialogue import Reply, ToolCall, ToolResult, Turn
from orchestrator.memory.entries import CHUNK_CHARACTERS, CHUNK_LINES, chunks
from orchestrator.memory.history import History


def step(history: History, number: int, content: str, name: str = "bash", **arguments: object) -> None:
    call = ToolCall(id=f"c{number}", name=name, arguments=arguments or {"command": f"make part{number}"})
    history.add(number, Reply(text=f"Now part {number}.", calls=(call,)))
    history.add(number, Turn(results=(ToolResult(call_id=call.id, name=name, content=content),)))


def filler(number: int, lines: int = 80) -> str:
    return "\n".join(f"[{number}:{line}] compiling unit{line % 7}.o with the usual flags" for line in range(lines))


@pytest.fixture(scope="module")
def past() -> History:
    history = History()
    history.add(0, Turn(text="Port the scheduler to asyncio. The release is called NIGHTJAR."))
    for number in range(1, 201):
        facts = {
            13: "FACT-13 = 90817",
            40: "warning: src/pool/worker.py:128: connection was leaked",
            77: "sha 4e1243bd22c66e76c2ba9eddc1f91394e57f9f83",
            90: "checked_for_user_id failed in setUpTimers",
        }
        content = f"{filler(number)}\n{facts[number]}\n{filler(number)}" if number in facts else filler(number, 20)
        step(history, number, content)
    history.add(120, Turn(text="A person says: never touch the billing tables."))
    return history


@pytest.mark.parametrize(
    ("query", "at", "words"),
    [
        ("FACT-13", 13, "FACT-13 = 90817"),
        ("what was FACT-13?", 13, "FACT-13 = 90817"),
        ("leaking connections", 40, "connection was leaked"),
        ("src/pool/worker.py:128", 40, "connection was leaked"),
        ("worker.py", 40, "connection was leaked"),
        ("66e76c2ba9", 77, "sha 4e1243bd"),
        ("checked_for_user_id", 90, "setUpTimers"),
        ("timers", 90, "setUpTimers"),
        ("SETUPTIMERS", 90, "setUpTimers"),
        ("billing tables", 120, "never touch"),
        ("nightjar", 0, "NIGHTJAR"),
        ("part117", 117, "make part117"),
    ],
)
def test_one_search_has_the_fact_in_its_answer(past: History, query: str, at: int, words: str) -> None:
    first = past.search(query)[0]
    assert (first.entry.step, words in first.text) == (at, True)
    shown = recall(past, Arguments(query=query), 16_000)
    assert shown.ok
    assert words in shown.content
    assert len(shown.content) <= 16_000
    assert words in recall(past, Arguments(query=query), 1_200).content, "in a small window too"


def test_pieces_that_have_all_words_come_first(past: History) -> None:
    history = History()
    step(history, 1, "the lease of the worker")
    step(history, 2, "lease lease lease lease lease")
    step(history, 3, "the token, and the lease that it fences")
    assert history.search("lease token")[0].entry.step == 3
    assert len(past.search("the")) > 0, "a word that is everywhere is still one"


def test_the_same_answer_is_shown_once_with_all_its_steps() -> None:
    history = History()
    for number in range(1, 6):
        step(history, number, "3 passed, 1 failed: test_lease", command="make test")
    found = [one for one in history.search("test_lease") if "failed" in one.text]
    assert len(found) == 1
    assert sorted((found[0].entry.step, *found[0].also)) == [1, 2, 3, 4, 5]


def test_what_a_search_gave_back_is_not_found_again_and_notes_are() -> None:
    history = History()
    step(history, 1, "the answer is 42")
    step(history, 2, "step 1, result: the answer is 42", name="history", query="answer")
    step(history, 3, "noted as f1", name="note", kind="fact", text="the answer was wrong")
    found = history.search("answer")
    assert {(one.entry.step, str(one.entry.kind)) for one in found} == {(1, "result"), (3, "note")}
    page = history.page(2)
    assert page is not None
    assert "query: answer" in page.text


def test_what_comes_later_is_found_later() -> None:
    history = History()
    assert history.search("quokka") == []
    step(history, 1, "a quokka")
    assert len(history.search("quokka")) == 1
    history.add(2, Reply(calls=(ToolCall(id="c2", name="read", arguments={"path": "b.py"}),)))
    assert len(history.search("quokka")) == 1
    history.add(2, Turn(results=(ToolResult(call_id="c2", name="read", content="another quokka"),)))
    assert [one.entry.what for one in history.search("another")] == ["read b.py"]


def test_a_step_is_paged_through_whole(past: History) -> None:
    pages, offset = [], 0
    while (page := past.page(13, offset, longest=1000)) is not None:
        assert len(page.text) <= 1000
        pages.append(page.text)
        offset = page.following
        if not offset:
            break
    whole = "".join(pages)
    assert whole.startswith("--- step 13, reply\nNow part 13.\n\n--- step 13, call of bash make part13\n")
    assert filler(13) in whole
    assert past.page(999) is None
    shown = recall(past, Arguments(step=13), 1000).content
    assert len(shown) <= 1000
    assert "go on with offset 800" in shown
    assert not recall(past, Arguments(step=13, offset=10**9), 1000).ok
    assert not recall(past, Arguments(step=999), 1000).ok


def test_without_a_question_it_says_how_to_ask(past: History) -> None:
    assert "steps 1 to 200" in recall(past, Arguments(), 1000).content
    assert "nothing found in steps 1 to 200" in recall(past, Arguments(query="xyzzy"), 1000).content
    assert not recall(History(), Arguments(query="x"), 1000).ok


HOSTILE = [
    '"',
    '""',
    "NEAR(",
    "a NEAR/2 b",
    "*",
    "^",
    "a AND",
    "OR OR",
    "text:x",
    "-x",
    "(",
    "\0",
    "\1\2",
    "\ud800",
    "{}",
]
HOSTILE += [
    "'; DROP TABLE chunks; --",
    "x" * 100_000,
    "a b " * 25_000,
    '"' * 100_000,
    "é\u0301²№",
    "\n\n",
    "a\0b",
    "%",
    "\\",
]


@pytest.mark.parametrize("query", HOSTILE, ids=lambda query: ascii(query)[:12])
def test_no_query_raises(past: History, query: str) -> None:
    past.search(query)
    assert len(recall(past, Arguments(query=query), 2000).content) <= 2000


@settings(max_examples=150, deadline=None)
@given(st.text(), st.lists(st.text(), max_size=4), st.integers(min_value=300, max_value=3000))
def test_no_text_breaks_the_search(query: str, contents: list[str], longest: int) -> None:
    history = History()
    for number, content in enumerate(contents, 1):
        step(history, number, content)
        assert recall(history, Arguments(step=number), longest).ok
    history.search(query)
    assert len(recall(history, Arguments(query=query), longest).content) <= longest
    for content in contents:
        history.search(content)


def test_text_that_no_database_takes_is_kept_all_the_same() -> None:
    history = History()
    step(history, 1, "one \ud800 two \0 three \1 four \2 needle")
    assert "needle" in history.search("needle")[0].text


@given(st.text(alphabet="ab\n", max_size=6000) | st.integers(0, 9000).map(lambda size: "x" * size))
def test_pieces_cover_the_text_and_are_bounded(text: str) -> None:
    end = 0
    for start, stop in chunks(text):
        assert start <= end < stop, "nothing between them is left out"
        assert stop - start <= CHUNK_CHARACTERS
        assert text[start:stop].count("\n") <= CHUNK_LINES
        end = stop
    assert end == len(text)


def test_a_thousand_steps_are_searched_in_no_time() -> None:
    history = History()
    for number in range(1, 1001):
        step(history, number, filler(number, 75) + f"\nvalue {number * 7919 % 10007}")
    begun = time.perf_counter()
    history.search("needle")
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    for query in ("FACT-17", "value 7919", "compiling flags usual", "unit3.o:12", "nothing like it"):
        history.search(query)
    later = (time.perf_counter() - begun) / 5
    assert first < 2, "some 0.15 s here"  # Bounds for a busy machine.
    assert later < 0.2, "some 0.01 s here"
