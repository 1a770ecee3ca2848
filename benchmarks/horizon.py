"""Long runs: `python -m benchmarks.horizon [--json] [--brief] [--peers DIR]`.

The tests' fake agent model works through a script of hundreds of steps, in windows that are full again and again. Each
run is one attempt, in a process of its own, with a real sandbox and a Redis of its own; the model's server, the sandbox
and Redis aren't counted as the worker's. The floor is a bare start of the same Python. With --brief the runs are short.

Beside it stand other harnesses at the same script: those that are found on PATH, or below DIR. Nothing is installed.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from benchmarks import horizon_rows as rows
from benchmarks import peers
from benchmarks.cli import BARE, QUIET_SECONDS, seconds
from benchmarks.long_runs import Ground, ground
from benchmarks.report import NOISE, Row, present

_FLOOR: Final = 11


def measure(place: Ground, *, brief: bool) -> list[Row]:
    """Return the rows of one go."""
    floor = [seconds(BARE, os.environ) for _ in range(_FLOOR)]
    told = rows.Told(floor)
    longest, usual = (400, 60) if brief else (1000, 100)
    short = place.run(rows.short(40 if brief else 200))
    wide, narrow = place.run(rows.wide(usual)), place.run(rows.narrow(usual))
    failing = [place.run(rows.failing(usual, mode)) for mode in rows.FAILURES]
    long = place.run(rows.long(longest))
    floor += [seconds(BARE, os.environ) for _ in range(_FLOOR)]
    return [
        *rows.kept_in_mind(long, told),
        *rows.effort(short, told),
        *rows.prefixes((short, wide, narrow, long), told),
        *rows.condensing(wide, told),
        *rows.without_summaries(failing, told),
        told("16K window: not done", [narrow.not_done], "steps", 0),
    ]


def side_by_side(place: Ground, folder: Path | None, *, brief: bool) -> list[peers.Figures]:
    """Return what we and the harnesses that are there do with the same courses; nothing where there is none."""
    there = peers.found(folder)
    courses = (rows.short(20), rows.tight(20)) if brief else (rows.short(200), rows.tight(40), rows.wide(100))
    figures = []
    for course in courses if there else ():
        figures.append(peers.ours(place.run(course)))
        figures += [peers.run(harness, program, course) for harness, program in there]
    return figures


def main() -> int:
    """Measure, once more where the machine was busy, and print."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.horizon")
    options.add_argument("--json", action="store_true", help="print the raw rows")
    options.add_argument("--brief", action="store_true", help="short runs, to see that it works")
    options.add_argument("--peers", type=Path, help="folder in which other harnesses are looked for, beside PATH")
    asked = options.parse_args()
    with ground() as place:
        found = measure(place, brief=asked.brief)
        if not asked.brief and found[0].baseline > NOISE * QUIET_SECONDS:
            found = measure(place, brief=asked.brief)
        others = side_by_side(place, asked.peers, brief=asked.brief)
    if asked.json:
        return present("horizon", found, as_json=True, beside={"peers": [one._asdict() for one in others]})
    code = present("horizon", found, as_json=False)
    peers.present(others)
    return code


if __name__ == "__main__":
    sys.exit(main())
