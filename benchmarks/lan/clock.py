"""A clock that is off, for the programs that are started with it: Debian's libfaketime."""

from __future__ import annotations

from pathlib import Path


def off_by(seconds: int) -> dict[str, str]:
    """Return the environment in which the time of day is off by so many seconds, and nothing else is.

    Raises FileNotFoundError where there is no libfaketime.
    """
    found = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
    if found is None:
        raise FileNotFoundError("libfaketime isn't installed: apt-get install faketime")
    return {"LD_PRELOAD": str(found), "FAKETIME": f"{seconds:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
