"""What the runs of a project teach that ended since the last dream.

One run's events are in memory at a time, and of each only what it taught stays.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator import events as e
from orchestrator.dialogue import Value
from orchestrator.dream.course import outcome
from orchestrator.dream.excerpts import excerpts
from orchestrator.dream.extract import extract
from orchestrator.dream.workflows import workflow
from orchestrator.errors import DreamdockError, JournalError, NotFoundError
from orchestrator.journal import index, stream
from orchestrator.runs import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redis import Redis

    from orchestrator.dream.finding import Finding
    from orchestrator.dream.patch import Cite
    from orchestrator.dream.workflows import Workflow
    from orchestrator.events import Event
    from orchestrator.runs import RunSpec

MOST_RUNS: Final = 2_000
"""Of one dream; those that ended later are the next one's."""
MOST_HEADS: Final = 20
"""Runs that are looked at for where the repository is today."""
_LOOKED_THROUGH: Final = 5_000
"""Runs of all projects that are looked through for those."""
_AT_ONCE: Final = 100


class Skipped(Value):
    """A run that wasn't read, and why."""

    run: str
    why: str


class Lesson(NamedTuple):
    """What one run taught, the entries that it was given, whether its work was accepted, and how it went about it.

    `said` is what the steps said and did that its findings are known from, where that was asked for.
    """

    run: str
    findings: tuple[Finding, ...]
    given: frozenset[str]
    accepted: bool
    workflow: Workflow | None
    said: Mapping[Cite, str]


class Collected(NamedTuple):
    """What all of them taught, up to before `until_ms` of Redis's clock; `left` runs are for the next dream."""

    lessons: Sequence[Lesson] = ()
    skipped: Sequence[Skipped] = ()
    until_ms: int = 0
    left: int = 0

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in the order in which their runs ended."""
        return tuple(one for lesson in self.lessons for one in lesson.findings)

    @property
    def workflows(self) -> tuple[Workflow, ...]:
        """How those whose work was accepted went about it."""
        return tuple(lesson.workflow for lesson in self.lessons if lesson.workflow is not None)

    @property
    def said(self) -> Mapping[Cite, str]:
        """What the steps said and did that findings are known from."""
        return {cite: text for lesson in self.lessons for cite, text in lesson.said.items()}

    @property
    def uses(self) -> Mapping[str, tuple[int, int]]:
        """How many runs were given each entry, and how many of those were accepted."""
        given = Counter(name for lesson in self.lessons for name in lesson.given)
        good = Counter(name for lesson in self.lessons if lesson.accepted for name in lesson.given)
        return {name: (count, good[name]) for name, count in given.items()}


def collect(
    client: Redis,
    project: str,
    since_ms: int,
    until_ms: int,
    *,
    counted_ms: int = 0,
    with_steps: bool = False,
    tell: Callable[[int, int], None],
    enough: Callable[[], bool] = lambda: False,
) -> Collected:
    """Read the project's runs that ended from `since_ms` to before `until_ms`.

    What runs were given counts from `counted_ms` on: what ended before was counted by an earlier dream. `with_steps`
    has what steps said kept as well. `tell` is told before each run how many were read, and of how many; it stops
    between two of them where `enough` says so, or after 2,000.
    A journal that is damaged, or that a newer DreamDock wrote, is skipped. Raises RedisAwayError.
    """
    mine, skipped = _of_project(client, project, index.ended(client, since_ms, until_ms))
    lessons: list[Lesson] = []
    for number, (run, when) in enumerate(mine):
        if number and when > mine[number - 1][1] and (number >= MOST_RUNS or enough()):
            return Collected(lessons, skipped, when, len(mine) - number)
        tell(number, len(mine))
        try:
            events = list(stream.read(client, run))
            lesson = _lesson(run, events, counted_ms=counted_ms if when >= counted_ms else None, with_steps=with_steps)
        except (JournalError, NotFoundError, LookupError, ValueError) as error:
            # The last two: events that don't fit together. They hold nothing else up.
            why = error.words if isinstance(error, DreamdockError) else repr(error)
            skipped.append(Skipped(run=run, why=why))
        else:
            lessons += [lesson] if lesson is not None else []
    tell(len(mine), len(mine))
    return Collected(lessons, skipped, until_ms)


def _of_project(
    client: Redis, project: str, ended: Sequence[tuple[str, int]]
) -> tuple[list[tuple[str, int]], list[Skipped]]:
    """Return those of the runs that are the project's, and those that can't be told whose they are."""
    mine, skipped = list[tuple[str, int]](), list[Skipped]()
    for start in range(0, len(ended), _AT_ONCE):
        page = ended[start : start + _AT_ONCE]
        found, damaged = index.listed(client, [run for run, _ in page])
        known = {record.view.id for record in found if record.view.spec.repo.project == project}
        mine += [(run, when) for run, when in page if run in known]
        skipped += [Skipped(run=run, why="its record can't be read, nor whose repository it was in") for run in damaged]
    return mine, skipped


def _lesson(run: str, events: Sequence[Event], *, counted_ms: int | None, with_steps: bool) -> Lesson | None:
    """Return what a run taught; None where it isn't over any more. Its uses count where `counted_ms` is given."""
    ended = outcome(events)
    if ended is None:
        return None
    findings = extract(run, events)
    steps = {step for one in findings for step in one.steps} if with_steps else set[int]()
    return Lesson(
        run,
        findings,
        frozenset() if counted_ms is None else _given(events, counted_ms),
        accepted=ended is Outcome.SUCCEEDED,
        workflow=workflow(run, events),
        said=excerpts(run, events, steps) if steps else {},
    )


def _given(events: Iterable[Event], counted_ms: int) -> frozenset[str]:
    """Return the entries that a run and its sub-agents were given, without those counted when it ended before."""
    given: set[str] = set()
    for event in events:
        match e.innermost(event.body)[0]:
            case e.Recalled(entries=entries):
                given |= {entry.id for entry in entries}
            case e.Finished() if event.at.timestamp() * 1000 < counted_ms:
                given = set()
            case _:
                continue
    return frozenset(given)


def newest(client: Redis, project: str, most: int = MOST_HEADS) -> list[tuple[str, RunSpec]]:
    """Return up to so many of the project's runs with what was asked for, the newest first. Raises RedisAwayError."""
    found: list[tuple[str, RunSpec]] = []
    ids = index.newest(client, live=False, limit=_LOOKED_THROUGH)
    for start in range(0, len(ids), _AT_ONCE):
        records = index.records(client, ids[start : start + _AT_ONCE])
        found += [(one.view.id, one.view.spec) for one in records if one.view.spec.repo.project == project]
        if len(found) >= most:
            break
    return found[:most]
