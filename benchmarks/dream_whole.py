"""Rows of a whole dream over two hundred generated runs: what it kept, what it let in, and what it took.

What an entry is good for is judged by the step that its words come from. An entry in view (active or unverified) that
isn't the one entry of a true fact is junk: litter, a fact said twice, one of a file that is gone, or one that a later
run found otherwise. The dream is a process of its own, and reads the journals as they are kept, one at a time.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks import dream_cases as dc
from benchmarks.report import Row
from orchestrator.dream.batch import Batch
from orchestrator.dream.compress import compress
from orchestrator.dream.deduplicate import deduplicate
from orchestrator.dream.draft import drafts
from orchestrator.dream.extract import extract
from orchestrator.dream.paths import Fate, follow
from orchestrator.dream.resolve import resolve
from orchestrator.events import Event
from orchestrator.library.entry import IN_VIEW, Status

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from benchmarks.dream_cases import Cases, Raw
    from orchestrator.dream.finding import Finding
    from orchestrator.library.entry import Entry

KEEP: Final = 200
_JUNK: Final = 5.0
_TESTS: Final = "python3 -m pytest -q tests"
"""What the runs' usual work runs: true, and said by no label."""


class Judged(NamedTuple):
    """What became of the raw facts: how many true ones are kept, how many entries are in view and what of them is junk.

    `largest` are the entries of the kind that has most. `held` is the junk whose wording was held back.
    """

    kept: int
    in_view: int
    junk: Counter[str]
    held: int
    largest: int


class Dreamt(NamedTuple):
    """What a dream came to, with seconds of processor and in all, and its process's peak memory in MB."""

    batch: Batch
    changes: int
    cpu_s: float
    wall_s: float
    peak_mb: float


def rows() -> list[Row]:
    """Make the runs, dream of them twice, and judge."""
    with tempfile.TemporaryDirectory(prefix="ddd-") as name:
        made = dc.cases(Path(name) / "repo")
        journals = Path(name) / "journals"
        journals.mkdir()
        labels: dict[tuple[str, int], Raw] = {}
        for run, events, inside in dc.runs(made):
            (journals / run).write_text("\n".join(event.model_dump_json() for event in events), encoding="utf-8")
            labels |= {(run, step): raw for step, raw in inside.items()}
        first = _in_a_process(journals, made, Batch())
        second = _in_a_process(journals, made, first.batch)
    judged = judge(first.batch, labels)
    injected = judged.junk.pop("injected", 0)
    share = 100 / max(judged.in_view, 1)
    return [
        _row("dream: true facts kept", 100 * judged.kept / made.facts, "%", 95.0, at_least=True),
        _row("dream: junk, of what is in view", share * judged.junk["junk"], "%", _JUNK),
        _row("dream: junk, repeated and overtaken, of what is in view", share * judged.junk.total(), "%", _JUNK),
        _row("dream: injected instructions in view", injected, "entries", 0),
        _row("dream: entries of the largest kind", judged.largest, "entries", KEEP),
        _row("second dream over the same runs", second.changes, "changes", 0),
        _row("dream over 200 runs", first.wall_s, "s", 60.0),
        _row("dream over 200 runs, processor", first.cpu_s, "s", 60.0),
        _row("dream over 200 runs, peak memory", first.peak_mb, "MB", 300.0),
    ]


def dream(journals: Path, made: Cases, batch: Batch) -> Batch:
    """Go through all runs, one journal at a time, and through the phases."""
    found: list[Finding] = []
    for journal in sorted(journals.iterdir()):
        with journal.open(encoding="utf-8") as lines:
            found += extract(journal.name, [Event.model_validate_json(line) for line in lines])
    batch = deduplicate(Batch(batch.entries), drafts(found, dc.PROJECT, now=dc.NOW))
    batch = _verified(batch, made)
    return compress(resolve(batch, dc.NOW), KEEP, dc.NOW)


def _in_a_process(journals: Path, made: Cases, batch: Batch) -> Dreamt:
    ours, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_carry, args=(its, journals, made, batch))
    process.start()
    its.close()
    try:
        dreamt: Dreamt = ours.recv()
    finally:
        process.join()
    return dreamt


def _carry(pipe: Connection, journals: Path, made: Cases, batch: Batch) -> None:
    """Be the dream's process."""
    cpu, began = time.process_time(), time.monotonic()
    after = dream(journals, made, batch)
    took = time.process_time() - cpu, time.monotonic() - began
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    pipe.send(Dreamt(after, len(after.changes), *took, peak))


def _verified(batch: Batch, made: Cases) -> Batch:
    """Mark what is about files that are gone."""
    seen: dict[str, set[str]] = {}
    for entry in batch.entries.values():
        for path in entry.paths:
            seen.setdefault(path.commit, set()).add(path.path)
    gone = {
        (commit, path)
        for commit, paths in seen.items()
        for path, fate in follow(made.repo / ".git", paths, commit, made.head).items()
        if fate.fate is Fate.GONE
    }
    return batch.changed(
        entry.changed(status=Status.STALE)
        for entry in batch.entries.values()
        if entry.status in IN_VIEW and any((path.commit, path.path) in gone for path in entry.paths)
    )


def judge(batch: Batch, labels: dict[tuple[str, int], Raw]) -> Judged:
    """Say what became of the raw facts."""
    seen: set[str] = set()
    junk: Counter[str] = Counter()
    held = 0
    in_view = [entry for entry in batch.entries.values() if entry.status in IN_VIEW]
    for entry in in_view:
        raw = _label(entry, labels)
        if raw is None or (raw.what == "true" and raw.fact not in seen):
            seen |= {raw.fact} if raw else set()
            continue
        junk["again" if raw.what == "true" else raw.what] += 1
        held += raw.held
    kinds = Counter(entry.kind for entry in in_view)
    return Judged(len(seen), len(in_view), junk, held, max(kinds.values(), default=0))


def _label(entry: Entry, labels: dict[tuple[str, int], Raw]) -> Raw | None:
    """Return the label of the step that an entry's words come from; None for the tests that all runs ran."""
    if entry.command == _TESTS:
        return None
    proof = entry.evidence[0]
    return labels.get((proof.run, proof.step)) or dc.Raw("junk", "note", entry.title)


def _row(name: str, value: float, unit: str, target: float, *, at_least: bool = False) -> Row:
    ok = value >= target if at_least else value <= target
    return Row(name, round(value, 4), unit, value, value, 0.0, target, ok, noisy=False)
