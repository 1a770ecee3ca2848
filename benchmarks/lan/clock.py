"""A clock that is off, for the programs that are started with it: Debian's datefudge, which leaves timers alone.

A time namespace doesn't cover the time of day, and libfaketime mistakes a sleep until a moment for one it has to fake.
"""

from __future__ import annotations

from pathlib import Path


def off_by(seconds: int) -> dict[str, str]:
    """Return the environment in which the time of day is ahead by so many seconds, and nothing else is.

    Raises FileNotFoundError where there is no datefudge.
    """
    found = next(iter(Path("/usr/lib").glob("*/datefudge/datefudge.so")), None)
    if found is None:
        raise FileNotFoundError("datefudge isn't installed: apt-get install datefudge")
    return {"LD_PRELOAD": str(found), "DATEFUDGE": str(-seconds)}
