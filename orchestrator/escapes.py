"""Escape sequences in what programs print: colour, cursor movement, titles."""

from __future__ import annotations

import re
from typing import Final

# CSI, OSC and its kin (ended by BEL or ST), and the two-character escapes. Nothing reads past the next escape, so that
# a million that never end take no longer than others.
_ESCAPES: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]")


def without_escapes(text: str) -> str:
    """Return the text without its escape sequences."""
    return _ESCAPES.sub("", text) if "\x1b" in text else text
