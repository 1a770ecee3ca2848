"""Tracebacks of Python, and what pytest prints in its own styles."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.diagnostic import Severity
from orchestrator.diagnostics.found import Found, Place
from orchestrator.diagnostics.log import indent
from orchestrator.diagnostics.paths import is_file

if TYPE_CHECKING:
    from orchestrator.diagnostics.log import Log

_MOST_FRAMES: Final = 400
_LONGEST_FAILURE: Final = 3_000
"""Lines of one failure in pytest's long style, which prints each function on the way from its docstring on."""
_LONGEST_EXAMPLE: Final = 200
_FILE: Final = re.compile(
    r'\s*(?:\*{3}\s{1,10}|E\s{1,10}|\|\s{1,10})?File "(?P<file>[^"\n]{1,400})", line (?P<line>\d{1,7})'
    r"(?:, in (?P<what>.{1,200}))?"
)
_RAISED: Final = re.compile(r"(?P<kind>(?:\w{1,80}\.){0,12}\w{1,80})(?::\s?(?P<message>.*))?$", re.DOTALL)
_CASE: Final = re.compile(r"(?:FAIL|ERROR): (?P<name>\w{1,200})(?: \((?P<of>[\w.<>]{1,300})\))?")
_PLACE: Final = re.compile(
    r"(?P<file>[^\s:][^:\n]{0,399}):(?P<line>\d{1,7}): ?"
    r"(?:in (?P<what>\S{1,200})|(?P<kind>[A-Za-z_][\w.]{0,200})(?P<rest>: .*)?)?$"
)
_HEADER: Final = re.compile(r"_{2,} (?P<name>\S.*\S) _{2,}$")
_BLACK: Final = re.compile(
    r"error: cannot (?:format|parse):? (?P<file>[^:\n]{1,400}):(?:.*?: ?)?"
    r"(?P<line>\d{1,7}):(?P<column>\d{1,6})(?::\s?(?P<said>.*))?$"
)
_SUMMARY: Final = re.compile(
    r"(?P<word>FAILED|ERROR) (?P<file>[^\s:]{1,400}\.\w{1,8})"
    r"(?:::(?P<test>\S{1,300}(?:\[[^\]\n]{0,200}\])?))?(?: - (?P<message>.*))?$"
)


def traceback(log: Log, number: int) -> Found | None:
    """Read a traceback from its first `File` line on: the frames, and what was raised."""
    if not (first := _FILE.match(log.at(number))):
        return None
    if log.at(number + 1) == "Failed example:":
        return _example(log, number, first)
    quoted = first.group().lstrip().startswith("E ")
    frames, message, past = [Place(first["file"], int(first["line"]), first["what"] or "")], "", number + 1
    outer = max(0, indent(log.at(number)) - 2)
    for past in log.ahead(number, 4 * _MOST_FRAMES):
        line = log.at(past)
        if (frame := _FILE.match(line)) is not None:
            frames.append(Place(frame["file"], int(frame["line"]), frame["what"] or ""))
        elif (
            quoted
            and line.startswith("E ")
            and _RAISED.match(text := line[1:].strip())
            and "Error" in text.split(":")[0]
        ):
            message = text
            break
        elif quoted and not line.startswith("E"):
            break
        elif not quoted and line.strip() and indent(line) <= outer:
            message = line.strip().removeprefix("|").strip()
            break
    kind = _RAISED.match(message)
    code, tool = _case(log, number)
    return Found(
        frames[-1].file,
        frames[-1].line,
        0,
        Severity.WARNING if kind and kind["kind"].endswith("Warning") else Severity.ERROR,
        message,
        code or (kind["kind"] if kind else ""),
        tool,
        tuple(frames),
        past=past + bool(message),
    )


def _example(log: Log, number: int, first: re.Match[str]) -> Found:
    """Read an example that doctest tried: what was expected and what came, or what was raised instead."""
    frames = [Place(first["file"], int(first["line"]), first["what"] or "")]
    said: dict[str, str] = {}
    label, past = "", number + 1
    for past in log.ahead(number, _LONGEST_EXAMPLE):
        line = log.at(past)
        if line.startswith("***"):
            break
        if line.strip() and not line[0].isspace():
            label = line.rstrip(":")
        elif label == _INSTEAD and (frame := _FILE.match(line)):
            frames.append(Place(frame["file"], int(frame["line"]), frame["what"] or ""))
        elif line.strip() and (label not in said or label == _INSTEAD):
            said[label] = line.strip()
    came = said.get(_INSTEAD) or f"expected {said.get('Expected', 'nothing')}, got {said.get('Got', 'nothing')}"
    message = f"{said.get('Failed example', '')}: {came}"
    last = frames[-1]
    return Found(last.file, last.line, 0, Severity.ERROR, message, frames[0].what, "doctest", tuple(frames), past)


_INSTEAD: Final = "Exception raised"


def _case(log: Log, number: int) -> tuple[str, str]:
    """Return the test that a traceback belongs to, as unittest or pytest names it in front of it."""
    for above in log.back(number, 6):
        if case := _CASE.match(log.at(above)):
            whole = (case["of"] or "").endswith(f".{case['name']}")  # Python 3.11 and newer name the test there, too.
            return ".".join(filter(None, (case["of"], "" if whole else case["name"]))), "unittest"
        if header := _HEADER.match(log.at(above)):
            return _test(header["name"]), "pytest"
    return "", "python"


def _test(header: str) -> str:
    return (
        header.removeprefix("ERROR at setup of ")
        .removeprefix("ERROR at teardown of ")
        .removeprefix("ERROR collecting ")
    )


def pytest_place(log: Log, number: int) -> Found | None:
    """Read `file:3: AssertionError` below pytest's `E` lines, or the `file:3: in test` that a short one begins with."""
    line, _ = log.bare(number)
    if not (place := _PLACE.match(line)) or not is_file(place["file"]):
        return None
    if place["what"]:
        return _short(log, number, place)
    above = log.at(number - 1) + log.at(number - 2)
    if place["kind"] is None:
        # A frame on the way: the long style prints the next one below a row of dots.
        return Found("", past=number + 1) if log.at(number + 1).startswith("_ _ ") else None
    if (
        not place["kind"].endswith(("Error", "Exception", "Exit", "Failed", "Interrupt", "Warning"))
        and "E  " not in above
    ):
        return None
    message = (place["rest"] or "").removeprefix(": ")
    frames = [Place(place["file"], int(place["line"]))]
    for back in log.back(number, _LONGEST_FAILURE):
        text = log.at(back)
        if header := _HEADER.match(text):
            return _failure(place, message, frames, _test(header["name"]))
        if text.startswith("E  ") and not message:
            message = _first_quoted(log, back)
        elif (passed := _PLACE.match(text)) and passed["kind"] is None and not passed["what"]:
            frames.append(Place(passed["file"], int(passed["line"])))
        elif place["rest"] and (not text.strip() or text.startswith("====")):
            break
    return _failure(place, message, frames, "")


def _first_quoted(log: Log, number: int) -> str:
    """Return the first of the neighbouring lines that pytest marks with E."""
    first = number
    for above in log.back(number, 200):
        if not log.at(above).startswith("E  "):
            break
        first = above
    return log.at(first)[1:].strip()


def _failure(place: re.Match[str], message: str, frames: list[Place], test: str) -> Found:
    worst = Severity.WARNING if place["kind"].endswith("Warning") else Severity.ERROR
    said = message or place["kind"]
    if place["kind"] not in said and place["kind"] not in {"AssertionError", "Failed"}:
        said = f"{place['kind']}: {said}"
    return Found(place["file"], int(place["line"]), 0, worst, said, test, "pytest", tuple(reversed(frames)))


def _short(log: Log, number: int, place: re.Match[str]) -> Found:
    frames, message, past = [Place(place["file"], int(place["line"]), place["what"])], "", number + 1
    for past in log.ahead(number, 4 * _MOST_FRAMES):
        line = log.at(past)
        if line.startswith("E  "):
            message = _raised(log, past)
            if broken := _FILE.match(line):  # A syntax error: the frames are those of the import.
                frames.append(Place(broken["file"], int(broken["line"])))
                return _located(log, number, frames, message, past + 4)
            break
        if (frame := _PLACE.match(line)) and frame["what"]:
            frames.append(Place(frame["file"], int(frame["line"]), frame["what"]))
        elif line.strip() and not line.startswith(" "):
            break
    return _located(log, number, frames, message, past)


def _located(log: Log, number: int, frames: list[Place], message: str, past: int) -> Found:
    test = next((_test(found["name"]) for above in log.back(number, 4) if (found := _HEADER.match(log.at(above)))), "")
    last = frames[-1]
    return Found(last.file, last.line, 0, Severity.ERROR, message, test, "pytest", tuple(frames), past=past)


def _raised(log: Log, number: int) -> str:
    """Return the first of the lines marked with E, or the one of a syntax error that names it."""
    text = log.at(number)[1:].strip()
    if text.startswith("File "):
        for below in log.ahead(number, 8):
            line = log.at(below)
            if line.startswith("E ") and "Error: " in line:
                return line[1:].strip()
    return text


def pytest_summary(log: Log, number: int) -> Found | None:
    """Read a line of pytest's summary, which names the test and no line."""
    line, _ = log.bare(number)
    if not (match := _SUMMARY.match(line)):
        return None
    test = (match["test"] or "").replace("::", ".")
    return Found(
        match["file"], 0, 0, Severity.ERROR, match["message"] or match["word"].lower(), test or match["file"], "pytest"
    )


def black(log: Log, number: int) -> Found | None:
    """Read what black can't parse: the place stands behind the reason."""
    line, _ = log.bare(number)
    if not (match := _BLACK.match(line)):
        return None
    message = f"cannot parse: {match['said'] or log.at(number + 1).strip()}"
    return Found(match["file"], int(match["line"]), int(match["column"]), message=message, tool="black")
