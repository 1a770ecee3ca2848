"""The phases one after the other, over findings: nothing is lost, and a second time changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orchestrator.dream.batch import Action, Batch
from orchestrator.dream.compress import compress
from orchestrator.dream.counting import count
from orchestrator.dream.deduplicate import deduplicate
from orchestrator.dream.draft import drafts
from orchestrator.dream.finding import Finding, Kind, Whose
from orchestrator.dream.resolve import resolve
from orchestrator.library.entry import Entry, EntryKind, Origin, Scope, Status

PROJECT = "a" * 12
NOW = datetime(2026, 11, 26, tzinfo=UTC)


def found(
    text: str,
    run: str = "r1",
    *,
    whose: Whose = Whose.AGENT,
    kind: Kind = "fact",
    days: int = 0,
    accepted: bool = True,
    command: str = "",
) -> Finding:
    at = NOW - timedelta(days=days)
    return Finding(
        kind=kind, text=text, whose=whose, run=run, steps=(1,), at=at, accepted=accepted, lasting=True, command=command
    )


def dreamt(batch: Batch, *findings: Finding) -> Batch:
    """Return what a dream over these makes of a batch, without what earlier phases told."""
    batch = deduplicate(Batch(batch.entries), drafts(findings, PROJECT, now=NOW))
    return compress(resolve(batch, NOW), 200, NOW)


def by_title(batch: Batch) -> dict[str, Entry]:
    return {entry.title: entry for entry in batch.entries.values()}


def test_the_same_thing_in_other_words_is_one_entry_with_all_evidence() -> None:
    one = found("The server listens on port 8080", "r1")
    other = found("Port 8080 is where the server listens", "r2")
    batch = dreamt(Batch(), one, other, one)
    (entry,) = batch.entries.values()
    assert {proof.run for proof in entry.evidence} == {"r1", "r2"}
    assert (entry.status, entry.confidence > 0.6) == (Status.ACTIVE, True)
    assert dreamt(batch, other, one).changes == ()


def test_what_is_known_of_a_command_is_one_entry_in_the_words_that_say_more() -> None:
    about = {"whose": Whose.HARNESS, "kind": "command", "command": "make test"}
    passes = found("`make test` passes", "r1", **about)  # type: ignore[arg-type]  # Of several types.
    decides = found("`make test` decides whether work is accepted", "r2", **about)  # type: ignore[arg-type]  # As above.
    (entry,) = dreamt(Batch(), passes, decides).entries.values()
    assert (entry.title, entry.command) == (decides.text, "make test")
    assert {proof.run for proof in entry.evidence} == {"r1", "r2"}


def test_whose_words_decide_how_far_one_is_believed() -> None:
    made = drafts(
        [
            found("Use tabs", whose=Whose.PERSON, kind="convention"),
            found("`make test` passes", whose=Whose.HARNESS, kind="command", command="make test"),
            found("Ports come from conf.toml", accepted=False),
            found("Always run curl", whose=Whose.TOOL),
        ],
        PROJECT,
        now=NOW,
    )
    told = {entry.title: (entry.origin, entry.status) for entry in made}
    assert told["Use tabs"] == (Origin.PERSON, Status.ACTIVE)
    assert told["`make test` passes"] == (Origin.AGENT, Status.ACTIVE)
    assert told["Ports come from conf.toml"] == (Origin.AGENT, Status.UNVERIFIED)
    assert told["Always run curl"] == (Origin.TOOL, Status.QUARANTINED)


def test_a_newer_one_takes_the_place_of_an_older_one_and_a_persons_is_put_to_a_person() -> None:
    older = found("The server listens on port 8080", "r1", days=9)
    newer = found("The server listens on port 8081", "r2", days=1)
    batch = dreamt(Batch(), older, newer)
    entries = by_title(batch)
    assert entries[older.text].status is Status.SUPERSEDED
    assert entries[newer.text].supersedes == (entries[older.text].id,)
    assert dreamt(batch, older, newer).changes == ()
    what = {"kind": EntryKind.FACT, "scope": Scope.REPO, "scope_id": PROJECT}
    page = Entry(id="page", title=older.text, created=NOW - timedelta(days=30), **what)
    batch = dreamt(Batch({"page": page}), newer)
    entries = by_title(batch)
    assert entries[older.text] == page
    assert entries[newer.text].status is Status.UNVERIFIED
    assert batch.changes[-1].action is Action.DISPUTED
    assert dreamt(batch, newer).changes == ()


def test_what_is_beyond_the_budget_is_archived_and_stays() -> None:
    many = [found(f"The service number {number} needs {number} workers", f"r{number}") for number in range(30)]
    batch = deduplicate(Batch(), drafts(many, PROJECT, now=NOW))
    small = compress(batch, 10, NOW)
    assert sum(entry.status is Status.ACTIVE for entry in small.entries.values()) == 10
    assert small.entries.keys() == batch.entries.keys()
    assert compress(Batch(small.entries), 10, NOW).changes == ()


def test_uses_are_added() -> None:
    batch = deduplicate(Batch(), drafts([found("Ports come from conf.toml")], PROJECT, now=NOW))
    (name,) = batch.entries
    counted = count(count(batch, {name: (2, 1), "gone": (3, 3)}), {name: (1, 1)})
    assert (counted.entries[name].uses, counted.entries[name].accepted) == (3, 2)
    assert count(batch, {}) is batch
