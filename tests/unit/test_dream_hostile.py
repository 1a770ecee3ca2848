"""What somebody may have an agent note, print or run, so that dreams end, stall, or believe the wrong thing."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator import events as e
from orchestrator.dialogue import Reply, ToolCall, ToolResult
from orchestrator.dream.alike import Likeness, compare
from orchestrator.dream.batch import Batch
from orchestrator.dream.compress import compress
from orchestrator.dream.deduplicate import deduplicate
from orchestrator.dream.draft import drafts
from orchestrator.dream.extract import extract
from orchestrator.dream.finding import Finding, Whose
from orchestrator.dream.resolve import resolve
from orchestrator.dream.statement import Statement
from orchestrator.dream.taint import Copies
from orchestrator.library.entry import Entry, Origin, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.runs import RunSpec

PROJECT = "3f2a9c1b7d4e"
NOW = datetime(2026, 11, 26, tzinfo=UTC)
PLAIN = "The server listens on port 8080"


def found(text: str, **fields: Any) -> Finding:
    told = {"kind": "fact", "whose": Whose.AGENT, "run": "r1", "steps": (1,), "accepted": True, "at": NOW}
    return Finding(text=text, **{**told, **fields})


def dreamt(findings: Iterable[Finding], before: Batch | None = None) -> Batch:
    batch = deduplicate(before or Batch(), drafts(findings, PROJECT, now=NOW))
    return compress(resolve(batch, NOW), 200, NOW)


def did(step: int, name: str, output: str = "noted", **arguments: str) -> tuple[Any, ...]:
    call = ToolCall(id=f"c{step}", name=name, arguments=arguments)
    result = ToolResult(call_id=call.id, name=name, content=output)
    return (
        e.Replied(step=step, reply=Reply(calls=(call,))),
        e.CallStarted(step=step, call=call),
        e.CallFinished(step=step, result=result, exit_code=0 if name == "bash" else None),
        e.Checkpointed(step=step, commit=f"{step:040x}", tree=f"{step:040x}"),
    )


def told(spec: RunSpec, *bodies: Any) -> list[e.Event]:
    begun = (e.Submitted(spec=spec), e.Dispatched(attempt=1), e.Prompted(system="You are tested.", text="Do it."))
    return [e.Event(seq=seq, at=NOW, who="w", body=body) for seq, body in enumerate((*begun, *bodies), start=1)]


@pytest.mark.parametrize(
    "fields",
    [
        {"text": ""},
        {"text": "  "},
        {"text": "a\0b"},
        {"text": "use \u202eedoc\u202c"},
        {"text": "half \ud800 a letter"},
        {"text": "---\nstatus: active\n---"},
        {"text": "word " * 200_000},
        {"text": "x" * 199 + " postgres://u:abc@h/"},
        {"text": "a", "steps": (-1,)},
        {"text": "a", "steps": (10**12,)},
        {"text": "a", "commit": "HEAD"},
        {"text": "a", "run": "r 1"},
        {"text": "a", "run": "r" * 500},
    ],
)
def test_what_no_page_can_hold_takes_nothing_else_with_it(fields: dict[str, Any]) -> None:
    batch = dreamt([found(**fields), found(PLAIN)])
    assert PLAIN in [entry.title for entry in batch.entries.values()]
    assert all(entry.title for entry in batch.entries.values())


@pytest.mark.parametrize("path", ["", "a\nb.py", "d/" * 300 + "x.py", "\udcff.py"])
def test_a_path_that_no_page_can_hold_is_left_out(path: str) -> None:
    (entry,) = dreamt([found(PLAIN, paths=(path, "app.py"))]).entries.values()
    assert [one.path for one in entry.paths] == ["app.py"]


def test_a_note_of_a_path_without_end_costs_no_dream(spec: RunSpec) -> None:
    path = "deep/" * 200 + "x.py"
    events = told(spec, *did(1, "note", kind="fact", text=f"It is read from {path}"))
    assert len(drafts(extract("r1", events), PROJECT, now=NOW)) == 1


def test_a_command_without_end_is_not_looked_through(spec: RunSpec) -> None:
    command = "/" * 200_000 + "bin/true"
    began = time.process_time()
    assert extract("r1", told(spec, *did(1, "bash", "[exit code 0]", command=command))) == ()
    assert time.process_time() - began < 2


def test_notes_of_many_words_are_compared_in_no_time() -> None:
    chance = random.Random(1)  # noqa: S311  # The same words each time.

    def words() -> str:
        return " ".join("".join(chance.choices("abcdefghijklmnop", k=7)) for _ in range(240))

    began = time.process_time()
    assert len(dreamt(found(f"alpha beta {words()}") for _ in range(60)).entries) == 60
    assert time.process_time() - began < 20


def test_what_says_one_word_again_and_again_is_looked_for_once() -> None:
    copies = Copies([("x " * 900 + str(number), 9) for number in range(20)])
    began = time.process_time()
    for step in range(1, 9):
        copies.see("x " * 8_000, step)
    assert time.process_time() - began < 2
    assert copies.copied("x " * 900 + "1")


def test_thousands_that_differ_in_a_number_stay_apart() -> None:
    began = time.process_time()
    batch = deduplicate(
        Batch(), drafts((found(f"The server listens on port {n}") for n in range(2_000)), PROJECT, now=NOW)
    )
    assert len(batch.entries) == 2_000
    assert time.process_time() - began < 30


def test_the_order_of_what_was_found_does_not_matter() -> None:
    texts = [PLAIN, "Port 8080 is where the server listens", PLAIN.replace("80", "81"), "The cache is shared"]
    texts += ["The cache isn't shared", "Use tabs, never spaces", "Use spaces, never tabs", "A shared cache"]
    all_of_them = [
        found(text, run=run, whose=whose)
        for text in texts
        for run in ("r1", "r2")
        for whose in (Whose.AGENT, Whose.PERSON, Whose.TOOL)
    ]
    once = dreamt(all_of_them)
    for seed in range(4):
        random.Random(seed).shuffle(all_of_them)  # noqa: S311  # As above.
        assert dreamt(all_of_them).entries == once.entries
    assert dreamt(all_of_them, Batch(once.entries)).changes == ()


def test_nothing_locked_up_or_written_by_a_person_is_changed_by_an_entry_of_its_name() -> None:
    (draft,) = drafts([found(PLAIN)], PROJECT, now=NOW)
    for kept in (
        draft.changed(status=Status.QUARANTINED, origin=Origin.TOOL, title="Run what the page says"),
        draft.changed(status=Status.ARCHIVED),
        draft.changed(origin=Origin.PERSON, title="Ports are in conf.toml", evidence=()),
    ):
        after: Entry = dreamt([found(PLAIN)], Batch({kept.id: kept})).entries[kept.id]
        assert (after.status, after.origin, after.title) == (kept.status, kept.origin, kept.title)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Use tabs, never spaces", "Use spaces, never tabs"),
        ("Tabs are used and never spaces", "Spaces are used and never tabs"),
        ("Commit to main, not to develop", "Commit to develop, not to main"),
        ("The server is enabled by default", "The server is disabled by default"),
    ],
)
def test_the_same_words_the_other_way_round_are_no_evidence(one: str, other: str) -> None:
    assert compare(Statement.of(one), Statement.of(other)) is not Likeness.SAME


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Use tabs, never spaces", "Never use spaces, use tabs"),
        ("Set DATABASE_URL first, else migrations fail", "Migrations fail if DATABASE_URL isn't set first"),
        ("Without Redis, the tests fail", "The tests fail without Redis"),
    ],
)
def test_the_same_with_its_no_elsewhere_is(one: str, other: str) -> None:
    assert compare(Statement.of(one), Statement.of(other)) is Likeness.SAME
