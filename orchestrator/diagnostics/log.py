"""The output of a command as lines without colour and without what build tools put in front of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.escapes import without_escapes

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_LINE: Final = 1_000
"""Characters of a line that are looked at; a location stands in front of what it says."""
_LOOKS: Final = 200_000
"""Lines around hits that are looked at in one output, beyond two for each of its lines."""

# Escape sequences whose first byte a log's keeper dropped, as they stand in stored logs.
_MAIMED: Final = re.compile(r"(?<![\w\x1b])\[[0-9;]{0,12}m")
# What a test's program printed itself, in the output of a runner that speaks TAP.
_COMMENTS: Final = re.compile(r"^# ", re.MULTILINE)
# A clock, a build tool's tag in brackets, MSBuild's project number, Android's compiler: what isn't the tool's own.
_BEFORE: Final = re.compile(
    r"\s*(?:(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?Z?(?=\s)"
    r"|\[[^\[\]\n]{1,60}\](?=\s)|\d{1,5}(?::\d{1,5})?>|C/C\+\+:(?=\s)|\#\d{1,4} \d{1,6}\.\d{1,4}(?=\s))"
)


class Log:
    """Lines, and what was found out about them while reading from top to bottom.

    Matchers look at lines around a hit. All looks together are limited, so that no output can make reading it cost
    more than in proportion to its length.
    """

    def __init__(self, text: str) -> None:
        if "\x1b" in text:
            text = without_escapes(text)
        elif "[0m" in text or "[m" in text:
            text = _MAIMED.sub("", text)
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if "TAP version 1" in text:
            text = _COMMENTS.sub("", text)
        # The first line is empty, so that each begins behind a line's end.
        self.text = "\n" + text
        self.lines = self.text.split("\n")
        self.heading = (0, "")
        """The line of the last finding below a file's heading, and the file."""
        self.directories: list[str] = []
        """Where make said that it is, the innermost last."""
        self._looks = _LOOKS + 2 * len(self.lines)
        self._bare = (0, "", "")

    def at(self, number: int) -> str:
        """Return a line, cut; empty where there is none."""
        return self.lines[number][:LONGEST_LINE] if 0 <= number < len(self.lines) else ""

    def bare(self, number: int) -> tuple[str, str]:
        """Return a line without what build tools put in front, and the last tag in brackets that was there."""
        if self._bare[0] != number:
            self._bare = (number, *bare(self.at(number)))
        return self._bare[1:]

    def back(self, number: int, most: int) -> Iterator[int]:
        """Yield the numbers of up to `most` lines before this one, the nearest first."""
        return self._granted(range(number - 1, max(-1, number - 1 - most), -1))

    def ahead(self, number: int, most: int) -> Iterator[int]:
        """Yield the numbers of up to `most` lines behind this one, the nearest first."""
        return self._granted(range(number + 1, min(number + 1 + most, len(self.lines))))

    def _granted(self, numbers: range) -> Iterator[int]:
        for number in numbers:
            self._looks -= 1
            if self._looks < 0:
                return
            yield number


def bare(line: str) -> tuple[str, str]:
    """Return a line without what build tools put in front, and the last tag in brackets that was there."""
    tag = ""
    for _ in range(4):
        # The cheap test: most lines begin with a word.
        if (line[:1].isalpha() and line[:1] != "C") or not (match := _BEFORE.match(line)):
            break
        found = match.group().strip()
        tag = found[1:-1] if found.startswith("[") else tag
        line = line[match.end() :]
    return line, tag


def indent(line: str) -> int:
    """Return how many blanks a line begins with."""
    return len(line) - len(line.lstrip(" \t"))
