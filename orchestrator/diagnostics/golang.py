"""What `go test` and panics of Go print."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.diagnostic import Severity
from orchestrator.diagnostics.found import Found, Place

if TYPE_CHECKING:
    from orchestrator.diagnostics.log import Log

_CALL: Final = re.compile(r"\t(?P<file>[^\s:][^:\n]{0,399}\.(?:go|s)):(?P<line>\d{1,7})(?: \+0x[0-9a-f]{1,16})?$")
_PANIC: Final = re.compile(r"\s*(?:panic|fatal error|runtime error): (?P<message>.*)$")
_LOGGED: Final = re.compile(r"\s{4,16}(?P<file>[\w./-]{1,300}\.go):(?P<line>\d{1,7}): (?P<message>.*)$")
_HEADING: Final = re.compile(r"\s*(?:---|===) (?P<word>[A-Z]{3,5}):?\s{1,3}(?P<test>\S{1,300})")
_TRACE: Final = re.compile(r"\s*Error Trace:\s*(?P<file>[^\s:]{1,400}\.go):(?P<line>\d{1,7})")


def panic(log: Log, number: int) -> Found | None:
    """Read the goroutine that panicked, from its first frame on; those of other goroutines are passed over."""
    if not (first := _CALL.match(log.at(number))):
        return None
    message = ""
    for above in log.back(number, 30):
        if match := _PANIC.match(log.at(above)):
            message = match["message"]
            break
    frames, past = [Place(first["file"], int(first["line"]), _function(log, number))], number + 1
    for past in log.ahead(number, 400):  # Where the trace ends.
        line = log.at(past)
        if not line.strip():
            break
        if match := _CALL.match(line):
            frames.append(Place(match["file"], int(match["line"]), _function(log, past)))
    if not message:
        return Found("", past=past)
    # The innermost frame stands first; the one that broke lies in the code that is being worked on.
    frames.reverse()
    return Found(frames[-1].file, frames[-1].line, 0, Severity.ERROR, message, "panic", "go", tuple(frames), past)


def _function(log: Log, number: int) -> str:
    return log.at(number - 1).partition("(")[0].strip()


def logged(log: Log, number: int) -> Found | None:
    """Read what a test logged; only below a test that failed it is an error, else it says nothing."""
    if not (match := _LOGGED.match(log.at(number))):
        return None
    for above in log.back(number, 60):
        if heading := _HEADING.match(log.at(above)):
            failed = heading["word"] == "FAIL" or (
                heading["word"] in {"RUN", "CONT", "NAME"} and _fails(log, number, heading["test"])
            )
            if not failed:
                return Found("", past=number + 1)
            return Found(
                match["file"], int(match["line"]), 0, Severity.ERROR, match["message"].strip(), heading["test"], "go"
            )
    return Found(match["file"], int(match["line"]), 0, Severity.ERROR, match["message"].strip(), "", "go")


def _fails(log: Log, number: int, test: str) -> bool:
    """Say whether the verdict below, in verbose output, is that the test failed."""
    for below in log.ahead(number, 60):
        line = log.at(below)
        if "--- " in line and (heading := _HEADING.match(line)) and heading["test"] == test:
            return heading["word"] == "FAIL"
    return False


def trace(log: Log, number: int) -> Found | None:
    """Read the place of an assertion of testify, and its error below."""
    if not (match := _TRACE.match(log.at(number))):
        return None
    message = ""
    for below in log.ahead(number, 12):
        label, _, text = log.at(below).strip().partition(":")
        if label == "Error":
            message = text.strip()
            break
    return Found(match["file"], int(match["line"]), 0, Severity.ERROR, message, "", "go")
