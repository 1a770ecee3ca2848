"""Text of others as data: it keeps to its line or to its fence, and shows nothing but what it is."""

from __future__ import annotations

import re
from hashlib import blake2s
from typing import Final

from orchestrator.escapes import without_escapes

_FENCES: Final = re.compile(r"`{3,}")
_SPARE: Final = 8
"""So many times the longest that is kept is looked at, so that a text of megabytes costs nothing."""


def one_line(text: str, longest: int) -> str:
    """Return the text as one line of at most `longest` characters, all of them printable."""
    line = _line(text[: longest * _SPARE])
    return line if len(line) <= longest and len(text) <= longest * _SPARE else f"{line[: longest - 1]}…"


def named(text: str, longest: int) -> str:
    """Return the text as one line; what is longer keeps a mark of the whole, so that no two texts look the same."""
    if len(text) <= longest and len(line := _line(text)) <= longest:
        return line
    mark = blake2s(text.encode(errors="surrogatepass"), digest_size=3).hexdigest()
    return f"{one_line(text, longest - len(mark) - 1)} {mark}"


def lines(text: str) -> str:
    """Return the text with its lines and indentation, and nothing else that can't be seen."""
    return "\n".join(_seen(line.replace("\t", "    ")) for line in text.splitlines()).strip("\n")


def fenced(text: str) -> str:
    """Return the text verbatim between two fences that nothing in it can close."""
    fence = "`" * max([3, *(len(found) + 1 for found in _FENCES.findall(text))])
    return f"{fence}\n{text}\n{fence}"


def _line(text: str) -> str:
    return _seen(" ".join(text.split()))


def _seen(text: str) -> str:
    """Return the text without escape sequences, control characters and marks that turn or hide text."""
    if text.isprintable():
        return text
    return "".join(filter(str.isprintable, without_escapes(text)))
