"""What the runs of a project teach that ended since the last dream.

One run's events are in memory at a time, and of each only what it taught stays.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator import events as e
from orchestrator.dialogue import Value
from orchestrator.dream.extract import extract
from orchestrator.errors import JournalError, NotFoundError
from orchestrator.journal import index, stream
from orchestrator.runs import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redis import Redis

    from orchestrator.dream.finding import Finding
    from orchestrator.events import Event
    from orchestrator.runs import RunSpec

MOST_RUNS: Final = 2_000
"""Of one dream; those that ended later are the next one's."""
_AT_ONCE: Final = 100


class Skipped(Value):
    """A run that wasn't read, and why."""

    run: str
    why: str


class Lesson(NamedTuple):
    """What one run taught, the entries that it was given, whether its work was accepted, and where it worked.

    `spec` is without the task and the script, which may be long.
    """

    run: str
    ended_ms: int
    findings: tuple[Finding, ...]
    given: frozenset[str]
    accepted: bool
    spec: RunSpec


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
    tell: Callable[[int, int], None],
    enough: Callable[[], bool] = lambda: False,
) -> Collected:
    """Read the project's runs that ended from `since_ms` to before `until_ms`.

    What runs were given counts from `counted_ms` on: what ended before was counted by an earlier dream. `tell` is told
    before each run how many were read, and of how many; it stops between two of them where `enough` says so.
    A journal that is damaged, or that a newer DreamDock wrote, is skipped. Raises RedisAwayError.
    """
    mine, skipped = _of_project(client, project, index.ended(client, since_ms, until_ms))
    lessons: list[Lesson] = []
    for number, (run, when) in enumerate(mine):
        if number == MOST_RUNS or (number and when > mine[number - 1][1] and enough()):
            return Collected(lessons, skipped, when, len(mine) - number)
        tell(number, len(mine))
        try:
            lesson = _lesson(run, when, list(stream.read(client, run)), counted_ms)
        except (JournalError, NotFoundError, LookupError) as error:  # LookupError: events that don't fit together.
            why = f"{error.message}: {error.cause}" if isinstance(error, JournalError) else repr(error)
            skipped.append(Skipped(run=run, why=why.rstrip(": ")))
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


def _lesson(run: str, ended_ms: int, events: Sequence[Event], counted_ms: int) -> Lesson | None:
    """Return what a run taught; None where it isn't over any more."""
    spec = next((event.body.spec for event in events if isinstance(event.body, e.Submitted)), None)
    last = next((event.body for event in reversed(events) if isinstance(event.body, e.Finished)), None)
    if spec is None or last is None:
        return None
    short = spec.model_copy(update={"task": "-", "script": ""})
    given = _given(events, counted_ms) if ended_ms >= counted_ms else frozenset[str]()
    return Lesson(run, ended_ms, extract(run, events), given, last.outcome is Outcome.SUCCEEDED, short)


def _given(events: Iterable[Event], counted_ms: int) -> frozenset[str]:
    """Return the entries that a run was given, without those that were counted when it ended before."""
    given: set[str] = set()
    for event in events:
        match event.body:
            case e.Recalled(entries=entries):
                given |= {entry.id for entry in entries}
            case e.Finished() if event.at.timestamp() * 1000 < counted_ms:
                given = set()
            case _:
                continue
    return frozenset(given)
