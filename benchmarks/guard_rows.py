"""The guards' figures: how soon loops are stopped, how often honest work is, and what a judgement takes."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.guard_cases import BEFORE, HONEST, LOOPS, Case, honest, read
from benchmarks.report import Row, row
from orchestrator.agent.guards.acts import trail
from orchestrator.agent.guards.judge import judge

if TYPE_CHECKING:
    from orchestrator.dialogue import Reply, Turn
    from orchestrator.events import Guarded

_STEPS_TO_STOP: Final = 6
_JUDGE_MS: Final = 10.0
_MOST_STEPS: Final = 60


class Played(NamedTuple):
    """How a run went: its steps without those before, and what the guards said."""

    steps: int
    judged: tuple[Guarded, ...]

    @property
    def stopped(self) -> bool:
        """Whether the run was stopped."""
        return bool(self.judged) and self.judged[-1].level == "stop"


def play(case: Case) -> Played:
    """Play a run behind some honest steps until it's over, or stopped; a loop has `_MOST_STEPS` steps."""
    dialogue: list[Turn | Reply] = []
    judged: list[Guarded] = []
    steps = itertools.chain(itertools.islice(honest(), BEFORE), itertools.islice(case.steps(), _MOST_STEPS))
    number = 0
    for number, step in enumerate(steps, start=1):
        dialogue += step.said(number)
        if (found := judge(trail(dialogue, range(1, number + 1)), judged)) is not None:
            judged.append(found)
            if found.level == "stop":
                break
    return Played(number - BEFORE, tuple(judged))


def rows() -> list[Row]:
    """Return the rows. A step that isn't to be counted as noise: only the last one has a floor that varies."""
    loops = [(case, play(case)) for case in LOOPS]
    stopped = [float(played.steps - case.after) for case, played in loops if played.stopped]
    missed = float(sum(not played.stopped for _, played in loops))
    wrong = float(sum(play(case).stopped for case in HONEST))
    return [
        row(
            f"{len(LOOPS)} loops: steps from when it is one to its stop",
            stopped,
            [1],
            unit="steps",
            target=_STEPS_TO_STOP,
            quiet=1,
            at=1,
        ),
        row(f"{len(LOOPS)} loops: not stopped", [missed], [1], unit="runs", target=0, quiet=1),
        row(f"{len(HONEST)} honest polls and retries: stopped", [wrong], [1], unit="runs", target=0, quiet=1),
        row("a judgement of 64 steps of 16 KB", _timed(), [1], unit="ms", target=_JUDGE_MS, quiet=1),
    ]


def _timed() -> list[float]:
    """Return the milliseconds of judgements, each of them after one more step."""
    dialogue: list[Turn | Reply] = []
    took = []
    for number in range(1, 100):
        came = "\n".join(f"{line:>5}\tline {line} of part {number} of the program" for line in range(400))[:16_000]
        dialogue += read(f"part{number}.py", came).said(number)
        began = time.perf_counter()
        judge(trail(dialogue, range(1, number + 1)), [])
        took.append((time.perf_counter() - began) * 1000)
    return took[64:]
