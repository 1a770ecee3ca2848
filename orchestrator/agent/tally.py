"""How many tests failed and passed, by what a test runner prints at its end."""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Tally(NamedTuple):
    """Counts of tests; None where the output doesn't say."""

    failed: int | None = None
    passed: int | None = None


_COUNTED: Final = (
    # pytest: `2 failed, 3 passed, 1 error in 0.12s`; jest: `Tests: 2 failed, 3 passed`; cargo: `3 passed; 1 failed`.
    re.compile(r"\b(?P<count>\d+) (?P<word>failed|passed|errors?)\b(?=[,; ]|$)"),
    re.compile(r"(?P<count>\d+) (?P<word>passing|failing)\b"),  # mocha
    re.compile(r"\b(?P<word>failures|errors)=(?P<count>\d+)"),  # unittest: `FAILED (failures=1, errors=2)`
)
_SUMMARY: Final = re.compile(
    r"^(?:=+ .* =+|Tests: .*|test result: .*|\s+\d+ (?:passing|failing)\b.*|FAILED \(.*\)|\d+ .* in [\d.]+ ?s.*)$"
)
_RAN: Final = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
_GO: Final = re.compile(r"^\s*--- (PASS|FAIL): ", re.MULTILINE)
_TAP: Final = re.compile(r"^(not ok|ok) \d+\b", re.MULTILINE)
_BAD: Final = frozenset({"failed", "error", "errors", "failing", "failures"})


def tally(output: str) -> Tally:
    """Return what an output says of its tests: pytest's, unittest's, jest's, mocha's, go's, cargo's or TAP's."""
    counts = {True: 0, False: 0}
    found = False
    for line in output.splitlines():
        if not _SUMMARY.match(line):
            continue
        for pattern in _COUNTED:
            for match in pattern.finditer(line):
                counts[match["word"] in _BAD] += int(match["count"])
                found = True
    if ran := _RAN.findall(output):  # What unittest says of those that failed comes behind.
        counts[False] += max(sum(map(int, ran)) - counts[True], 0)
        found = True
    if not found:
        marks = [word in {"FAIL", "not ok"} for word in (*_GO.findall(output), *_TAP.findall(output))]
        if not marks:
            return Tally()
        counts = {True: sum(marks), False: len(marks) - sum(marks)}
    return Tally(counts[True], counts[False])
