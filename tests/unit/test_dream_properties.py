"""What holds of the phases whatever was found: nothing is lost, nothing comes back, and the order doesn't matter."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import combinations
from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.dream.alike import Likeness
from orchestrator.dream.batch import Batch
from orchestrator.dream.compress import compress
from orchestrator.dream.deduplicate import deduplicate
from orchestrator.dream.draft import drafts
from orchestrator.dream.finding import Finding, Kind, Whose
from orchestrator.dream.resolve import resolve
from orchestrator.dream.similar import likeness_of
from orchestrator.library.entry import MOST, Entry, EntryKind, Origin, Scope, Status

PROJECT = "b" * 12
NOW = datetime(2026, 11, 26, tzinfo=UTC)
TEXTS = (
    "The server listens on port 8080",
    "Port 8080 is where the server listens",
    "The server listens on port 8081",
    "server is listening on port 8081",
    "The server doesn't listen on port 8080",
    "Never edit src/gen.py by hand",
    "src/gen.py may be edited by hand",
    "Billing settings are read from conf/a.yaml",
    "conf/a.yaml holds the billing settings",
    "Billing settings are read from conf/b.yaml",
    "",
    "…",
)
KINDS: tuple[Kind, ...] = ("decision", "convention", "pitfall", "command", "fact")


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    days = draw(st.integers(0, 400))
    return Finding(
        kind=draw(st.sampled_from(KINDS)),
        text=draw(st.sampled_from(TEXTS)) or "x",
        whose=draw(st.sampled_from(Whose)),
        run=f"r{draw(st.integers(1, 6))}",
        steps=(draw(st.integers(1, 9)),),
        commit=draw(st.sampled_from(("", "a" * 40, "b" * 40))),
        paths=draw(st.sampled_from(((), ("src/gen.py",), ("conf/a.yaml", "conf/b.yaml")))),
        accepted=draw(st.booleans()),
        lasting=draw(st.booleans()),
        at=draw(st.sampled_from((None, NOW - timedelta(days=days)))),
    )


@st.composite
def pages(draw: st.DrawFn) -> Entry:
    return Entry(
        id=f"page-{draw(st.integers(1, 4))}",
        kind=draw(st.sampled_from(EntryKind)),
        scope=Scope.REPO,
        scope_id=PROJECT,
        title=draw(st.sampled_from(TEXTS)),
        status=draw(st.sampled_from(Status)),
        origin=draw(st.sampled_from(Origin)),
        created=draw(st.sampled_from((None, NOW - timedelta(days=50)))),
    )


def batch_of(entries: list[Entry]) -> Batch:
    return Batch({entry.id: entry for entry in entries})


def dreamt(batch: Batch, found: list[Finding], keep: int) -> Batch:
    merged = deduplicate(Batch(batch.entries), drafts(found, PROJECT, now=NOW))
    return compress(resolve(merged, NOW), keep, NOW)


def proofs(*entries: Entry) -> set[tuple[str, int, str]]:
    return {(proof.run, proof.step, proof.commit) for entry in entries for proof in entry.evidence}


@given(st.lists(pages(), max_size=4), st.lists(findings(), max_size=14), st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_nothing_is_lost_and_a_second_time_changes_nothing(known: list[Entry], found: list[Finding], keep: int) -> None:
    before = batch_of(known)
    after = dreamt(before, found, keep)
    assert before.entries.keys() <= after.entries.keys()
    assert proofs(*drafts(found, PROJECT, now=NOW)) | proofs(*known) == proofs(*after.entries.values())
    again = dreamt(after, found, keep)
    assert again.changes == ()
    assert again.entries == after.entries


@given(st.lists(pages(), max_size=3), st.lists(findings(), max_size=10), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_does_not_matter(known: list[Entry], found: list[Finding], dice: random.Random) -> None:
    before = batch_of(known)
    mixed = dice.sample(found, len(found))
    turned = Batch(dict(dice.sample(list(before.entries.items()), len(before.entries))))
    assert dict(dreamt(before, found, 3).entries) == dict(dreamt(turned, mixed, 3).entries)


@given(st.lists(pages(), max_size=4), st.lists(findings(), max_size=14))
@settings(max_examples=150, deadline=None)
def test_words_stay_and_nobody_is_believed_for_what_a_tool_said(known: list[Entry], found: list[Finding]) -> None:
    before = batch_of(known)
    after = dreamt(before, found, 100)
    for name, entry in before.entries.items():
        now = after.entries[name]
        assert (now.title, now.text, now.origin) == (entry.title, entry.text, entry.origin)
        if entry.status in {Status.QUARANTINED, Status.SUPERSEDED, Status.ARCHIVED}:
            assert now.status is entry.status
        if entry.origin is Origin.PERSON and entry.status in {Status.ACTIVE, Status.UNVERIFIED}:
            assert now.status in {Status.ACTIVE, Status.UNVERIFIED}
    told = [entry for name, entry in after.entries.items() if name not in before.entries]
    assert all(entry.status is Status.QUARANTINED for entry in told if entry.origin is Origin.TOOL)


@given(st.lists(findings(), max_size=14))
@settings(max_examples=150, deadline=None)
def test_no_two_that_are_active_contradict_each_other(found: list[Finding]) -> None:
    after = dreamt(Batch(), found, 100)
    active = [entry for entry in after.entries.values() if entry.status is Status.ACTIVE]
    assert not [pair for pair in combinations(active, 2) if likeness_of(*pair) is Likeness.CONTRADICTION]
    agents = [entry for entry in active if entry.origin is Origin.AGENT]
    assert all(after.entries[name].origin is not Origin.PERSON for entry in agents for name in entry.supersedes)


def test_ten_thousand_entries() -> None:
    dice = random.Random(5)  # noqa: S311  # It has to be the same again.
    nouns = [f"{first}{second}" for first in ("bil", "sea", "log", "que", "mai") for second in "abcdefghijklmnopqrst"]
    verbs = ("reads", "keeps", "sends", "drops", "signs", "sorts", "hides", "binds")

    def text() -> str:
        words = [dice.choice(nouns), dice.choice(verbs), dice.choice(nouns), "for the", dice.choice(nouns)]
        return f"The {' '.join(words)} service with {dice.randrange(10**4)}"

    found = [
        Finding(kind="fact", text=text(), whose=Whose.AGENT, run=f"r{number}", steps=(1,), accepted=True)
        for number in range(10_000)
    ]
    batch = batch_of(list(drafts(found, PROJECT, now=NOW)))
    again = [one.model_copy(update={"run": "another"}) for one in found[:100]]
    began = process_time()
    after = deduplicate(batch, drafts(again, PROJECT, now=NOW))
    assert process_time() - began < 20
    assert after.entries.keys() == batch.entries.keys()
    assert len(after.changes) == len({one.text for one in again})


def test_evidence_has_its_bound_and_what_is_beyond_changes_nothing() -> None:
    runs = range(MOST + 50)
    found = [
        Finding(kind="fact", text=TEXTS[0], whose=Whose.AGENT, run=f"r{run}", steps=(1,), accepted=True) for run in runs
    ]
    batch = dreamt(Batch(), found, 10)
    (entry,) = batch.entries.values()
    assert len(entry.evidence) == MOST
    assert dreamt(batch, found[::-1], 10).changes == ()
