"""What a command printed, cut to what it tells: noise is folded, and errors stay where the middle has to go.

Whatever is printed, this takes time in proportion: each expression sees one bounded line, and none can go back far.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.agent.shown import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_LINE: Final = 500
"""Characters of one line of a command's output."""
_SHORT: Final = 2_000
"""An output of this many characters is shown with all its lines, alike or not."""
_MOST_LINES: Final = 100_000
"""Lines that are looked at one by one, half of them from the end."""
_BLANKS: Final = 2
_SAME: Final = 3
_PROGRESS: Final = 4
_ALIKE: Final = 8
_WORDS: Final = re.compile(r"[^\W\d_]{3,64}")
_LEAST_WORDS: Final = 2
"""That lines must have to be alike: figures, and figures with a name, are data."""
_SHAPED: Final = 2_000
"""Characters of a line that is compared with others."""

_ERRORS: Final = ("error", "fail", "traceback", "panic", "assert", "exception", "fatal")
_WARNINGS: Final = ("warning",)

_DIGITS: Final = b"0123456789.,:"
_HEXADECIMAL: Final = b"abcdefABCDEFxX-" + _DIGITS
_NUMBERS: Final = re.compile(r"\b(?:0[xX])?(?=[a-fA-F]{0,64}[0-9])[0-9a-fA-F]{6,}\b|[0-9.,:]+|-(?=[0-9a-fA-F]{4})")
# A bar with a figure, or what a tool says while it loads: only the beginning of a line is looked at.
_BAR: Final = re.compile(r"\[[=#>. -]*[=#>][=#>. -]*\]|\|[#=]+[ .-]*\||[\u2588\u2591\u2501]{3}")
_LOADS: Final = re.compile(
    r"\W{0,8}(?:[0-9a-f]{12}: )?(?:download|fetch|pull|push|extract|unpack|receiv|resolving deltas|compressing obj"
    r"|counting obj|writing obj|enumerating obj|updating files|progress|loading|upload|transferr|copying|building)"
    r"[^\n]{0,160}?[0-9] ?(?:%|[kKMG]i?B)",
    re.IGNORECASE,
)
_PROGRESS_SIGNS: Final = "%B]|\u2588\u2591\u2501"
"""One of them is in every line of progress."""
_DIGIT: Final = re.compile(r"[0-9]")
_LOOKED_AT: Final = 240
_NOTES: Final = 130
"""Characters of what stands between head and tail."""


class Line(NamedTuple):
    """A line with its number in the output; 0 for one of ours."""

    number: int
    text: str


@dataclass(frozen=True)
class Shown:
    """What is shown of an output, and whether anything is missing in it that the whole would have."""

    text: str
    partial: bool


def signal(data: bytes, *, longest: int, before: int = 0) -> Shown:
    """Return what an output tells, in at most about `longest` characters.

    `before` is how many bytes of its middle were left out already.
    """
    text = clean(data).rstrip()
    lines = [line.rstrip() for line in text.split("\n")]
    errors, warnings = _lines_with(text, _ERRORS), _lines_with(text, _WARNINGS)
    most = min(LONGEST_LINE, max(longest // 4, 1))
    folded, partial = _folded(lines[: _MOST_LINES // 2], 0, errors | warnings)
    if len(lines) > _MOST_LINES // 2:
        second = max(_MOST_LINES // 2, len(lines) - _MOST_LINES // 2)
        rest, more = _folded(lines[second:], second, errors | warnings)
        between = second - _MOST_LINES // 2
        folded += [Line(0, f"[{between:,} lines are left out here]"), *rest] if between else rest
        partial = partial or more or between > 0
    short = [Line(line.number, middle_cut(line.text, most)) if len(line.text) > most else line for line in folded]
    partial = partial or short != folded
    if _size(short) <= longest:
        return Shown("\n".join(line.text for line in short), partial or before > 0)
    left_out = len(text) - _size(short) + before  # By folding; what lies between head and tail comes on top.
    return Shown("\n".join(_head_and_tail(short, longest, left_out, errors, warnings, numbered=before == 0)), True)


def middle_cut(line: str, most: int) -> str:
    """Return head and tail of a line that is longer than `most` characters."""
    if len(line) <= most:
        return line
    head, tail = most * 3 // 5, most // 5
    return f"{line[:head]} [… {len(line) - head - tail:,} characters …] {line[-tail:] if tail else ''}"


def _folded(lines: list[str], before: int, telling: set[int]) -> tuple[list[Line], bool]:
    """Return the lines without repetitions, and whether something else than repetitions went.

    `before` is how many lines there are before them, `telling` the lines that are never like others.
    """
    shapes = _Shapes(lines, {number - before for number in telling})
    shown: list[Line] = []
    at, partial = 0, False
    while at < len(lines):
        first, end = before + at + 1, at + 1
        if shapes.alone[at]:  # As most are; the rest costs ten times as much.
            shown.append(Line(first, lines[at]))
        elif (end := _end_of_same(lines, at)) and not lines[at]:
            shown += (Line(number, "") for number in range(first, first + min(end - at, _BLANKS)))
        elif end - at >= _SAME:
            shown += (Line(first, lines[at]), Line(0, f"[the line above came {end - at - 1:,} times more]"))
        elif (end := shapes.end_of_progress(at)) - at >= _PROGRESS:
            note = f"[{end - at - 2:,} lines of progress]"
            shown += (Line(first, lines[at]), Line(0, note), Line(before + end, lines[end - 1]))
            partial = True
        elif (end := shapes.end_of_alike(at)) - at >= _ALIKE:
            note = f"[{end - at - 3:,} lines like these]"
            shown += (Line(first, lines[at]), Line(first + 1, lines[at + 1]), Line(0, note))
            shown.append(Line(before + end, lines[end - 1]))
            partial = True
        else:
            end = at + 1
            shown.append(Line(first, lines[at]))
        at = end
    return shown, partial


def _end_of_same(lines: list[str], at: int) -> int:
    end = at + 1
    while end < len(lines) and lines[end] == lines[at]:
        end += 1
    return end


class _Shapes:
    """Lines without what changes from one to the next of the same kind."""

    def __init__(self, lines: list[str], telling: set[int]) -> None:
        text = "\n".join(lines)
        raw = text.encode(errors="replace")
        self._lines = lines
        self._telling = telling
        self._some = len(text) > _SHORT
        # Whole texts at once, in bytes: that is hundreds of times faster than line by line.
        self._without_hex = raw.translate(None, _HEXADECIMAL).split(b"\n")
        self._without_digits = raw.translate(None, _DIGITS).split(b"\n") if self._some else []
        # Which are neither like the next one nor progress, for sure: lists at once too, as most lines are such.
        following = [*self._without_hex[1:], b"\n"]
        self.alone = [bool(one) and one != other for one, other in zip(self._without_hex, following, strict=True)]
        for sign in _PROGRESS_SIGNS:
            if sign in text:
                self.alone = [alone and sign not in line for alone, line in zip(self.alone, lines, strict=True)]

    def end_of_progress(self, at: int) -> int:
        """Return where the lines of progress end that begin here; the next line where this is none."""
        end = at
        while end < len(self._lines) and end not in self._telling and _is_progress(self._lines[end]):
            end += 1
        return max(end, at + 1)

    def end_of_alike(self, at: int) -> int:
        """Return where the lines end that differ from this one in numbers only."""
        end = at + 1
        if not self._some or at in self._telling or len(_WORDS.findall(self._lines[at][:_LOOKED_AT])) < _LEAST_WORDS:
            return end
        exact = ""
        while end < len(self._lines) and end not in self._telling and self._without_hex[end] == self._without_hex[at]:
            if self._without_digits[end] != self._without_digits[at]:
                exact = exact or _without_numbers(self._lines[at])
                if not exact or _without_numbers(self._lines[end]) != exact:
                    break
            end += 1
        return end


def _without_numbers(line: str) -> str:
    """Return a line without its numbers; the empty string where it's too long to be looked at."""
    return _NUMBERS.sub("", line) if len(line) <= _SHAPED else ""


def _is_progress(line: str) -> bool:
    start = line[:_LOOKED_AT]
    return _LOADS.match(start) is not None or (_BAR.search(start) is not None and _DIGIT.search(start) is not None)


def _lines_with(text: str, words: Iterable[str]) -> set[int]:
    """Return which lines, from 0, have one of these words in them, in whatever case."""
    lower = text.lower()
    found: set[int] = set()
    for word in words:
        number, counted = 0, 0
        at = lower.find(word)
        while at >= 0:
            number += lower.count("\n", counted, at)
            found.add(number)
            end = lower.find("\n", at)
            if end < 0:
                break
            counted = end
            at = lower.find(word, end)
    return found


def _size(lines: Iterable[Line]) -> int:
    return sum(len(line.text) + 1 for line in lines)


def _head_and_tail(
    lines: list[Line], longest: int, left_out: int, errors: set[int], warnings: set[int], *, numbered: bool
) -> list[str]:
    """Return whole lines from both ends, and between them those that look like errors; warnings where there is room."""
    longest = max(longest - _NOTES, 0)
    third = longest // 3
    first, last = _ends(lines, third)
    telling = _telling(lines[first:last], third, errors, warnings, numbered=numbered)
    first, last = _ends(lines, (longest - _size(telling)) // 2)
    between = lines[first:last]
    inside = {line.number for line in between if line.number}
    telling = [line for line in telling if line.number in inside]
    shown = {line.number for line in telling}
    gone = _size(line for line in between if line.number not in shown) + left_out
    parts = [line.text for line in lines[:first]]
    parts.append(f"[… {gone:,} characters left out here …]")
    if telling:
        parts[-1] = f"[… {gone:,} characters left out here; lines of them that look like errors: …]"
        parts += (line.text for line in telling)
        parts.append("[… up to here …]")
    return parts + [line.text for line in lines[last:]]


def _ends(lines: list[Line], room: int) -> tuple[int, int]:
    """Return how many lines from the beginning, and from which on to the end, have `room` characters each."""
    first, left = 0, room
    while first < len(lines) and (left := left - len(lines[first].text) - 1) >= 0:
        first += 1
    last, left = len(lines), room
    while last > first and (left := left - len(lines[last - 1].text) - 1) >= 0:
        last -= 1
    return first, last


def _telling(lines: list[Line], room: int, errors: set[int], warnings: set[int], *, numbered: bool) -> list[Line]:
    """Return the lines that look like errors, then like warnings, as far as there is room, with their numbers."""
    chosen: list[Line] = []
    for wanted in (errors, warnings - errors):
        for number, text in lines:
            if number - 1 in wanted:
                line = Line(number, f"{number}: {text}" if numbered else text)
                if len(line.text) >= room:
                    break
                room -= len(line.text) + 1
                chosen.append(line)
    return sorted(chosen)
