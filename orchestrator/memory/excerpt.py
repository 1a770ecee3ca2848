"""The lines around what was found."""

from __future__ import annotations

import re
from typing import Final

OPEN: Final = "\1"
CLOSE: Final = "\2"
_HIT: Final = re.compile(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}")
_AROUND: Final = (0, 1, -1, 2, -2, 3, -3, 4, -4)
_CONTEXT: Final = 400


def context(text: str, start: int, end: int) -> tuple[str, str]:
    """Return a few lines before and after a piece of a text."""
    before, after = text[max(0, start - _CONTEXT) : start], text[end : end + _CONTEXT]
    before = before[before.find("\n") + 1 :] if start > _CONTEXT else before
    after = after[: after.rfind("\n") + 1] if len(text) > end + _CONTEXT else after
    return before, after


def excerpt(before: str, marked: str, after: str, longest: int) -> str:
    """Return the lines with the marked hits and those around them, `longest` characters or a little more.

    Lines with the most and longest of the words come first; a line that is too long itself is cut around its first hit.
    """
    lines = [*before.splitlines(), *marked.splitlines(), *after.splitlines()]
    hits = {number: _weight(line) for number, line in enumerate(lines)}
    order = sorted((number for number, count in hits.items() if count), key=lambda number: -hits[number]) or [0]
    chosen: dict[int, str] = {}
    room = longest
    for hit in order:
        for number in (hit + step for step in _AROUND):
            if number in chosen or not 0 <= number < len(lines):
                continue
            line = _line(lines[number], longest // 2)
            if len(line) > room and chosen:
                break
            chosen[number], room = line, room - len(line) - 1
    shown: list[str] = []
    last = -1
    for number in sorted(chosen):
        shown += ["…"] if shown and number != last + 1 else []
        shown.append(chosen[number])
        last = number
    return "\n".join(shown)


def _weight(line: str) -> int:
    return sum(map(len, {hit.lower() for hit in _HIT.findall(line)}))


def _line(marked: str, longest: int) -> str:
    plain = marked.replace(OPEN, "").replace(CLOSE, "")
    if len(plain) <= longest:
        return plain
    start = max(0, marked.find(OPEN) - longest // 3)
    piece = plain[start : start + longest]
    return ("…" if start else "") + piece + ("…" if start + longest < len(plain) else "")
