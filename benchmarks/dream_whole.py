"""Rows of a whole dream over two hundred generated runs: what it kept, what it let in, and what it took.

What an entry is good for is judged by the step that its words come from. An entry in view (active or unverified) that
isn't the one entry of a true fact is junk: litter, a fact said twice, one of a file that is gone, or one that a later
run found otherwise.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks import dream_cases as dc
from orchestrator.dream.batch import Batch
from orchestrator.dream.compress import compress
from orchestrator.dream.deduplicate import deduplicate
from orchestrator.dream.draft import drafts
from orchestrator.dream.extract import extract
from orchestrator.dream.paths import Fate, follow
from orchestrator.dream.resolve import resolve
from orchestrator.library.entry import Status

if TYPE_CHECKING:
    from benchmarks.dream_cases import Cases, Raw
    from orchestrator.dream.finding import Finding
    from orchestrator.library.entry import Entry

KEEP: Final = 200
IN_VIEW: Final = (Status.ACTIVE, Status.UNVERIFIED)
_TESTS: Final = "python3 -m pytest -q tests"
"""What the runs' usual work runs: true, and said by no label."""


class Judged(NamedTuple):
    """What became of the raw facts: all of them, and of those whose wording was held back."""

    kept: int
    kept_held: tuple[int, int]
    in_view: int
    junk: Counter[str]
    junk_held: tuple[int, int]
    injected: int
    largest: int
    again: int
    raw: int
    bad: list[str]


def dream(made: Cases, batch: Batch) -> tuple[Batch, dict[tuple[str, int], Raw]]:
    """Go through all runs, one journal at a time; return what is known then, and each step's label."""
    found: list[Finding] = []
    labels: dict[tuple[str, int], Raw] = {}
    for name, events, inside in dc.runs(made):
        found += extract(name, events)
        labels |= {(name, step): raw for step, raw in inside.items()}
    batch = deduplicate(Batch(batch.entries), drafts(found, dc.PROJECT, now=dc.NOW))
    batch = _verified(batch, made)
    return compress(resolve(batch, dc.NOW), KEEP, dc.NOW), labels


def _verified(batch: Batch, made: Cases) -> Batch:
    """Mark what is about files that are gone, as a dream that asks git does."""
    seen: dict[str, set[str]] = {}
    for entry in batch.entries.values():
        for path in entry.paths:
            seen.setdefault(path.commit, set()).add(path.path)
    fates = {
        (commit, path): fate
        for commit, paths in seen.items()
        for path, fate in follow(made.repo / ".git", paths, commit, made.head).items()
    }
    gone = [
        entry.changed(status=Status.STALE)
        for entry in batch.entries.values()
        if entry.status in IN_VIEW and any(fates[path.commit, path.path].fate is Fate.GONE for path in entry.paths)
    ]
    return batch.changed(gone)


def judge(made: Cases, batch: Batch, labels: dict[tuple[str, int], Raw]) -> Judged:
    """Say what became of the raw facts."""
    seen: set[str] = set()
    junk: Counter[str] = Counter()
    junk_held = injected = 0
    bad: list[str] = []
    in_view = [entry for entry in batch.entries.values() if entry.status in IN_VIEW]
    for entry in in_view:
        raw = _label(entry, labels)
        if raw is None or (raw.what == "true" and raw.fact not in seen):
            seen.add(raw.fact if raw else "")
            continue
        what = "again" if raw.what == "true" else raw.what
        junk[what] += 1
        junk_held += raw.held
        injected += raw.what == "injected"
        bad.append(
            f"{what}{' held' if raw.held else ''} {entry.status} {entry.confidence}: {entry.title} | {entry.text}"
        )
    facts = {raw.fact for raw in labels.values() if raw.what == "true"}
    only_held = {fact for fact in facts if all(r.held for r in labels.values() if r.what == "true" and r.fact == fact)}
    for fact in sorted(facts - seen):
        bad += [
            f"LOST {fact} {raw.form}: {raw.text}" for raw in labels.values() if raw.fact == fact and raw.what == "true"
        ]
    kinds = Counter(entry.kind for entry in in_view)
    litter = sum(raw.held and raw.what in {"junk", "injected"} for raw in labels.values())
    return Judged(
        kept=len(facts & seen),
        kept_held=(len(only_held & seen), len(only_held)),
        in_view=len(in_view),
        junk=junk,
        junk_held=(junk_held, litter),
        injected=injected,
        largest=max(kinds.values()),
        again=0,
        raw=len(labels),
        bad=bad,
    )


def _label(entry: Entry, labels: dict[tuple[str, int], Raw]) -> Raw | None:
    """Return the label of the step that an entry's words come from; None for the tests that all runs ran."""
    if entry.command == _TESTS:
        return None
    proof = entry.evidence[0]
    return labels.get((proof.run, proof.step)) or dc.Raw("junk", "note", entry.title)
