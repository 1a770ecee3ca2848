"""The output of a command in, located diagnostics out."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.diagnostic import LAST_LINE, LONGEST_MESSAGE, LONGEST_NAME, Diagnostic, Frame, Severity
from orchestrator.diagnostics import compilers, machine
from orchestrator.diagnostics.found import Found, Place
from orchestrator.diagnostics.log import Log
from orchestrator.diagnostics.paths import Files
from orchestrator.diagnostics.table import NUMBERED, TABLE, WORDS, Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MOST_FRAMES: Final = 20
"""Of one diagnostic; those nearest to where it broke are kept."""
_MANY: Final = 1_000


def read(output: str, *, files: Files | None = None) -> tuple[Diagnostic, ...]:
    """Return what the tools whose output this is say of places in the code, in the order of the output.

    Machine formats are read as such (JUnit and Checkstyle XML, JSON, SARIF), everything else line by line. What was
    printed several times is there once, and counted. Never raises, whatever the output holds; takes time in
    proportion to its length.
    """
    files = files or Files()
    found, rest = machine.read(output)
    places: list[tuple[Found, str]] = []
    for one in found:
        # A report holds what a test printed: the place where it failed is read from there.
        inner = [Log(one.raw)] if one.raw else []
        traces = [
            (trace._replace(code=one.found.code or trace.code), where) for log in inner for trace, where in _scan(log)
        ]
        places += traces[-1:] or [(one.found, "")]
    places += _scan(Log(rest))
    files.learn({path for each, where in places if not where for path in (each.file, *[f.file for f in each.frames])})
    told: dict[_Key, int] = {}
    for each, where in places:
        key = _key(each, where, files)
        told[key] = told.get(key, 0) + 1
    return tuple(_diagnostic(key, times) for key, times in _sifted(told).items())


class _Key(NamedTuple):
    """A finding with its paths named: two that are equal are one, printed twice."""

    file: str
    line: int
    column: int
    severity: Severity
    message: str
    code: str
    tool: str
    frames: tuple[tuple[str, int, str, bool], ...]


def _candidates(log: Log) -> list[int]:
    """Return the numbers of the lines that a matcher could read, by tests that run over the whole text at once."""
    text = log.text
    starts = [0, *accumulate(len(line) + 1 for line in log.lines)]
    hits = {bisect_right(starts, match.end()) - 1 for match in NUMBERED.finditer(text)}
    for word in WORDS:
        at = text.find(word)
        while at >= 0:
            number = bisect_right(starts, at) - 1
            hits.add(number)
            at = text.find(word, starts[number + 1])
    return sorted(hits)


def _scan(log: Log) -> Iterator[tuple[Found, str]]:
    """Yield what the table's matchers find, each with the directory that make was in."""
    numbers = _candidates(log)
    # A log of one tool needs few of the rows; to know which takes as long as some hundred lines.
    rows = [row for row in TABLE if row.hint in log.text] if len(numbers) > _MANY else TABLE
    past = 0
    held: tuple[Found, str] | None = None
    for number in numbers:
        if number < past or not (found := _match(log, number, rows)):
            continue
        past = found.past
        if not found.file and not found.message:
            continue
        if held and compilers.is_note_of(found, held[0]):
            note = Place(found.file, found.line, found.message)
            held = held[0]._replace(frames=(*held[0].frames, note)[-_MOST_FRAMES:]), held[1]
            continue
        if held:
            yield held
        if found.tool == "gcc":
            found = found._replace(frames=compilers.way(log, number))
        held = found, log.directories[-1] if log.directories else ""
    if held:
        yield held


def _match(log: Log, number: int, rows: Sequence[Row]) -> Found | None:
    line = log.lines[number]
    for hint, match in rows:
        if hint in line and (found := match(log, number)) is not None:
            return found
    return None


def _key(found: Found, directory: str, files: Files) -> _Key:
    """Return a finding with its paths named; a stack trace is placed where it last was in the repository."""
    frames = []
    for place in found.frames[-_MOST_FRAMES:]:
        name = _printable(files.named(place.file, directory)[:LONGEST_NAME])
        frames.append((name, min(place.line, LAST_LINE), _printable(place.what[:LONGEST_NAME]), files.ours(name)))
    file, line = files.named(found.file, directory) if found.file else "", found.line
    if found.frames and found.frames[-1][:2] == (found.file, found.line):
        file, line = next(((name, at) for name, at, _, ours in reversed(frames) if ours), (file, line))
    if file.startswith(("node:", "<")):  # Code that no file holds.
        file, line = "", 0
    return _Key(
        _printable(file[:LONGEST_NAME]),
        min(line, LAST_LINE),
        min(found.column, LAST_LINE),
        found.severity,
        found.message.strip()[:LONGEST_MESSAGE],
        _printable(found.code[:LONGEST_NAME]),
        found.tool,
        tuple(frames),
    )


def _printable(name: str) -> str:
    """Return a name without what would end its line or hide in it; JSON and XML can hold anything."""
    return name if name.isprintable() else "".join(sign if sign.isprintable() else "?" for sign in name)


def _sifted(told: dict[_Key, int]) -> dict[_Key, int]:
    """Leave out what only repeats others: summaries of located tests, recipes that failed because of others."""
    errors = {one.code for one in told if one.line and one.severity is Severity.ERROR and one.code != _RECIPE}
    located = any(one.line and one.severity is Severity.ERROR and one.code != _RECIPE for one in told)
    return {
        one: times
        for one, times in told.items()
        if not (one.code == _RECIPE and located) and not (one.tool == "pytest" and not one.line and one.code in errors)
    }


_RECIPE: Final = "recipe"


def _diagnostic(one: _Key, times: int) -> Diagnostic:
    frames = tuple(Frame(file=name, line=line, what=what, ours=ours) for name, line, what, ours in one.frames)
    return Diagnostic(
        file=one.file,
        line=one.line,
        column=one.column,
        severity=one.severity,
        message=one.message,
        code=one.code,
        tool=one.tool,
        frames=frames,
        times=times,
    )
