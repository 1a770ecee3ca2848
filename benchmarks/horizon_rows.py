"""The figures of long runs: what is kept in mind, what is done, what it costs."""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from benchmarks.cli import QUIET_SECONDS
from benchmarks.long_runs import Course, Ran
from benchmarks.report import Row, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fakes.fake_agent_model import Asked, Mode

CPU_MS: Final = 20.0
PEAK_MB: Final = 150.0
WALL_S: Final = 10.0
GAP_MS: Final = 25.0
FIRST_BYTES: Final = 16 * 1024
EXTRA: Final = 12
BLOCKED_S: Final = 0.1
FAILURES: Final[tuple[Mode, ...]] = ("500", "400", "hang", "nonsense")
_TRIES: Final = 3
"""So often in a row the condenser may fail, before it rests until the next rebuild."""
_REQUESTS_A_TRY: Final = 2
_SMALL: Final = 18
"""Lines of 100 characters that a step prints in the longest run: its context is built anew at least 32 times."""
_LARGE: Final = 40
"""Lines for about 1,100 tokens a step, the call included."""


def long(steps: int) -> Course:
    """Return the run in which facts are to be kept in mind."""
    return Course(f"{steps:,} steps, 32K window", steps, _SMALL, 32_768, knowing=True)


def short(steps: int) -> Course:
    """Return the run whose context is never built anew."""
    return Course(f"{steps} steps", steps, 0, 1_000_000)


def wide(steps: int) -> Course:
    """Return the run whose extra requests count."""
    return Course(f"{steps} steps, 64K window", steps, _LARGE, 65_536)


def tight(steps: int) -> Course:
    """Return the run in a window that the peers fail in."""
    return Course(f"{steps} steps, 32K window", steps, _LARGE, 32_768)


def narrow(steps: int) -> Course:
    """Return the run in the smallest window."""
    return Course(f"{steps} steps, 16K window", steps, _LARGE, 16_384)


def failing(steps: int, mode: Mode) -> Course:
    """Return the run whose condenser gets no summary."""
    return Course(f"{steps} steps, 32K window, {mode}", steps, _LARGE, 32_768, condense=mode)


class Told:
    """Makes rows beside one floor."""

    def __init__(self, floor: Sequence[float]) -> None:
        """Take the floor: starts of a bare Python in seconds."""
        self._floor = floor

    def __call__(self, name: str, samples: Sequence[float], unit: str, target: float, *, at: float = 0.5) -> Row:
        """Return a row; `at` is the share of the samples that lie below its value."""
        return row(name, samples, self._floor, unit=unit, target=target, quiet=QUIET_SECONDS, at=at)


def kept_in_mind(ran: Ran, told: Told) -> list[Row]:
    """Return the rows of the run with facts."""
    missing = [fact for _, fact in ran.record.missing]
    for _ in range(len(ran.course.script.asks) - len(ran.record.asks)):  # It didn't get so far.
        missing += ran.course.script.facts
    pinned = sum(fact.kind != "printed" for fact in missing)
    unsearched = len(missing) - ran.record.searched
    name = f"{ran.course.steps:,} steps"
    return [
        told(f"{name}: facts said or noted, missing when asked for", [pinned], "facts", 0),
        told(f"{name}: other facts not found by one search", [len(ran.record.not_found) + unsearched], "facts", 0),
        told(f"{name}: done again", [ran.redone], "steps", 0),
        told(f"{name}: not done", [ran.not_done], "steps", 0),
    ]


def effort(ran: Ran, told: Told) -> list[Row]:
    """Return the rows of what a short run costs."""
    main, name = ran.record.of("main"), f"{ran.course.steps} steps"
    return [
        told(f"{name}: CPU per step", [ran.spent.cpu_s * 1000 / ran.course.steps], "ms", CPU_MS),
        told(f"{name}: peak memory of the worker's process", [ran.spent.peak_mb], "MB", PEAK_MB),
        told(f"{name}: wall", [ran.spent.wall_s], "s", WALL_S),
        told("gap between reply and next request", [gap * 1000 for gap in gaps(main)], "ms", GAP_MS),
        told("first request", [main[0].size], "bytes", FIRST_BYTES),
    ]


def prefixes(runs: Sequence[Ran], told: Told) -> list[Row]:
    """Return the rows of what requests have in common with those before."""
    extended, heads = [], []
    for ran in runs:
        anew = {body.step for body in ran.rebuilt}
        main = ran.record.of("main")
        for asked in main[1:]:
            if asked.step + 1 in anew:
                heads.append(_lost(asked.head, main[0].head))
            else:
                extended.append(_lost(asked.kept, asked.previous))
    return [
        told("request not kept by the next, between rebuilds, worst", extended, "%", 0, at=1),
        told("frozen head not kept by a rebuild, worst", heads or [100], "%", 0, at=1),
    ]


def condensing(ran: Ran, told: Told) -> list[Row]:
    """Return the rows of what it takes to keep the context in shape."""
    extra = [asked for asked in ran.record.asked if asked.kind != "main" or asked.status != 200]  # noqa: PLR2004
    shared = [_lost(asked.kept, asked.previous) for asked in ran.record.of("condense")]
    return [
        told("64K window: extra requests", [len(extra)], "requests", EXTRA),
        told("64K window: work blocked by a rebuild, longest", blocked(ran) or [60], "s", BLOCKED_S, at=1),
        told("64K window: main prompt not shared by a summary's, worst", shared or [100], "%", 0, at=1),
        told("64K window: not done", [ran.not_done], "steps", 0),
    ]


def without_summaries(runs: Sequence[Ran], told: Told) -> list[Row]:
    """Return the rows of runs whose condenser fails, in each way."""
    over = [len([a for a in ran.record.asked if a.kind == "condense"]) - cap(ran) for ran in runs]
    return [
        told(f"condenser failing ({', '.join(FAILURES)}): not done", [ran.not_done for ran in runs], "steps", 0, at=1),
        told("condenser failing: requests above the cap", [max(0, more) for more in over], "requests", 0, at=1),
    ]


def cap(ran: Ran) -> int:
    """Return how many requests for summaries a run may make that gets none."""
    return _REQUESTS_A_TRY * (_TRIES + len(ran.rebuilt))


def gaps(main: Sequence[Asked]) -> list[float]:
    """Return the seconds from each reply to the next request."""
    return [after.came - before.answered for before, after in pairwise(main)]


def blocked(ran: Ran) -> list[float]:
    """Return by how much longer than usual the model waited for each request that a rebuild stands before."""
    main = ran.record.of("main")
    usual = statistics.median(gaps(main))
    anew = {body.step for body in ran.rebuilt}
    waits = zip(main[1:], gaps(main), strict=True)
    return [max(0.0, gap - usual) for asked, gap in waits if asked.step + 1 in anew]


def _lost(kept: int, whole: int) -> float:
    return 100 * (1 - kept / whole) if whole else 100.0
