"""What gcc, clang, linkers, make and CMake print beyond the general shape."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.diagnostic import Severity
from orchestrator.diagnostics.found import Found, Place, severity
from orchestrator.diagnostics.general import tool_of
from orchestrator.diagnostics.paths import is_file

if TYPE_CHECKING:
    from orchestrator.diagnostics.log import Log

_DIRECTORY: Final = re.compile(
    r"make(?:\[\d{1,4}\])?: (?P<word>Entering|Leaving) directory ['`\"]?(?P<path>[^'\"\n]{1,900})"
)
_INCLUDED: Final = re.compile(r"\s*(?:In file included from|from) (?P<file>[^:\n]{1,400}):(?P<line>\d{1,7})")
_ON_THE_WAY: Final = re.compile(
    r"(?P<file>[^:\n]{1,400}):(?P<line>\d{1,7})(?::\d{1,6})?:\s{2,}"
    r"(?P<what>(?:recursively )?(?:required|instantiated) (?:from|by) .*|in .constexpr. expansion.*)$"
)
_UNDEFINED: Final = ("undefined reference to ", "multiple definition of ")
_LIBRARY: Final = re.compile(r"\S*ld(?:\.\w+)?: (?P<message>cannot find .*)$")
_CMAKE: Final = re.compile(
    r"CMake (?P<kind>[A-Za-z ]{0,30}?)(?P<word>Error|Warning)(?: \(dev\))?"
    r"(?: (?:at|in) (?P<file>[^:\n]{1,400}?)(?::(?P<line>\d{1,7}))?"
    r"(?: \((?P<code>\w{1,80})\)| [\w]{1,80})?)?:\s*(?P<message>.*)$"
)
_CMAKE_CALL: Final = re.compile(r"\s{2,}(?P<file>[^:\n]{1,400}):(?P<line>\d{1,7}) \((?P<what>\w{1,80})\)$")
_RECIPE: Final = re.compile(
    r"(?:g?make|ninja)(?:\[\d{1,4}\])?: \*\*\* \["
    r"(?:(?P<file>[^:\]\n]{1,400}):(?P<line>\d{1,7}): )?(?P<target>[^\]\n]{1,400})\] (?P<what>Error \d+.*|.*)$"
)
_MAKEFILE: Final = re.compile(r"(?P<file>[^:\s]{1,400}):(?P<line>\d{1,7}): \*\*\* (?P<message>.*)$")
_NO_RULE: Final = re.compile(r"g?make(?:\[\d{1,4}\])?: \*\*\* (?P<message>No rule to make target .*)$")

_ASSERTED: Final = re.compile(
    r"(?:[^\s:]{1,200}: )?(?P<file>[^\s:]{1,400}):(?P<line>\d{1,7}): "
    r"(?P<message>.{1,400}?: Assertion [`'\"].* failed\.)$"
)


def directory(log: Log, number: int) -> Found | None:
    """Keep the directory that make enters: what follows is printed relative to it."""
    line, _ = log.bare(number)
    if match := _DIRECTORY.search(line):
        if match["word"] == "Entering":
            log.directories.append(match["path"].strip())
        elif log.directories:
            log.directories.pop()
    return None


def included(log: Log, number: int) -> Found | None:
    """Pass over the files on the way to a diagnostic of gcc or clang: they are read as its frames, from below."""
    line, _ = log.bare(number)
    return Found("", past=number + 1) if _INCLUDED.match(line) or _ON_THE_WAY.match(line) else None


def way(log: Log, number: int) -> tuple[Place, ...]:
    """Return the files and instantiations that lead to the diagnostic at this line, as gcc prints them above it."""
    places: list[Place] = []
    if not log.at(number - 1).rstrip().endswith((":", ",")) and ":   " not in log.at(number - 1):
        return ()
    for above in log.back(number, 40):
        line, _ = log.bare(above)
        if match := _ON_THE_WAY.match(line):
            places.append(Place(match["file"], int(match["line"]), match["what"]))
        elif match := _INCLUDED.match(line):
            places.append(Place(match["file"], int(match["line"]), "included"))
        elif not line.rstrip().endswith((":", ",")):
            break
    return tuple(places)


def undefined(log: Log, number: int) -> Found | None:
    """Read what a linker misses, with its place where it knows one."""
    line, _ = log.bare(number)
    at = max(line.find(words) for words in _UNDEFINED)
    place, colon = line[:at].strip().removesuffix(":"), line[:at].rstrip().endswith(":")
    if at < 0 or not colon or place.endswith("error"):  # A compiler's own words, in the general shape.
        return None
    file, _, row = place.rpartition(":")
    file = file.rpartition(": ")[2]
    if row.isascii() and row.isdigit() and len(row) < 8 and file:  # noqa: PLR2004  # No line of a file.
        return Found(file, int(row), message=line[at:], tool="ld")
    file = place.partition(":(")[0].rpartition(": ")[2]
    return Found(file if is_file(file) else "", message=line[at:], tool="ld")


def asserted(log: Log, number: int) -> Found | None:
    """Read an assertion of C that didn't hold, as glibc prints it: behind the program's name."""
    match = _ASSERTED.match(log.bare(number)[0])
    return Found(match["file"], int(match["line"]), message=match["message"], tool="assert") if match else None


def library(log: Log, number: int) -> Found | None:
    """Read a library that a linker can't find."""
    match = _LIBRARY.search(log.bare(number)[0])
    return Found("", message=match["message"], tool="ld") if match else None


def cmake(log: Log, number: int) -> Found | None:
    """Read a block of CMake: its first line, the message below it, and the call stack."""
    line, _ = log.bare(number)
    if not (match := _CMAKE.match(line)):
        return None
    message, frames, past = match["message"], [], number + 1
    calls = False
    for past in log.ahead(number, 60):  # Its end is where the block ends.
        text, _ = log.bare(past)
        if text.startswith("Call Stack"):
            calls = True
        elif text.strip() and not text.startswith("  "):
            break
        elif calls and (call := _CMAKE_CALL.match(text)):
            frames.append(Place(call["file"], int(call["line"]), call["what"]))
        elif not calls and text.strip() and len(message) < 300:  # noqa: PLR2004  # A few lines are a message.
            message = f"{message} {text.strip()}".strip()
    worst = severity(match["word"])
    return Found(
        match["file"] or "",
        int(match["line"] or 0),
        0,
        worst,
        message,
        match["code"] or "",
        "cmake",
        tuple(frames),
        past,
    )


def make(log: Log, number: int) -> Found | None:
    """Read what make says of its own files, and the recipe that failed, which others have explained already."""
    line, _ = log.bare(number)
    if match := _RECIPE.match(line):
        told = f"[{match['target']}] {match['what']}"
        return Found(match["file"] or "", int(match["line"] or 0), message=told, code="recipe", tool="make")
    if match := _MAKEFILE.match(line):
        return Found(match["file"], int(match["line"]), message=match["message"], tool="make")
    match = _NO_RULE.match(line)
    return Found("", message=match["message"], tool="make") if match else None


def is_note_of(note: Found, last: Found) -> bool:
    """Say whether a compiler's note explains the diagnostic before it, rather than stand for itself."""
    return note.severity is Severity.NOTE and tool_of(note.file) == "gcc" and last.tool == "gcc"
