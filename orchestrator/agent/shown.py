"""What the model gets to see of bytes from inside the sandbox: clean text, of bounded length."""

from __future__ import annotations

import re
from typing import Final

from orchestrator.escapes import without_escapes

LONGEST: Final = 16_000
"""Characters of one result; about 4,000 tokens."""
LONGEST_LINE: Final = 2_000
"""Characters of one line of a file."""

# Control characters, and the marks that turn the direction of text and so can show a line other than it is.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(data: bytes) -> str:
    """Return text without escape sequences and control characters; bytes that aren't UTF-8 become U+FFFD."""
    text = without_escapes(data.decode("utf-8", errors="replace").replace("\r\n", "\n"))
    if "\b" in text:
        text = "\n".join(map(_struck_over, text.split("\n")))
    if "\r" in text:
        # What a progress bar wrote over: all but the last state of a line.
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _CONTROLS.sub("", text)


def _struck_over(line: str) -> str:
    """Return what a line shows after its backspaces: bold and underlined letters, a wheel that turns."""
    first, *others = line.split("\b")
    shown = list(first)
    for piece in others:
        del shown[-1:]
        shown += piece
    return "".join(shown)


def cut(text: str, *, longest: int = LONGEST, before: int = 0) -> str:
    """Return head and tail of what is longer than `longest` characters, with a note of how much is left out between.

    `before` is the number of characters that were left out of the middle already.
    """
    if len(text) <= longest:
        return text
    head = text[: longest // 2]
    tail = text[-(longest - len(head)) :]
    # Whole lines, unless there are hardly any.
    head = head[: head.rfind("\n") + 1] if head.rfind("\n") > longest // 4 else head
    tail = tail[tail.find("\n") + 1 :] if 0 <= tail.find("\n") < longest // 4 else tail
    left_out = len(text) - len(head) - len(tail) + before
    return f"{head.rstrip()}\n[… {left_out:,} characters left out here …]\n{tail}"


def is_binary(data: bytes) -> bool:
    """Say whether this isn't text: a NUL near the beginning, as git judges."""
    return b"\0" in data[:8000]
