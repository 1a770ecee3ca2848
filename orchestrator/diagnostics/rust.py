"""What rustc and cargo print, and the tools that draw their findings the same way: a place below its message."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.diagnostic import Severity
from orchestrator.diagnostics.found import Found, Place, severity
from orchestrator.diagnostics.paths import is_file

if TYPE_CHECKING:
    from orchestrator.diagnostics.log import Log

_ARROW: Final = re.compile(
    r"\s*(?P<arrow>-->|:::|[╭┌,]─?\[?-?\[?)\s?"
    r"(?P<file>[^\s:\[][^:\n]{0,399}|[A-Za-z]:\\[^:\n]{0,399}):(?P<line>\d{1,7})(?::(?P<column>\d{1,6}))?(?:\]|\s|$)"
)
_HEADER: Final = re.compile(
    r"\s*(?:(?P<word>error|warning|note|help|info)(?:\[(?P<code>[\w:()/-]{1,100})\])?: (?P<message>.*)"
    r"|(?P<rule>[A-Z]{1,6}\d{1,5}|[a-z]+(?:-[a-z]+){1,6}) (?:\[\*\] )?(?P<said>.*)"
    r"|(?P<sign>[\u00d7⚠✖!ⓘ])\s(?P<told>.*))$"
)
_LINT: Final = re.compile(r"`#\[(?:warn|deny|forbid)\((?P<code>[\w:]{1,100})\)\]`")
_PANIC: Final = re.compile(
    r"thread '(?P<thread>[^'\n]{0,200})'(?: \(\d+\))? panicked at "
    r"(?:'(?P<old>.*)', )?(?P<file>[^\s:']{1,400}):(?P<line>\d{1,7}):(?P<column>\d{1,6}):?$"
)

_NUMBERED: Final = re.compile(r"\s{1,8}\d{1,4}: ")
_FRAME: Final = re.compile(r"\s{4,40}at (?P<file>\S{1,400}?):(?P<line>\d{1,7})(?::\d{1,6})?$")


def arrow(log: Log, number: int) -> Found | None:
    """Read a place below an arrow, and the message above it; a second place of the same message is its frame."""
    line, _ = log.bare(number)
    if not (place := _ARROW.match(line)) or not is_file(place["file"]):
        return None
    if place["arrow"] == ":::":
        return Found("", past=number + 1)
    column = int(place["column"] or 0)
    for above in log.back(number, 12):
        text, _ = log.bare(above)
        if header := _HEADER.match(text):
            word = header["word"] or {"\u00d7": "error", "✖": "error", "⚠": "warning", "!": "warning"}.get(
                header["sign"] or "", "error"
            )
            message = header["message"] or header["said"] or header["told"] or ""
            code = header["code"] or header["rule"] or _lint(log, number)
            tool = "ruff" if header["rule"] else "rustc" if place["file"].endswith(".rs") else ""
            return Found(
                place["file"], int(place["line"]), column, severity(word), message, code, tool, _others(log, number)
            )
        if not text.strip() and above < number - 1:
            break
    return Found(place["file"], int(place["line"]), column, Severity.ERROR, log.at(number - 1).strip(), "", "")


def _lint(log: Log, number: int) -> str:
    """Return the lint that rustc names in a note below a warning."""
    for below in log.ahead(number, 25):
        if not log.at(below).strip():
            break
        if match := _LINT.search(log.at(below)):
            return match["code"]
    return ""


def _others(log: Log, number: int) -> tuple[Place, ...]:
    """Return the further places of the same message."""
    places = []
    for below in log.ahead(number, 40):
        text = log.at(below)
        if not text.strip():
            break
        if (match := _ARROW.match(text)) and match["arrow"] in {":::", "-->"}:
            places.append(Place(match["file"], int(match["line"])))
    return tuple(places)


def panic(log: Log, number: int) -> Found | None:
    """Read a panic: the place, and the message behind it or on the line before the backtrace."""
    if not (match := _PANIC.match(log.at(number).strip())):
        return None
    message = match["old"] or log.at(number + 1).strip()
    place = Place(match["file"], int(match["line"]))
    frames, past = _backtrace(log, number)
    # The place itself comes last: it is where the panic was raised, and the frames only lead there.
    trace = (*frames, place)
    return Found(*place[:2], int(match["column"]), Severity.ERROR, message, match["thread"], "rustc", trace, past)


def _backtrace(log: Log, number: int) -> tuple[tuple[Place, ...], int]:
    """Return the frames below a panic, the outermost first, and where they end."""
    begin = next((n for n in log.ahead(number, 12) if "stack backtrace:" in log.at(n)), 0)
    frames: list[Place] = []
    past = begin
    for past in log.ahead(begin, 800) if begin else ():  # Its end.
        if match := _FRAME.match(log.at(past)):
            frames.append(Place(match["file"], int(match["line"])))
        elif not _NUMBERED.match(log.at(past)):
            break
    return tuple(reversed(frames)), past
