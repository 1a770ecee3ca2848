"""What the tools around Java print beyond the general shape: Surefire, Gradle, Kotlin, Maven's models."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.diagnostic import Severity
from orchestrator.diagnostics.found import Found

if TYPE_CHECKING:
    from orchestrator.diagnostics.log import Log

_SUREFIRE: Final = re.compile(
    r"\s*(?P<cls>[A-Z]\w{0,200})(?:\$\w{1,200})?\.(?P<test>\w{1,200}):(?P<line>\d{1,7})(?:->\S{1,300})?"
    r"(?:\s+(?:»\s)?(?P<message>.*))?$"
)
_GRADLE_TEST: Final = re.compile(
    r"\s{2,}(?P<kind>[\w.$]{1,300}) at (?P<file>\w{1,200}\.(?:java|kt|groovy|scala)):(?P<line>\d{1,7})$"
)
_GRADLE_NAME: Final = re.compile(r"(?P<test>\S.{0,300}) FAILED$")
_WHERE: Final = re.compile(
    r"(?:\* Where: ?)?(?:Build file|Script|Settings file) '(?P<file>[^'\n]{1,400})' line: (?P<line>\d{1,7})"
)
_MODEL: Final = re.compile(
    r"@ (?:\[?[\w.:-]{0,200}, )?(?P<file>[^,\s]{1,400}), line (?P<line>\d{1,7}), column (?P<column>\d{1,6})"
)


def surefire(log: Log, number: int) -> Found | None:
    """Read Surefire's summary: the class, the method and the line, which it prints instead of a file."""
    line, tag = log.bare(number)
    if tag != "ERROR" or not (match := _SUREFIRE.match(line)):
        return None
    test = f"{match['cls']}.{match['test']}"
    return Found(f"{match['cls']}.java", int(match["line"]), 0, Severity.ERROR, match["message"] or test, test, "maven")


def gradle_test(log: Log, number: int) -> Found | None:
    """Read the exception that Gradle prints below a failed test."""
    if not (match := _GRADLE_TEST.match(log.at(number))):
        return None
    test = next((named["test"] for up in log.back(number, 3) if (named := _GRADLE_NAME.match(log.at(up)))), "")
    return Found(match["file"], int(match["line"]), 0, Severity.ERROR, match["kind"], test, "gradle")


def gradle_where(log: Log, number: int) -> Found | None:
    """Read the place in a build file that Gradle names, and below it what went wrong."""
    if not (match := _WHERE.search(log.at(number))):
        return None
    message = ""
    for below in log.ahead(number, 8):
        if log.at(below).startswith("* What went wrong"):
            message = log.at(below + 1).strip()
            break
    return Found(match["file"], int(match["line"]), 0, Severity.ERROR, message, "", "gradle")


def model(log: Log, number: int) -> Found | None:
    """Read what Maven says of a pom.xml."""
    line, tag = log.bare(number)
    if not (match := _MODEL.search(line)):
        return None
    worst = Severity.WARNING if tag == "WARNING" else Severity.ERROR
    message = line[: match.start()].strip() or line[match.end() :].strip()
    return Found(match["file"], int(match["line"]), int(match["column"]), worst, message, "", "maven")


def spotbugs(log: Log, number: int) -> Found | None:
    """Read what SpotBugs says through Maven, with the class that it names a file for."""
    line, tag = log.bare(number)
    if not (match := _SPOTBUGS.search(line)):
        return None
    worst = Severity.WARNING if tag == "WARNING" else Severity.ERROR
    return Found(match["file"], int(match["line"]), 0, worst, line[: match.start()].strip(), match["code"], "spotbugs")


_SPOTBUGS: Final = re.compile(
    r" At (?P<file>[\w$]{1,200}\.\w{1,8}):\[lines? (?P<line>\d{1,7})(?:-\d{1,7})?\] ?(?P<code>\w{0,100})"
)
